"""What of a film comes out wrong: our frames, times, lengths and cuts against what was drawn.

A film is asked for evenly (a few frames, and more than it may have), for a part of it, and by its
scenes. Everything that is returned has to be true, and nothing that is whole may be called damaged.
"""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.truth.films import ANY, NOTHING, Film
from benchmarks.truth.painting import NUMBERS, corners, outside, read
from benchmarks.truth.reference import Decoded
from shared.errors import JamakError
from workers.video.container import VideoFile
from workers.video.limits import Limits
from workers.video.sampling import Frames, Request, Sample, Sampler

FEW, MANY = 5, 64
PART = (0.55, 0.9)
"""Of a film's length: what is asked for alone."""
ASPECT_SLACK = 0.02
CUT_SLACK_S = 0.35
COMBED = 6.0
"""Levels by which neighbouring lines differ more than every other line does."""
DECODERS = re.compile(r"Errno|<none>|'NoneType'|avcodec|lib[a-z]+264")
"""No user knows these words."""


def wrong_with(film: Film, path: Path) -> list[str]:
    """Each as a sentence; nothing where all is as it was drawn."""
    try:
        found = list(_judged(film, path))
        return found if film.is_film else ["read, though it holds no film"]
    except JamakError as error:
        told = f"{type(error).__name__}: {str(error).replace(str(path), path.name)}"
        named = film.refused_as and re.search(film.refused_as, told) and not DECODERS.search(told)
        return [] if named else [f"refused: {told}"]
    except Exception as error:
        return [f"fails: {type(error).__name__}: {error}"]


def disagreement(film: Film, told: Decoded) -> str:
    """Where the ffmpeg program reads it otherwise than it was drawn; empty if nowhere."""
    numbers = tuple(one.number for one in told.seen)
    wanted = _mod(film.shown.numbers)
    if ANY not in wanted and numbers != wanted:
        return f"the ffmpeg program shows {_short(numbers)} {told.said}".rstrip()
    slack = film.slack_s
    pairs = zip(told.times_s, film.shown.times_s, strict=False)
    if not all(abs(theirs - ours) <= slack for theirs, ours in pairs):
        return f"the ffmpeg program shows them at {_times(told.times_s)}"
    turned = {one.turn for one in told.seen} - {"upright"}
    if turned:
        return f"the ffmpeg program shows it turned: {', '.join(sorted(turned))}"
    if abs(told.aspect / film.aspect - 1) > ASPECT_SLACK:
        return f"the ffmpeg program shows it {told.aspect:.3f} wide"
    return ""


def _judged(film: Film, path: Path) -> Iterator[str]:
    limits, size_bytes = Limits(), path.stat().st_size
    head = partial(_head, path)
    with VideoFile(str(path), path.name, head, limits.max_pixels, limits.max_decoded) as video:
        sampler = Sampler(video, size_bytes, limits, lambda: None)
        sample = sampler.sample(Request(FEW))
        yield from _length(film, sample.duration_s)
        yield from _picture(film, sample.frames)
        yield from _whole(film, sample)
        yield from _frames(film, sample, "evenly", 0.0, film.shown.ends_s)
        sample = sampler.sample(Request(MANY))
        yield from _frames(film, sample, f"{MANY} frames", 0.0, film.shown.ends_s)
        start, end = (share * film.shown.ends_s for share in PART)
        part = sampler.sample(Request(FEW, window_s=(start, end)))
        if abs(part.duration_s - (end - start)) > _length_slack(film):
            yield f"the part of {end - start:.2f} s is {part.duration_s:.2f} s long"
        yield from _frames(film, part, "in a part", start, end)
        by_scenes = sampler.sample(Request(FEW, strategy="adaptive"))
        yield from _frames(film, by_scenes, "by scenes", 0.0, film.shown.ends_s)
        if film.no_black and None in [read(frame).number for frame in by_scenes.frames]:
            yield "by scenes: one frame is the black between two"
        if film.cuts_s is not None:
            found, _ = sampler.changes()
            near = [abs(a - b) <= CUT_SLACK_S for a, b in zip(found, film.cuts_s, strict=False)]
            if len(found) != len(film.cuts_s) or not all(near):
                yield f"scene changes at {_times(found)} for {_times(film.cuts_s)}"


def _length(film: Film, duration_s: float) -> Iterator[str]:
    if abs(duration_s - film.shown.ends_s) > _length_slack(film):
        yield f"lasts {duration_s:.3f} s for {film.shown.ends_s:.3f}"


