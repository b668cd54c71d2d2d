"""Trains a preset in a run folder and evaluates the result."""

import json
import os
import pathlib
import sys
import warnings
import zlib
from typing import Any

import keras
import tensorflow as tf

from iresnet_tf import data
from iresnet_tf.analysis import evaluate
from iresnet_tf.data import Source, picture_folder, tables
from iresnet_tf.files import write_json
from iresnet_tf.training import callbacks, continuation, strategies
from iresnet_tf.training.assembly import build_schedule, initialized_model
from iresnet_tf.training.configuration import Preset
from iresnet_tf.training.model_files import load_model, save_model
from iresnet_tf.training.run_folder import RunFolder
from iresnet_tf.training.stopwatch import Stopwatch
from iresnet_tf.training.warm_start import take_weights

PICTURES_PER_RUN = 2


def train(
    preset: Preset,
    out: str | os.PathLike[str],
    *,
    resume: bool = False,
    source: Source | None = None,
    seed: int = 0,
    data_dir: str | os.PathLike[str] | None = None,
    strategy: tf.distribute.Strategy | None = None,
) -> dict[str, Any] | None:
    """Trains a preset in a run folder and evaluates the model.

    If there are several workers, only the chief writes and evaluates.

    Args:
        preset: the configuration, for example from `iresnet_tf.presets.get`.
        out: path of the folder, which is new or empty unless ``resume`` is set.
        resume: whether to continue a run that is in the folder already; see `resume`.  The preset
            and the seed must then be those of the run, but the preset may have more steps.
        source: your own data source, which `resume` needs again; by default the source that
            ``preset.data`` describes.
        seed: seed of initial weights, data order, noise and probes.
        data_dir: folder of the TFDS data sets.
        strategy: a strategy from `iresnet_tf.training.strategies.get`; one device by default.

    Returns:
        the content of ``result.json``; ``None`` for a worker that is not the chief.

    Raises:
        FileExistsError: if ``out`` exists and is not an empty folder, or with ``resume`` not a
            run; a `RunInUseError` if another process trains there.
        ValueError: for a configuration that makes no model, or with ``resume`` for one that is not
            that of the run; nothing is written then.
        WorkerLostError: if another worker has stopped.

    Example::

        source = irn.data.ArraySource("mine", {"train": (x, None), "test": (held_out, None)})
        preset = irn.presets.get("toy-moons").with_length(steps=500)
        irn.training.train(preset, "runs/mine", source=source)
    """
    stopwatch = Stopwatch()
    strategy = strategy or strategies.get("one")
    shared = RunFolder(out)
    with strategies.lost_workers_explained(strategy, shared):
        _require_examples(preset, strategy)
        preset = _with_data(preset, source)
        if resume and shared.is_begun():
            return _continue(shared, preset, seed, source, data_dir, strategy, stopwatch)
        run = strategies.folder(strategy, shared)
        run.require_free()
        run.require_new()
        source = open_source(preset, data_dir=data_dir) if source is None else source
        config = {"preset": preset.model_dump(mode="json"), "seed": seed}
        number = zlib.crc32(json.dumps(config).encode())
        strategies.require_agreement(strategy, "their configuration", number)
        keras.utils.set_random_seed(seed)
        source.examples("test", 1)  # A split that cannot be read is found before the folder exists.
        with strategy.scope():
            model = _first_model(preset, source, seed)
        if source.found is not None and run.is_kept:
            print(source.found, file=sys.stderr)
        with run.owned():
            run.create(config)
            return _fit_and_evaluate(model, preset, source, run, seed, stopwatch)


def resume(
    out: str | os.PathLike[str],
    *,
    epochs: int | None = None,
    steps: int | None = None,
    source: Source | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    strategy: tf.distribute.Strategy | None = None,
) -> dict[str, Any] | None:
    """Continues an interrupted run from its newest checkpoint, or from its start if it has none.

    A newer checkpoint that cannot be used is renamed, with a warning.  A run that has finished
    only returns its result, unless it is extended.

    Args:
        out: the folder of the run; several workers must share it.
        epochs, steps: a larger number of epochs, or of steps, to extend the run; steps are rounded
            up to epochs, which keep their length.  Further steps have the learning rates of the
            longer run.  If its earlier steps would have had other rates, a warning says so;
            otherwise the extended run has the weights of the longer one.
        source, data_dir: see `train`.
        strategy: see `train`; it may differ from the strategy of the interrupted run.

    Returns:
        see `train`.

    Raises:
        FileNotFoundError: if there is no run.
        RunInUseError: if another process trains there.
        ValueError: if a file is damaged, if there are checkpoints, but none of them fits
            ``config.json``, or for fewer steps than the run has; nothing is changed then.
        WorkerLostError: if another worker has stopped.
    """
    stopwatch = Stopwatch()
    strategy = strategy or strategies.get("one")
    shared = RunFolder(out)
    with strategies.lost_workers_explained(strategy, shared):
        stored = shared.read_run()
        preset = continuation.lengthened(stored.preset, epochs=epochs, steps=steps)
        _require_examples(preset, strategy)
        preset = _with_data(preset, source)
        return _continue(shared, preset, stored.seed, source, data_dir, strategy, stopwatch)


