"""Defines the subcommands that draw data: ``sample``, ``reconstruct`` and ``interpolate``."""

import json
import pathlib
from typing import Any

import click
import numpy as np

from iresnet_tf import analysis, columns
from iresnet_tf.analysis import plots
from iresnet_tf.analysis.evaluation import reconstruction
from iresnet_tf.cli.options import PATH, SEED, data_dir, run_command
from iresnet_tf.cli.output import require_new, write_picture
from iresnet_tf.cli.runs import open_run
from iresnet_tf.data import tables
from iresnet_tf.data.conditional_table import contexts_of


@run_command
@click.option("--count", type=click.IntRange(1), default=64, show_default=True)
@click.option(
    "--given",
    multiple=True,
    metavar="COLUMN=NUMBER,…",
    help="A context of a conditional model; --count samples of each. By default the contexts are "
    "those of the first test rows, with one sample each.",
)
@click.option("--label", type=click.IntRange(0), help="One class; needs a conditional prior.")
@click.option("--temperature", type=click.FloatRange(0.0, min_open=True), default=1.0)
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option(
    "--out",
    required=True,
    type=PATH,
    help="The PNG to write, a CSV for vectors, or a CSV or Parquet file for a table.",
)
@data_dir
def sample(
    run: pathlib.Path,
    count: int,
    given: tuple[str, ...],
    label: int | None,
    temperature: float,
    seed: int,
    out: pathlib.Path,
    data_dir: pathlib.Path | None,
) -> None:
    """Draw samples of RUN as a picture, or as a table if --out ends in .csv or .parquet."""
    require_new(out, ".png", ".csv", ".parquet")
    model, source = open_run(run, data_dir=data_dir)
    if not model.has_density:
        raise ValueError(f"{run} is a classifier: it has no density to sample from.")
    if label is not None and not model.prior.takes_labels:
        raise ValueError(
            f"--label is for models with a conditional prior; that of {run} takes no labels. Leave "
            "--label out."
        )
    options: dict[str, Any] = {"temperature": temperature, "seed": seed}
    numbers = {"count": count, **options, "label": label}
    if model.takes_context:
        _sample_given(model, source, given, count, options, numbers, out)
        return
    if given:
        raise ValueError(
            f"--given is for conditional models; {run} takes no context. Leave --given out."
        )
    if out.suffix.lower() != ".png":
        if source.levels is not None:
            raise ValueError(f"{run} is a model of images: give an --out that ends in .png.")
        if source.schema is None and out.suffix.lower() == ".parquet":
            raise ValueError(f"{run} is a model of numbers: give an --out that ends in .csv.")
        if source.schema is not None:
            columns.write(out, model.sample_rows(count, **options))
        else:
            names = source.columns or ("x1", "x2")
            tables.write(out, names, model.sample(count, **options))
        click.echo(f"wrote {out}")
        return
    picture = plots.samples(
        model,
        source.examples("test").x,
        count=count,
        **options,
        labels=None if label is None else [label] * count,
        names=source.columns,
    )
    write_picture(picture, numbers, out)


def _sample_given(model, source, given, count, options, numbers, out):
    """Draws samples of a conditional model; a CSV has the columns of the contexts first."""
    is_csv = out.suffix.lower() == ".csv"
    x, rows = source.examples("test", None if given else count)
    each = 1
    if given:
        contexts = [contexts_of(text, source.context_columns) for text in given]
        rows, each = np.concatenate(contexts), count
    elif not is_csv:
        picture = plots.conditional_samples(model, x, rows, names=source.columns, **options)
        write_picture(picture, numbers, out)
        return
    drawn = np.asarray(model.sample(each, context=rows, **options)).reshape(-1, x.shape[1])
    if is_csv:
        table = np.concatenate([np.repeat(rows, each, axis=0), drawn], 1)
        tables.write(out, (*source.context_columns, *source.columns), table)
        click.echo(f"wrote {out}")
        return
    groups = {"data": x, "model": drawn}
    write_picture(plots.columns(groups, names=source.columns), {**numbers, "given": given}, out)


@run_command
@click.option("--count", type=click.IntRange(1), default=32, show_default=True)
@click.option("--out", required=True, type=PATH, help="The PNG to write; a JSON file goes with it.")
@data_dir
def reconstruct(
    run: pathlib.Path, count: int, out: pathlib.Path, data_dir: pathlib.Path | None
) -> None:
    """Show test data and their reconstructions by RUN's forward map and its inverse."""
    require_new(out, ".png")
    model, source = open_run(run, data_dir=data_dir)
    x, beside = source.examples("test", count)
    context = beside if model.takes_context else None
    picture = plots.reconstructions(
        model, x, levels=source.levels, names=source.columns, context=context
    )
    numbers = reconstruction(model, x, context=context).as_dict()
    write_picture(picture, numbers, out)
    click.echo(json.dumps(numbers, indent=2))


@run_command
@click.option("--pairs", type=click.IntRange(1), default=8, show_default=True)
@click.option("--steps", type=click.IntRange(2), default=9, show_default=True)
@click.option("--spherical", is_flag=True, help="Follow arcs around the origin, not lines.")
@click.option("--out", required=True, type=PATH, help="The PNG to write; a JSON file goes with it.")
@data_dir
def interpolate(
    run: pathlib.Path,
    pairs: int,
    steps: int,
    spherical: bool,
    out: pathlib.Path,
    data_dir: pathlib.Path | None,
) -> None:
    """Show paths in latent space between test examples of RUN."""
    require_new(out, ".png")
    model, source = open_run(run, data_dir=data_dir)
    if model.takes_context:
        raise ValueError(f"Paths are drawn by models that take no context; {run} takes one.")
    x = source.examples("test", 2 * pairs).x
    half = len(x) // 2
    result = analysis.interpolate(
        *(model, x[:half], x[half : 2 * half]),
        steps=steps,
        spherical=spherical,
        levels=source.levels,
    )
    write_picture(plots.interpolation(result), result.as_dict(), out)
    click.echo(json.dumps(result.as_dict(), indent=2))
