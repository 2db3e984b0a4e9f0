"""Whose turn it is."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from shared.broker.queue_order import QueueOrder
from shared.cards import CLASSES, GPU_CLASSES, served_queues


def take(order: QueueOrder, full: set[str], oldest: str | None = None) -> str:
    """As the script takes: the oldest of those below if it is their turn, else the first full."""
    turn = order.next()
    below = [queue for queue in turn.queues[turn.passed_over :] if queue in full]
    if turn.passed_over and below:
        queue = oldest if oldest in below else below[0]
    else:
        queue = next(queue for queue in turn.queues if queue in full)
    order.took(queue)
    return queue


def test_own_class_first_three_fresh_for_one_of_bulk_and_every_eighth_from_below() -> None:
    queues = served_queues(CLASSES["l4"])
    queue_order = QueueOrder(queues)
    order = [take(queue_order, set(queues)) for _ in range(16)]
    fresh, bulk = "caption.l4", "caption.l4.bulk"
    assert order[:7] == [fresh, fresh, fresh, bulk, fresh, fresh, fresh]
    assert order[7] == order[15] == "caption.t4"
    assert Counter(order)[fresh] == 11
    assert Counter(order)[bulk] == 3


def test_below_it_is_three_for_one_too() -> None:
    queue_order = QueueOrder(served_queues(CLASSES["h100"]))
    order = [take(queue_order, {"caption.t4", "caption.t4.bulk"}) for _ in range(4)]
    assert order == ["caption.t4"] * 3 + ["caption.t4.bulk"]


@given(st.sampled_from(GPU_CLASSES), st.data())
def test_nothing_that_waits_starves(card: str, data: st.DataObject) -> None:
    queues = served_queues(CLASSES[card])  # type: ignore[index]
    full = data.draw(st.sets(st.sampled_from(queues), min_size=1))
    queue_order = QueueOrder(queues)
    # Whatever waits below becomes the oldest there sooner or later.
    order = [take(queue_order, full, data.draw(st.sampled_from(queues))) for _ in range(64)]
    own = {queue for queue in full if queue in queues[:2]}
    assert own <= set(order)
    if full - own:
        assert sum(queue not in own for queue in order) >= len(order) // 8


def test_one_queue_is_all_there_is() -> None:
    queue_order = QueueOrder(["train"])
    assert [take(queue_order, {"train"}) for _ in range(20)] == ["train"] * 20
