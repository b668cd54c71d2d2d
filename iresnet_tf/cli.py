"""The ``iresnet`` command."""

import contextlib
import functools
import json
import pathlib
import sys

import click
import tensorflow as tf

from iresnet_tf.analysis import interpolation, plots
from iresnet_tf.analysis.certificate import certify as make_certificate
from iresnet_tf.analysis.evaluation import estimator_replaced, reconstruction
from iresnet_tf.analysis.evaluation import evaluate as evaluate_model
from iresnet_tf.analysis.inverse_study import inverse_study
from iresnet_tf.analysis.log_det_study import log_det_study
from iresnet_tf.analysis.out_of_distribution import out_of_distribution
from iresnet_tf.analysis.samples import reconstructed, samples_figure
from iresnet_tf.analysis.spectrum import spectrum
from iresnet_tf.data import tables
from iresnet_tf.data.outliers import outliers
from iresnet_tf.numerics import log_det as estimators
from iresnet_tf.numerics.execution import threads
from iresnet_tf.training import presets as catalogue
from iresnet_tf.training import strategies
from iresnet_tf.training import train as training
from iresnet_tf.training.pretrained import load, pretrained_names
from iresnet_tf.training.run_folder import RunFolder, write_json

_PATH = click.Path(path_type=pathlib.Path)
_SEED = click.IntRange(0, 2**31 - 1)
_EXPLAINED = (
    ValueError,
    FileNotFoundError,
    FileExistsError,
    ConnectionError,
    strategies.WorkerLostError,
)
_data_dir = click.option(
    "--data-dir",
    type=_PATH,
    help="The TFDS directory, else TFDS's own; a set that is not there is downloaded.",
)


def _clear_errors(command):
    """Errors that tell the user what to do are shown as such, without a traceback."""

    @functools.wraps(command)
    def wrapped(*args, **kwargs):
        try:
            return command(*args, **kwargs)
        except _EXPLAINED as error:
            raise click.ClickException(str(error)) from error
        except tf.errors.InvalidArgumentError as error:
            raise click.ClickException(error.message) from error

    return wrapped


@click.group()
def main():
    """Invertible residual networks: train, evaluate, sample, certify."""


@main.command()
def presets():
    """List the presets: model, data, source."""
    for name in catalogue.names():
        preset = catalogue.get(name)
        model = preset.model
        blocks, width = (
            "-".join(map(str, each)) if isinstance(each, tuple) else each
            for each in (model.blocks, model.width)
        )
        click.echo(
            f"{name:24} {preset.task.kind}, {model.architecture} flow, blocks {blocks}, width "
            f"{width}, coeff {model.coeff} | data {preset.data.name} | {preset.source}"
        )


@main.command()
@click.argument("preset")
@click.argument("overrides", nargs=-1, metavar="[FIELD=VALUE]...")
@click.option("--out", required=True, type=_PATH, help="The run folder; new, unless --resume.")
@click.option("--epochs", type=click.IntRange(1), help="Instead of the preset's.")
@click.option("--steps", type=click.IntRange(1), help="Likewise; rounded up to whole epochs.")
@click.option("--batch-size", type=click.IntRange(1), help="Instead of the preset's.")
@click.option("--csv", "--npy", "table", type=_PATH, help="The table, for the preset tabular.")
@click.option("--seed", type=_SEED, help="0 by default.")
@click.option("--resume", is_flag=True, help="Continue the run in --out.")
@click.option(
    "--strategy",
    type=click.Choice(strategies.NAMES),
    default="auto",
    show_default=True,
    help="auto: every GPU of this machine. multi-worker: of several, one command on each.",
)
@click.option("--workers", metavar="HOST:PORT,…", help="All workers; or set TF_CONFIG.")
@click.option("--worker", type=int, help="Which of --workers this is, from 0, the chief.")
@_data_dir
@_clear_errors
def train(
    preset,
    overrides,
    out,
    epochs,
    steps,
    batch_size,
    table,
    seed,
    resume,
    strategy,
    workers,
    worker,
    data_dir,
):
    """Train PRESET into a run folder, with fields replaced (as model.width=32)."""
    devices = (strategy, workers.split(",") if workers else None, worker)
    if epochs and steps:
        raise click.UsageError("Give --epochs or --steps, not both.")
    if resume:
        if overrides or epochs or steps or batch_size or table or seed is not None:
            raise click.UsageError("--resume continues the run as it was configured.")
        config = RunFolder(out).read_config()["preset"]
        if config.name != preset:
            raise ValueError(f"{out} is a run of {config.name}, not of {preset}.")
        _set_threads(config.intra_op_threads)
        result = training.resume(out, data_dir, strategies.get(*devices))
    else:
        if batch_size:
            overrides = (*overrides, f"batch_size={batch_size}")
        if table:
            overrides = (*overrides, f"data.table.file={table.resolve()}")
        config = catalogue.get(preset, overrides).with_length(epochs, steps)
        _set_threads(config.intra_op_threads)
        result = training.train(config, out, seed or 0, data_dir, strategies.get(*devices))
    if result is not None:
        click.echo(json.dumps(result, indent=2))


