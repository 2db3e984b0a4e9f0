import pytest

from shared.cards import CLASSES, Gpu, choose_card, parse_nvidia_smi, served_queues
from shared.errors import ConfigError
from shared.settings import Settings


def settings(**values: object) -> Settings:
    return Settings(**values)


@pytest.mark.parametrize(
    ("gpu", "name", "dtype"),
    [
        (Gpu("Tesla T4", 15.0, 7.5), "t4", "float16"),
        (Gpu("NVIDIA L4", 22.2, 8.9), "l4", "bfloat16"),
        (Gpu("NVIDIA A100-PCIE-40GB", 39.4, 8.0), "a100", "bfloat16"),
        (Gpu("NVIDIA A100-SXM4-80GB", 79.2, 8.0), "h100", "bfloat16"),
        (Gpu("NVIDIA H100 80GB HBM3", 79.1, 9.0), "h100", "bfloat16"),
        (Gpu("NVIDIA H200", 139.8, 9.0), "h100", "bfloat16"),
        (Gpu("NVIDIA A100 MIG 3g.20gb", 20.0, 8.0), "t4", "bfloat16"),
        (Gpu("Something new", None, None), "l4", "bfloat16"),
    ],
)
def test_a_card_is_placed_by_memory_and_capability(gpu: Gpu, name: str, dtype: str) -> None:
    choice = choose_card(settings(), gpu)
    assert (choice.card.name, choice.dtype, choice.device) == (name, dtype, "cuda")
    assert gpu.name in choice.reason


def test_budgets_are_those_of_the_mission() -> None:
    budgets = {name: (card.frames, card.visual_tokens) for name, card in CLASSES.items()}
    assert budgets == {
        "t4": (4, 576),
        "l4": (8, 1152),
        "a100": (16, 2304),
        "h100": (32, 4608),
        "cpu": (4, 576),
    }
    # 336 px, patch 14, pooled 2x2: 144 tokens a frame.
    assert all(card.frames * 144 == card.visual_tokens for card in CLASSES.values())
    assert [name for name, card in CLASSES.items() if card.quantized] == ["t4", "l4"]


def test_without_a_gpu_it_is_the_cpu_and_says_why() -> None:
    choice = choose_card(settings(), None)
    assert (choice.card.name, choice.device, choice.emulated) == ("cpu", "cpu", False)
    assert "no NVIDIA GPU" in choice.reason


def test_a_gpu_class_without_a_gpu_says_what_to_set() -> None:
    with pytest.raises(ConfigError) as caught:
        choose_card(settings(card="t4"), None)
    assert "JAMAK_CARD=t4" in str(caught.value)
    assert "JAMAK_DEVICE=cpu" in caught.value.cure


@pytest.mark.parametrize("name", ["t4", "l4", "a100", "h100"])
def test_any_class_can_be_emulated_and_says_so(name: str) -> None:
    choice = choose_card(settings(card=name, device="cpu"), None)
    assert (choice.card.name, choice.device, choice.dtype) == (name, "cpu", "float32")
    assert choice.emulated
    assert not choice.quantized


def test_too_old_and_too_small_cards_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"7\.0"):
        choose_card(settings(), Gpu("Tesla V100", 32.0, 7.0))
    with pytest.raises(ConfigError, match=r"6\.0 GiB"):
        choose_card(settings(), Gpu("GTX 1660", 6.0, 7.5))
    assert choose_card(settings(card="t4"), Gpu("RTX 2070", 8.0, 7.5)).card.name == "t4"


def test_own_class_comes_first_and_smaller_cards_never_see_larger_jobs() -> None:
    assert served_queues(CLASSES["a100"]) == [
        "caption.a100",
        "caption.a100.bulk",
        "caption.l4",
        "caption.l4.bulk",
        "caption.t4",
        "caption.t4.bulk",
    ]
    assert served_queues(CLASSES["cpu"]) == ["caption.t4", "caption.t4.bulk"]


FACTS = """GPU-aaa, NVIDIA L4, 23034, 8.9
GPU-bbb, Tesla T4, 15360, 7.5
"""


@pytest.mark.parametrize(
    ("visible", "name"),
    [("", "NVIDIA L4"), ("1", "Tesla T4"), ("GPU-bbb,GPU-aaa", "Tesla T4"), ("7", "NVIDIA L4")],
)
def test_the_first_visible_device_counts(visible: str, name: str) -> None:
    gpu = parse_nvidia_smi(FACTS, "", visible)
    assert gpu is not None
    assert gpu.name == name


def test_a_mig_slice_has_its_own_memory() -> None:
    listing = (
        "GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aaa)\n"
        "  MIG 1g.5gb      Device  0: (UUID: MIG-111)\n"
        "  MIG 3g.20gb     Device  1: (UUID: MIG-222)\n"
    )
    facts = "GPU-aaa, NVIDIA A100-SXM4-40GB, 40960, 8.0\n"
    gpu = parse_nvidia_smi(facts, listing, "MIG-222")
    assert gpu is not None
    assert (gpu.memory_gib, gpu.compute_capability) == (20.0, 8.0)
    assert "3g.20gb" in gpu.name


def test_a_driver_that_does_not_tell() -> None:
    assert parse_nvidia_smi("", "") is None
    assert parse_nvidia_smi("GPU-a, Odd, [N/A], [N/A]\n", "") == Gpu("Odd", None, None)
