"""Our own captions with what people made of them: what `jamak export` writes, and a column more.

    {"video": {"bucket": "b", "key": "a.mp4", ...}, "text": "...", "correction": "...", ...}

Put `correction` (what it should say) or `label` (true, false: whether it is right) into the lines
that somebody has looked at; `segments` may have corrections of their own. What nobody has looked at
is left out: a model that learns its own captions learns its own mistakes.
"""

from collections.abc import Iterator
from typing import Any

from shared.annotations.answers import Said
from shared.annotations.files import File, LeftOut, items_of, seconds, text_in
from shared.errors import BadData
from workers.data.imports.found import Asked, Found, columns_of


def found_in(file: File, asked: Asked) -> Iterator[Found | LeftOut]:
    read_any = False
    for place, record in items_of(file):
        video = record.get("video") if isinstance(record, dict) else None
        if not isinstance(video, dict) or not isinstance(video.get("key"), str):
            if not read_any:
                raise BadData(
                    f"{file.name} holds no captions of ours: it has no 'video'",
                    cure="Make it with `jamak export`, and add 'correction' to its lines.",
                )
            yield LeftOut(place, "it is no caption")
            continue
        read_any = True
        bucket = str(video.get("bucket"))
        if ":" in bucket:
            yield LeftOut(place, "its video is in no bucket")
        elif not isinstance(record.get("text"), str):
            yield LeftOut(place, "it is no caption")
        else:
            yield from _found(place, f"s3://{bucket}/{video['key']}", record, asked)


def _found(place: str, uri: str, record: dict[str, Any], asked: Asked) -> Iterator[Found | LeftOut]:
    told = record.get("segments")
    segments = [one for one in told if isinstance(one, dict)] if isinstance(told, list) else []
    seen = [one for one in (record, *segments) if one.keys() & {"correction", "label"}]
    if not seen:
        yield LeftOut(place, "nobody has looked at it: it has no 'correction' and no 'label'")
    recipe = record.get("recipe")
    prompt = recipe.get("prompt") if isinstance(recipe, dict) else None
    for one in seen:
        label = one.get("label")
        said = Said(
            written=text_in(one.get("correction")),
            shown=text_in(one.get("text")),
            liked=label if isinstance(label, bool) else None,
        )
        start, end = seconds(one.get("start_s")), seconds(one.get("end_s"))
        here = place if one is record else f"{place}.{segments.index(one) + 1}"
        rows = columns_of(said, asked.stage, {"prompt": prompt} if isinstance(prompt, str) else {})
        if isinstance(rows, str):
            yield LeftOut(here, rows)
            continue
        for columns in rows:
            yield Found(here, uri, columns, start or None, end)
