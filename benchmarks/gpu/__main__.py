"""What the engine does on one card: exact, captions a second, share of what the card can do; and
what a training does there, beside plain TRL.

    python -m benchmarks.gpu [--json] [--quick] [--into DIR] [--minutes N] [--only-training]

Models of the geometry of Vicuna-7B and Qwen3-8B, of random weights. Each class has its memory and
its frames; a cap on memory makes no card slower, so captions a second are this card's. It takes
about eight minutes, the training alone six at most: later nothing more is begun, and what is left
out is told. With --into it writes results.json and plot.svg. With --quick, and where there is no
GPU, models are tiny: that shows that it runs, and no figure of it means anything.
"""

import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.programs import begin, parser_of
from shared.errors import DoesNotFit

MINUTES, OF_TRAINING = 8.0, 6.0
MODES = ("fast", "same", "plain")
SPARE_S = 20
"""Left at the end, for what is under way."""


class Clock:
    """Runs what there is time for."""

    def __init__(self, limit_s: float) -> None:
        self._began, self._limit_s = time.monotonic(), limit_s
        self.failed: list[str] = []

    @property
    def passed_s(self) -> float:
        return time.monotonic() - self._began

    @property
    def left_s(self) -> float:
        return self._limit_s - self.passed_s

    def run(self, what: str, needs_s: float, section: Callable[[], Any]) -> Any:
        """Its figures; {"skipped": why}; or {"failed": why}, and it is among the `failed`.

        Args:
            needs_s: about, on a fast card.
        """
        if self.left_s < needs_s:
            say(f"{what}: left out, {self.left_s:.0f} s are left")
            return {"skipped": f"no time left: about {needs_s:.0f} s are needed"}
        say(f"{self.passed_s:4.0f} s  {what}")
        try:
            return section()
        except DoesNotFit as error:  # as a worker would be told
            say(f"       {error}")
            return {"skipped": str(error)}
        except Exception as error:  # one figure less, and the others all the same
            said = f"{type(error).__name__}: {error}"
            say(f"       {said}")
            self.failed.append(what)
            return {"failed": said}


