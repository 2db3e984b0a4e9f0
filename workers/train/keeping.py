"""Brings the checkpoints of a training to the bucket, beside it: it never waits for a slow store.

While one is on its way the newest of the others waits, and those before it are not needed any more.
Knows neither the subprocess nor what a checkpoint is.
"""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from shared.errors import JamakError, LeaseLost
from shared.telemetry import get_logger

LOOK_S = 0.5
"""Between two signs of life of whoever waits."""

log = get_logger("jamak.checkpoints")


class Keeping:
    """Args:
    folder: in which the steps are, each a directory. What was taken from it is deleted.
    add: brings one to the bucket; given its step, its directory, and what to ask before it counts.
    on_lost: told that somebody else has the job: nothing more may be written.
    """

    def __init__(
        self,
        folder: Path,
        add: Callable[[int, Path, Callable[[], None]], None],
        on_lost: Callable[[Exception], None],
    ) -> None:
        self._folder, self._add, self._on_lost = folder, add, on_lost
        self._next: int | None = None
        self._busy = self._over = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._keep, name="checkpoints", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """What is still on its way does not count any more."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def offer(self, step: int) -> None:
        with self._changed:
            passed_over, self._next = self._next, step
            self._changed.notify_all()
        if passed_over is not None:
            shutil.rmtree(self._folder / str(passed_over), ignore_errors=True)

    def wait(self, alive: Callable[[], None]) -> None:
        """Until all are there, or cannot be brought.

        Args:
            alive: called every now and then.
        """
        while True:
            alive()
            with self._changed:
                if self._next is None and not self._busy:
                    return
                self._changed.wait(LOOK_S)

    def _keep(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._over or self._next is not None)
                if self._over or self._next is None:
                    return
                step, self._next, self._busy = self._next, None, True
            try:
                self._bring(step)
            finally:
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()

    def _bring(self, step: int) -> None:
        directory = self._folder / str(step)
        try:
            self._add(step, directory, self._check)
            log.info("checkpoint", step=step)
        except LeaseLost as error:
            self._on_lost(error)
        except (JamakError, OSError) as error:
            # The training goes on; if it has to begin again, then from the one before.
            log.warning("no checkpoint", step=step, message=str(error))
        except Exception:
            log.exception("no checkpoint", step=step)
        shutil.rmtree(directory, ignore_errors=True)

    def _check(self) -> None:
        if self._over:
            raise JamakError("nobody waits for this checkpoint any more")
