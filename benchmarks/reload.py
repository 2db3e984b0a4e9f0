"""Do captions keep their adapter while adapters are swapped under full load?

    python -m benchmarks.reload [--json] [--quick] [--swaps N]

A random model captions without a pause while adapters are swapped, and bad ones are refused: each
swap loads one under a new name, the numbers of one of two that disagree on nearly all videos. Then
every caption is made again by `generate` and peft with the adapter that its label names. A caption
with a wrong label is put among them, and must be found. `stall_steps_max` is what the longest load
took of the engine's thread, in steps of a usual length (CPU time). `memory_growth_mib` is of this
process, from when as many swaps have been made unseen: oneDNN keeps up to 1,024 kernels, one for
each operation and number of rows, and makes them when they are needed first. `--json` ends with one
object.
"""

import ctypes
import dataclasses
import itertools
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from benchmarks.programs import begin, parser_of

if TYPE_CHECKING:
    from benchmarks.engine_work import Work
    from workers.caption.engine.engine import Engine
    from workers.caption.engine.requests import Ticket
    from workers.model.adapter_files import Adapter
    from workers.model.loading import LoadedModel

SWAPS, QUICK_SWAPS = 50, 4
VIDEOS, QUICK_VIDEOS = 40, 4
ROWS, RANK, NEW_TOKENS = 8, 8, (6, 24)
NAMES = ("left", "right")


Caption = tuple[int, str, list[int]]
"""Video, adapter, tokens."""


@dataclass
class Load:
    """Captions, one after the other, as many at once as rows and some that wait."""

    engine: "Engine"
    requests: "list[tuple[int, Any]]"
    """Of each video: its number, and a request."""
    said: list[Caption] = field(default_factory=list)
    lost: int = 0
    over: threading.Event = field(default_factory=threading.Event)
    _waiting: "deque[tuple[int, Ticket]]" = field(default_factory=deque)

    def run(self) -> None:
        for number, request in itertools.cycle(self.requests):
            if self.over.is_set():
                break
            self._waiting.append((number, self.engine.submit(request)))
            if len(self._waiting) > ROWS + 2:
                self._take()
        while self._waiting:
            self._take()

    def _take(self) -> None:
        number, ticket = self._waiting.popleft()
        try:
            [one] = ticket.result(60)
        except Exception:
            self.lost += 1
        else:
            version = one.adapter.version if one.adapter else ""
            self.said.append((number, version.partition("-")[0], list(one.tokens)))

    def wait_for_more(self, work: "Future[None]") -> None:
        """Raises what `run` raised, if it has ended."""
        done = len(self.said)
        while len(self.said) < done + ROWS:
            if work.done():
                raise RuntimeError("no captions are asked for any more") from work.exception()
            time.sleep(0.002)


class Timed:
    """CPU seconds of the engine's thread: of each turn of its loop, and of each load in between."""

    def __init__(self) -> None:
        self.turns: list[float] = []
        self.loads: list[float] = []
        self._last: float | None = None

    def turn(self, rows: int, tokens: int) -> None:
        now = time.thread_time()
        if self._last is not None and rows:
            self.turns.append(now - self._last)
        self._last = now

    def watch(self, engine: "Engine") -> None:
        slots = engine._adapters
        load = slots.load

        def timed(*args: Any) -> None:
            began = time.thread_time()
            load(*args)
            self.loads.append(time.thread_time() - began)

        slots.load = timed  # type: ignore[method-assign]


def adapters(loaded: "LoadedModel", folder: Path) -> "dict[str, Adapter]":
    """Two that disagree, written as training publishes them and read again."""
    import torch
    from safetensors.torch import save_file

    from workers.model import adapter_files as files

    shape = files.AdapterShape.of(loaded.model)
    base = dict(loaded.model.named_parameters())
    found = {}
    for seed, name in enumerate(NAMES):
        torch.manual_seed(seed)
        tensors = {}
        for key, size in shape.tensors(RANK).items():
            own = base.get(key.removeprefix("base_model.model."))
            noise = torch.randn(size) * 0.3
            tensors[key] = noise if own is None else own.detach() + noise
        config = {
            **files.PUBLISHED,
            files.RANK: RANK,
            files.ALPHA: files.ALPHA_PER_RANK * RANK,
            files.SAVED: [files.PROJECTOR],
            **dict.fromkeys(files.NOTES),
        }
        (folder / name).mkdir()
        save_file(tensors, folder / name / files.WEIGHTS_FILE)
        (folder / name / files.CONFIG_FILE).write_text(json.dumps(config))
        found[name] = files.read_adapter(name, folder / name, shape)
    return found


def bad_ones(good: Path, folder: Path) -> Iterator[Path]:
    """Without end, one kind after the other."""
    import shutil

    import torch
    from safetensors.torch import load_file, save_file

    from workers.model import adapter_files as files

    def not_finite(tensors: dict[str, Any], config: dict[str, Any]) -> None:
        next(iter(tensors.values()))[0] = torch.nan

    def half(tensors: dict[str, Any], config: dict[str, Any]) -> None:
        for name in [name for name in tensors if "lora_B" in name]:
            del tensors[name]

    def loud(tensors: dict[str, Any], config: dict[str, Any]) -> None:
        config[files.ALPHA] = 1e9

    def rewriting(tensors: dict[str, Any], config: dict[str, Any]) -> None:
        tensors["base_model.model.lm_head.weight"] = torch.zeros(4, 4)

    def foreign(tensors: dict[str, Any], config: dict[str, Any]) -> None:
        config["layer_replication"] = [[0, 1]]

    kinds = (not_finite, half, loud, rewriting, foreign)
    for number, spoil in enumerate(itertools.cycle(kinds)):
        at = folder / f"bad-{number}"
        at.mkdir()
        tensors = load_file(good / files.WEIGHTS_FILE)
        config = json.loads((good / files.CONFIG_FILE).read_text())
        spoil(tensors, config)
        save_file(tensors, at / files.WEIGHTS_FILE)
        (at / files.CONFIG_FILE).write_text(json.dumps(config))
        yield at
        shutil.rmtree(at)


