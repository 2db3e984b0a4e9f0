"""The exports of annotation tools (shared/annotations/) as rows of ours."""

from collections.abc import Callable, Iterator

from shared.annotations.answers import Answer
from shared.annotations.files import File, LeftOut
from workers.data.imports.found import Asked, Found, Layout, columns_of

Reader = Callable[[File, str | None], Iterator[Answer | LeftOut]]


def layout_of(answers_in: Reader) -> Layout:
    def found_in(file: File, asked: Asked) -> Iterator[Found | LeftOut]:
        for one in answers_in(file, asked.question):
            if isinstance(one, LeftOut):
                yield one
            elif one.media is None:
                yield LeftOut(one.place, "it names no video and no image")
            else:
                yield from _found(one, one.media, asked)

    return found_in


def _found(answer: Answer, media: str, asked: Asked) -> Iterator[Found | LeftOut]:
    rows = columns_of(answer.said, asked.stage)
    if isinstance(rows, str):
        yield LeftOut(answer.place, rows)
        return
    for columns in rows:
        yield Found(answer.place, media, columns, answer.start, answer.end)
