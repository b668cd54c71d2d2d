"""Trains a preset in a run folder and evaluates the result."""

import json
import os
import pathlib
import time
import warnings
import zlib
from typing import Any

import keras
import tensorflow as tf

from iresnet_tf import data
from iresnet_tf.analysis import evaluate
from iresnet_tf.data import Source, tables
from iresnet_tf.files import write_json
from iresnet_tf.models import FlowModel
from iresnet_tf.training import callbacks, strategies
from iresnet_tf.training.assembly import build_model, build_optimizer
from iresnet_tf.training.configuration import Preset
from iresnet_tf.training.run_folder import RunFolder, load_model, save_model

PICTURES_PER_RUN = 2


def train(
    preset: Preset,
    out: str | os.PathLike[str],
    *,
    source: Source | None = None,
    seed: int = 0,
    data_dir: str | os.PathLike[str] | None = None,
    strategy: tf.distribute.Strategy | None = None,
) -> dict[str, Any] | None:
    """Trains a preset in a new run folder and evaluates the model.

    If there are several workers, only the chief writes and evaluates.

    Args:
        preset: the configuration, for example from `iresnet_tf.presets.get`.
        out: path of the folder, which is new or empty.
        source: your own data source, which `resume` needs again; by default the source that
            ``preset.data`` describes.
        seed: seed of initial weights, data order, noise and probes.
        data_dir: folder of the TFDS data sets.
        strategy: a strategy from `iresnet_tf.training.strategies.get`; one device by default.

    Returns:
        the content of ``result.json``; ``None`` for a worker that is not the chief.

    Raises:
        FileExistsError: if ``out`` exists and is not an empty folder.
        ValueError: for a configuration that makes no model; nothing is written then.
        WorkerLostError: if another worker has stopped.

    Example::

        source = irn.data.ArraySource("mine", {"train": (x, None), "test": (held_out, None)})
        preset = irn.presets.get("toy-moons").with_length(steps=500)
        irn.training.train(preset, "runs/mine", source=source)
    """
    started = time.time()
    strategy = strategy or strategies.get("one")
    shared = RunFolder(out)
    with strategies.lost_workers_explained(strategy, shared):
        run = strategies.folder(strategy, shared)
        _require_examples(preset, strategy)
        preset = _with_data(preset, source)
        source = open_source(preset, data_dir=data_dir) if source is None else source
        run.require_new()
        config = {"preset": preset.model_dump(mode="json"), "seed": seed}
        number = zlib.crc32(json.dumps(config).encode())
        strategies.require_agreement(strategy, "their configuration", number)
        keras.utils.set_random_seed(seed)
        source.examples("test", 1)  # A split that cannot be read is found before the folder exists.
        with strategy.scope():
            model = _initialized(preset, source, seed)
        run.create(config)
        return _fit_and_evaluate(model, preset, source, run, seed, started)


def resume(
    out: str | os.PathLike[str],
    *,
    source: Source | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    strategy: tf.distribute.Strategy | None = None,
) -> dict[str, Any] | None:
    """Continues an interrupted run from its newest checkpoint, or from its start if it has none.

    Args:
        out: the folder of the run; several workers must share it.
        source, data_dir: see `train`.
        strategy: see `train`; it may differ from the strategy of the interrupted run.

    Returns:
        see `train`.

    Raises:
        FileNotFoundError: if there is no run.
        ValueError: if there are checkpoints, but none of them can be read.
        WorkerLostError: if another worker has stopped.
    """
    started = time.time()
    strategy = strategy or strategies.get("one")
    shared = RunFolder(out)
    with strategies.lost_workers_explained(strategy, shared):
        config = shared.read_config()
        preset, seed = config["preset"], config["seed"]
        _require_examples(preset, strategy)
        source = open_source(preset, data_dir=data_dir) if source is None else source
        keras.utils.set_random_seed(seed)
        with strategy.scope():
            begun = bool(shared.latest_checkpoints())
            model = _newest(shared) if begun else _initialized(preset, source, seed)
        done = int(model.optimizer.iterations.numpy())
        history = [line for line in shared.read_history() if line["step"] <= done]
        strategies.require_agreement(strategy, "the step that they resume from", done)
        run = strategies.folder(strategy, shared)
        run.reopen(history)
        return _fit_and_evaluate(model, preset, source, run, seed, started)


