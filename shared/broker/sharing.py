"""How tenants share a queue: each has a list of its own in it, and turns as its weight says.

Whose turn it is decides `lua/take.lua`; which list a message goes to is decided here. Knows nothing
of jobs: the address of its video says whose one is.
"""

import time
import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.broker.queue_order import BULK
from shared.tenants import OTHER, Tenants

if TYPE_CHECKING:
    from shared.broker.leased_queues import LeasedQueues, WorkerSeen

READS_TENANTS = "tenants"
"""What workers say in their beats that look into the lists of tenants."""
LOOK_S = 2.0
"""How long what live workers said of themselves is believed."""


@dataclass(frozen=True)
class Share:
    """Of a queue."""

    tenant: str = OTHER
    """`other` has the list that is nobody's, which workers of every version read."""
    weight: float | None = None
    """None: as it was."""


Messages = Iterable[str] | Mapping[Share, Sequence[str]]
"""Without a mapping they are `other`'s."""


def words_of(messages: Messages) -> list[str]:
    """As `put_new` of `lua/common.lua` reads them."""
    groups = messages if isinstance(messages, Mapping) else {Share(): list(messages)}
    words: list[str] = []
    for share, some in groups.items():
        words += [share.tenant, weight_text(share.weight), str(len(some)), *some]
    return words


def weight_text(weight: float | None) -> str:
    """As scripts read it."""
    return "" if weight is None else f"{weight:.10g}"


def list_of(queue: str, tenant: str) -> str:
    """The key of a tenant's list, without the prefix."""
    return queue if tenant == OTHER else f"{queue}@{tenant}"


def shares_of(queue: str) -> str:
    """The key of those that wait in a queue or its bulk twin, without the prefix."""
    return f"{queue.removesuffix(BULK)}:shares"


class Sharing:
    """Which list of a queue a message goes to. Raises redis.RedisError.

    A worker of an older version reads none of the tenants' lists. As long as one of them lives that
    serves a queue, its messages go to the list that is nobody's.
    """

    def __init__(self, queues: "LeasedQueues", tenants: Tenants) -> None:
        # Without a circle: connections are closed when nobody needs their queues any more.
        self._queues = weakref.proxy(queues)
        self.tenants = tenants
        self.wanted = len(tenants.weights) > 1
        """There are tenants besides `other`."""
        self._workers: list[WorkerSeen] = []
        self._looked_at = float("-inf")

    def is_shared(self, queue: str) -> bool:
        """Whether tenants have lists of their own in it now."""
        return self.wanted and all(READS_TENANTS in one.about for one in self._serving(queue))

    def is_unread(self, queue: str) -> bool:
        """Workers serve this queue, and none of them reads the lists of tenants."""
        serving = self._serving(queue)
        return bool(serving) and not any(READS_TENANTS in one.about for one in serving)

    def tenant_of(self, queue: str, uri: str) -> str:
        """In whose list the job of a video waits."""
        return self.tenants.of(uri) if self.is_shared(queue) else OTHER

    def weight_of(self, uri: str) -> float:
        """Of the tenant whose a video is."""
        return self.tenants.weights[self.tenants.of(uri)] if self.wanted else 1.0

    def groups(
        self, queue: str, uris: Iterable[str], messages: Iterable[str]
    ) -> Mapping[Share, Sequence[str]]:
        """Messages, each beside the address of its video, by the list that they go to."""
        if not self.is_shared(queue):
            return {Share(): list(messages)}
        found: dict[str, list[str]] = {}
        for uri, message in zip(uris, messages, strict=True):
            found.setdefault(self.tenants.of(uri), []).append(message)
        return {Share(name, self.tenants.weights[name]): some for name, some in found.items()}

    def _serving(self, queue: str) -> "list[WorkerSeen]":
        if time.monotonic() - self._looked_at > LOOK_S:
            self._workers = self._queues.workers()
            self._looked_at = time.monotonic()
        return [one for one in self._workers if queue in one.about.get("queues", ())]
