"""Decides what continues a run: which configuration, and which checkpoint."""

import math
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from iresnet_tf.data import Source
from iresnet_tf.models import FlowModel
from iresnet_tf.training import presets
from iresnet_tf.training.assembly import build_schedule, compile_model, make_model
from iresnet_tf.training.configuration import Preset, Run
from iresnet_tf.training.model_files import load_flow
from iresnet_tf.training.run_folder import RunFolder

ABSENT = "absent"


def lengthened(preset: Preset, *, epochs: int | None = None, steps: int | None = None) -> Preset:
    """Returns a preset with another number of epochs, or of steps; its epochs keep their length.

    Raises:
        ValueError: if both are given, or a number below 1.
    """
    given = [length for length in (epochs, steps) if length is not None]
    if len(given) == 2 or min(given, default=1) < 1:
        raise ValueError(
            f"Give epochs or steps, a number above 0; received epochs={epochs}, steps={steps}."
        )
    return preset.with_length(epochs or -(-(steps or preset.steps) // preset.steps_per_epoch))


def requested(
    stored: Preset,
    name: str,
    overrides: Iterable[str],
    *,
    epochs: int | None = None,
    steps: int | None = None,
) -> Preset:
    """Returns the preset that a command requests; what it omits is taken from the run.

    Args:
        stored: the preset of the run.
        name, overrides: see `presets.get`.
        epochs, steps: the length, as the command that began the run may have given it.
    """
    asked = presets.replaced(stored.model_copy(update={"name": name}), overrides)
    # A new run of some steps has equal epochs, which may be shorter than those of its preset.
    if asked.with_length(steps=stored.steps).steps_per_epoch == stored.steps_per_epoch:
        asked = asked.model_copy(update={"steps_per_epoch": stored.steps_per_epoch})
    return lengthened(asked, epochs=epochs, steps=steps)


def require_same(folder: RunFolder, run: Run, preset: Preset, seed: int) -> None:
    """Requires the configuration of a run, but allows more steps.

    Raises:
        ValueError: for another one; the message names every field that differs.
    """
    stored = {**run.preset.model_dump(exclude={"source"}), "seed": run.seed}
    given = {**preset.model_dump(exclude={"source"}), "seed": seed}
    faults = [
        f"{field} is {_shown(old)} in the run and {_shown(new)} here"
        for field, old, new in differences(stored, given)
        if field != "steps" or new < old
    ]
    if faults:
        raise ValueError(
            f"{folder.path} cannot be continued with another configuration: {'; '.join(faults)}. "
            "Leave these out, or choose another --out. Only --epochs and --steps may grow."
        )


def require_epochs(folder: RunFolder, run: Run, history: Iterable[dict[str, Any]]) -> None:
    """Raises `ValueError` unless every epoch of a history has as many steps as one of the run."""
    length = run.preset.steps_per_epoch
    for line in history:
        if line["step"] != line["epoch"] * length:
            raise ValueError(
                f"{folder.history} ends epoch {line['epoch']} after {line['step']} steps, but by "
                f"{folder.config} an epoch has {length} steps. Restore the configuration, or train "
                "anew with another --out."
            )


def restored(
    folder: RunFolder, run: Run, source: Source
) -> tuple[FlowModel | None, dict[pathlib.Path, str]]:
    """Returns the model of the newest checkpoint that fits the configuration of a run.

    Returns:
        the model, ``None`` if there are no checkpoints; and each newer checkpoint, with the reason
        why it cannot be used.

    Raises:
        ValueError: if there are checkpoints, but none of them can be used.
    """
    unusable: dict[pathlib.Path, str] = {}
    for path in folder.latest_checkpoints():
        try:
            return _fitting_model(path, folder.step_of(path), run, source), unusable
        except (FileNotFoundError, ValueError) as error:
            unusable[path] = str(error)
    if unusable:
        raise ValueError(
            f"No checkpoint in {folder.checkpoints} continues the run of {folder.config}: "
            f"{' '.join(unusable.values())} Nothing was changed. Restore the configuration or the "
            "checkpoints, or train anew with another --out."
        )
    return None, unusable


def follows_from_the_start(preset: Preset, before: Preset, step: int) -> bool:
    """Returns whether a preset gives the learning rates of another one up to a step."""
    steps = tf.range(step, dtype=tf.float32)
    one, other = (build_schedule(each.optimizer, each.steps)(steps) for each in (preset, before))
    return np.array_equal(one, other)


def _fitting_model(path, step, run, source):
    """Returns the model of a checkpoint; raises `ValueError` unless it fits the run."""
    model = load_flow(path)
    if not model.compiled or model.optimizer is None:
        raise ValueError(f"{path} holds no optimizer.")
    expected = make_model(run.preset, source, seed=run.seed)
    compile_model(expected, run.preset_at(step))
    found = {"shape of a sample": model.flow.event_shape, "step": model.optimizer.iterations}
    wanted = {"shape of a sample": source.event_shape, "step": step}
    for name, value in wanted.items():
        if (was := np.array(found[name]).tolist()) != np.array(value).tolist():
            raise ValueError(f"{path}: the {name} is {was}, not {value}.")
    if step % run.preset.steps_per_epoch or step > run.preset.steps:
        raise ValueError(
            f"{path}: a run of {run.preset.steps} steps, {run.preset.steps_per_epoch} an epoch, "
            f"has no checkpoint after {step} steps."
        )
    # A layer learns some sizes when it is built.
    for field, want, was in differences(_description(expected), _description(model), 1e-6):
        if want is not None or field.rpartition(".")[2] not in ("units", "filters"):
            raise ValueError(
                f"{path}: {field} is {_shown(was)}, but the configuration says {_shown(want)}."
            )
    return model


def _description(model):
    """Returns class, layers and optimizer of a model as plain data, without names."""
    return _plain(
        {
            "class": type(model).__name__,
            **model.get_config(),
            **(model.get_compile_config() or {}),
        }
    )


def _plain(value):
    if isinstance(value, dict):
        named = {"name", "build_config", "shared_object_id"}
        inner = {key: _plain(each) for key, each in value.items() if key not in named}
        # Keras keeps the fields of an object one level below its class.
        config = inner.pop("config", None)
        return {**inner, **config} if isinstance(config, dict) else inner
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def differences(
    one: Any, other: Any, tolerance: float = 0.0, path: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Yields the path of every part in which two nests of plain data differ, with both values.

    Args:
        tolerance: largest relative difference of floating-point numbers that counts as none.
    """
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        one, other = dict(enumerate(one)), dict(enumerate(other))
    if isinstance(one, dict) and isinstance(other, dict):
        for key in {**one, **other}:
            parts = one.get(key, ABSENT), other.get(key, ABSENT)
            yield from differences(*parts, tolerance, f"{path}.{key}".lstrip("."))
    elif isinstance(one, float) and isinstance(other, float):
        if not math.isclose(one, other, rel_tol=tolerance):
            yield path, one, other
    elif one != other:
        yield path, one, other


def as_override(value: Any) -> str:
    """Returns a value of a field as an override spells it."""
    if isinstance(value, tuple):
        value = ",".join(map(str, value))
    return "none" if value is None else str(value)


def _shown(value):
    text = as_override(value)
    return text if len(text) < 80 else f"{text[:76]} …"
