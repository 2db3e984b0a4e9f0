"""Follows the registry's pointer: fetch, verify, validate, hand over to the captioner.

The pointer is the desired state. Whatever goes wrong, the adapter in use stays in use. What was
fetched and does not fit is not fetched again: its content, and so its version, stays what it is.

A canary comes second: what is in use is followed first, and goes on whatever is wrong with it.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from shared import telemetry
from shared.bucket.registry import Registry
from shared.errors import (
    BadAdapter,
    InternalError,
    JamakError,
    NewerObject,
    OutOfResources,
)
from shared.messages import AdapterUsed
from shared.training import Pointer
from workers.caption.captioner import Captioner
from workers.jobs.trials import Trial, Trials
from workers.model.adapter_files import Adapter
from workers.model.memory import lacks_memory

FOR_GOOD = (BadAdapter, NewerObject)
"""What speaks against a version itself, here: what a newer Jamak published is for newer workers.
All else may pass, by itself or by somebody's hand."""

LONGEST_S = 60.0
"""Between two looks that fetch a version and cannot use it."""

log = telemetry.get_logger("jamak.adapters")


class AdapterFollower:
    """Looks every `poll_s` seconds, in a thread of its own."""

    def __init__(
        self,
        registry: Registry,
        captioner: Captioner,
        base_sha256: str,
        poll_s: float,
        scratch: Path | None,
        mend: Callable[[], object] = lambda: None,
        trials: Trials | None = None,
    ) -> None:
        """Args:
        trials: are told of a canary; None: there are none here.
        mend: makes the scratch folder again; may raise OSError.
        """
        self._registry, self._captioner, self._base = registry, captioner, base_sha256
        self._poll_s, self._scratch, self._mend = poll_s, scratch, mend
        self._trials = trials
        self._followed: Pointer | None = None
        """None: this process does not know yet what is in use."""
        self._untried: Pointer | None = None
        """Its canary is still to be tried. It names what is in use here."""
        self._in_memory: set[str | None] = set()
        """For sure: what is in use, and the canary."""
        self._uses: str | None = None
        self._refused: set[str | None] = set()
        """Versions that do not fit, as long as this process lives."""
        self._in_vain = False
        """The last look fetched a version, and could not use it."""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="adapters", daemon=True)
        telemetry.ADAPTER_INFO.labels("").set(1)

    def start(self) -> None:
        """Returns once the pointer was followed, or what it names was refused: until then nobody
        knows with which adapter a caption should be made."""
        pause_s = self._poll_s
        while not self.look():
            self._stopping.wait(pause_s)
            pause_s = self._pause_after(pause_s)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _follow(self) -> None:
        pause_s = self._poll_s
        while not self._stopping.wait(pause_s):
            self.look()
            pause_s = self._pause_after(pause_s)

    def _pause_after(self, pause_s: float) -> float:
        """Longer and longer, as long as a version is fetched in vain."""
        return min(2 * pause_s, max(LONGEST_S, self._poll_s)) if self._in_vain else self._poll_s

    def look(self) -> bool:
        """Follow the pointer if it moved; False: that cannot be done yet. A canary that cannot be
        tried yet is tried again at the next look.

        It is compared as a whole: one that was deleted and set again counts from 1 again.
        """
        self._in_vain = False
        try:
            pointer = self._registry.pointer(self._base)
            if pointer != self._followed:
                self._end_trial()
                if pointer.version or self._followed:
                    self._follow_to(pointer)
                self._followed = pointer
                self._untried = pointer if pointer.canary and self._trials else None
            if self._untried is not None:
                self._try_canary(self._untried)
            return True
        except JamakError as error:
            log.warning("adapter not followed yet", message=str(error), cure=error.cure)
        except Exception:
            log.exception("adapter not followed yet")
        return False

    def _follow_to(self, pointer: Pointer) -> None:
        """Raises what may pass: S3 is away, lets us not in, or has no such version; memory or disk
        are short; and what nobody thought of."""
        try:
            if pointer.version in self._refused:
                raise BadAdapter(f"adapter {pointer.version} was refused before")
            self._switch(pointer.version, pointer.generation)
        except FOR_GOOD as error:
            # Stay as we are until the pointer moves on.
            self._refused.add(pointer.version)
            telemetry.ADAPTERS_REFUSED.inc()
            log.error("adapter refused", message=str(error), cure=error.cure, **error.evidence)

    def _switch(self, version: str | None, generation: int) -> None:
        started = time.monotonic()
        if version is None:
            self._captioner.use_adapter(None, None)
        else:
            is_here, self._in_memory = version in self._in_memory, {self._uses}
            adapter = None if is_here else self._fetched(version)
            self._captioner.use_adapter(
                AdapterUsed(version=version, generation=generation), adapter
            )
        self._uses, self._in_memory, self._in_vain = version, {version}, False
        seconds = time.monotonic() - started
        telemetry.ADAPTER_SWAP.observe(seconds)
        telemetry.ADAPTER_INFO.clear()
        telemetry.ADAPTER_INFO.labels(version or "").set(1)
        log.info("adapter in use", version=version, generation=generation, seconds=seconds)

    def _end_trial(self) -> None:
        self._untried = None
        telemetry.CANARY_INFO.clear()
        telemetry.CANARY_APART.clear()
        if self._trials is not None:
            self._trials.end()

    def _try_canary(self, pointer: Pointer) -> None:
        """Beside what is in use, which nothing that is wrong with it concerns."""
        canary, trials = pointer.canary, self._trials
        assert canary is not None
        assert trials is not None
        if self._uses != pointer.version:
            self._untried = None
            refused = BadAdapter(f"adapter {pointer.version}, which is in use, was refused here")
            self._stay_apart(pointer.generation, refused)
            return
        try:
            if canary.version in self._refused:
                raise BadAdapter(f"adapter {canary.version} was refused before")
            used = AdapterUsed(version=canary.version, generation=pointer.generation)
            self._captioner.try_adapter(used, self._fetched(canary.version))
        except Exception as error:
            self._not_tried(pointer.generation, canary.version, error)
            return
        self._untried, self._in_vain = None, False
        self._in_memory.add(canary.version)
        trials.begin(Trial(pointer.generation, canary, pointer.version))
        telemetry.CANARY_APART.clear()
        telemetry.CANARY_INFO.labels(canary.version).set(1)
        log.info(
            "canary on trial",
            version=canary.version,
            generation=pointer.generation,
            share=canary.share,
            paired=canary.paired,
        )

    def _not_tried(self, generation: int, version: str, error: Exception) -> None:
        """Only what is wrong with its files speaks against a canary, for it ends the whole trial.
        What is wrong with this worker keeps this one out of the trial."""
        if isinstance(error, FOR_GOOD):
            self._untried = None
        if isinstance(error, BadAdapter):
            self._refused.add(version)
            telemetry.ADAPTERS_REFUSED.inc()
            telemetry.CANARY_APART.labels(error.reason).set(1)
            assert self._trials is not None
            self._trials.refuse(generation, f"{error.reason}: {error}")
            log.error(
                "canary refused",
                version=version,
                message=str(error),
                cure=error.cure,
                **error.evidence,
            )
        else:
            self._stay_apart(generation, error)

    def _stay_apart(self, generation: int, error: Exception) -> None:
        """What is in use captions everything here; the trial's page and a metric say why."""
        known = error if isinstance(error, JamakError) else InternalError(repr(error))
        why = f"{known.reason}: {known}"
        telemetry.CANARY_APART.clear()
        telemetry.CANARY_APART.labels(known.reason).set(1)
        assert self._trials is not None
        if self._trials.stay_apart(generation, why):
            log.warning(
                "canary not tried here",
                message=str(known),
                cure=known.cure,
                exc_info=known is not error and error,
            )

    def _fetched(self, version: str) -> Adapter:
        """Read and found to fit."""
        self._in_vain = True
        try:
            with TemporaryDirectory(prefix="jamak-adapter-", dir=self._scratch) as folder:
                self._registry.download(self._base, version, Path(folder))
                return self._captioner.check_adapter(version, Path(folder))
        except Exception as error:
            if not (isinstance(error, OSError) or lacks_memory(error)):
                raise
            with suppress(OSError):
                self._mend()
            raise OutOfResources(f"adapter {version} cannot be kept here: {error}") from error
