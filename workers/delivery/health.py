"""Whether a worker lives and takes work, from what it really did lately.

First it starts (imports, the model, Redis), then it takes work, then it drains.
"""

import time
from collections.abc import Callable
from typing import Any

from workers.delivery.leases import Leases

SILENT_TIMEOUTS = 2
"""Lease timeouts without a turn of its loops, or without an answer of Redis."""
LEAST_STILL_S = 20.0
"""However short the leases are: a Redis that cannot be reached holds up each call for 5 s."""


class WorkerHealth:
    def __init__(self) -> None:
        self._leases: Leases | None = None
        self.decoders: dict[str, str] = {}
        """What they are kept from, once it is known."""
        self.engine: Callable[[], dict[str, Any]] | None = None
        """What it has room for."""

    def takes_work(self, leases: Leases) -> None:
        """From now on."""
        self._leases = leases

    def live(self) -> str | None:
        """What is wrong so that a restart would help; None = nothing. A start may take its time."""
        leases = self._leases
        if leases is None:
            return None
        longest_s = max(SILENT_TIMEOUTS * leases.queues.timeout_s, LEAST_STILL_S)
        asleep_s = time.monotonic() - leases.kept_at
        if asleep_s > longest_s:
            return f"leases were not kept for {asleep_s:.0f} s"
        still_s = time.monotonic() - leases.asked_at
        if still_s > longest_s:
            return f"no message was asked for in {still_s:.0f} s"
        return None

    def ready(self) -> str | None:
        """Why no work is taken; None = it is."""
        leases = self._leases
        if leases is None:
            return "starting"
        if not leases.taking:
            return "draining"
        if held := leases.pauses.told:
            return "; ".join(f"takes nothing for now: {one}: {why}" for one, why in held.items())
        silent_s = time.monotonic() - leases.answered_at
        if silent_s > SILENT_TIMEOUTS * leases.queues.timeout_s:
            return f"Redis has not answered for {silent_s:.0f} s"
        return None

    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = {"decoders": self.decoders} if self.decoders else {}
        if self.engine is not None:
            facts["engine"] = self.engine()
        return facts
