"""When each frame is shown and where decoding may begin, from one pass over all packets.

For files without an index, or with one that does not tell when frames are shown. Three things may
be wrong with what packets say, and each has its module: several recordings follow each other
(`recordings`), some frames have no timestamp (`untimed`), or all have that of their decoding
(`decode_times`).
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

from workers.video import decode_times, untimed
from workers.video.clock import Clock, Joint, Ticks
from workers.video.container import VideoFile
from workers.video.recordings import BACK_S, MOST, longest_s, starts
from workers.video.timeline import COUNTED, UNSEEKABLE, Timeline

SOUGHT_BY_BYTES = frozenset({"mpegts", "mpeg"})
"""Demuxers that search for a time by guessing, but begin at any byte."""
TRIED = 16
"""Keyframes, evenly over the file: a multiplexer begins all of them with a packet of their own, or
any of them in the middle of one."""
UNTOLD = -(2**63)
USUAL_RATE = 25
NEAR = 3
"""Packets from where a clock jumps until the first keyframe of the other recording."""


@dataclass(frozen=True)
class Told:
    """What the packets say, in the order of the file: arrays of (packets,)."""

    times: Ticks
    """UNTOLD, or in ticks when the frame is shown, or decoded."""
    ends: Ticks
    keys: NDArray[np.bool_]
    visible: NDArray[np.bool_]
    """Else for the decoder alone."""
    full: NDArray[np.bool_]
    """It holds a picture, or says when it is shown."""
    places: Ticks
    """Bytes into the file; less than 0: not told."""
    corrupt: Sequence[int]
    """Numbers of packets of which bytes are missing."""
    lost: int
    """1: the file cannot be read to its end."""
    tick: Fraction
    """Seconds."""
    step: float
    """Ticks between two frames: as most packets say, or else the stream."""
    lasting: int
    """Ticks of all frames, as the packets say; 0: they do not."""
    demuxer: str


def from_packets(video: VideoFile, on_packet: Callable[[], None] = lambda: None) -> Timeline | None:
    """None: no picture. The video's frames have the timeline's times from here on."""
    video.clock, video.places = None, {}
    by_decoding = decode_times.are_told(video.stream)
    told = _read(video, by_decoding, on_packet)
    own = np.flatnonzero(told.times != UNTOLD)
    if not told.full.any():
        return None
    if not len(own):
        timeline = _numbered(told)
    elif by_decoding:
        timeline = _decoded(video, told, on_packet)
    elif len(begins := _begins(told, own, on_packet)) > MOST + 1:
        timeline = _numbered(told, mistrusted=True)
    else:
        counts = _is_counted(video, told, begins, on_packet)
        timeline = _shown(told, own, begins, counts=counts)
        if told.demuxer in SOUGHT_BY_BYTES and timeline.clock is None:
            video.places = _places(video, told, own)
            timeline = replace(timeline, seekable=bool(video.places))
    video.clock = timeline.clock
    return timeline


def _read(video: VideoFile, by_decoding: bool, on_packet: Callable[[], None]) -> Told:
    stream, demuxer = video.stream, video.container.format.name
    rate = Fraction(stream.average_rate or stream.guessed_rate or USUAL_RATE)
    times: list[int] = []
    lengths: list[int] = []
    flags: list[tuple[bool, bool, bool]] = []
    places: list[int] = []
    corrupt: list[int] = []
    lost = 0
    counted = demuxer in COUNTED
    try:
        for packet in video.packets():
            on_packet()
            if packet.is_corrupt:
                corrupt.append(len(times))
            told = None if counted else packet.dts if by_decoding else packet.pts
            full = packet.size > 0 or not (told is None or by_decoding)
            times.append(UNTOLD if told is None or not full else told)
            lengths.append(packet.duration or 0)
            flags.append((packet.is_keyframe, not packet.is_discard, full))
            places.append(-1 if packet.pos is None else packet.pos)
    except av.FFmpegError:
        lost = 1
    keys, visible, full = np.array(flags, bool).reshape(-1, 3).T
    tick = stream.time_base
    begins, long = np.array(times, np.int64), np.array(lengths, np.int64)
    step = float(np.median(long[long > 0])) if (long > 0).any() else float(1 / rate / tick)
    ends, lasting, at = begins + long, int(long.sum()), np.array(places, np.int64)
    return Told(begins, ends, keys, visible, full, at, corrupt, lost, tick, step, lasting, demuxer)


def _begins(told: Told, own: NDArray[np.intp], tick: Callable[[], None]) -> list[int]:
    """Numbers of the first packets of all recordings."""
    tick_s = float(told.tick)
    back, longest = BACK_S / tick_s, longest_s(told.demuxer) / tick_s
    found = starts(told.times[own], told.ends[own], told.keys[own], back, longest, tick)
    return [0, *(int(own[i]) for i in found[1:])]


def _shown(told: Told, own: NDArray[np.intp], begins: Sequence[int], *, counts: bool) -> Timeline:
    """Args:
    own: numbers of the packets that say when their frames are shown.
    counts: the others hold frames, too.
    """
    edges = [*begins, len(told.times)]
    parts: list[Ticks] = []
    joints: list[Joint] = []
    untrue: set[int] = set()
    shifts = np.zeros(len(told.times), np.int64)
    for first, end in itertools.pairwise(edges):
        times, also = _times(told, first, end, counts=counts)
        untrue.update(also)
        if parts:
            begin = int(parts[-1][-1]) + _step(told, parts[-1])
            shifts[first:end] = begin - int(times[0])
            near = first + np.flatnonzero(told.keys[first : first + NEAR])
            key = int(near[0]) if len(near) else None
            joints.append(Joint(first, begin - int(times[0]), begin, key))
            times = times + shifts[first]
        parts.append(times)
    times = np.concatenate(parts)
    keys = np.unique((told.times + shifts)[own[told.keys[own]]])
    shown = own[told.visible[own]] if told.visible[own].any() else own
    last = shown[np.argmax((told.times + shifts)[shown])]
    end = _end(told, int(shown[-1]), int(last)) + shifts[last]
    clock = Clock(times, tuple(joints), counts, frozenset(untrue)) if counts or joints else None
    return Timeline(
        times,
        keys if len(keys) else times[:1],
        told.tick,
        seekable=clock is None and not UNSEEKABLE & set(told.demuxer.split(",")),
        clock=clock,
        end=float(max(end, times[-1] + counts * told.step) - times[0]),
        damaged=_damaged(told, joints),
        lost=told.lost,
    )


def _places(video: VideoFile, told: Told, own: NDArray[np.intp]) -> dict[int, int]:
    """Of keyframes by their times; none, unless those that are tried begin where they should."""
    keys = own[told.keys[own]]
    places = dict(zip(told.times[keys].tolist(), told.places[keys].tolist(), strict=True))
    tried = list(places.items())[:: -(-len(places) // TRIED) or 1]
    try:
        good = all(byte >= 0 and video.begins_at(byte, key) for key, byte in tried)
    except av.FFmpegError:
        good = False
    return places if good and min(places.values(), default=-1) >= 0 else {}


def _times(told: Told, first: int, end: int, *, counts: bool) -> tuple[Ticks, list[int]]:
    """Of the frames of one recording, by its own clock; and the packets whose times are not theirs,
    if frames are counted."""
    own = first + np.flatnonzero(told.times[first:end] != UNTOLD)
    visible = own[told.visible[own]]
    own = visible if len(visible) else own
    if not counts:
        return np.unique(told.times[own]), []
    untrue = untimed.untrue(own, told.times[own])
    own = own[~np.isin(own, untrue)]
    numbers = np.cumsum(told.full[first:end]) - 1
    count = int(numbers[-1]) + 1
    return untimed.filled(numbers[own - first], told.times[own], count, told.step), untrue


def _end(told: Told, decoded: int, shown: int) -> int:
    """When the picture ends. MP4 tells how long it takes until the next frame is decoded, not
    until it is shown; only what is decoded last lasts until the end of all.

    Args:
        decoded: number of the packet that is decoded last.
        shown: of the one whose frame is shown last.
    """
    end = int(told.ends[decoded])
    if told.demuxer.startswith("mov") and end > told.times[shown]:
        return end
    return int(told.ends[shown])


def _step(told: Told, times: Ticks) -> int:
    """Usual ticks between two frames."""
    return max(1, round(float(np.median(np.diff(times))) if len(times) > 1 else told.step))


def _damaged(told: Told, joints: Sequence[Joint]) -> int:
    return len(set(told.corrupt).difference(*(one.beside for one in joints)))


def _is_counted(
    video: VideoFile, told: Told, begins: Sequence[int], tick: Callable[[], None]
) -> bool:
    """Whether frames have no time of their own, or that of another one."""
    untold = set(np.flatnonzero(told.full & (told.times == UNTOLD)).tolist())
    if UNSEEKABLE & set(told.demuxer.split(",")):
        for first, end in itertools.pairwise([*begins, len(told.times)]):
            own = first + np.flatnonzero(told.times[first:end] != UNTOLD)
            untold.update(untimed.untrue(own, told.times[own]))
    if not untold:
        return False
    keys = np.flatnonzero(told.keys)
    before = keys[keys <= min(untold)]
    key = int(before[-1] if len(before) else keys[0] if len(keys) else 0)
    first = min((number for number in untold if number >= key), default=key)
    return untimed.come_out(video, key, first, tick)


def _numbered(told: Told, *, mistrusted: bool = False) -> Timeline:
    """A raw stream: so many pictures, each as long as all are on the average: of film that was made
    for television, some are shown for longer.

    Args:
        mistrusted: packets have times, but these tell nothing.
    """
    times = np.arange(told.full.sum())
    mean = told.lasting and not mistrusted
    ticks = Fraction(told.lasting, len(times)) if mean else Fraction(max(1, round(told.step)))
    return Timeline(
        times,
        times[:1],
        told.tick * ticks,
        seekable=False,
        clock=Clock(times, counts=True, made_up=mistrusted or told.demuxer in COUNTED),
        mistrusted=mistrusted,
        damaged=len(told.corrupt),
        lost=told.lost,
    )


def _decoded(video: VideoFile, told: Told, tick: Callable[[], None]) -> Timeline:
    """As many frames are shown as are decoded, and at the same distances, but in another order."""
    decoded = np.unique(told.times[told.full & (told.times != UNTOLD)])
    held_back = decode_times.held_back(video, tick)
    late = decoded[decoded >= decoded[0] + held_back]
    more = len(decoded) - len(late)
    end = late[-1] if len(late) else decoded[0]
    times = np.concatenate([late, end + _step(told, decoded) * np.arange(1, more + 1)]) - held_back
    return Timeline(
        times,
        np.unique(told.times[told.keys & told.full]),
        told.tick,
        clock=Clock(times, held_back=held_back),
        damaged=len(told.corrupt),
        lost=told.lost,
    )
