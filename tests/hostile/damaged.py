"""Videos that were cut off, or of which parts were lost or changed."""

import random

from tests.hostile.contents import fragmented, good, no_index, noise, plain, share, spliced
from tests.hostile.expected import (
    ANY,
    NO_VIDEO_STREAM,
    NOT_A_VIDEO,
    PARTIAL,
    SHOWN,
    TRUNCATED,
    UNREADABLE,
    Made,
)
from tests.hostile.files import (
    Clip,
    encoded,
    mkv,
    mp4,
)
from tests.hostile.mutated import flip, mutated


def cuts() -> Made:
    fast, matroska = mp4(good()), encoded("matroska")
    for tenth in range(1, 10):
        yield f"cut-index-last-{tenth}0.mp4", TRUNCATED, share(plain(), tenth / 10)
        yield f"cut-index-first-{tenth}0.mp4", PARTIAL, share(fast, tenth / 10)
        # Up to a fifth may be missing before it is worth more to refuse than to caption.
        expect = PARTIAL if tenth < 7 else SHOWN
        yield f"cut-{tenth}0.mkv", expect, share(matroska, tenth / 10)
    yield "cut-in-index.mp4", UNREADABLE, fast[: fast.index(b"stts")]
    yield "cut-last-byte.mp4", SHOWN | TRUNCATED, fast[:-1]
    fragments = fragmented()
    yield "cut-fragments.mp4", SHOWN | TRUNCATED, share(fragments, 0.6)
    yield "cut-first-fragment.mp4", SHOWN | UNREADABLE, share(fragments, 0.15)
    for ending, made in no_index().items():
        expect = SHOWN | TRUNCATED
        yield f"cut-half.{ending}", expect, share(made, 0.5)
        yield f"cut-tenth.{ending}", expect | NOT_A_VIDEO | NO_VIDEO_STREAM, share(made, 0.04)


def damaged() -> Made:
    whole = mp4(good())
    start, end = len(whole) // 3, len(whole) // 2
    dice = random.Random(6)
    changed = bytearray(whole)
    for at in dice.sample(range(start, end), (end - start) // 100):
        changed[at] = dice.randrange(256)
    yield "one-percent-changed.mp4", PARTIAL, bytes(changed)
    yield "range-zeroed.mp4", PARTIAL, spliced(whole, start, bytes(end - start))
    yield "range-noise.mp4", PARTIAL, spliced(whole, start, noise(end - start))
    media = whole.index(b"mdat") + 4
    yield "all-media-zeroed.mp4", NOT_A_VIDEO, spliced(whole, media, bytes(len(whole) - media))
    yield "all-media-noise.mp4", NOT_A_VIDEO | PARTIAL, whole[:media] + noise(len(whole) - media)
    yield "keyframes-zeroed.mp4", PARTIAL | NOT_A_VIDEO, mp4(without(good(), good().keys))
    yield "first-frame-zeroed.mp4", PARTIAL, mp4(without(good(), (0,)))
    yield "between-targets.mp4", PARTIAL, mp4(without(good(), (13, 14)))
    yield "every-third-frame-zeroed.mp4", PARTIAL, mp4(without(good(), tuple(range(1, 48, 3))))
    for ending, made in no_index().items():
        middle = len(made) // 2
        broken = spliced(made, middle, bytes(len(made) // 8))
        yield f"range-zeroed.{ending}", SHOWN | TRUNCATED, broken
        yield f"repeated.{ending}", ANY, made + made
        for seed in range(2):
            yield f"bits-{seed}.{ending}", ANY, flip(made, random.Random(seed))
    for seed in range(24):
        yield f"bits-{seed}.mp4", ANY, flip(whole, random.Random(seed))
    for seed in range(8):
        yield f"bits-{seed}.mkv", ANY, flip(mkv(good()), random.Random(seed))
        index = flip(whole[:media], random.Random(seed))
        yield f"bits-in-index-{seed}.mp4", ANY, index + whole[media:]
        yield f"mutated-{seed}.mp4", ANY, mutated(plain(), seed)
        yield f"mutated-{seed}.ts", ANY, mutated(no_index()["ts"], seed)


def without(source: Clip, numbers_of: tuple[int, ...]) -> Clip:
    """These packets are zeros of the same length."""
    packets = [
        bytes(len(packet)) if i in numbers_of else packet for i, packet in enumerate(source.packets)
    ]
    return Clip(tuple(packets), source.keys, source.extradata, source.size)
