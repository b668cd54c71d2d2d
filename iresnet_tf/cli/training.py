"""Defines the subcommands ``presets`` and ``train``."""

import json
import pathlib

import click

from iresnet_tf import training
from iresnet_tf.cli.options import PATH, SEED, clear_errors, data_dir
from iresnet_tf.cli.output import require_writable
from iresnet_tf.cli.runs import set_threads
from iresnet_tf.training import continuation, strategies


@click.command()
def presets() -> None:
    """List the presets with their model, data and source."""
    for name in training.presets.names():
        preset = training.presets.get(name)
        click.echo(f"{name:24} {preset.summary()} | {preset.source}")


@click.command()
@click.argument("preset")
@click.argument("overrides", nargs=-1, metavar="[FIELD=VALUE]...")
@click.option("--out", required=True, type=PATH, help="The run folder, new unless --resume.")
@click.option("--epochs", type=click.IntRange(1), help="Number of epochs; may extend a run.")
@click.option("--steps", type=click.IntRange(1), help="Number of steps, rounded up to epochs.")
@click.option("--batch-size", type=click.IntRange(1), help="Batch size instead of the preset's.")
@click.option(
    *("--csv", "--parquet", "--npy", "table"),
    type=PATH,
    help="The table of the presets for tables.",
)
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="NAME=KIND",
    help="Kind of a column, where the inferred one is wrong: numeric, integer, categorical, "
    "boolean or drop, as in 'share=numeric [0, 1]' or 'size=categorical small < large'; "
    "repeatable.",
)
@click.option("--folder", type=PATH, help="A folder of pictures, for a preset for images.")
@click.option("--npz", type=PATH, help="An .npz or .npy file of pictures, for the same presets.")
@click.option("--context", metavar="COLUMNS", help="The columns given to conditional: a,b,c.")
@click.option("--seed", type=SEED, help="0 by default.")
@click.option("--resume", is_flag=True, help="Continue the run in --out, if there is one.")
@click.option("--estimate", is_flag=True, help="Only print how long it takes on this machine.")
@click.option(
    "--strategy",
    type=click.Choice(strategies.NAMES),
    default="auto",
    show_default=True,
    help="auto: every GPU of this machine. multi-worker: several machines, one command on each.",
)
@click.option("--workers", metavar="HOST:PORT,…", help="All workers; TF_CONFIG is an alternative.")
@click.option("--worker", type=int, help="Index of this worker in --workers; the chief is 0.")
@data_dir
@clear_errors
def train(
    preset: str,
    overrides: tuple[str, ...],
    out: pathlib.Path,
    epochs: int | None,
    steps: int | None,
    batch_size: int | None,
    table: pathlib.Path | None,
    folder: pathlib.Path | None,
    npz: pathlib.Path | None,
    columns: tuple[str, ...],
    context: str | None,
    seed: int | None,
    resume: bool,
    estimate: bool,
    strategy: str,
    workers: str | None,
    worker: int | None,
    data_dir: pathlib.Path | None,
) -> None:
    """Train PRESET in a run folder; FIELD=VALUE replaces a field, as in model.width=32."""
    devices = (strategy, workers.split(",") if workers else None, worker)
    if epochs and steps:
        raise click.UsageError("Give --epochs or --steps, not both.")
    options = {
        "batch_size": batch_size,
        "data.table.file": table and table.resolve(),
        "data.folder": folder,
        "data.npz": npz,
        "data.table.kinds": columns and json.dumps(dict(map(_named_kind, columns))),
        "data.context": context,
    }
    given = (f"{field}={value}" for field, value in options.items() if value)
    overrides = (*overrides, *given)
    run, done = training.RunFolder(out), 0
    if resume and run.is_begun():
        stored = run.read_run()
        seed = stored.seed if seed is None else seed
        config = continuation.requested(
            stored.preset, preset, overrides, epochs=epochs, steps=steps
        )
        done = max(map(run.step_of, run.latest_checkpoints()), default=0)
    else:
        run.require_free()
        run.require_new()
        require_writable(out)
        config = training.presets.get(preset, overrides).with_length(epochs, steps)
    set_threads(config.intra_op_threads)
    if estimate:
        click.echo(_estimate(config, run, done, seed or 0, data_dir))
        return
    result = training.train(
        config,
        out,
        resume=resume,
        seed=seed or 0,
        data_dir=data_dir,
        strategy=strategies.get(*devices),
    )
    if result is not None:
        click.echo(json.dumps(result, indent=2))


def _named_kind(text):
    name, equals, kind = text.rpartition("=")
    if not equals or not name or not kind.strip():
        raise click.UsageError(f"--column takes NAME=KIND; received {text!r}.")
    return name, kind.strip()


def _estimate(preset, run, done, seed, data_dir):
    if done and run.read_result(preset.steps) is not None:
        return f"{preset.name}: {run.path} has finished."
    time = training.estimate(preset, done=done, data_dir=data_dir, seed=seed)
    return f"{preset.name}: {time}."
