"""Whether the store is to blame for what went wrong with a job: other objects are asked for.

Where a source or an output answers for nobody, that costs no job an attempt; this worker takes
nothing then, and asks until it answers again. One object that cannot be read while those beside it
can is the job's own matter. Knows nothing of how jobs end.
"""

import time
from collections.abc import Callable
from functools import partial
from threading import Lock

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
    StoreRefuses,
    StoreUnavailable,
)
from shared.settings import Output, Settings
from shared.unreachable import causes
from workers.delivery.pauses import Pauses

MAY_BE_ALL_OF_IT = (StoreUnavailable, ConfigError)
AT_THE_OUTPUT = (*MAY_BE_ALL_OF_IT, Archived, Encrypted, Forbidden, StoreRefuses)
"""There we read and write what is our own, so that nobody's video is to blame."""
OTHERS_S = 60.0
"""So long after a job of another bucket was done, one bucket alone that is away stops nobody. And
after so long a pause for a source ends, to see whether another one answers."""

log = telemetry.get_logger("jamak.outages")


class Outages:
    """Thread-safe.

    Args:
        pauses: hold during an outage.
        store: tries each request once.
    """

    def __init__(self, pauses: Pauses, store: ObjectStore, settings: Settings) -> None:
        self._pauses, self._store, self._settings = pauses, store, settings
        self._lock = Lock()
        self._done_at: dict[str, float] = {}
        """Bucket -> when something of it was done last."""
        self._away_at: dict[str, float] = {}
        """Source -> when it was found away last."""

    def done(self, bucket: str) -> None:
        """A job of this bucket was: it answers."""
        self._done_at[bucket] = time.monotonic()

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
        failed_at = time.monotonic()
        with self._lock:  # one look serves all that failed at once
            on_step()
            if output is not None:
                return isinstance(found, AT_THE_OUTPUT) and self._cannot_write(output)
            if isinstance(found, ConfigError):  # is it this bucket, or who asks?
                return self._cannot_write(self._settings.all_outputs[0])
            if not isinstance(found, StoreUnavailable):
                return False
            if self._away_at.get(bucket, float("-inf")) > failed_at:
                return True
            return self._cannot_read(bucket, key, on_step)

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
            self._away_at[bucket] = time.monotonic()
            if self._another_answers(bucket):
                log.warning("one source is away", bucket=bucket, message=str(error))
                return True
            over = _at_most(OTHERS_S, partial(prove_reads, self._store, bucket, key))
            self._pauses.hold("source", str(error), over)
            return True
        return False

    def _holds(self, reason: str, prove: Callable[[], object]) -> bool:
        if reason in self._pauses.told:
            return True
        try:
            prove()
        except JamakError as error:
            self._pauses.hold(reason, str(error), prove)
            return True
        return False

    def _another_answers(self, bucket: str) -> bool:
        lately = time.monotonic() - OTHERS_S
        return any(at > lately for other, at in list(self._done_at.items()) if other != bucket)


def _at_most(seconds: float, prove: Callable[[], object]) -> Callable[[], object]:
    ends_at = time.monotonic() + seconds

    def prove_or_end() -> None:
        if time.monotonic() < ends_at:
            prove()

    return prove_or_end