class Measuring:
    """Fills `results`; a model is held for as long as a method runs."""

    def __init__(self, clock: Clock, *, tiny: bool) -> None:
        import torch
        import transformers

        from benchmarks.gpu import sections
        from benchmarks.gpu.models import TINY
        from benchmarks.gpu.roofline import FORMULA, ceiling_of
        from workers.model.geometry import KNOWN

        self._clock, self._tiny, cuda = clock, tiny, torch.cuda.is_available()
        self._device = torch.device("cuda", 0) if cuda else torch.device("cpu")
        self._dtype = torch.bfloat16 if cuda else torch.float32
        self._sections = sections
        self._scale, self._known = (sections.QUICK, TINY) if tiny else (sections.FULL, dict(KNOWN))
        self._ceiling = ceiling_of(self._device)
        self.results: dict[str, Any] = {
            "device": torch.cuda.get_device_name(self._device) if cuda else "cpu",
            "measured_on_a_gpu": cuda and not tiny,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "formula": FORMULA,
            "ceiling": vars(self._ceiling),
            "equality": {},
            "classes": {"vicuna-7b": {}, "qwen3-8b": {}},
        }
        say(f"{self.results['device']}: {self._ceiling}\n{FORMULA}")

    def _run(self, what: str, needs_s: float, section: Callable[[], Any]) -> Any:
        told = self._clock.run(what, 0 if self._tiny else needs_s, section)
        self._sections.forget()
        return told

    @property
    def _left_s(self) -> float:
        return math.inf if self._tiny else self._clock.left_s

    @property
    def _limit_s(self) -> float:
        """Of one section."""
        return min(60.0, self._clock.left_s)

    def equality(self, name: str) -> None:
        self.results["equality"][name] = self._run(
            f"{name}: equality in 32-bit floats",
            40,
            lambda: self._sections.equality(name, self._known[name], self._device, self._scale),
        )
        told = self.results["equality"][name]
        self._clock.failed += [
            f"{name}: {mode} is not equal" for mode in MODES if told.get(mode, 1) < 1
        ]

    def _made(self, name: str) -> Any:
        from benchmarks.gpu.models import random_model

        return random_model(name, self._known[name], self._device, self._dtype)

    def _class(self, name: str, loaded: Any, card: Any, needs_s: float) -> None:
        self.results["classes"][name][card] = self._run(
            f"{name}: captions a second of class {card}",
            needs_s,
            lambda: self._sections.card_class(
                loaded, self._known[name], card, self._ceiling, self._scale, self._limit_s
            ),
        )

    def vicuna(self) -> None:
        from benchmarks.gpu.models import can_quantise

        name, do, scale = "vicuna-7b", self._sections, self._scale
        loaded, geometry, told = self._made(name), self._known[name], self.results
        first, *others = ("t4",) if self._tiny else ("h100", "a100", "l4", "t4")
        self._class(name, loaded, first, 75)
        told["graphs"] = self._run(
            f"{name}: steps of fast and of plain", 30, lambda: do.graphs(loaded, scale)
        )
        told["prefill"] = self._run(
            f"{name}: prefill",
            15,
            lambda: do.prefill(loaded, geometry, 1 if self._tiny else 16, self._ceiling, scale),
        )
        told["swap"] = self._run(f"{name}: swaps of adapters", 20, lambda: do.swaps(loaded, scale))
        for card in others:
            self._class(name, loaded, card, 45)
        told["nf4"] = {"skipped": "bitsandbytes is not installed"}
        if can_quantise():
            told["nf4"] = self._run(
                f"{name}: 4-bit weights",
                60,
                lambda: do.four_bits(
                    *(loaded, geometry, self._ceiling, scale, self._limit_s),
                    (first, *others),
                ),
            )

    def training(self) -> None:
        from benchmarks.gpu.training import FULL, QUICK, compared

        name, work = "vicuna-7b", QUICK if self._tiny else FULL
        self.results["train"] = self._run(
            f"{name}: steps of training, and of plain TRL",
            120,
            lambda: compared(
                *(name, self._known[name], self._device, self._dtype, work), lambda: self._left_s
            ),
        )

    def qwen(self) -> None:
        name = "qwen3-8b"
        card = "t4" if self._tiny else "h100"
        if not self._tiny and self._clock.left_s < 75:
            self.results["classes"][name][card] = {"skipped": "no time left"}
            return
        self._class(name, self._made(name), card, 60)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    parser = parser_of("gpu", __doc__, quick="tiny models, as on a CPU")
    parser.add_argument("--into", type=Path, metavar="DIR", help="write results and a plot there")
    parser.add_argument(
        "--minutes",
        type=float,
        help=f"after which nothing is begun ({MINUTES:g}; of the training alone {OF_TRAINING:g})",
    )
    parser.add_argument("--only-training", action="store_true", help="nothing but its steps")
    arguments = begin(parser)
    import torch  # takes seconds: first it is said how long all takes

    from benchmarks.gpu.plot import draw

    if not torch.cuda.is_available():
        torch.set_num_threads(1)
    minutes = arguments.minutes or (OF_TRAINING if arguments.only_training else MINUTES)
    clock = Clock(60 * minutes - SPARE_S)
    measuring = Measuring(clock, tiny=arguments.quick or not torch.cuda.is_available())
    if arguments.only_training:
        measuring.training()
    else:
        for name in ("vicuna-7b", "qwen3-8b"):
            measuring.equality(name)
        measuring.vicuna()
        measuring.qwen()
        measuring.training()
    results = {**measuring.results, "seconds": round(clock.passed_s, 1)}
    if arguments.into is not None:
        arguments.into.mkdir(parents=True, exist_ok=True)
        file = arguments.into / "results.json"
        file.write_text(json.dumps(results, indent=1) + "\n")
        draw(results, arguments.into / "plot.svg")
        say(f"{file}, plot.svg")
    print(json.dumps(results) if arguments.json else json.dumps(results, indent=1))
    if clock.failed:
        raise SystemExit("failed: " + ", ".join(clock.failed))


if __name__ == "__main__":
    main()
