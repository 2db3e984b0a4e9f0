"""AI-Hub: one JSON file a video, with what happens in it from when to when.

    {"video_name": "D2_AN_0531_000002.mp4", "duration": 60.0, "trigger_info": [
        {"timestamps": ["0:00.00000", "0:16.00000"], "trigger_action": "사진을 찍는다.", ...}]}

This is the layout of 비디오 전환 경계 추론 데이터 (2022, aihub.or.kr, data set 71492), as its maker
shows it (selectstar.ai/ko/portfolio-item/video-change-border-inference-data). AI-Hub's data sets
have no layout in common; of others make a CSV (table.py).
"""

from collections.abc import Iterator
from typing import Any

from shared.annotations.files import File, LeftOut, items_of, seconds, text_in
from shared.errors import BadData
from workers.data.imports.found import Asked, Found


def found_in(file: File, asked: Asked) -> Iterator[Found | LeftOut]:
    read_any = False
    for place, item in items_of(file):
        if not isinstance(item, dict) or "trigger_info" not in item:
            if read_any:
                yield LeftOut(place, "it has no 'trigger_info'")
                continue
            raise BadData(
                f"{file.name} has no 'trigger_info'",
                cure="Of AI-Hub's data sets this reads 71492 (docs/training.md); of others, a CSV.",
            )
        read_any = True
        if not isinstance(item["trigger_info"], list):
            yield LeftOut(place, "it has no text")
            continue
        if not isinstance(video := item.get("video_name"), str):
            yield LeftOut(place, "it names no video")
            continue
        for number, trigger in enumerate(item["trigger_info"], start=1):
            yield _found(f"{place}#{number}", video, item.get("duration"), trigger)


def _found(place: str, video: str, duration: Any, trigger: Any) -> Found | LeftOut:
    if not isinstance(trigger, dict) or not (text := text_in(trigger.get("trigger_action"))):
        return LeftOut(place, "it has no text")
    stamps = trigger.get("timestamps")
    if not isinstance(stamps, list) or len(stamps) != 2:
        return LeftOut(place, "it does not say from when to when")
    start, end = seconds(stamps[0]), seconds(stamps[1])
    if start is None or end is None:
        return LeftOut(place, "it does not say from when to when")
    whole = seconds(duration)
    if whole is not None and end >= whole:
        end = None
    columns = {"completion": text, "origin": "human"}
    return Found(place, video, columns, start or None, end)
