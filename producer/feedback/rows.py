"""Lessons become the rows of a training set (shared/rows.py), for the stage that learns from them.

| stage | a preference | a correction | a thumb |
|---|---|---|---|
| sft | - | what it should have said | up: what it said |
| dpo | the pair | what it should have said, before what it said | - |
| kto | - | what it should have said: true; what it said: false | what it said: true or false |
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from producer.feedback.captions import Known
from producer.feedback.lessons import LeftOut
from shared.errors import ConfigError
from shared.feedback import Correction, Feedback, Kind, Preference, Thumb
from shared.prompts import MARK, check_prompt
from shared.rows import MOST_BYTES, Row, Stage
from shared.scripts import allowed
from shared.settings import Settings
from shared.text import stray

LEARNS: Mapping[Stage, tuple[Kind, ...]] = {
    "sft": ("correction", "thumb"),
    "dpo": ("preference", "correction"),
    "kto": ("thumb", "correction"),
}
"""What each stage learns from."""
MOST_ROWS = 100_000
"""Of a training set, which has at most MOST_BYTES too: the last lessons count."""

Columns = dict[str, Any]
Key = tuple[Any, ...]
"""What a row says of which video: of two lessons that say the same there is one row."""


@dataclass(frozen=True)
class TrainingSet:
    rows: list[Row]
    taught: list[Known]
    """The lessons that they are of."""
    passed_over: list[Known]
    """Older ones, for which there was no room."""
    left_out: list[LeftOut]
    """Why the others teach nothing."""


def rows_of(
    known: Iterable[Known],
    stage: Stage,
    settings: Settings,
    addresses: Mapping[tuple[str, int], str],
) -> TrainingSet:
    """The same for the same lessons, to the byte.

    Args:
        known: the earliest first.
        settings: how long captions may be, and in which letters.
        addresses: of videos (`addresses_of`).
    """
    rows: dict[Key, Row] = {}
    taught: list[tuple[Known, list[Key]]] = []
    left_out = []
    fits = _fits(settings)
    for one in known:
        if not teaches(one.lesson.item.said, stage):
            continue
        columns = list(_columns(one, stage))
        why = next((why for said in columns if (why := fits(said))), "")
        video = one.lesson.about.video
        uri = addresses[video.etag, video.size_bytes]
        found = why or _rows_or_why(one, uri, columns)
        if isinstance(found, str):
            left_out.append(LeftOut(one.lesson.id, found))
            continue
        keys = [(row.media.uri, row.prompt, *row.texts, row.label) for row in found]
        for key, row in zip(keys, found, strict=True):
            rows.setdefault(key, row)  # a thumb down and a correction say the same of a caption
        taught.append((one, keys))
    used, passed_over = _last(taught, rows)
    kept = {key for _, keys in used for key in keys}
    return TrainingSet(
        [row for key, row in rows.items() if key in kept],
        [one for one, _ in used],
        passed_over,
        left_out,
    )


def teaches(said: Feedback, stage: Stage) -> bool:
    """Whether there would be a row of it."""
    return said.kind in LEARNS[stage] and not (
        stage == "sft" and isinstance(said, Thumb) and not said.up
    )


def written(rows: Sequence[Row]) -> bytes:
    """JSON lines."""
    return "".join(f"{row.model_dump_json(exclude_defaults=True)}\n" for row in rows).encode()


def _last(
    taught: Sequence[tuple[Known, list[Key]]], rows: Mapping[Key, Row]
) -> tuple[list[tuple[Known, list[Key]]], list[Known]]:
    """As many as one set takes, in their order; and the others."""
    kept: set[Key] = set()
    used, passed_over = [], []
    size, full = 0, False
    for one, keys in reversed(taught):
        new = set(keys) - kept
        more = len(written([rows[key] for key in new]))
        full = full or len(kept) + len(new) > MOST_ROWS or size + more > MOST_BYTES
        if full and new:
            passed_over.append(one)
            continue
        kept |= new
        size += more
        used.append((one, keys))
    return used[::-1], passed_over[::-1]


def _columns(known: Known, stage: Stage) -> Iterator[Columns]:
    said, text = known.lesson.item.said, known.text
    if isinstance(said, Preference):
        yield {"chosen": said.chosen, "rejected": said.rejected}
    elif isinstance(said, Correction) and stage == "dpo":
        yield {"chosen": said.text, "rejected": text}
    elif isinstance(said, Correction):
        kto = stage == "kto"
        yield {"completion": said.text, "origin": "human", **({"label": True} if kto else {})}
        if kto:
            yield {"completion": text, "origin": "synthetic", "label": False}
    elif isinstance(said, Thumb) and stage == "kto":
        yield {"completion": text, "origin": "synthetic", "label": said.up}
    elif isinstance(said, Thumb):
        yield {"completion": text, "origin": "synthetic"}


def _rows_or_why(known: Known, uri: str, columns: Sequence[Columns]) -> list[Row] | str:
    """Or why there are none."""
    try:
        prompt = check_prompt(known.prompt)
        if stray(known.text) or MARK.search(known.text):
            return "no training could read it"
        return [
            Row.model_validate(
                {
                    "id": f"{known.lesson.id}{f'~{number}' if number else ''}",
                    "videos": [{"uri": uri}],
                    "prompt": prompt,
                    "source": "feedback",
                    **said,
                }
            )
            for number, said in enumerate(columns)
        ]
    except (ValidationError, ConfigError):
        return "no training could read it"


def _fits(settings: Settings) -> Callable[[Columns], str]:
    """Why a row would be refused: of texts that nobody is to say anything goes."""

    def why_unfit(said: Columns) -> str:
        text = said.get("chosen") or said["completion"]
        if said.get("label") is False:
            return ""
        if settings.max_new_tokens is None and _syllables(text) > settings.max_syllables:
            return "its text is longer than a caption may be (JAMAK_MAX_SYLLABLES)"
        if settings.language == "ko" and not all(map(allowed, text)):
            return "its text has letters that no caption may hold (JAMAK_LANGUAGE)"
        return ""

    return why_unfit


def _syllables(text: str) -> int:
    return sum("가" <= one <= "힣" for one in text)