@main.command()
@click.argument("run", type=_PATH)
@click.option("--split", type=click.Choice(["test", "validation", "train"]), default="test")
@click.option(
    "--log-det",
    "log_det",
    help="exact, a number of series terms, or russian-roulette; by default exact up to 256 "
    "dimensions, else the shortest series with a truncation bound of 0.005 bits/dim.",
)
@click.option("--passes", type=click.IntRange(1), help="Repetitions with fresh noise and probes.")
@click.option("--examples", type=click.IntRange(1), help="Only the first of the split; all else.")
@click.option("--seed", type=_SEED, default=0, show_default=True)
@_data_dir
@_clear_errors
def evaluate(run, split, log_det, passes, examples, seed, data_dir):
    """Evaluate RUN: likelihood with its errors, reconstruction, certificate; as JSON."""
    model, source = _load(run, data_dir)
    x, y = source.examples(split, examples)
    estimator = None if log_det is None else _estimator(log_det)
    result = evaluate_model(model, x, y, estimator, passes, seed=seed)
    if run.is_dir():
        write_json(run / "evaluation.json", {"split": split, **result})
    click.echo(json.dumps(result, indent=2))


@main.command()
@click.argument("run", type=_PATH)
@click.option("--count", type=click.IntRange(1), default=64, show_default=True)
@click.option("--label", type=click.IntRange(0), help="One class, of a conditional prior.")
@click.option("--temperature", type=click.FloatRange(0.0, min_open=True), default=1.0)
@click.option("--seed", type=_SEED, default=0, show_default=True)
@click.option("--out", required=True, type=_PATH, help="The PNG to write; of vectors, or CSV.")
@_data_dir
@_clear_errors
def sample(run, count, label, temperature, seed, out, data_dir):
    """Draw samples of RUN into a picture; of vectors, where --out ends in .csv, into a table."""
    _require_new(out, ".png", ".csv")
    model, source = _load(run, data_dir)
    if not model.has_density:
        raise ValueError(f"{run} is a classifier: it has no density to sample from.")
    if label is not None and not model.prior.takes_labels:
        raise ValueError(f"--label is for models with a conditional prior; {run} has another.")
    if out.suffix.lower() == ".csv":
        if source.levels is not None:
            raise ValueError(f"{run} is a model of images: give an --out that ends in .png.")
        out.parent.mkdir(parents=True, exist_ok=True)
        names = source.columns or ("x1", "x2")
        tables.write(out, names, model.sample(count, temperature=temperature, seed=seed))
        click.echo(f"wrote {out}")
        return
    labels = None if label is None else [label] * count
    test = source.examples("test")[0]
    options = {"labels": labels, "names": source.columns}
    figure = samples_figure(model, test, count, temperature, seed, **options)
    numbers = {"count": count, "temperature": temperature, "seed": seed, "label": label}
    _write(figure, numbers, out)


@main.command()
@click.argument("run", type=_PATH)
@click.option("--count", type=click.IntRange(1), default=32, show_default=True)
@click.option("--out", required=True, type=_PATH, help="The PNG to write; numbers beside it.")
@_data_dir
@_clear_errors
def reconstruct(run, count, out, data_dir):
    """Show test data beside what comes back through RUN's forward map and its inverse."""
    _require_new(out, ".png")
    model, source = _load(run, data_dir)
    shown = source.examples("test", count)[0]
    restored = reconstructed(model, shown)
    if source.event_shape == (2,):
        figure = plots.point_pairs(shown, restored)
    elif source.levels is None:
        figure = plots.columns({"data": shown, "reconstruction": restored}, source.columns)
    else:
        figure = plots.pairs(shown, restored, source.levels)
    numbers = reconstruction(model, shown)
    _write(figure, numbers, out)
    click.echo(json.dumps(numbers, indent=2))


@main.command()
@click.argument("run", type=_PATH)
@click.option("--pairs", type=click.IntRange(1), default=8, show_default=True)
@click.option("--steps", type=click.IntRange(2), default=9, show_default=True)
@click.option("--spherical", is_flag=True, help="Arcs around the latents' origin, not lines.")
@click.option("--out", required=True, type=_PATH, help="The PNG to write; numbers beside it.")
@_data_dir
@_clear_errors
def interpolate(run, pairs, steps, spherical, out, data_dir):
    """Show paths in latent space between test examples of RUN."""
    _require_new(out, ".png")
    model, source = _load(run, data_dir)
    test = source.examples("test", 2 * pairs)[0]
    half = len(test) // 2
    ends = test[:half], test[half : 2 * half]
    figure, numbers = interpolation.interpolate(
        model, *ends, steps, spherical=spherical, levels=source.levels
    )
    _write(figure, numbers, out)
    click.echo(json.dumps(numbers, indent=2))


