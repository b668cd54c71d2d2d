"""From a preset to a trained and evaluated run folder."""

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
from iresnet_tf.training.assembly import build_model, build_optimizer, compile_options
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
    """Trains a preset in a new folder and evaluates it; the folder keeps the run.

    If there are several workers, only the chief writes and evaluates.

    Args:
        preset: the configuration, for example from `iresnet_tf.presets.get`.
        out: the folder; it must not exist yet, or be empty.
        source: a data source of your own; by default the one that ``preset.data`` describes.
            The run then notes its name, and `resume` needs it again.
        seed: seed of initial weights, data order, noise and probes.
        data_dir: folder of the TFDS data sets.
        strategy: a strategy from `iresnet_tf.training.strategies.get`; one device by default.

    Returns:
        The content of ``result.json``; ``None`` for a worker that is not the chief.

    Raises:
        FileExistsError: if ``out`` exists and is not an empty folder.
        ValueError: for a configuration that makes no model; nothing is written then.
        WorkerLostError: if another worker is gone.

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
    """Continues an interrupted run from its newest whole checkpoint, or from its start.

    Args:
        out: the folder of the run; if there are several workers, one that all of them see.
        source: the data source, if the run was given one.
        data_dir: folder of the TFDS data sets.
        strategy: a strategy from `iresnet_tf.training.strategies.get`, perhaps another than
            before; one device by default.

    Returns:
        The content of ``result.json``; ``None`` for a worker that is not the chief.

    Raises:
        FileNotFoundError: if there is no run.
        ValueError: if there are checkpoints and none can be read.
        WorkerLostError: if another worker is gone.
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
    options = preset.data
    return data.get(
        options.name,
        data_dir=data_dir,
        validation_examples=options.validation_examples,
        size=options.size,
        pad_to=options.pad_to,
        bits=options.bits,
        only_class=options.only_class,
        table=None if options.table is None else options.table.model_dump(),
    )


def _with_data(preset, source):
    """Returns the preset with the name of the source, or the digest of its table, noted."""
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
    model.fit(
        source.stream(
            preset.batch_size, seed=seed, skip=done, augmentation=preset.data.augmentation
        ),
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
            # The checkpoint comes last: it keeps the state of the generator after the pictures.
            pictures,
            callbacks.Checkpoints(run, save_model),
        ],
    )
    save_model(model, run.model)
    result = None
    if run.is_kept:
        # The evaluation runs on one device, so it does not wait for another worker.
        trained = load_model(run.model)
        result = {
            "preset": preset.name,
            "seed": seed,
            "steps": preset.steps,
            **evaluate(trained, test, classes, seed=seed).as_dict(),
            "parameters": int(sum(tf.size(weight) for weight in trained.trainable_variables)),
            "wall_seconds": round(time.time() - started, 1),
            # This is the time of the process, imports and tracing included.
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
    """Returns the callbacks of a run that holds out validation examples."""
    if not preset.data.validation_examples:
        return []
    monitor = "val_loss" if preset.task.has_density else "val_accuracy"
    return [
        callbacks.Validation(*source.examples("validation")),
        callbacks.BestCheckpoint(run, save_model, monitor=monitor),
    ]


def _initialized(preset: Preset, source: Source, seed: int) -> FlowModel:
    """Returns the model before its first step."""
    model = build_model(preset, source, seed=seed)
    model.compile(build_optimizer(preset), **compile_options(preset))
    model.initialize(source.initial_examples(seed=seed))
    return model


def _newest(run: RunFolder) -> FlowModel:
    """Returns the model of the newest checkpoint that can be read."""
    paths = run.latest_checkpoints()
    for path in paths[:-1]:
        try:
            return load_model(path)
        except ValueError as error:
            warnings.warn(f"{error} Trying the checkpoint before it.", stacklevel=2)
    return load_model(paths[-1])
