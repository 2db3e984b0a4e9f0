"""What waits in the lists of tenants while no live worker looks there: all are of an older version.

New messages go elsewhere by themselves (`shared/broker/sharing.py`); these were put before. Whether
this process knows of tenants does not matter: the setting may have been taken away since.
"""

from producer.jobs.send import AT_ONCE
from shared.broker.apps import CAPTION_QUEUES, reaching_redis
from shared.broker.leased_queues import LeasedQueues
from shared.tenants import OTHER


def pool_unread(queues: LeasedQueues) -> int:
    """Move it to where they look; how many messages there were.

    Raises:
        BrokerUnavailable: some of it may have been moved; the rest is next time.
    """
    moved = 0
    with reaching_redis():
        for queue in CAPTION_QUEUES:
            if not queues.sharing.is_unread(queue):
                continue
            for tenant in queues.waiting_by_tenant(queue):
                while tenant != OTHER and (some := queues.pool(queue, tenant, AT_ONCE)):
                    moved += some
    return moved
