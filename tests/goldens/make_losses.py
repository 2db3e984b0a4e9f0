"""Reference runs: a few steps of each stage on the shipped model, kept as files.

    python -m tests.goldens.make_losses        makes them anew, and says what moved

Their films are files too, for encoders differ from machine to machine. What was found is compared
to the last digit where the CPU and the libraries are those that it was found with. Elsewhere sums
are rounded in another order: TOLERANCE says how far that may carry within so few steps.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import set_seed

from infra.local.stack import DEMO_MODEL
from shared.prompts import BASE_PROMPT
from shared.training import TrainJob
from tests.clips import encoder_of
from tests.training import dpo_rows, kto_rows, make_job, sft_rows
from workers.model.loading import load_model
from workers.train.adapter import with_adapter
from workers.train.data import read_rows
from workers.train.ending import Ending
from workers.train.run import _trainer
from workers.train.saving import Saving

FOLDER = Path(__file__).parent / "losses"
FILMS = {
    f"{colour}{number}": FOLDER / "films" / f"{name}{number}.mp4"
    for colour, name in (("빨간", "red"), ("파란", "blue"), ("초록색", "green"))
    for number in (0, 3)
}
"""A white square that crosses a plain background."""
TOLERANCE = 1e-4
"""Of a loss, relative. Other instruction sets of the same machine moved them by 1e-6 at most."""
COMMON: dict[str, Any] = {"steps": 8, "batch_size": 4, "rank": 4, "learning_rate": 1e-3}
RUNS: dict[str, dict[str, Any]] = {
    "align": {"stage": "align"},
    "sft": {"stage": "sft"},
    "qlora": {"stage": "sft", "quantized": True},
    "dpo": {"stage": "dpo"},
    "kto": {"stage": "kto"},
}
CPU = ("model name", "cpu family", "model", "stepping", "cache size")
ROWS = {"align": sft_rows, "sft": sft_rows, "dpo": dpo_rows, "kto": kto_rows}


@dataclass(frozen=True)
class Golden:
    losses: list[float]
    weights: str
    """SHA-256 of what was trained."""
    made_with: dict[str, str]


@dataclass(frozen=True)
class Run:
    golden: Golden
    moved: set[str]
    """Names of the parameters that are others than before."""


def kept(name: str) -> Golden:
    return Golden(**json.loads((FOLDER / f"{name}.json").read_text()))


def made_here() -> dict[str, str]:
    """What the last digits depend on."""
    names = ("accelerate", "av", "bitsandbytes", "numpy", "peft", "torch", "transformers", "trl")
    told = dict(
        map(str.strip, line.split(":", 1))
        for line in Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    )
    # Of virtual machines the name alone says little.
    cpu = [told.get(key, "") for key in CPU]
    capability = torch.backends.cpu.get_cpu_capability()
    return {"cpu": " / ".join([*cpu, capability]), **{name: version(name) for name in names}}


@cache
def run(name: str) -> Run:
    job = make_job(**COMMON, **RUNS[name])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _trained(job)
    finally:
        torch.set_num_threads(threads)


def _trained(job: TrainJob) -> Run:
    loaded = load_model(
        DEMO_MODEL, model_id="jamak/tiny", revision="r1", quantized=bool(job.quantized)
    )
    lines = map(json.dumps, ROWS[job.stage](FILMS))
    rows = read_rows("\n".join(lines), job.stage, BASE_PROMPT)
    set_seed(job.seed)
    model = with_adapter(loaded, job, None)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    with TemporaryDirectory() as folder:
        encoder = encoder_of(loaded, rows, Path(folder), job.frames)
        saving = Saving(Path(folder), "", Ending())
        losses = _trainer(job.stage)(model, encoder, rows, job, saving)
    after = {name: p.detach() for name, p in model.named_parameters() if name in before}
    moved = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    digest = hashlib.sha256()
    for name in sorted(moved):
        digest.update(after[name].contiguous().numpy().tobytes())
    return Run(Golden(losses, digest.hexdigest(), made_here()), moved)


def write(name: str) -> None:
    text = json.dumps(asdict(run(name).golden), indent=2, ensure_ascii=False)
    (FOLDER / f"{name}.json").write_text(text + "\n")


def main() -> None:
    for name in RUNS:
        try:
            old = kept(name)
        except FileNotFoundError:
            old = None
        new = run(name).golden
        if old is None:
            print(f"{name}: made")
        elif old == new:
            print(f"{name}: as it was")
        else:
            pairs = zip(old.losses, new.losses, strict=False)
            most = max(abs(one - other) / abs(one) for one, other in pairs)
            print(f"{name}: moved by {most:.1e} at most")
        write(name)


if __name__ == "__main__":
    main()
