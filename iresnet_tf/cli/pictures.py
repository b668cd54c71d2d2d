"""The commands that draw samples, reconstructions and paths of a run."""

import json

import click

from iresnet_tf import analysis
from iresnet_tf.analysis import plots
from iresnet_tf.cli import options
from iresnet_tf.cli.files import load_run, require_new, write_picture
from iresnet_tf.data import tables

_picture_option = click.option(
    "--out",
    required=True,
    type=options.PATH,
    help="The PNG to write; its numbers are written next to it.",
)


@click.command()
@options.run_argument
@click.option("--count", type=click.IntRange(1), default=64, show_default=True)
@click.option("--label", type=click.IntRange(0), help="One class, of a conditional prior.")
@click.option("--temperature", type=click.FloatRange(0.0, min_open=True), default=1.0)
@options.seed_option
@click.option("--out", required=True, type=options.PATH, help="The PNG to write, or a CSV file.")
@options.data_dir_option
def sample(run, count, label, temperature, seed, out, data_dir):
    """Draw samples of RUN into a picture; of vectors also into a table, --out FILE.csv."""
    require_new(out, ".png", ".csv")
    model, source = load_run(run, data_dir)
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
    figure = analysis.samples_figure(
        model,
        source.examples("test")[0],
        count,
        temperature=temperature,
        labels=None if label is None else [label] * count,
        seed=seed,
        names=source.columns,
    )
    numbers = {"count": count, "temperature": temperature, "seed": seed, "label": label}
    write_picture(figure, numbers, out)


@click.command()
@options.run_argument
@click.option("--count", type=click.IntRange(1), default=32, show_default=True)
@_picture_option
@options.data_dir_option
def reconstruct(run, count, out, data_dir):
    """Draw test data and what comes back through RUN's forward map and its inverse."""
    require_new(out, ".png")
    model, source = load_run(run, data_dir)
    shown = source.examples("test", count)[0]
    restored = analysis.reconstructed(model, shown)
    if source.event_shape == (2,):
        figure = plots.point_pairs(shown, restored)
    elif source.levels is None:
        figure = plots.columns({"data": shown, "reconstruction": restored}, source.columns)
    else:
        figure = plots.pairs(shown, restored, source.levels)
    numbers = analysis.reconstruction(model, shown)
    write_picture(figure, numbers, out)
    click.echo(json.dumps(numbers, indent=2))


@click.command()
@options.run_argument
@click.option("--pairs", type=click.IntRange(1), default=8, show_default=True)
@click.option("--steps", type=click.IntRange(2), default=9, show_default=True)
@click.option("--spherical", is_flag=True, help="Arcs around the latents' origin, not lines.")
@_picture_option
@options.data_dir_option
def interpolate(run, pairs, steps, spherical, out, data_dir):
    """Draw paths in latent space between test examples of RUN."""
    require_new(out, ".png")
    model, source = load_run(run, data_dir)
    test = source.examples("test", 2 * pairs)[0]
    half = len(test) // 2
    study = analysis.interpolate(
        model,
        test[:half],
        test[half : 2 * half],
        steps=steps,
        spherical=spherical,
        levels=source.levels,
    )
    write_picture(plots.paths(study), study.as_dict(), out)
    click.echo(json.dumps(study.as_dict(), indent=2))
