"""The order of a training's samples: the same from every step on, and each epoch another one."""

import pytest

from workers.train.order import SampleOrder

LENGTHS = [number * 7 % 23 for number in range(40)]


def _steps(order: SampleOrder, size: int) -> list[list[int]]:
    samples = list(order)
    assert len(samples) == len(order)
    return [samples[start : start + size] for start in range(0, len(samples), size)]


@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_the_batch_of_a_step_is_the_same_wherever_a_training_begins(
    lengths: list[int] | None,
) -> None:
    whole = _steps(SampleOrder(40, 7, 6, range(30), lengths), 6)
    assert len(whole) == 30
    for step in (1, 6, 7, 29, 30):
        assert _steps(SampleOrder(40, 7, 6, range(step, 30), lengths), 6) == whole[step:]


@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_each_epoch_has_every_sample_once_in_an_order_of_its_own(
    lengths: list[int] | None,
) -> None:
    samples = list(SampleOrder(40, 0, 5, range(24), lengths))
    epochs = [samples[start : start + 40] for start in (0, 40, 80)]
    assert all(sorted(epoch) == list(range(40)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert list(SampleOrder(40, 1, 5, range(24), lengths)) != samples


def test_it_is_the_same_on_every_machine() -> None:
    assert list(SampleOrder(5, 0, 5, range(2))) == [1, 2, 0, 4, 3, 3, 0, 4, 1, 2]


def test_those_of_like_length_are_in_one_batch() -> None:
    def padding(lengths: list[int] | None) -> int:
        batches = _steps(SampleOrder(40, 0, 5, range(8), lengths), 5)
        return sum(
            max(LENGTHS[one] for one in batch) - LENGTHS[i] for batch in batches for i in batch
        )

    assert padding(LENGTHS) < padding(None) / 3
    starts = [LENGTHS[batch[0]] for batch in _steps(SampleOrder(40, 0, 5, range(8), LENGTHS), 5)]
    assert starts != sorted(starts)  # the short ones do not all come first


@pytest.mark.parametrize("samples", [400, 401, 407, 3])
def test_also_when_steps_do_not_end_with_an_epoch(samples: int) -> None:
    lengths = [number * 37 % 401 for number in range(samples)]
    steps = range(5 * samples // 8)
    batches = _steps(SampleOrder(samples, 0, 8, steps, lengths), 8)
    assert _steps(SampleOrder(samples, 0, 8, range(7, len(steps)), lengths), 8) == batches[7:]
    seen = [one for batch in batches for one in batch]
    for epoch in range(len(seen) // samples):
        assert sorted(seen[epoch * samples : (epoch + 1) * samples]) == list(range(samples))
    mixed = [batch for batch in batches if max(lengths[i] for i in batch) - lengths[batch[0]] > 100]
    assert len(mixed) <= len(seen) / samples + 1  # one where an epoch ends, and no more
