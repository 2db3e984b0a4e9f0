"""Matroska files whose elements lie."""

from tests.hostile.contents import good
from tests.hostile.expected import (
    NO_VIDEO_STREAM,
    NOT_A_VIDEO,
    OK,
    SHOWN,
    TOO_LARGE,
    TRUNCATED,
    UNREADABLE,
    Made,
)
from tests.hostile.files import (
    element,
    mkv,
)


def lying_matroska() -> Made:
    video = good()
    last = 2**62
    yield "cluster-too-long.mkv", SHOWN, mkv(video, cluster_size=1 << 40)
    yield "cluster-too-short.mkv", SHOWN | UNREADABLE, mkv(video, cluster_size=3)
    yield "segment-too-long.mkv", SHOWN, mkv(video, segment_size=1 << 50)
    yield "segment-empty.mkv", SHOWN | UNREADABLE, mkv(video, segment_size=0)
    yield "duration-huge.mkv", SHOWN | TRUNCATED, mkv(video, duration=1e18)
    yield "duration-nan.mkv", SHOWN, mkv(video, duration=float("nan"))
    yield "duration-negative.mkv", SHOWN, mkv(video, duration=-5.0)
    for name, tag in {
        "words": b"a:b:c",
        "nan": b"nan:nan:nan",
        "infinite": b"inf:0:0",
        "huge": b"99999999999:00:00",
        "negative": b"-1:-1:-1",
        "bytes": b"\xff\xfe:\0:\1",
    }.items():
        yield f"duration-tag-{name}.mkv", SHOWN | TRUNCATED, mkv(video, tag=tag)
    yield "track-unknown.mkv", UNREADABLE, mkv(video, track=9)
    yield "codec-unknown.mkv", NOT_A_VIDEO, mkv(video, codec=b"V_NOTHING")
    yield "codec-another.mkv", UNREADABLE, mkv(video, codec=b"V_VP9")
    yield "codec-text.mkv", UNREADABLE | NO_VIDEO_STREAM, mkv(video, codec=b"S_TEXT/UTF8")
    yield "size-huge.mkv", OK | TOO_LARGE, mkv(video, size=(2**31 - 1, 2**31 - 1))
    yield "size-zero.mkv", SHOWN, mkv(video, size=(0, 0))
    yield "scale-zero.mkv", SHOWN | UNREADABLE, mkv(video, scale=0)
    yield "scale-2e62.mkv", SHOWN | UNREADABLE, mkv(video, scale=last)
    yield "seconds.mkv", SHOWN, mkv(video, scale=10**9, times=list(range(48)), duration=48.0)
    yield "million-a-second.mkv", SHOWN, mkv(video, frame_ns=1000)
    yield "never-a-frame.mkv", SHOWN, mkv(video, frame_ns=2**63)
    yield "times-equal.mkv", SHOWN, mkv(video, times=[0] * 48)
    yield "times-in-disorder.mkv", SHOWN, mkv(video, times=[i * 29 % 48 * 40 for i in range(48)])
    yield "times-backwards.mkv", SHOWN, mkv(video, times=[40 * (48 - i) for i in range(48)])
    yield "times-negative.mkv", SHOWN, mkv(video, block_at=-30_000)
    yield "times-near-2e62.mkv", SHOWN, mkv(video, times=[last + 41 * i for i in range(48)])
    leap = [41 * i for i in range(47)]
    yield "leap-to-2e62.mkv", SHOWN | TRUNCATED, mkv(video, times=[*leap, last], duration=None)
    yield "leap-to-2e63.mkv", SHOWN | TRUNCATED, mkv(video, times=[*leap, 2**63 - 1], duration=None)
    yield "nested-elements.mkv", SHOWN | UNREADABLE, mkv(video, more=nested_tags(2_000))
    yield (
        "attachment-huge.mkv",
        SHOWN | UNREADABLE,
        mkv(video, more=element(0x1941A469, size=2**50)),
    )
    lost = element(0x1C53BB6B, element(0xBB, element(0xB3, bytes(8))))
    yield "cues-to-nowhere.mkv", SHOWN, mkv(video, more=lost)
    yield "void.mkv", SHOWN, mkv(video, more=element(0xEC) * 100_000)


def nested_tags(depth: int) -> bytes:
    """SimpleTag elements in each other."""
    tags = b""
    for _ in range(depth):
        tags = element(0x67C8, tags)
    return element(0x1254C367, element(0x7373, tags))
