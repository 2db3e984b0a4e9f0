"""What does not fit is refused before anything is fetched; and what a CPU computes in."""

from dataclasses import replace
from pathlib import Path

import pytest

from shared.cards import CLASSES, CardChoice, Gpu, choose_card
from shared.errors import ConfigError, DoesNotFit
from shared.settings import Settings
from workers.caption.budget import plan_card
from workers.caption.card_plan import Asked, CardPlan
from workers.caption.fitting import checkpoint_that_fits, planned
from workers.caption.hosts import Host, _has_bf16, _limits, detect_host, machine_on
from workers.caption.machines import GIB
from workers.model.geometry import KNOWN, Geometry

DEMO = Path(__file__).parents[2] / "infra/demo/models/llama"
VICUNA, YI = KNOWN["vicuna-7b"], KNOWN["yi-34b"]
T4 = Gpu("Tesla T4", 15.0, 7.5)


def on_cpu(gib: float, *, bf16: bool = False, geometry: Geometry = VICUNA) -> CardPlan:
    machine = machine_on(Host(int(gib * GIB), bf16), geometry)
    return plan_card(CLASSES["cpu"], machine, geometry, Asked())


# --- before anything is fetched ------------------------------------------------------------------


def test_a_model_that_a_card_cannot_hold_is_refused_before_it_is_fetched() -> None:
    """The hub cannot be asked here: another error would say so."""
    settings = Settings(model="llava-hf/LLaVA-NeXT-Video-34B-hf")
    with pytest.raises(ConfigError, match=r"18\.47 GiB of weights do not fit t4") as refused:
        checkpoint_that_fits(settings, choose_card(settings, T4))
    assert refused.value.cure == "A card of class l4 holds it."


def test_the_memory_that_is_really_there_counts() -> None:
    """Not that of the class that was named."""
    settings = Settings(card="a100")
    with pytest.raises(ConfigError, match=r"13\.16 GiB of weights"):
        planned(settings, choose_card(settings, T4), VICUNA, 2.49)
    assert planned(settings, choose_card(settings, replace(T4, memory_gib=39.4)), VICUNA, 2.49)


def test_a_model_that_is_not_known_is_looked_for_by_its_config_alone() -> None:
    settings = Settings(model="nobody/such-a-model")
    with pytest.raises(ConfigError, match="neither cached nor reachable"):
        checkpoint_that_fits(settings, choose_card(settings, T4))


def test_a_directory_is_planned_by_its_own_config() -> None:
    settings = Settings(model="llava-hf/LLaVA-NeXT-Video-34B-hf", model_path=DEMO)
    found = checkpoint_that_fits(settings, choose_card(settings, T4))
    assert (found.directory, found.plan.geometry) == (DEMO, Geometry.read(DEMO))


# --- a CPU ---------------------------------------------------------------------------------------


def test_a_small_model_stays_exact_on_any_cpu() -> None:
    demo = Geometry.read(DEMO)
    for bf16 in (True, False):
        assert machine_on(Host(GIB, bf16), demo).dtype == "float32"


def test_a_cpu_with_such_instructions_runs_a_large_model_in_bfloat16() -> None:
    plan = on_cpu(256, bf16=True)
    assert plan.machine.dtype == "bfloat16"
    assert plan.weight_bytes.why == "7.06 billion in bfloat16, which this CPU computes in itself"
    assert on_cpu(256).machine.dtype == "float32"


def test_little_memory_makes_it_bfloat16_and_less_is_refused() -> None:
    """In 32-bit floats the language model's weights are there twice."""
    assert on_cpu(64).machine.dtype == "float32"
    plan = on_cpu(32)
    assert plan.machine.dtype == "bfloat16"
    assert "in float32 they would take 50.93 of 28.80 GiB" in plan.weight_bytes.why
    assert 1 <= on_cpu(16.5).rows.value <= plan.rows.value
    with pytest.raises(DoesNotFit, match=r"13\.16 GiB of weights in bfloat16") as refused:
        on_cpu(14)
    assert "more memory" in refused.value.cure
    with pytest.raises(DoesNotFit):
        on_cpu(64, geometry=YI)


def test_a_worker_on_a_cpu_computes_as_it_was_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.caption.fitting.detect_host", lambda: Host(32 * GIB, bf16=False))
    choice = CardChoice(CLASSES["t4"], "cpu", "float32", "emulated")
    assert planned(Settings(), choice, VICUNA, 2.49).machine.dtype == "bfloat16"


def test_this_machine_is_one() -> None:
    assert detect_host().memory > GIB / 2


def test_the_smallest_limit_of_a_container_counts(tmp_path: Path) -> None:
    groups, proc = tmp_path / "cgroup", tmp_path / "proc"
    inner = groups / "pod/box"
    for folder in (inner, groups / "memory/job", proc / "self"):
        folder.mkdir(parents=True)
    (proc / "self/cgroup").write_text("4:memory:/job\n3:cpu:/else\n0::/pod/box\n")
    (inner / "memory.max").write_text("max\n")
    (groups / "pod/memory.max").write_text("4096\n")
    (groups / "memory/job/memory.limit_in_bytes").write_text("8192\n")
    (groups / "memory.max").write_text("9999\n")
    assert sorted(_limits(groups, proc)) == [4096, 8192, 9999]
    assert not [*_limits(groups, tmp_path)]


@pytest.mark.parametrize(
    ("line", "has"),
    [
        ("flags\t\t: fpu sse2 avx512_bf16 amx_tile", True),
        ("Features\t: fp asimd bf16 i8mm", True),
        ("flags\t\t: fpu sse2 avx512f", False),
        ("model name\t: bf16", False),
    ],
)
def test_what_a_cpu_can_is_read_from_its_flags(tmp_path: Path, line: str, *, has: bool) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{line}\n")
    assert _has_bf16(tmp_path / "cpuinfo") is has
    assert not _has_bf16(tmp_path / "none")
