"""From a preset to a trained, evaluated run folder."""

import time
import warnings

import keras
import tensorflow as tf

from iresnet_tf.analysis.evaluation import evaluate
from iresnet_tf.data import sources
from iresnet_tf.training import callbacks
from iresnet_tf.training.assembly import build_model, build_optimizer
from iresnet_tf.training.run_folder import RunFolder, load_model, save_model, write_json

PICTURES_A_RUN = 2


def train(preset, out, seed=0, data_dir=None):
    """Trains a preset in a new folder, evaluates it, and leaves the run there.

    Args:
        preset: `presets.Preset`.
        out: the folder; must not exist yet, or be empty.
        seed: of initial weights, data order, noise and probes.
        data_dir: the TFDS directory.

    Returns:
        dict, as written to ``result.json``.

    Raises:
        FileExistsError: if ``out`` exists and is not an empty folder.
        ValueError: for a configuration that makes no model; nothing is written then.
    """
    started = time.time()
    run = RunFolder(out)
    source = open_source(preset, data_dir)
    run.require_new()
    keras.utils.set_random_seed(seed)
    model = _initialized(preset, source, seed)
    run.create({"preset": preset.model_dump(mode="json"), "seed": seed})
    return _continue(model, preset, source, run, seed, started)


def resume(out, data_dir=None):
    """Continues an interrupted run from its newest whole checkpoint, or from its start.

    Args:
        out: the run's folder.
        data_dir: the TFDS directory.

    Returns:
        dict, as written to ``result.json``.

    Raises:
        FileNotFoundError: if there is no run.
        ValueError: if there are checkpoints and none can be read.
    """
    started = time.time()
    run = RunFolder(out)
    config = run.read_config()
    preset, seed = config["preset"], config["seed"]
    source = open_source(preset, data_dir)
    run.make_folders()
    keras.utils.set_random_seed(seed)
    model = _newest(run) if run.latest_checkpoints() else _initialized(preset, source, seed)
    run.forget_epochs_after(int(model.optimizer.iterations))
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
    )


def _continue(model, preset, source, run, seed, started):
    done = int(model.optimizer.iterations)
    writer = tf.summary.create_file_writer(str(run.tensorboard))
    test, classes = source.examples("test", preset.evaluation_examples)
    every = max(1, preset.epochs // PICTURES_A_RUN)
    pictures = callbacks.Pictures(run.images, writer, test, source.levels, every)
    model.fit(
        source.stream(preset.batch_size, seed, done, preset.data.augmentation),
        initial_epoch=done // preset.steps_per_epoch,
        epochs=preset.epochs,
        steps_per_epoch=preset.steps_per_epoch,
        verbose=0,
        callbacks=[
            callbacks.Progress(preset.steps, done),
            *_validation(preset, source, run),
            callbacks.History(run.history),
            callbacks.Scalars(writer),
            callbacks.Checkpoints(run, save_model),
            pictures,
        ],
    )
    save_model(model, run.model)
    result = {
        "preset": preset.name,
        "seed": seed,
        "steps": preset.steps,
        **evaluate(model, test, classes, seed=seed),
        "parameters": int(sum(tf.size(each) for each in model.trainable_variables)),
        "wall_seconds": round(time.time() - started, 1),
        # Of the process, imports and tracing included.
        "cpu_seconds": round(time.process_time(), 1),
    }
    pictures.draw()
    writer.close()
    write_json(run.result, result)
    return result


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
    model.compile(build_optimizer(preset))
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
