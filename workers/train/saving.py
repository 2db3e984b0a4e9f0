"""The state of a training as files, so that it goes on elsewhere as if it had never stopped.

    WORKDIR/checkpoint/           in: what to go on from, if there is something
    WORKDIR/checkpoints/<step>/   out: renamed into place when it is whole

    state.json                    TrainState
    state.safetensors             weight/<name>, optimizer/<number>/<name>, random/<device>

Of the model it holds what is trained; the rest, also the frozen copy that preferences are compared
with, is made again from the job. Nothing here is a pickle: whoever may write to the bucket can
change what is learned, and run nothing. Knows neither the bucket nor TRL.
"""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from shared.errors import Diverged
from shared.messages import decode
from shared.training_runs import STATE_FILE, TENSORS_FILE, Before, Looked, TrainState
from workers.train.ending import Ending
from workers.train.examine import Examined
from workers.train.likelihood import Likely

RANDOM = "random/"


@dataclass(frozen=True)
class Saved:
    """What a training goes on from."""

    state: TrainState
    tensors: Mapping[str, torch.Tensor]


class Saving:
    """Args:
    workdir: as run.py has it.
    base_sha256: of the weights that are trained on.
    ending: whether it is asked to end.
    lengths: of the samples, where those of like length are to be in one batch.
    rows_sha256: of the rows that are trained on, and of those that are held out.
    looked: what was found of their clips.
    """

    def __init__(
        self,
        workdir: Path,
        base_sha256: str,
        ending: Ending,
        lengths: Sequence[int] | None = None,
        rows_sha256: str = "",
        looked: Looked | None = None,
    ) -> None:
        self.workdir, self.ending, self.lengths = workdir, ending, lengths
        self._base_sha256, self._rows_sha256 = base_sha256, rows_sha256
        self._looked = looked
        self.saved = _read(workdir / "checkpoint", base_sha256, rows_sha256)
        self.before = _examined(self.saved.state.before) if self.saved else None
        """The held-out videos before the training; None = they have still to be looked at."""

    @property
    def step(self) -> int:
        """After which it goes on."""
        return self.saved.state.step if self.saved else 0

    def save(
        self,
        step: int,
        losses: list[float],
        model: Any,
        optimizer: Any,
        scheduler: Any,
        scaler: Any,
    ) -> None:
        """After a step, between two.

        Raises:
            Diverged: of what is trained something is no number any more.
        """
        for name, parameter in _trained(model).items():
            if not torch.isfinite(parameter).all():
                raise Diverged(
                    f"after step {step} the weights of {name} are no numbers any more: the "
                    "training has diverged"
                )
        told = optimizer.state_dict()
        before = self.before or Examined([], [])
        state = TrainState(
            step=step,
            base_sha256=self._base_sha256,
            rows_sha256=self._rows_sha256,
            looked=self._looked,
            before=Before(
                captions=tuple(before.captions),
                likely=tuple(tuple(map(astuple, texts)) for texts in before.likely),
            ),
            losses=tuple(losses),
            rates=tuple(float(group["lr"]) for group in told["param_groups"]),
            # The functions that make it are made again from the job.
            schedule={k: v for k, v in scheduler.state_dict().items() if k != "lr_lambdas"},
            scaler=scaler.state_dict() if scaler is not None else None,
        )
        tensors: dict[str, torch.Tensor] = {
            f"weight/{name}": tensor for name, tensor in _trained(model).items()
        }
        for number, values in told["state"].items():
            tensors |= {f"optimizer/{number}/{name}": value for name, value in values.items()}
        tensors[f"{RANDOM}cpu"] = torch.get_rng_state()
        if torch.cuda.is_available():
            tensors[f"{RANDOM}cuda"] = torch.cuda.get_rng_state()
        whole = self.workdir / "checkpoints" / str(step)
        part = whole.with_name(f".{step}")
        part.mkdir(parents=True)
        save_file(
            {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
            part / TENSORS_FILE,
        )
        (part / STATE_FILE).write_text(state.model_dump_json(), encoding="utf-8")
        part.rename(whole)

    def restore_weights(self, model: Any) -> None:
        if self.saved is not None:
            with torch.no_grad():
                for name, parameter in _trained(model).items():
                    parameter.copy_(self.saved.tensors[f"weight/{name}"])

    def restore(self, model: Any, optimizer: Any, scheduler: Any, scaler: Any) -> None:
        """Of a trainer that was built as the first one was."""
        if self.saved is None:
            return
        state, tensors = self.saved.state, self.saved.tensors
        self.restore_weights(model)
        told = optimizer.state_dict()
        for group, rate in zip(told["param_groups"], state.rates, strict=True):
            group["lr"] = rate
        told["state"] = {}
        for place, tensor in tensors.items():
            what, _, rest = place.partition("/")
            if what == "optimizer":
                number, _, name = rest.partition("/")
                told["state"].setdefault(int(number), {})[name] = tensor
        optimizer.load_state_dict(told)
        scheduler.load_state_dict(scheduler.state_dict() | state.schedule)
        if scaler is not None and state.scaler is not None:
            scaler.load_state_dict(state.scaler)

    def restore_chance(self) -> None:
        """What is drawn at random goes on, too: dropout, in a model that has it."""
        if self.saved is None:
            return
        torch.set_rng_state(self.saved.tensors[f"{RANDOM}cpu"])
        if torch.cuda.is_available() and f"{RANDOM}cuda" in self.saved.tensors:
            torch.cuda.set_rng_state(self.saved.tensors[f"{RANDOM}cuda"])


def looked_before(workdir: Path) -> Looked | None:
    """What was found of the clips by whom this training goes on from."""
    path = workdir / "checkpoint" / STATE_FILE
    return _state(path).looked if path.exists() else None


def _examined(before: Before) -> Examined:
    likely = [tuple(Likely(*text) for text in texts) for texts in before.likely]
    return Examined(list(before.captions), likely)


def _trained(model: Any) -> dict[str, torch.nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def _read(directory: Path, base_sha256: str, rows_sha256: str) -> Saved | None:
    if not directory.exists():
        return None
    state = _state(directory / STATE_FILE)
    if state.base_sha256 != base_sha256:
        print("the checkpoint is of other weights than the model now has: trained from the start")
        return None
    if state.rows_sha256 not in ("", rows_sha256):
        print("other rows than then can be learned now: trained from the start")
        return None
    return Saved(state, load_file(directory / TENSORS_FILE))


def _state(path: Path) -> TrainState:
    return decode(TrainState, path.read_text(encoding="utf-8"))
