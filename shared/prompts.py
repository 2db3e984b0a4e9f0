"""The prompts, and the rules every prompt must keep."""

import re

from shared.errors import ConfigError
from shared.text import composed, stray

BASE_PROMPT = "USER: <video>이 영상을 한국어로 상세히 묘사해주세요. ASSISTANT:"

DETAILED_PROMPT = (
    "USER: <video>이 영상에 나타난 장면을 한국어로 상세하게 묘사해주세요. "
    "다음 요소들을 포함해주세요: 주요 배경과 환경, 눈에 띄는 특징, 전반적인 분위기. ASSISTANT:"
)


SUMMARY_PROMPT = (
    "USER: 다음은 한 영상의 장면들을 순서대로 설명한 글입니다.\n{scenes}\n"
    "이 영상 전체를 한국어로 요약해서 묘사해주세요. ASSISTANT:"
)
"""Without the video: one caption from those of its parts."""


VIDEO = "<video>"
_NAMES = [
    "video",
    "image",
    "pad",
    "unk",
    "mask",
    "s",
    "bos",
    "eos",
    "think",
    "/s",
    "/bos",
    "/eos",
    "/think",
]
MARK = re.compile(rf"<(?:{'|'.join(_NAMES)}|\|[^<>|\s]{{1,64}}\|)>")
"""What models read as a token of its own, so that it is no text. A worker knows those of its model,
too (workers/model/marks.py)."""
_BEGUN = re.compile(r"<(?:\|[^<>|\s]{0,64}\|?)?")


def check_prompt(prompt: str) -> str:
    """Return the prompt in composed form (NFC), if the model can answer it.

    Raises:
        ConfigError: `<video>` is not there exactly once, `<image>` or another token of the model is
            there, or what is no text, or the prompt does not end in `ASSISTANT:` (the model was
            trained to answer right after it).
    """
    prompt = composed(prompt)
    if found := stray(prompt):
        raise ConfigError(
            f"the prompt holds {found}, which is no text: {prompt!r}", cure="Take it out."
        )
    count = prompt.count(VIDEO)
    if count != 1:
        raise ConfigError(
            f"the prompt holds <video> {count} times; it must hold it once: {prompt!r}",
            cure="Put <video> where the frames belong, for example right after 'USER: '.",
        )
    if "<image>" in prompt:
        raise ConfigError(
            f"the prompt holds <image>, but the job has a video and no picture: {prompt!r}",
            cure="Take <image> out.",
        )
    for mark in MARK.findall(prompt):
        if mark != VIDEO:
            raise holds_mark(prompt, mark)
    if not prompt.endswith("ASSISTANT:"):
        raise ConfigError(
            f"the prompt does not end in 'ASSISTANT:': {prompt!r}",
            cure="End it with ' ASSISTANT:' and nothing after; the answer follows there.",
        )
    return prompt


def holds_mark(prompt: str, mark: str) -> ConfigError:
    return ConfigError(
        f"the prompt holds {mark}, which models read as a token of its own: {prompt!r}",
        cure="Take it out.",
    )


def without_marks(text: str) -> str:
    """Also of those that only come about when others are taken out: `<<image>image>`."""
    while (kept := MARK.sub("", text)) != text:
        text = kept
    return text


def without_begun_mark(text: str) -> str:
    """Of a text that was cut: `<th` at its end would have become one."""
    while (at := text.rfind("<")) >= 0:
        end = text[at:]
        if not _BEGUN.fullmatch(end) and not any(f"<{one}".startswith(end) for one in _NAMES):
            break
        text = text[:at]
    return text
