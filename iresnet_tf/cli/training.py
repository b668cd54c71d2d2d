"""The commands that list presets and train them."""

import json

import click

from iresnet_tf.cli import options
from iresnet_tf.cli.files import set_threads
from iresnet_tf.training import presets, strategies, train
from iresnet_tf.training.run_folder import RunFolder


@click.command("presets")
def list_presets():
    """List the presets: model, data, source."""
    for name in presets.names():
        preset = presets.get(name)
        model = preset.model
        blocks, width = (
            "-".join(map(str, size)) if isinstance(size, tuple) else size
            for size in (model.blocks, model.width)
        )
        click.echo(
            f"{name:24} {preset.task.kind}, {model.architecture} flow, blocks {blocks}, width "
            f"{width}, coeff {model.coeff} | data {preset.data.name} | {preset.source}"
        )


@click.command("train")
@click.argument("preset")
@click.argument("overrides", nargs=-1, metavar="[FIELD=VALUE]...")
@click.option("--out", required=True, type=options.PATH, help="The run folder; new, or --resume.")
@click.option("--epochs", type=click.IntRange(1), help="Instead of the preset's number.")
@click.option("--steps", type=click.IntRange(1), help="Likewise; rounded up to whole epochs.")
@click.option("--batch-size", type=click.IntRange(1), help="Instead of the preset's size.")
@click.option(
    "--csv", "--npy", "table", type=options.PATH, help="The table, for the preset tabular."
)
@click.option("--seed", type=options.SEED, help="0 by default.")
@click.option("--resume", is_flag=True, help="Continue the run in --out.")
@click.option(
    "--strategy",
    type=click.Choice(strategies.NAMES),
    default="auto",
    show_default=True,
    help="auto: all GPUs of this machine. multi-worker: several machines, one command on each.",
)
@click.option("--workers", metavar="HOST:PORT,…", help="All workers; or set TF_CONFIG.")
@click.option("--worker", type=int, help="The index of this worker in --workers; 0 is the chief.")
@options.data_dir_option
def train_preset(
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
    """Train PRESET into a run folder, with fields replaced (for example model.width=32)."""
    devices = (strategy, workers.split(",") if workers else None, worker)
    if epochs and steps:
        raise click.UsageError("Give --epochs or --steps, not both.")
    if resume:
        if overrides or epochs or steps or batch_size or table or seed is not None:
            raise click.UsageError("--resume continues the run as it was configured.")
        config = RunFolder(out).read_config()["preset"]
        if config.name != preset:
            raise ValueError(f"{out} is a run of {config.name}, not of {preset}.")
        set_threads(config.intra_op_threads)
        result = train.resume(out, data_dir, strategies.get(*devices))
    else:
        if batch_size:
            overrides = (*overrides, f"batch_size={batch_size}")
        if table:
            overrides = (*overrides, f"data.table.file={table.resolve()}")
        config = presets.get(preset, overrides).with_length(epochs, steps)
        set_threads(config.intra_op_threads)
        result = train.train(config, out, seed or 0, data_dir, strategies.get(*devices))
    if result is not None:
        click.echo(json.dumps(result, indent=2))
