"""A training that comes to no numbers any more ends so: it keeps none of it, and publishes none."""

from pathlib import Path

import pytest

from shared.errors import Diverged
from tests.training import fill, make_job, sft_rows
from workers.train.run import train

pytestmark = pytest.mark.model


@pytest.mark.parametrize(
    ("steps", "learning_rate", "said"),
    [
        (4, 1e20, "in step 3 of 4 the loss is nan"),
        # The last step is followed by no loss that would tell.
        (2, 3e38, "after step 2 the weights of .* are no numbers any more"),
        (2, 1e20, "logp_after is nan"),
    ],
)
def test_a_training_that_diverges_is_none(
    videos: dict[str, Path], tmp_path: Path, steps: int, learning_rate: float, said: str
) -> None:
    fill(tmp_path, sft_rows(dict(list(videos.items())[:5])))
    job = make_job(steps=steps, batch_size=2, save_every=3, learning_rate=learning_rate, rank=2)
    with pytest.raises(Diverged, match=said) as caught:
        train(job, tmp_path)
    assert "--learning-rate" in caught.value.cure
    assert not (tmp_path / "adapter").exists()
    assert not (tmp_path / "checkpoints" / "3").exists()
