"""The trial under way on this worker: whose turn a job is, and what is seen of the captions.

There is one while the pointer names a canary, and both adapters are in memory here. What is seen is
kept until it is written, every few seconds and at the end; who is killed loses the last of it,
which nobody counts. Knows neither how an adapter gets into memory nor what follows of it.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from shared import __version__, telemetry
from shared.bucket.trials import TrialPages
from shared.errors import JamakError
from shared.messages import AdapterUsed, Arm, CaptionJob
from shared.training import Canary
from shared.trials import MOST_ON_A_PAGE, Observation, TrialPage, arm_of, is_paired

LONGEST_END_S = 1.0

log = telemetry.get_logger("jamak.trials")


@dataclass(frozen=True)
class Trial:
    generation: int
    """Of the pointer when it began: it is known by this."""
    canary: Canary
    incumbent: str | None
    """The version in use; None = the base model."""

    def arm_by(self, adapter: AdapterUsed | None) -> Arm | None:
        """On whose side a caption by this adapter is; None: on neither, for the pointer has moved
        meanwhile."""
        version = adapter.version if adapter else None
        if adapter is not None and adapter.generation != self.generation:
            return None
        if version == self.canary.version:
            return "canary"
        return "incumbent" if version == self.incumbent else None


@dataclass(frozen=True)
class Draw:
    """Of one job, in one trial."""

    trial: Trial
    arm: Arm
    """Whose turn it is."""
    paired: bool
    """The other one is to caption it as well."""
    pairable: bool = False
    """Of such jobs it does, if it is their turn."""


@dataclass
class _Page:
    number: int = 0
    refused: str = ""
    apart: str = ""
    observations: list[Observation] = field(default_factory=list)
    is_new: bool = True
    """Not written since it grew."""


class Trials:
    """Thread-safe.

    Args:
        pages: of the base model's trials.
        worker: a name that no other process has or had.
        pairs: what is made of frames is kept here, so to caption a video twice is cheap.
        every_s: between two writings of a page that has grown.
    """

    def __init__(self, pages: TrialPages, worker: str, *, pairs: bool, every_s: float) -> None:
        self._store, self._worker, self._every_s = pages, worker, every_s
        self._pairs = pairs
        self._trial: Trial | None = None
        self._pages: dict[int, list[_Page]] = {}
        """By trial, the last one of each still growing."""
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._ended = threading.Event()
        self._ails = telemetry.Repeated(log, "what is seen of a trial is written again")
        self._thread = threading.Thread(target=self._run, name="trials", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """What is not written yet, if the store answers soon."""
        self._ended.set()
        last = threading.Thread(target=self.write, name="last of a trial", daemon=True)
        last.start()
        last.join(LONGEST_END_S)

    def begin(self, trial: Trial) -> None:
        """Both are in memory."""
        for arm in ("incumbent", "canary"):
            for outcome in ("good", "bad"):
                telemetry.TRIAL_CAPTIONS.labels(arm, outcome)
        with self._lock:
            self._trial = trial
            if trial.generation in self._pages:
                self._told(trial.generation)

    def end(self) -> None:
        """From the next job on what is in use captions everything."""
        with self._lock:
            self._trial = None

    def refuse(self, generation: int, why: str) -> None:
        """The canary's files do not fit, here or anywhere."""
        with self._lock:
            self._trial = None
            self._told(generation, refused=why)

    def stay_apart(self, generation: int, why: str) -> bool:
        """This worker cannot try the canary, now or for as long as it lives. Whether that is
        news."""
        with self._lock:
            self._trial = None
            return self._told(generation, apart=why)

    def _told(self, generation: int, refused: str = "", apart: str = "") -> bool:
        page = self._last(generation)
        is_news = (page.refused, page.apart) != (refused, apart)
        page.refused, page.apart, page.is_new = refused, apart, page.is_new or is_news
        return is_news

    def draw(self, job: CaptionJob) -> Draw | None:
        """None: it is in no trial, as one of several for a training set never is."""
        trial = self._trial
        if trial is None or job.recipe.decoding.draw is not None:
            return None
        canary = trial.canary
        pairable = self._pairs and canary.paired and job.recipe.sampling.segments is None
        return Draw(
            trial,
            arm_of(job.id, trial.generation, canary),
            pairable and is_paired(job.id, trial.generation, canary),
            pairable,
        )

    def see(self, generation: int, observations: Sequence[Observation]) -> None:
        """Of one job: they stay together."""
        with self._lock:
            page = self._last(generation)
            if len(page.observations) + len(observations) > MOST_ON_A_PAGE:
                page = _Page(page.number + 1, page.refused, page.apart)
                self._pages[generation].append(page)
            page.observations += observations
            page.is_new = True
        for one in observations:
            telemetry.TRIAL_CAPTIONS.labels(one.arm, "bad" if one.bad else "good").inc()

    def _last(self, generation: int) -> _Page:
        return self._pages.setdefault(generation, [_Page()])[-1]

    def _run(self) -> None:
        while not self._ended.wait(self._every_s):
            try:
                self.write()
            except Exception:
                log.exception("nothing was written of a trial")  # the next time may do

    def write(self) -> None:
        """All that grew since."""
        with self._writing:
            with self._lock:
                due = [
                    (generation, page, self._as_written(generation, page))
                    for generation, pages in self._pages.items()
                    for page in pages
                    if page.is_new
                ]
                for _, page, _ in due:
                    page.is_new = False
            for position, (_, _, told) in enumerate(due):
                try:
                    self._store.write(told)
                except JamakError as error:
                    for _, page, _ in due[position:]:
                        page.is_new = True
                    self._ails.failed("a trial's page cannot be written", message=str(error))
                    return
            if due:
                self._ails.worked()
            with self._lock:
                for pages in self._pages.values():
                    pages[:-1] = [page for page in pages[:-1] if page.is_new]

    def _as_written(self, generation: int, page: _Page) -> TrialPage:
        return TrialPage(
            generation=generation,
            worker=self._worker,
            number=page.number,
            written_at=datetime.now(UTC),
            refused=page.refused,
            apart=page.apart,
            observations=tuple(page.observations),
            jamak=__version__,
        )
