"""A caption in a trial: on whose side it is, and what is seen of it and of the other one's.

Knows neither records nor pages.
"""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import get_args

from shared import telemetry
from shared.errors import EmptyCaption
from shared.messages import Arm, Flag, TrialUsed, digest
from shared.text import composed
from shared.trials import Observation, Signal
from workers.jobs.describe import UNSAID, Described, Describer
from workers.jobs.trials import Draw, Trials

SIGNALS: frozenset[str] = frozenset(get_args(Signal))
_SYLLABLE = re.compile("[가-힣]")

log = telemetry.get_logger("jamak.trials")


class Comparison:
    """For one job.

    Args:
        draw: None: it is in no trial.
    """

    def __init__(self, draw: Draw | None) -> None:
        self._draw = draw
        self._told: Described | None = None
        self._instead = ""
        self._again: Callable[[int | None], Described] | None = None
        self._silent: list[Observation] = []

    @property
    def canary(self) -> int | None:
        """The trial of the canary whose turn it is; None: it is that of what is in use."""
        draw = self._draw
        return draw.trial.generation if draw and draw.arm == "canary" else None

    def made(self, told: Described, describer: Describer) -> TrialUsed | None:
        """What the record says of it. None: it is in no trial, or the pointer moved while it was
        made."""
        draw, instead = self._draw, describer.instead
        self._told = None
        if draw is None:
            return None
        sides = {draw.trial.arm_by(adapter) for adapter in told.said_by}
        arm = draw.trial.arm_by(told.adapter)
        if arm is None or sides != {"incumbent" if instead else draw.arm}:
            return None
        self._told, self._instead, self._again = told, instead, describer.describe_again
        return TrialUsed(generation=draw.trial.generation, arm=arm, instead=instead)

    def observe(
        self, record: str, attempt: int, before: Callable[[], None], trials: Trials
    ) -> None:
        """What is seen of a caption that was recorded; and of the other one's of the same video, if
        that is to be made. Nothing that goes wrong with that is the job's fault.

        Args:
            record: its address.
            attempt: from 1.
            before: called before the other one is asked; raises if it is not to be.
        """
        draw, told = self._draw, self._told
        if draw is None or told is None:
            return
        name = digest(record)[:16]
        # Of the arm that was drawn alone: the other one had no try of its own to fail. The draw is
        # the same at each try, so what makes all jobs try again speaks against neither.
        again: tuple[Signal, ...] = ("retried",) if attempt > 1 else ()
        if self._instead:
            # The canary owed it, and what is in use made it good.
            seen = [_seen(name, "canary", None, bad=(*again, _owed(self._instead)))]
            if draw.paired:
                seen.append(_seen(name, "incumbent", told, published=True))
        else:
            seen = [_seen(name, draw.arm, told, bad=again, published=True)]
            if draw.paired and (other := self._other(draw, name, before)):
                seen.append(other)
        self._see(name, seen, draw, trials)

    def _other(self, draw: Draw, name: str, before: Callable[[], None]) -> Observation | None:
        arm: Arm = "canary" if draw.arm == "incumbent" else "incumbent"
        assert self._again is not None
        try:
            before()
            told = self._again(draw.trial.generation if arm == "canary" else None)
        except UNSAID as error:
            log.info("nothing to compare with", record=name, arm=arm, message=str(error))
            return _seen(name, arm, None, bad=(_owed(error.reason),))
        except Exception as error:
            log.info("not compared", record=name, message=str(error))
            return None
        if draw.trial.arm_by(told.adapter) != arm:
            return None  # the trial ended meanwhile
        return _seen(name, arm, told)

    def said_nothing(
        self, record: str, why: str, describer: Describer, before: Callable[[], None]
    ) -> None:
        """Whoever's turn it was said nothing, and neither did what is in use. Where it was that
        one's, the canary is asked: it may have something to say, and who leaves such videos out
        compares the two by the others.

        Args:
            record: the address of what will be recorded.
            why: what is in use said nothing: the reason of its error.
            before: as of `observe`.
        """
        draw, name = self._draw, digest(record)[:16]
        if draw is None:
            return
        owed = describer.instead or why if draw.arm == "canary" else why
        self._silent = [_seen(name, draw.arm, None, bad=(_owed(owed),))]
        if draw.paired and draw.arm == "canary":
            self._silent.append(_seen(name, "incumbent", None, bad=(_owed(why),)))
        elif draw.paired and describer.has_seen:
            self._again = describer.describe_again
            if other := self._other(draw, name, before):
                self._silent.append(other)

    def observe_nothing(self, record: str, trials: Trials) -> None:
        """After `said_nothing`, when that is recorded."""
        if self._draw is not None:
            self._see(digest(record)[:16], self._silent, self._draw, trials)

    @staticmethod
    def _see(name: str, seen: list[Observation], draw: Draw, trials: Trials) -> None:
        pair = name if len(seen) == 2 else None
        more = {"pair": pair, "pairable": draw.pairable}
        trials.see(draw.trial.generation, [one.model_copy(update=more) for one in seen])


def _seen(
    name: str,
    arm: Arm,
    told: Described | None,
    *,
    bad: tuple[Signal, ...] = (),
    published: bool = False,
) -> Observation:
    return Observation(
        at=datetime.now(UTC),
        arm=arm,
        record=name,
        bad=tuple(sorted({*bad, *_signals(told.flags if told else ())})),
        syllables=len(_SYLLABLE.findall(composed(told.text))) if told else 0,
        published=published,
    )


def _signals(flags: Sequence[Flag]) -> list[Signal]:
    return [flag for flag in flags if flag in SIGNALS]  # type: ignore[misc]  # it is one


def _owed(reason: str) -> Signal:
    return "empty" if reason == EmptyCaption.reason else "retried"
