"""Each stage against its reference run (tests/goldens/losses)."""

import pytest

from tests.goldens.make_losses import RUNS, TOLERANCE, kept, made_here, run

pytestmark = pytest.mark.model


@pytest.mark.parametrize("name", RUNS)
def test_each_stage_loses_what_it_lost(name: str) -> None:
    expected, found = kept(name), run(name).golden
    assert found.losses == pytest.approx(expected.losses, rel=TOLERANCE)
    if expected.made_with == made_here():
        assert found == expected


@pytest.mark.parametrize("name", RUNS)
def test_each_stage_moves_its_part_of_the_adapter_and_nothing_else(name: str) -> None:
    moved = run(name).moved
    assert all("lora_" in part or "projector.modules_to_save.default" in part for part in moved)
    assert any("lora_B" in part for part in moved) == (name != "align")
    assert sum("projector" in part for part in moved) == 4
