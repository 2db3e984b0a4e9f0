"""Subtitles that every player takes, whatever a caption says and whenever its segments begin."""

import re
import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.bucket.formats import cue_time, to_srt, to_text, to_vtt
from shared.messages import Caption, FramesUsed, Segment, TokensUsed
from tests.records import caption

LINE = r"(?:[^\n\r\x00&<>]|&(?:amp|lt|gt);)+\n"
"""Of WebVTT's cue text without tags, which has no `-->` either."""


def times(point: str) -> str:
    one = rf"(\d\d+):([0-5]\d):([0-5]\d){point}(\d{{3}})"
    return f"{one} --> {one}\n"


CUE = rf"{times('[.]')}((?:{LINE})+)"
VTT = re.compile(rf"WEBVTT\n\n(?:{CUE}(?:\n{CUE})*)?")
SRT_CUE = rf"(\d+)\n{times(',')}((?:[^\n\r\x00]+\n)+?)(?:\n|\Z)"


def segment(start_s: float, end_s: float, text: str) -> Segment:
    return Segment(
        start_s=start_s,
        end_s=end_s,
        text=text,
        flags=(),
        frames=FramesUsed(requested=1, decoded=1, timestamps_s=(start_s,)),
        tokens=TokensUsed(visual=1, prompt=1, generated=1),
        adapter=None,
    )


def parted(*segments: Segment) -> Caption:
    return caption("전체").model_copy(update={"segments": segments})


def cues(told: Caption) -> list[tuple[int, int, str]]:
    """Start and end in milliseconds, and the text, as a strict reader finds them."""
    file = to_vtt(told).decode()
    assert VTT.fullmatch(file), file
    found = [one.groups() for one in re.finditer(CUE, file)]
    return [(millis(one[:4]), millis(one[4:8]), one[8]) for one in found]


def millis(parts: tuple[str, ...]) -> int:
    hours, minutes, seconds, rest = map(int, parts)
    return ((hours * 60 + minutes) * 60 + seconds) * 1000 + rest


def test_vtt_has_one_cue_over_the_video_and_nothing_else() -> None:
    assert to_vtt(caption("한 줄")).decode() == ("WEBVTT\n\n00:00:00.000 --> 00:00:02.500\n한 줄\n")


def test_subrip_knows_no_escapes() -> None:
    assert to_srt(caption("<b> & --> 끝")).decode() == (
        "1\n00:00:00,000 --> 00:00:02,500\n<b> & → 끝\n"
    )


def test_players_get_a_cue_for_each_segment_that_has_something_to_say() -> None:
    told = parted(
        segment(0, 12.5, "첫 <장면>"),
        segment(12.5, 61.25, ""),
        segment(61.25, 360000.004, "셋째\n\n \n장면"),
    )
    assert to_vtt(told).decode() == (
        "WEBVTT\n\n"
        "00:00:00.000 --> 00:00:12.500\n첫 &lt;장면&gt;\n\n"
        "00:01:01.250 --> 100:00:00.004\n셋째\n장면\n"
    )
    assert to_srt(told).decode() == (
        "1\n00:00:00,000 --> 00:00:12,500\n첫 <장면>\n\n"
        "2\n00:01:01,250 --> 100:00:00,004\n셋째\n장면\n"
    )


def test_without_a_word_there_is_no_cue() -> None:
    assert (to_vtt(caption(" \n")), to_srt(caption(" \n"))) == (b"WEBVTT\n\n", b"")


@given(st.text(), st.lists(st.text(), max_size=3))
def test_no_text_breaks_out_of_its_cue(text: str, others: list[str]) -> None:
    told = parted(*(segment(at, at + 1, one) for at, one in enumerate([text, *others])))
    found = cues(told)
    assert len(found) <= 1 + len(others)
    for _, _, one in found:
        assert "-->" not in one
        assert not [
            sign for sign in one if unicodedata.category(sign) == "Cc" and sign not in "\t\n"
        ]
    srt = to_srt(told).decode()
    numbers = [int(one[0]) for one in re.findall(SRT_CUE, srt)]
    assert srt.count("-->") == len(found) == len(numbers)
    assert numbers == [*range(1, len(found) + 1)]


@given(st.lists(st.floats(0, 4e5), min_size=2, max_size=6).map(sorted), st.data())
def test_cues_last_and_follow_each_other(ends: list[float], data: st.DataObject) -> None:
    close = [one + data.draw(st.sampled_from([0.0, 0.0005, 0.001, 0.0015])) for one in ends]
    close.sort()
    parts = [segment(*one, "장면") for one in pairwise(close)]
    found = cues(parted(*parts))
    assert len(found) == len(parts)
    free = 0
    for (start, end, _), part in zip(found, parts, strict=True):
        assert free <= start < end
        assert start - 1 - len(parts) <= part.start_s * 1000 <= start + 1
        free = end


def test_cues_that_overlap_keep_their_times() -> None:
    told = parted(
        segment(0, 60, "첫째"),
        segment(40, 50, "셋째"),
        segment(30, 40, "둘째"),
        segment(60, 60, "끝"),
    )
    found = [(start, end) for start, end, _ in cues(told)]
    assert found == [(0, 60000), (30000, 40000), (40000, 50000), (60000, 60001)]
    assert "00:00:30,000 --> 00:00:40,000\n둘째" in to_srt(told).decode()


@pytest.mark.parametrize(
    "nothing", ["\u200b", "\u2060\u200d", "\u3164", "\u2800", "\u00a0\n\u200b"]
)
def test_what_nobody_sees_is_no_cue(nothing: str) -> None:
    assert (to_vtt(caption(nothing)), to_srt(caption(nothing))) == (b"WEBVTT\n\n", b"")
    assert cues(caption(f"가\n{nothing}\n나"))[0][2] == "가\n나\n"


def test_every_view_of_an_old_record_is_plain() -> None:
    told = caption("빨간\x1b[31m 원\ufffd\x00")
    assert to_text(told).decode() == "빨간[31m 원\n"
    for view in (to_vtt(told), to_srt(told)):
        assert "\n빨간[31m 원\n" in view.decode()


def test_times_are_written_as_players_want_them() -> None:
    assert cue_time(3725.0405, ".") == "01:02:05.040"
    assert cue_time(359999.9996, ",") == "100:00:00,000"