def measure(folder: Path, swaps: int, videos: int) -> dict[str, Any]:
    from benchmarks.engine_work import SMALL, random_checkpoint, random_work
    from shared.errors import BadAdapter
    from shared.messages import AdapterUsed
    from workers.caption.engine.engine import Engine, Size
    from workers.caption.engine.requests import Request
    from workers.caption.engine.sampling import Sampling
    from workers.model.adapter_files import AdapterShape, read_adapter
    from workers.model.loading import load_model

    checkpoint = random_checkpoint(folder / "model", SMALL)
    loaded = load_model(checkpoint, model_id="random")
    shape = AdapterShape.of(loaded.model)
    work = random_work(loaded, videos, 4, NEW_TOKENS)
    both = adapters(loaded, folder)
    timed = Timed()
    positions = max(len(one.ids) + one.new_tokens for one in work)
    engine = Engine(loaded, Size(rows=ROWS, positions=positions), on_turn=timed.turn)
    timed.watch(engine)
    requests = [
        (
            number,
            Request(
                one.ids, loaded.preprocessor(one.frames), samplings=(Sampling(one.new_tokens),)
            ),
        )
        for number, one in enumerate(work)
    ]
    load = Load(engine, requests)
    pool = ThreadPoolExecutor(1)
    bad = bad_ones(folder / NAMES[0], folder)
    swap_ms, refused = [], 0

    def swap(number: int) -> None:
        name = NAMES[number % 2]
        began = time.monotonic()
        engine.use(AdapterUsed(version=f"{name}-{number}", generation=number), both[name])
        swap_ms.append(1000 * (time.monotonic() - began))

    def refuse() -> int:
        try:
            read_adapter("bad", next(bad), shape)
        except BadAdapter:
            return 1
        return 0

    swap(0)
    running = pool.submit(load.run)
    start = resident_mib()
    for number in range(1, 2 * swaps + 1):
        if number == swaps + 1:
            swap_ms.clear()
            timed.loads.clear()
            before, refused = resident_mib(), 0
        load.wait_for_more(running)  # some under each
        swap(number)
        refused += refuse()
    growth = resident_mib() - before
    load.over.set()
    running.result()
    engine.close()
    right = again(loaded, work, both)
    number, name, tokens = next(
        one for one in load.said if right[one[0], NAMES[0]] != right[one[0], NAMES[1]]
    )
    lie = (number, NAMES[1 - NAMES.index(name)], tokens)
    return {
        "swaps": swaps,
        "refused": refused,
        "captions": len(load.said),
        "disagree": statistics.fmean(
            right[number, NAMES[0]] != right[number, NAMES[1]] for number in range(videos)
        ),
        "swap_ms_p50": round(statistics.median(swap_ms), 2),
        "stall_steps_max": round(max(timed.loads) / statistics.median(timed.turns), 3),
        "lost": load.lost,
        "mislabelled": mislabelled(load.said, right),
        "lie_found": mislabelled([*load.said, lie], right) == mislabelled(load.said, right) + 1,
        "memory_growth_mib": round(growth, 1),
        "warm_up_mib": round(before - start, 1),
    }


Right = dict[tuple[int, str], list[int]]


def mislabelled(said: list[Caption], right: Right) -> int:
    return sum(right[number, name] != tokens for number, name, tokens in said)


def again(loaded: "LoadedModel", work: "list[Work]", both: "dict[str, Adapter]") -> Right:
    """(video, adapter) -> tokens, by `generate` and peft."""
    from peft import get_peft_model, set_peft_model_state_dict

    from benchmarks.engine_systems import Generate
    from workers.model.adapter_files import lora_config

    model: Any = None
    found: Right = {}
    for name, adapter in both.items():
        config = lora_config(adapter.rank)
        if model is None:
            model = get_peft_model(loaded.model, config, name, autocast_adapter_dtype=False)
        else:
            model.add_adapter(name, config, autocast_adapter_dtype=False)
        set_peft_model_state_dict(model, adapter.tensors, adapter_name=name)
        model.set_adapter(name, inference_mode=True)
        plain = Generate(dataclasses.replace(loaded, model=model.eval()), 1)
        for number, tokens in enumerate(plain.make(work).tokens):
            found[number, name] = tokens
    return found


def resident_mib() -> float:
    """Without what the allocator keeps for later."""
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    parser = parser_of("reload", __doc__, quick=f"{QUICK_SWAPS} swaps, {QUICK_VIDEOS} videos")
    parser.add_argument("--swaps", type=int, default=SWAPS)
    arguments = begin(parser)
    import torch  # takes seconds: first it is said how long all takes

    torch.set_num_threads(1)
    sizes = (QUICK_SWAPS, QUICK_VIDEOS) if arguments.quick else (arguments.swaps, VIDEOS)
    with tempfile.TemporaryDirectory(prefix="jamak-reload-") as folder:
        found = measure(Path(folder), *sizes)
    grid = Table("what", "found")
    for name, value in found.items():
        grid.add_row(name.replace("_", " "), f"{value}")
    Console(file=sys.stdout).print(grid)
    if arguments.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
