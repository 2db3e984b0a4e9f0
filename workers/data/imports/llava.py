"""Conversations about a video or an image: LLaVA's, LLaVA-Video-178K's and ShareGPT's JSON.

    {"id": "1006-8968804598", "video": "NextQA/1006/8968804598.mp4", "data_source": "0_30_s_nextqa",
     "conversations": [{"from": "human", "value": "<image>..."}, {"from": "gpt", "value": "..."}]}

huggingface.co/datasets/lmms-lab/LLaVA-Video-178K; the place of the video is often marked `<image>`.
Read, too: `messages` with `role` and `content`, `videos` and `images` (lists), `chosen` and
`rejected`, and `kto_tag`, as LLaMA-Factory's README of data/ describes ShareGPT's.
"""

from collections.abc import Iterator
from typing import Any

from shared.annotations.files import File, LeftOut, items_of, text_in
from shared.errors import BadData
from workers.data.imports.found import Asked, Found

ASKS, ANSWERS = ("human", "user"), ("gpt", "assistant")
MARKS = ("<image>", "<video>")


def found_in(file: File, asked: Asked) -> Iterator[Found | LeftOut]:
    read_any = False
    for place, item in items_of(file):
        turns = _turns(item)
        if turns is None:
            if not read_any:
                raise BadData(
                    f"{file.name} has no 'conversations' and no 'messages'",
                    cure="Name another layout (`jamak data import --help`).",
                )
            yield LeftOut(place, "it is no conversation")
            continue
        read_any = True
        yield from _found(place, item, turns, asked)


def _found(
    place: str, item: dict[str, Any], turns: list[tuple[str, str]], asked: Asked
) -> Iterator[Found | LeftOut]:
    media = [
        one
        for key in ("video", "image", "videos", "images")
        for one in (item[key] if isinstance(item.get(key), list) else [item.get(key)])
        if isinstance(one, str)
    ]
    if len(media) != 1:
        yield LeftOut(place, "it is about several" if media else "it names no video and no image")
        return
    if not turns or turns[0][0] not in ASKS:
        yield LeftOut(place, "it does not begin with a question")
        return
    # A pair is two answers to the last question, and a thumb is for all that was answered.
    if asked.stage in ("dpo", "kto") and len(turns) > 2:
        yield LeftOut(place, "its pair or thumb is not about the first question alone")
        return
    columns = _answers(item, turns, asked)
    if columns is None:
        yield LeftOut(place, "it lacks what the stage learns from")
        return
    question = turns[0][1]
    for mark in MARKS:
        question = question.replace(mark, "")
    if question.strip():
        columns["prompt"] = f"USER: <video>{question.strip()} ASSISTANT:"
    if isinstance(item.get("data_source"), str):
        columns["source"] = item["data_source"]
    if isinstance(item.get("id"), str | int):
        columns["id"] = str(item["id"])
    yield Found(place, media[0], columns)
    for number in range(2, len(turns) - 1, 2):
        yield LeftOut(f"{place}.{number + 1}", "a later question of a conversation is not learned")


def _answers(
    item: dict[str, Any], turns: list[tuple[str, str]], asked: Asked
) -> dict[str, Any] | None:
    if asked.stage == "dpo":
        chosen, rejected = (_said(item.get(side)) for side in ("chosen", "rejected"))
        return {"chosen": chosen, "rejected": rejected} if chosen and rejected else None
    if len(turns) < 2 or turns[1][0] not in ANSWERS:
        return None
    found: dict[str, Any] = {"completion": turns[1][1]}
    if asked.stage != "kto":
        return found
    label = item.get("kto_tag", item.get("label"))
    return {**found, "label": label} if isinstance(label, bool) else None


def _said(value: Any) -> str | None:
    if isinstance(value, dict):
        value = value.get("value", value.get("content"))
    return text_in(value)


def _turns(item: Any) -> list[tuple[str, str]] | None:
    """(who, what); what a system prompt says is about all of them, and ours says it differently."""
    if not isinstance(item, dict):
        return None
    told = item.get("conversations", item.get("messages"))
    if not isinstance(told, list):
        return None
    turns = []
    for turn in told:
        if not isinstance(turn, dict):
            return None
        who, what = turn.get("from", turn.get("role")), turn.get("value", turn.get("content"))
        if who != "system":
            turns.append((str(who), what if isinstance(what, str) else ""))
    return turns