def _continue(shared, preset, seed, source, data_dir, strategy, stopwatch):
    run = strategies.folder(strategy, shared)
    with run.owned():
        stored = shared.read_run()
        continuation.require_same(shared, stored, preset, seed)
        source = open_source(preset, data_dir=data_dir) if source is None else source
        stopwatch.add(shared.read_seconds())
        history = shared.read_history()
        continuation.require_epochs(shared, stored, history)
        keras.utils.set_random_seed(seed)
        with strategy.scope():
            model, unusable = continuation.restored(shared, stored, source)
            result = shared.read_result(preset.steps)
            if result is not None:
                return result if run.is_kept else None
            if model is None:
                _require_unfinished(shared, stored)
                model = _first_model(preset, source, seed)
        done = int(model.optimizer.iterations.numpy())
        strategies.require_agreement(strategy, "the step that they resume from", done)
        if run.is_kept:
            _set_aside(run, unusable)
            _rewrite(run, stored, preset, done)
        model.optimizer.learning_rate = build_schedule(preset.optimizer, preset.steps)
        run.reopen(line for line in history if line["step"] <= done)
        return _fit_and_evaluate(model, preset, source, run, seed, stopwatch)


def _first_model(preset, source, seed):
    """Returns the model before the first step."""
    model = initialized_model(preset, source, seed=seed)
    if preset.initial_weights is not None:
        take_weights(model, preset.initial_weights)
    return model


def _require_unfinished(run, stored):
    if run.read_result(stored.preset.steps) is not None:
        raise ValueError(
            f"{run.path} has finished and has no checkpoint, so it cannot be extended. Train the "
            "longer run with another --out."
        )


def _set_aside(run, unusable):
    for path, reason in unusable.items():
        name = run.set_aside(path).name
        warnings.warn(
            f"{reason} The run continues from an earlier checkpoint, and this one is now {name}.",
            stacklevel=4,
        )


def _rewrite(run, stored, preset, done):
    """Notes in ``config.json`` that a run is extended; it then has no model until it has ended."""
    before = stored.preset.steps
    if not continuation.follows_from_the_start(preset, stored.preset, done):
        warnings.warn(
            f"The {done} steps so far had the learning rates of a run of {before} steps; further "
            f"steps have those of a run of {preset.steps} steps.",
            stacklevel=4,
        )
    if preset.steps != before:
        run.result.unlink(missing_ok=True)
        run.model.unlink(missing_ok=True)
    if (continued := stored.continued(preset, done)) != stored:
        run.write_run(continued)


def open_source(preset: Preset, *, data_dir: str | os.PathLike[str] | None = None) -> Source:
    """Opens the data source that a preset describes; see `iresnet_tf.data.get`."""
    options = preset.data.model_dump(exclude={"preprocessing", "alpha", "augmentation"})
    return data.get(data_dir=data_dir, **options)


def _with_data(preset, source):
    """Returns the preset with the name of a given source, or the digest of its files, added."""
    options = preset.data
    table = options.table
    update = {}
    if source is not None:
        update = {"name": source.name, "folder": None, "npz": None}
    elif table is not None and table.sha256 is None:
        update["table"] = table.model_copy(update={"sha256": _digest(table.file)})
    elif options.folder is not None and options.sha256 is None:
        update["sha256"] = picture_folder.digest(options.folder)
    elif options.npz is not None and options.sha256 is None:
        update["sha256"] = _digest(options.npz)
    return preset.model_copy(update={"data": options.model_copy(update=update)})


def _digest(file):
    """Returns the SHA-256 of a file; ``None`` if it is missing, which its source reports."""
    return tables.digest(file) if file is not None and pathlib.Path(file).is_file() else None


def _fit_and_evaluate(model, preset, source, run, seed, stopwatch):
    done = int(model.optimizer.iterations.numpy())
    source = source.fitting(model)
    writer = tf.summary.create_file_writer(str(run.tensorboard))
    # Beside the examples are their classes or contexts, if they have any.
    test, beside = source.examples("test", preset.evaluation_examples)
    pictures = callbacks.Pictures(
        test,
        run.images,
        writer=writer,
        levels=source.levels,
        every=max(1, preset.epochs // PICTURES_PER_RUN),
        names=source.columns,
        context=beside if preset.task.takes_context else None,
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
            callbacks.Seconds(run.seconds, stopwatch),
        ],
    )
    save_model(model, run.model)
    result = None
    if run.is_kept:
        # The evaluation runs on one device, so it does not wait for the other workers.
        trained = load_model(run.model)
        measured = source.measured("test", preset.evaluation_examples)
        result = {
            "preset": preset.name,
            "seed": seed,
            "steps": preset.steps,
            **evaluate(trained, *measured, seed=seed).as_dict(),
            "parameters": int(sum(tf.size(weight) for weight in trained.trainable_variables)),
            **stopwatch.read(),
        }
        pictures.set_model(trained)
        pictures.draw()
        writer.flush()
        write_json(run.seconds, stopwatch.read())
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
    if not (preset.data.validation_examples or source.has_validation):
        return []
    monitor = "val_loss" if preset.task.has_density else "val_accuracy"
    return [
        callbacks.Validation(*source.examples("validation")),
        callbacks.BestCheckpoint(run, save_model, monitor=monitor),
    ]
