"""What makes one of TRL's trainers go on where another process stopped, to the last bit.

A trainer keeps files of its own, most of them pickles, and finds its place in the data by reading
all that came before. Here it keeps ours (saving.py), and its samples come in an order that can
begin anywhere (order.py). Knows nothing of a stage.
"""

from typing import Any

from transformers import PrinterCallback, TrainerCallback

from workers.train.ending import Stopped
from workers.train.order import SampleOrder
from workers.train.ranks import anywhere
from workers.train.report import StepReporter, report
from workers.train.saving import Saving


class Resumable:
    """Comes before the trainer among a class's bases. It is trained by `train_through` alone."""

    saving: Saving
    reporter: StepReporter

    def _get_train_sampler(self, *_: Any) -> SampleOrder:
        trainer: Any = self
        how = trainer.args
        size = how.train_batch_size * how.gradient_accumulation_steps * how.world_size
        steps = range(self.saving.step, how.max_steps)
        return SampleOrder(len(trainer.train_dataset), how.seed, size, steps, self.saving.lengths)

    def _init_training_state(self, *arguments: Any, **named: Any) -> Any:
        trainer: Any = self
        told = super()._init_training_state(*arguments, **named)  # type: ignore[misc]
        trainer.state.global_step = self.saving.step
        return told

    def _prepare_for_training(self, *arguments: Any, **named: Any) -> Any:
        told = super()._prepare_for_training(*arguments, **named)  # type: ignore[misc]
        self.saving.restore(*self._kept())
        return told

    def _save_checkpoint(self, *_: Any) -> None:
        trainer: Any = self
        if trainer.is_world_process_zero():
            step, steps = trainer.state.global_step, trainer.state.max_steps
            self.saving.save(step, self.reporter.losses, *self._kept())
            report("train", step, steps, checkpoint=True)

    def _kept(self) -> tuple[Any, Any, Any, Any]:
        trainer: Any = self
        scaler = trainer.accelerator.scaler
        return trainer.model, trainer.optimizer, trainer.lr_scheduler, scaler


class _Ending(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    def __init__(self, saving: Saving) -> None:
        self._saving, self._begun = saving, False

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not self._begun:
            self._saving.restore_chance()  # here: the reading of the data draws, too
            self._begun = True

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        ending = self._saving.ending
        ending.asked = anywhere(ending.asked, args.device)
        if ending.asked:
            control.should_save = control.should_training_stop = True


def train_through(trainer: Any, reporter: StepReporter, saving: Saving) -> list[float]:
    """To the last step, or to the end of the one in which it is asked to end; every step's loss.

    Args:
        trainer: a Resumable, just built.

    Raises:
        Stopped: it was asked to end; what it has learned is in its checkpoint.
    """
    trainer.saving, trainer.reporter = saving, reporter
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(_Ending(saving))
    if saving.saved is not None:
        reporter.losses[:] = saving.saved.state.losses
    if saving.step == trainer.args.max_steps:  # its worker died after the training
        saving.restore_weights(trainer.model)
        return reporter.losses
    saving.ending.training = True
    trainer.train()
    saving.ending.training = False
    if saving.ending.asked:
        raise Stopped
    return reporter.losses
