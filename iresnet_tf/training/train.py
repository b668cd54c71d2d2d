"""From a preset to a trained, evaluated run folder."""

import json
import pathlib
import time
import warnings
import zlib

import keras
import tensorflow as tf

from iresnet_tf.analysis.evaluation import evaluate
from iresnet_tf.data import sources, tables
from iresnet_tf.training import callbacks, strategies
from iresnet_tf.training.assembly import build_model, build_optimizer, compile_options
from iresnet_tf.training.run_folder import RunFolder, load_model, save_model, write_json

PICTURES_A_RUN = 2


def train(preset, out, seed=0, data_dir=None, strategy=None):
    """Trains a preset in a new folder, evaluates it, and leaves the run there.

    Of several workers the chief alone writes and evaluates.

    Args:
        preset: `presets.Preset`.
        out: the folder; must not exist yet, or be empty.
        seed: of initial weights, data order, noise and probes.
        data_dir: the TFDS directory.
        strategy: of `strategies.get`; one device by default.

    Returns:
        dict, as written to ``result.json``; ``None`` for a worker that is not the chief.

    Raises:
        FileExistsError: if ``out`` exists and is not an empty folder.
        ValueError: for a configuration that makes no model; nothing is written then.
        WorkerLostError: if another worker is gone.
    """
    started = time.time()
    strategy = strategy or strategies.get("one")
    shared = RunFolder(out)
    with strategies.lost_workers_explained(strategy, shared):
        run = strategies.folder(strategy, shared)
        _require_examples(preset, strategy)
        preset = _with_digest(preset)
        source = open_source(preset, data_dir)
        run.require_new()
        config = {"preset": preset.model_dump(mode="json"), "seed": seed}
        number = zlib.crc32(json.dumps(config).encode())
        strategies.require_agreement(strategy, "their configuration", number)
        keras.utils.set_random_seed(seed)
        with strategy.scope():
            model = _initialized(preset, source, seed)
        run.create(config)
        return _continue(model, preset, source, run, seed, started)


def resume(out, data_dir=None, strategy=None):
    """Continues an interrupted run from its newest whole checkpoint, or from its start.

    Args:
        out: the run's folder; of several workers, one that all of them see.
        data_dir: the TFDS directory.
        strategy: of `strategies.get`, whichever the run had before; one device by default.

    Returns:
        dict, as written to ``result.json``; ``None`` for a worker that is not the chief.

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
        source = open_source(preset, data_dir)
        keras.utils.set_random_seed(seed)
        with strategy.scope():
            begun = bool(shared.latest_checkpoints())
            model = _newest(shared) if begun else _initialized(preset, source, seed)
        done = int(model.optimizer.iterations.numpy())
        history = [line for line in shared.read_history() if line["step"] <= done]
        strategies.require_agreement(strategy, "the step that they resume from", done)
        run = strategies.folder(strategy, shared)
        run.reopen(history)
        return _continue(model, preset, source, run, seed, started)


def open_source(preset, data_dir=None):
    """The source of a preset's data."""
    data = preset.data
    return sources.get(
        data.name,
        data_dir,
        data.validation_examples,
        size=data.size,
        pad_to=data.pad_to,
        bits=data.bits,
        only_class=data.only_class,
        table=None if data.table is None else data.table.model_dump(),
    )


def _with_digest(preset):
    """The preset with its table's digest noted, where it has a table."""
    table = preset.data.table
    if table is None or table.file is None or not pathlib.Path(table.file).is_file():
        return preset
    table = table.model_copy(update={"sha256": tables.digest(table.file)})
    data = preset.data.model_copy(update={"table": table})
    return preset.model_copy(update={"data": data})


def _continue(model, preset, source, run, seed, started):
    done = int(model.optimizer.iterations.numpy())
    writer = tf.summary.create_file_writer(str(run.tensorboard))
    test, classes = source.examples("test", preset.evaluation_examples)
    every = max(1, preset.epochs // PICTURES_A_RUN)
    pictures = callbacks.Pictures(
        test, run.images, writer, source.levels, every, names=source.columns
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
            callbacks.Progress(preset.steps, done),
            *_validation(preset, source, run),
            callbacks.Spectra(writer),
            callbacks.History(run.history),
            callbacks.Scalars(writer),
            # Before the checkpoint, which keeps what they draw from the model's generator.
            pictures,
            callbacks.Checkpoints(run, save_model),
        ],
    )
    save_model(model, run.model)
    result = None
    if run.is_kept:
        # On one device: nothing here waits for another worker.
        trained = load_model(run.model)
        result = {
            "preset": preset.name,
            "seed": seed,
            "steps": preset.steps,
            **evaluate(trained, test, classes, seed=seed),
            "parameters": int(sum(tf.size(each) for each in trained.trainable_variables)),
            "wall_seconds": round(time.time() - started, 1),
            # Of the process, imports and tracing included.
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
    """The callbacks of a run with held-out examples."""
    if not preset.data.validation_examples:
        return []
    monitor = "val_accuracy" if preset.task.kind == "classifier" else "val_loss"
    return [
        callbacks.Validation(*source.examples("validation")),
        callbacks.BestCheckpoint(run, save_model, monitor),
    ]


def _initialized(preset, source, seed):
    """The model before its first step."""
    model = build_model(preset, source, seed)
    model.compile(build_optimizer(preset), **compile_options(preset))
    model.initialize(source.initial_examples(seed))
    return model


def _newest(run):
    """The newest checkpoint that can be read."""
    paths = run.latest_checkpoints()
    for path in paths[:-1]:
        try:
            return load_model(path)
        except ValueError as error:
            warnings.warn(f"{error} Trying the checkpoint before it.", stacklevel=2)
    return load_model(paths[-1])