def open_source(preset: Preset, *, data_dir: str | os.PathLike[str] | None = None) -> Source:
    """Opens the data source that a preset describes; see `iresnet_tf.data.get`."""
    names = {"validation_examples", "size", "pad_to", "bits", "only_class", "table"}
    options = preset.data.model_dump(include=names)
    return data.get(preset.data.name, data_dir=data_dir, **options)


def _with_data(preset, source):
    """Returns the preset with the name of a given source, or the digest of its table, added."""
    update = {}
    table = preset.data.table
    if source is not None:
        update["name"] = source.name
    elif table is not None and table.file is not None and pathlib.Path(table.file).is_file():
        update["table"] = table.model_copy(update={"sha256": tables.digest(table.file)})
    return preset.model_copy(update={"data": preset.data.model_copy(update=update)})


def _fit_and_evaluate(model, preset, source, run, seed, started):
    done = int(model.optimizer.iterations.numpy())
    writer = tf.summary.create_file_writer(str(run.tensorboard))
    test, classes = source.examples("test", preset.evaluation_examples)
    pictures = callbacks.Pictures(
        test,
        run.images,
        writer=writer,
        levels=source.levels,
        every=max(1, preset.epochs // PICTURES_PER_RUN),
        names=source.columns,
    )
    augmentation = preset.data.augmentation
    batches = source.stream(preset.batch_size, seed=seed, skip=done, augmentation=augmentation)
    model.fit(
        batches,
        initial_epoch=done // preset.steps_per_epoch,
        epochs=preset.epochs,
        steps_per_epoch=preset.steps_per_epoch,
        verbose=0,
        callbacks=[
            callbacks.Progress(preset.steps, done=done),
            *_validation(preset, source, run),
            callbacks.Spectra(writer),
            callbacks.History(run.history),
            callbacks.Scalars(writer),
            # The checkpoint comes last, so that it saves the generator's state after the pictures.
            pictures,
            callbacks.Checkpoints(run, save_model),
        ],
    )
    save_model(model, run.model)
    result = None
    if run.is_kept:
        # The evaluation runs on one device, so it does not wait for the other workers.
        trained = load_model(run.model)
        result = {
            "preset": preset.name,
            "seed": seed,
            "steps": preset.steps,
            **evaluate(trained, test, classes, seed=seed).as_dict(),
            "parameters": int(sum(tf.size(weight) for weight in trained.trainable_variables)),
            "wall_seconds": round(time.time() - started, 1),
            # The time of the process includes imports and tracing.
            "cpu_seconds": round(time.process_time(), 1),
        }
        pictures.set_model(trained)
        pictures.draw()
        writer.flush()
        write_json(run.result, result)
    writer.close()
    strategies.wait(model.distribute_strategy)
    return result


def _require_examples(preset, strategy):
    replicas = strategy.num_replicas_in_sync
    if preset.batch_size < replicas:
        raise ValueError(
            f"A batch of {preset.batch_size} leaves some of the {replicas} replicas without "
            "examples. Give a larger --batch-size, or fewer devices."
        )


def _validation(preset, source, run):
    """Returns the callbacks that evaluate held-out examples, if the preset holds out any."""
    if not preset.data.validation_examples:
        return []
    monitor = "val_loss" if preset.task.has_density else "val_accuracy"
    return [
        callbacks.Validation(*source.examples("validation")),
        callbacks.BestCheckpoint(run, save_model, monitor=monitor),
    ]


def _initialized(preset: Preset, source: Source, seed: int) -> FlowModel:
    """Returns the compiled and initialised model before its first step."""
    model = build_model(preset, source, seed=seed)
    steps = preset.optimizer.accumulation_steps
    model.compile(build_optimizer(preset), accumulation_steps=steps)
    model.initialize(source.initial_examples(seed=seed))
    return model


def _newest(run: RunFolder) -> FlowModel:
    """Returns the model of the newest checkpoint that can be read."""
    *newer, oldest = run.latest_checkpoints()
    for path in newer:
        try:
            return load_model(path)
        except ValueError as error:
            warnings.warn(f"{error} Trying the checkpoint before it.", stacklevel=2)
    return load_model(oldest)
