"""A video becomes text: at once, or segment by segment.

Knows nothing of records, queues and leases; what is to happen between segments is handed in.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from shared import telemetry
from shared.errors import (
    DecoderDied,
    DoesNotFit,
    EmptyCaption,
    InternalError,
    JamakError,
    LacksMemory,
    NotAVideo,
    NotFinite,
    TooLarge,
    TooSlow,
)
from shared.messages import (
    AdapterUsed,
    Cuts,
    Flag,
    FramesUsed,
    Recipe,
    Segment,
    TokensUsed,
)
from workers.caption.captioner import Answer, Captioner
from workers.caption.checks import check_text
from workers.caption.summary import summarise
from workers.jobs.looks import Film, Look
from workers.jobs.parts import Parts
from workers.progress import Progress
from workers.video.sampling import Request
from workers.video.segments import part

T = TypeVar("T")

log = telemetry.get_logger("jamak.caption")


class CanaryLeft(Exception):
    """Its trial ended while a video was captioned: what is left would be said by another one."""


NOT_SAID = (EmptyCaption, NotFinite)
UNSAID = (*NOT_SAID, InternalError)
"""What keeps an adapter from saying anything, and may be its own fault."""


@contextmanager
def _told_as_ours() -> Iterator[None]:
    """Whatever the engine raised. Raises InternalError."""
    try:
        yield
    except JamakError:
        raise
    except Exception as error:
        raise InternalError(f"{type(error).__name__}: {error}") from error


COSTS = (TooSlow, TooLarge, DecoderDied)
COSTLY = 3
"""Segments of one video that may end only when their decoder is stopped; then all of it does."""
Window = tuple[float, float]
"""Start and end, in seconds from the start of the picture."""


@dataclass(frozen=True)
class Described:
    status: Literal["ok", "partial"]
    flags: tuple[Flag, ...]
    text: str
    duration_s: float
    frames: FramesUsed
    tokens: TokensUsed
    adapter: AdapterUsed | None
    said_by: frozenset[AdapterUsed | None]
    """All who said something that it is made of."""
    segments: tuple[Segment, ...] = ()
    parting: str = ""


@dataclass(frozen=True)
class Summary:
    text: str
    flags: tuple[Flag, ...]
    """Why to doubt it."""
    answers: tuple[Answer, ...] = ()
    """That were asked for on the way to it."""
    is_answer: bool = False
    """It is the last one of these; else the texts of the segments, one after another."""


class Describer:
    """For one job.

    Args:
        frames: for each caption.
        sparse_s: with more seconds of video per frame a caption covers little.
        canary: the trial of the one that is to say it; None = what is in use does.
        reduced: these are fewer frames than there should be.

    Attributes:
        instead: why what is in use said something that was the canary's to say: a stable word.
    """

    def __init__(
        self,
        captioner: Captioner,
        recipe: Recipe,
        frames: int,
        sparse_s: float,
        progress: Progress,
        canary: int | None = None,
        reduced: bool = False,
    ) -> None:
        self._captioner, self._recipe, self._progress = captioner, recipe, progress
        self._flags: tuple[Flag, ...] = ("reduced",) if reduced else ()
        self._canary, self.instead = canary, ""
        self._seen: Look | None = None
        self.frames, self._sparse_s = frames, sparse_s
        self._untold: dict[type[JamakError], JamakError] = {}
        """Why there is no text of some segments: the first of each kind."""
        self._costly = 0

    def look(self, film: Film) -> Look:
        """Raises what `DecoderPool.open` and `OpenVideo.sample` raise."""
        return film.look(*self._wanted(None))

    def _wanted(self, window_s: Window | None) -> tuple[Request, str]:
        """What to look at, and what with."""
        strategy = self._recipe.sampling.strategy
        request = Request(self.frames, window_s, self._captioner.shape, strategy)
        return request, self._captioner.sight(self.frames)

    def describe(self, look: Look) -> Described:
        """What a canary cannot say, what is in use says. Raises EmptyCaption, NotFinite."""
        return self._said(lambda canary: self._describe(look, canary))

    @property
    def has_seen(self) -> bool:
        """So that it can be described again."""
        return self._seen is not None

    def describe_again(self, canary: int | None) -> Described:
        """What was looked at last, by the other one of a trial. Raises one of UNSAID, and what
        says nothing of either."""
        assert self._seen is not None, "nothing was looked at"
        with _told_as_ours():
            return self._describe(self._seen, canary)

    def _said(self, say: Callable[[int | None], T]) -> T:
        if self._canary is not None:
            try:
                return say(self._canary)
            except CanaryLeft:
                log.info("the trial is over; the video begins anew", trial=self._canary)
            except UNSAID as error:
                self.instead = error.reason
                log.warning("in place of the canary", message=str(error), trial=self._canary)
        return say(None)

    @staticmethod
    def _asking(canary: int | None) -> AbstractContextManager[None]:
        """Where the machine is at fault what is in use fails, too, and that is told as it is."""
        return nullcontext() if canary is None else _told_as_ours()

    def _describe(self, look: Look, canary: int | None) -> Described:
        recipe, used = self._recipe, look.used
        self._seen = look
        with self._asking(canary):
            answer = self._captioner.caption(
                look.frames, recipe.prompt, recipe.decoding, self._progress, canary
            )
        if answer.features is not None:
            look.keep(answer.features)
            self._seen = replace(look, frames=answer.features)
        self._progress.tick("check")
        status, flags = check_text(
            answer.heard or answer.text,
            finished=answer.finished,
            set_by=recipe.decoding.set_by,
            frames_found=used.decoded,
            frames_expected=look.distinct,
            sparse=used.seconds_per_frame > self._sparse_s,
            damaged=bool(used.damage),
            wrong_colours=used.colour is not None and not used.colour.mapped,
        )
        tokens = TokensUsed(
            visual=answer.visual_tokens,
            prompt=answer.prompt_tokens,
            generated=answer.generated_tokens,
        )
        duration_s = round(look.duration_s, 6)
        by = answer.adapter
        flags = (*flags, *self._flags)
        return Described(status, flags, answer.text, duration_s, used, tokens, by, frozenset({by}))

    def describe_parts(
        self,
        film: Film,
        parts: Parts,
        *,
        before_each: Callable[[int, int], None],
        before_write: Callable[[int], None],
    ) -> Described:
        """Segment by segment, and then as a whole; all of it by one of both: what a canary cannot
        say to the end, what is in use says from the beginning.

        Args:
            before_each: called with its number (from 0) and how many there are, before a segment is
            begun; may raise to end it there.
            before_write: called with how many there are, when one is made; may raise, too.

        Raises:
            NotAVideo, EmptyCaption, NotFinite: nothing could be seen in any of them, or said.
            TooSlow, TooLarge, DecoderDied: several of them were, or all.
        """
        cuts = parts.cuts(lambda: self._cut(film))

        def say(canary: int | None) -> Described:
            self._untold.clear()
            self._costly = 0
            segments = []
            for number, window_s in enumerate(cuts.segments_s):

                def make(number: int = number, window_s: Window = window_s) -> Segment:
                    before_each(number, len(cuts.segments_s))
                    made = self._segment(film, window_s, canary)
                    before_write(len(cuts.segments_s))
                    return made

                segments.append(parts.segment(number, make, canary))
            return self._joined(tuple(segments), cuts, canary)

        return self._said(say)

    def _cut(self, film: Film) -> Cuts:
        duration_s, changes, reason = film.changes()
        wanted = self._recipe.sampling.segments or "auto"
        windows = part(duration_s, wanted, changes)
        return Cuts(segments_s=tuple(windows), reason=reason)

    def _segment(self, film: Film, window_s: Window, canary: int | None) -> Segment:
        """One that cannot be described does not keep the others from it."""
        wanted = self._wanted(window_s)
        film.prepare(*wanted)  # what is wrong with all of it is no matter of this segment
        try:
            told = self._describe(film.look(*wanted), canary)
            self._check_side(told.adapter, canary)
        except (NotAVideo, *NOT_SAID) as error:
            if canary is not None and isinstance(error, NOT_SAID):
                raise
            told = self._nothing(error)
        except COSTS as error:
            self._progress.tick("check")  # raises when it is the job that is out of time
            self._costly += 1
            if self._costly == COSTLY:
                raise
            told = self._nothing(error)
        return Segment(
            start_s=window_s[0],
            end_s=window_s[1],
            text=told.text,
            flags=told.flags,
            frames=told.frames,
            tokens=told.tokens,
            adapter=told.adapter,
        )

    def _check_side(self, said_by: AdapterUsed | None, canary: int | None) -> None:
        if canary is not None and (said_by is None or said_by.generation != canary):
            raise CanaryLeft

    def _nothing(self, error: JamakError) -> Described:
        self._untold.setdefault(type(error), error)
        flag: Flag = "empty" if isinstance(error, NOT_SAID) else "damaged"
        frames = FramesUsed(requested=self.frames, decoded=0, timestamps_s=(), damage=str(error))
        tokens = TokensUsed(visual=0, prompt=0, generated=0)
        return Described("partial", (flag,), "", 0.0, frames, tokens, None, frozenset())

    def _nothing_at_all(self, count: int) -> JamakError:
        """Why there is no text of any segment: of so many, what came nearest to one."""
        if EmptyCaption in self._untold:
            return EmptyCaption("not one of its segments has a caption", segments=count)
        for kind in (NotFinite, *COSTS):
            if kind in self._untold:
                return self._untold[kind]
        seen = self._untold[NotAVideo]
        return NotAVideo(f"not one of its {count} segments can be seen: {seen}")

    def _joined(self, segments: tuple[Segment, ...], cuts: Cuts, canary: int | None) -> Described:
        texts = [one.text for one in segments if one.text]
        if not texts:
            raise self._nothing_at_all(len(segments))
        whole = self._summary(texts, canary) if len(texts) > 1 else Summary(texts[0], ())
        of_segments = (flag for one in segments for flag in one.flags)
        flags = tuple(dict.fromkeys([*of_segments, *whole.flags]))
        asked = whole.answers
        total = TokensUsed(
            visual=sum(one.tokens.visual for one in segments),
            prompt=sum(one.tokens.prompt for one in segments)
            + sum(one.prompt_tokens for one in asked),
            generated=sum(one.tokens.generated for one in segments)
            + sum(one.generated_tokens for one in asked),
        )
        used = [one.frames for one in segments]
        decoded = sum(one.decoded for one in used)
        duration_s = segments[-1].end_s
        frames = FramesUsed(
            requested=sum(one.requested for one in used),
            decoded=decoded,
            timestamps_s=tuple(at for one in used for at in one.timestamps_s),
            targets_s=tuple(at for one in used for at in one.targets_s),
            decode_errors=sum(one.decode_errors for one in used),
            inexact=sum(one.inexact for one in used),
            seconds_per_frame=round(duration_s / decoded, 3),
            strategy=used[0].strategy,
            damage="; ".join(dict.fromkeys(one.damage for one in used if one.damage)),
            fetched_bytes=sum(one.fetched_bytes for one in used),
            fetched="ranges" if any(one.fetched == "ranges" for one in used) else "whole",
            clock_jumps_s=tuple(sorted({at for one in used for at in one.clock_jumps_s})),
            colour=next((one.colour for one in used if one.colour), None),
            deinterlaced=sum(one.deinterlaced for one in used),
            track=next((one.track for one in used if one.track), None),
            aspect=next((one.aspect for one in used if one.aspect), None),
        )
        # A segment of which nothing was seen or said is nobody's.
        by = [one.adapter for one in segments if one.text]
        if whole.is_answer:
            by += [one.adapter for one in asked]
        # A caption of few frames is whole, be it of a segment or of a short video.
        status: Literal["ok", "partial"] = "partial" if {*flags} - {"reduced"} else "ok"
        return Described(
            status,
            flags,
            whole.text,
            duration_s,
            frames,
            total,
            by[-1],
            frozenset(by),
            segments,
            cuts.reason,
        )

    def _summary(self, texts: list[str], canary: int | None) -> Summary:
        """Believed no sooner than the text of a segment; where it cannot be made, theirs stand for
        it."""
        decoding, answers = self._recipe.decoding, list[Answer]()
        longest = self._captioner.longest(decoding)

        def ask(prompt: str) -> str:
            with self._asking(canary):
                answers.append(self._captioner.answer(prompt, decoding, self._progress, canary))
            self._check_side(answers[-1].adapter, canary)
            return answers[-1].text

        def fits(prompt: str) -> bool:
            return self._captioner.fits(prompt, longest)

        text, why = "", tuple[Flag, ...]()
        try:
            text = summarise(texts, fits, ask)
        except (NotFinite, LacksMemory, TooSlow) as error:
            if canary is not None and isinstance(error, NotFinite):
                raise
            log.warning("not summed up", message=str(error))
            why = ("empty",)
            if isinstance(error, TooSlow):
                self._progress.ends_at = None  # only the record is left to be written
        except DoesNotFit:
            pass
        if not text:  # a model that cannot sum up has still said what is in each
            return Summary(" ".join(texts), why, tuple(answers))
        told = answers[-1]
        _, flags = check_text(
            told.heard or told.text,
            finished=told.finished,
            set_by=decoding.set_by,
            frames_found=0,
            frames_expected=0,
            sparse=False,
            damaged=False,
            wrong_colours=False,
        )
        return Summary(text, flags, tuple(answers), is_answer=True)
