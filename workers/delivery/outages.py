"""Whether the store is to blame for what went wrong with a job: other objects are asked for.

Where a source or an output answers for nobody, that costs no job an attempt. Each source that is
away is asked until it answers; meanwhile its jobs go back unread, and where there are no others
this worker takes nothing at all. One object that cannot be read while those beside it can is the
job's own matter. Knows nothing of how jobs end.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import Condition, Lock

from shared import telemetry
from shared.bucket.keys import is_output
from shared.bucket.neighbours import prove_output, prove_reads
from shared.bucket.storage import ObjectStore
from shared.errors import (
    Archived,
    ConfigError,
    Encrypted,
    Forbidden,
    JamakError,
    StillAway,
    StoreRefuses,
    StoreUnavailable,
)
from shared.settings import Output, Settings
from shared.unreachable import causes
from workers.delivery.asking import Asking
from workers.delivery.pauses import Pauses

MAY_BE_ALL_OF_IT = (StoreUnavailable, ConfigError)
AT_THE_OUTPUT = (*MAY_BE_ALL_OF_IT, Archived, Encrypted, Forbidden, StoreRefuses)
"""There we read and write what is our own, so that nobody's video is to blame."""
OTHERS_S = 60.0
"""So long after a job of a source that answers, those that are away stop nobody. And after so long
a pause for them ends, to see whether there are jobs of another one."""
AROUND_S = 10.0
"""So long a worker looks for jobs of other sources: then those that it handed back first are there
again, and it has seen all."""
FORGOTTEN_S = 300.0
"""So long after its last job nobody asks a source that is away any more."""
ASKED_AT_ONCE = 8
"""Sources that are away; each may take its time."""

log = telemetry.get_logger("jamak.outages")


class Outages:
    """Thread-safe.

    Args:
        pauses: hold during an outage.
        store: tries each request once.
    """

    def __init__(self, pauses: Pauses, store: ObjectStore, settings: Settings) -> None:
        self._pauses, self._store, self._settings = pauses, store, settings
        self._looked_at: set[str] = set()
        self._looked = Condition()
        self._lock = Lock()
        self._away: dict[str, str] = {}
        """Source -> what it says."""
        self._wanted_at: dict[str, float] = {}
        """Source -> when a job of it was there last; the latest last."""
        self._alone_since: float | None = None
        """Since then there were only jobs of sources that are away."""
        self._asking = Asking(ASKED_AT_ONCE)
        self._asking.start()

    def stop(self) -> None:
        """Nobody asks any more."""
        self._asking.stop()

    @property
    def away(self) -> list[str]:
        """The sources that do not answer now."""
        with self._lock:
            return sorted(self._away)

    def check(self, bucket: str) -> None:
        """Before a job of it is begun.

        Raises:
            StillAway: it is known to be away. That costs no request, and no attempt.
        """
        why = self._why_away(bucket)
        if why is not None:
            self._pause_if_alone(why)
            raise StillAway(why)
        self._alone_since = None

    def _why_away(self, bucket: str) -> str | None:
        """Asked when there is a job of it."""
        with self._lock:
            now = time.monotonic()
            self._wanted_at.pop(bucket, None)
            self._wanted_at[bucket] = now
            while (first := next(iter(self._wanted_at.items())))[1] < now - FORGOTTEN_S:
                del self._wanted_at[first[0]]
            return self._away.get(bucket)

    def is_to_blame(self, error: BaseException, on_step: Callable[[], object]) -> bool:
        """If so, nothing more is taken until it answers; unless other sources do.

        Args:
            on_step: called before each request that this takes.
        """
        for found in causes(error):
            if isinstance(found, JamakError) and found.place is not None:
                return self._is_away(found, *found.place, on_step)
        return False

    def _is_away(
        self, found: JamakError, bucket: str, key: str, on_step: Callable[[], object]
    ) -> bool:
        output = self._output(bucket, key)
        with self._one_look_at(bucket if output is None else "the outputs"):
            on_step()
            if output is not None:
                return isinstance(found, AT_THE_OUTPUT) and self._cannot_write(output)
            if isinstance(found, ConfigError):  # is it this bucket, or who asks?
                return self._cannot_write(self._settings.all_outputs[0])
            if not isinstance(found, StoreUnavailable):
                return False
            why = self._why_away(bucket)
            if why is None:
                return self._cannot_read(bucket, key, on_step)
            self._pause_if_alone(why)
            return True

    @contextmanager
    def _one_look_at(self, place: str) -> Iterator[None]:
        """It serves all that failed at once, and a long one keeps nobody else."""
        with self._looked:
            self._looked.wait_for(lambda: place not in self._looked_at)
            self._looked_at.add(place)
        try:
            yield
        finally:
            with self._looked:
                self._looked_at.remove(place)
                self._looked.notify_all()

    def _output(self, bucket: str, key: str) -> Output | None:
        if not is_output(self._settings, bucket, key):
            return None
        outputs = self._settings.all_outputs
        return next(one for one in outputs if bucket == one.bucket and key.startswith(one.prefix))

    def _cannot_write(self, output: Output) -> bool:
        return self._holds("output", partial(prove_output, self._store, output))

    def _cannot_read(self, bucket: str, key: str, on_step: Callable[[], object]) -> bool:
        try:
            prove_reads(self._store, bucket, key, on_step)
        except JamakError as error:
            with self._lock:
                self._away[bucket] = str(error)
            log.warning("a source is away", bucket=bucket, message=str(error))
            self._asking.until(
                partial(self._prove_source, bucket, key),
                partial(self._back, bucket),
                partial(self._still, bucket),
            )
            self._pause_if_alone(str(error))
            return True
        return False

    def _prove_source(self, bucket: str, key: str) -> None:
        with self._lock:
            wanted_s = time.monotonic() - self._wanted_at.get(bucket, float("-inf"))
        if wanted_s < FORGOTTEN_S:
            prove_reads(self._store, bucket, key)

    def _still(self, bucket: str, error: Exception) -> None:
        with self._lock:
            self._away[bucket] = str(error)

    def _back(self, bucket: str) -> None:
        with self._lock:
            del self._away[bucket]
        log.info("a source is not away any more", bucket=bucket)

    def _pause_if_alone(self, why: str) -> None:
        """There is nothing to do but for sources that are away, as far as has been seen."""
        with self._lock:
            now = time.monotonic()
            for bucket, at in self._wanted_at.items():
                if at > now - OTHERS_S and bucket not in self._away:
                    return
            self._alone_since = self._alone_since or now
            if now - self._alone_since < AROUND_S:
                return
            self._alone_since = None
            away = set(self._away)
        self._pauses.hold("source", why, partial(self._one_is_back, away, now + OTHERS_S))

    def _one_is_back(self, away: set[str], ends_at: float) -> None:
        """Raises StoreUnavailable: none is, and it is not yet time to look for others."""
        with self._lock:
            still = [why for bucket, why in self._away.items() if bucket in away]
        if len(still) == len(away) and time.monotonic() < ends_at:
            raise StoreUnavailable("; ".join(still[:ASKED_AT_ONCE]))

    def _holds(self, reason: str, prove: Callable[[], object]) -> bool:
        if reason in self._pauses.told:
            return True
        try:
            prove()
        except JamakError as error:
            self._pauses.hold(reason, str(error), prove)
            return True
        return False