def _length_slack(film: Film) -> float:
    """Half of a frame: few containers tell how long the last one stays."""
    shown = film.shown
    steps = np.diff([*shown.times_s, shown.ends_s])
    return max(2 * film.slack_s, 0.5 * float(steps.min()), film.open_s)


def _whole(film: Film, sample: Sample) -> Iterator[str]:
    if sample.damaged and not film.joined:
        yield f"called damaged: {sample.damaged}"
    if sample.decode_errors:
        yield f"{sample.decode_errors} errors"


def _picture(film: Film, frames: Frames) -> Iterator[str]:
    height, width = frames.shape[1:3]
    if abs(width / height / film.aspect - 1) > ASPECT_SLACK:
        yield f"{width}x{height} is {width / height:.3f} wide for {film.aspect:.3f}"
    first = frames[0]
    turn = read(first).turn
    if turn != "upright":
        yield f"turned: {turn}"
    if outside(first) > 0.002:
        yield f"{outside(first):.0%} of the picture should be cropped"
    found = corners(first)
    for name, wanted in film.colours.items():
        if max(abs(a - b) for a, b in zip(found[name], wanted, strict=True)) > film.colour_slack:
            yield f"the corner {name} is {found[name]} for {wanted}"
    if film.combed and combing(frames) > COMBED:
        yield f"fields are seen: lines differ by {combing(frames):.0f} levels"


def combing(frames: Frames) -> float:
    """By how much more neighbouring lines differ than every other line: 0 in a film of frames."""
    grey = frames.astype(float).mean(axis=3)
    beside = np.abs(grey[:, 1:-1] - grey[:, :-2]) + np.abs(grey[:, 1:-1] - grey[:, 2:])
    same_field = np.abs(grey[:, 2:] - grey[:, :-2])
    excess = (beside / 2 - same_field).clip(min=0)
    return float(np.percentile(excess.mean(axis=1), 98))


def _frames(film: Film, sample: Sample, how: str, start: float, end: float) -> Iterator[str]:
    """A target may fall on the moment at which frames change: then either of them will do."""
    shown, slack = film.shown, film.slack_s
    latest = end + max(slack, film.open_s)
    beyond = [t for t in sample.targets_s if not start - slack <= t <= latest]
    if beyond:
        yield f"{how}: asked for {_times(beyond)}, outside of {start:.2f}-{end:.2f} s"
    got = tuple(read(frame).number for frame in sample.frames)
    fits = [set(range(shown.at(t - slack), shown.at(t + slack) + 1)) for t in sample.targets_s]
    wanted = sorted(
        {
            min(one) if len(one) == 1 else shown.at(t)
            for one, t in zip(fits, sample.targets_s, strict=True)
        }
    )
    # Which of the frames each is, by its number; pictures that are alike are told apart by time.
    places = [
        min(
            (i for i, known in enumerate(_mod(shown.numbers)) if known in (number, ANY)),
            key=lambda i: abs(shown.times_s[i] - time),
            default=-1,
        )
        for number, time in zip(got, sample.timestamps_s, strict=True)
    ]
    right = sorted(set(places)) == places and all(one & set(places) for one in fits)
    if not right or not set(places) <= set().union(*fits):
        numbers = tuple(shown.numbers[i] for i in wanted)
        yield f"{how}: frames {_short(got)} for {_short(_mod(numbers))}"
    else:
        times = [shown.times_s[i] for i in places]
        if max(abs(a - b) for a, b in zip(sample.timestamps_s, times, strict=True)) > slack:
            yield f"{how}: at {_times(sample.timestamps_s)} for {_times(times)}"
    if not all(sample.exact):
        yield f"{how}: {sample.exact.count(False)} called inexact"


def _mod(numbers: tuple[int, ...]) -> tuple[int | None, ...]:
    special = {NOTHING: None, ANY: ANY}
    return tuple(special.get(number, number % NUMBERS) for number in numbers)


def _short(numbers: tuple[int | None, ...]) -> str:
    told = ["?" if number in (None, ANY) else str(number) for number in numbers]
    if len(told) > 14:
        told = [*told[:8], "…", *told[-4:], f"({len(numbers)})"]
    return " ".join(told) or "none"


def _times(times: "list[float] | tuple[float, ...]") -> str:
    told = [f"{time:.3f}".rstrip("0").rstrip(".") for time in times]
    if len(told) > 14:
        told = [*told[:8], "…", *told[-4:]]
    return " ".join(told) or "none"


def _head(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        return file.read(size)