@main.command()
@click.argument("run", type=_PATH)
@click.argument("study", type=click.Choice(["spectrum", "log-det", "inverse", "ood"]))
@click.option("--examples", type=click.IntRange(1), help="16; 500 of each set for ood.")
@click.option(
    "--against",
    multiple=True,
    default=("noise", "constant"),
    show_default=True,
    help="ood: noise, constant, or the name of a data set, made of the model's shape and levels.",
)
@click.option("--out", type=_PATH, help="The PNG to write; by default RUN/analysis/STUDY.png.")
@_data_dir
@_clear_errors
def analyze(run, study, examples, against, out, data_dir):
    """The paper's studies of RUN: a picture, and its numbers as JSON beside it."""
    if out is not None:
        _require_new(out, ".png")
    model, source = _load(run, data_dir)
    if out is None and not run.is_dir():
        raise ValueError(f"{run} is no run folder to write into: give --out.")
    out = run / "analysis" / f"{study}.png" if out is None else out
    if study == "spectrum":
        figure, numbers = spectrum(model)
    elif study == "ood":
        inside = source.examples("test", examples or 500)[0]
        typical = source.initial_examples(0, len(inside)).numpy()
        others = {name: outliers(name, inside, source.levels, data_dir) for name in against}
        figure, numbers = out_of_distribution(model, typical, inside, others)
    else:
        x = source.examples("test", examples or 16)[0]
        make = {"log-det": log_det_study, "inverse": inverse_study}[study]
        figure, numbers = make(model, x)
    _write(figure, numbers, out)


@main.command()
@click.argument("run", type=_PATH)
@click.option("--out", required=True, type=_PATH, help="The folder of the SavedModel; new.")
@click.option("--log-det", "log_det", help="As for evaluate; by default the model's own.")
@_clear_errors
def export(run, out, log_det):
    """Export RUN (or a model file or pretrained name) as a SavedModel that needs no package."""
    model = load(run)
    with contextlib.ExitStack() as stack:
        if log_det is not None:
            stack.enter_context(estimator_replaced(model.flow, _estimator(log_det)))
        model.export(out)
    click.echo(f"wrote {out}")


@main.command()
@click.argument("run", type=_PATH)
@_clear_errors
def certify(run):
    """Certify RUN: every layer's norm beside its coefficient; exit status 1 if a block fails."""
    certificate = make_certificate(load(run))
    click.echo(json.dumps(certificate, indent=2))
    sys.exit(0 if certificate["certified"] else 1)


def _set_threads(intra_op):
    if intra_op == "auto":
        is_large = threads.cores() > threads.MAX_PARTS
        intra_op = None if is_large or tf.config.get_visible_devices("GPU") else 1
    threading = tf.config.threading
    if intra_op in (None, threading.get_intra_op_parallelism_threads()):
        return
    try:
        threading.set_intra_op_parallelism_threads(intra_op)
    except RuntimeError:
        # TensorFlow has started in this process, and keeps the threads that it has.
        click.echo("intra_op_threads has no effect: TensorFlow is running already.", err=True)


def _load(run, data_dir):
    """The model of a run folder or pretrained name, and its data."""
    is_pretrained = str(run) in pretrained_names() and not run.exists()
    preset = catalogue.get(str(run)) if is_pretrained else RunFolder(run).read_config()["preset"]
    _set_threads(preset.intra_op_threads)
    return load(run), training.open_source(preset, data_dir)


def _estimator(text):
    if text.isdecimal() and int(text) > 0:
        return estimators.PowerSeries(int(text))
    named = {"exact": estimators.Exact, "russian-roulette": estimators.RussianRoulette}
    if text not in named:
        raise ValueError(
            f"--log-det is exact, russian-roulette or a positive number of terms; got {text!r}."
        )
    return named[text]()


def _require_new(path, *suffixes):
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"--out ends in {' or '.join(suffixes)}; received {path}.")
    written = [path] if path.suffix.lower() == ".csv" else [path, path.with_suffix(".json")]
    for each in written:
        if each.exists():
            raise FileExistsError(f"{each} exists already; choose another --out.")


def _write(figure, numbers, path):
    """A picture, and its numbers as JSON beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    write_json(path.with_suffix(".json"), numbers)
    click.echo(f"wrote {path} and {path.with_suffix('.json').name}")
