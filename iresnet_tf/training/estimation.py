"""Estimates how long a preset trains on this machine, from a few real steps."""

import dataclasses
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import keras

from iresnet_tf.analysis import evaluate
from iresnet_tf.data import Examples, Source
from iresnet_tf.training import callbacks
from iresnet_tf.training.assembly import initialized_model
from iresnet_tf.training.configuration import Preset
from iresnet_tf.training.runs import open_source

_STEPS, _SECONDS = 10, 20.0
"""Number of steps that are timed, and the time after which fewer suffice."""

_BATCH = 16
"""Number of examples in the batches of the evaluations that are timed."""


@dataclasses.dataclass(frozen=True)
class Estimate:
    """The time that the rest of a run takes on this machine.

    Attributes:
        steps: number of steps.
        step_seconds: time of a step.
        training_seconds: time of all steps, with an evaluation of held-out examples every epoch.
        evaluation_seconds: time of the evaluation of the result.
    """

    steps: int
    step_seconds: float
    training_seconds: float
    evaluation_seconds: float

    def __str__(self) -> str:
        return (
            f"{self.steps} steps of {self.step_seconds:.2g} s: about "
            f"{_duration(self.training_seconds)}, and about {_duration(self.evaluation_seconds)} "
            "to evaluate"
        )


def estimate(
    preset: Preset,
    *,
    done: int = 0,
    source: Source | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    seed: int = 0,
) -> Estimate:
    """Estimates the time of a run on one device of this machine; writes nothing.

    It trains for a few steps, and evaluates a few held-out and test examples.  The time of
    pictures and files is not counted.

    Args:
        preset: the configuration of the run.
        done: number of steps that the run has taken already.
        source, data_dir, seed: see `iresnet_tf.training.train`.
    """
    source = open_source(preset, data_dir=data_dir) if source is None else source
    model = initialized_model(preset, source, seed=seed)
    step_seconds = _step_seconds(model, preset, source, seed)
    steps = max(0, preset.steps - done)
    epochs = -(-steps // preset.steps_per_epoch)
    return Estimate(
        steps,
        step_seconds,
        steps * step_seconds + epochs * _validation_seconds(model, preset, source),
        _evaluation_seconds(model, preset, source),
    )


class _Clock(keras.callbacks.Callback):
    """Notes the time after each step, and stops when enough steps are timed."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.times.append(time.monotonic())
        if self.times[-1] - self.times[0] > _SECONDS:
            self.model.stop_training = True


def _step_seconds(model, preset, source, seed):
    """Returns the median time of a step, without the first, which compiles."""
    batches = source.stream(preset.batch_size, seed=seed, augmentation=preset.data.augmentation)
    clock = _Clock()
    model.fit(batches, steps_per_epoch=_STEPS + 1, verbose=0, callbacks=[clock])
    return statistics.median(b - a for a, b in zip(clock.times, clock.times[1:]))


def _validation_seconds(model, preset, source):
    if not (preset.data.validation_examples or source.has_validation):
        return 0.0
    count = len(source.examples("validation").x)

    def validate(x, y):
        callback = callbacks.Validation(x, y, batch_size=_BATCH)
        callback.set_model(model)
        callback.on_epoch_end(0, {})

    examples = source.examples("validation", 3 * _BATCH)
    validate(*examples)  # The first evaluation compiles.
    return _seconds(validate, examples, count)


def _evaluation_seconds(model, preset, source):
    count = len(source.examples("test", preset.evaluation_examples).x)
    examples = source.examples("test", 3 * _BATCH)
    return _seconds(lambda x, y: evaluate(model, x, y, batch_size=_BATCH), examples, count)


def _seconds(measure: Callable[..., Any], examples: Examples, count: int) -> float:
    """Returns the time of a measurement of ``count`` examples, from those of 1 and 3 batches."""
    times = []
    for number in (_BATCH, 3 * _BATCH):
        start = time.monotonic()
        measure(examples.x[:number], None if examples.y is None else examples.y[:number])
        times.append(time.monotonic() - start)
    once, thrice = times
    return once + max(0.0, thrice - once) / 2.0 * (count / _BATCH - 1.0)


def _duration(seconds):
    if seconds < 60.0:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60.0), 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"
