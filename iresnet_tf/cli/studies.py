"""The subcommand ``analyze``: the studies of the papers."""

import pathlib
from collections.abc import Callable

import click
from matplotlib.figure import Figure

from iresnet_tf import analysis
from iresnet_tf.analysis import plots
from iresnet_tf.cli.options import PATH, clear_errors, data_dir
from iresnet_tf.cli.output import require_new, write_picture
from iresnet_tf.cli.runs import open_run
from iresnet_tf.data import draw_outliers


def _spectrum(model, source, examples, **others):
    study = analysis.study_spectrum(model)
    return plots.spectrum(study), study


def _log_det(model, source, examples, **others):
    study = analysis.study_log_det(model, source.examples("test", examples or 16).x)
    return plots.log_det(study), study


def _inverse(model, source, examples, **others):
    study = analysis.study_inverse(model, source.examples("test", examples or 16).x)
    return plots.inverse(study), study


def _outliers(model, source, examples, *, against, data_dir):
    inside = source.examples("test", examples or 500).x
    typical = source.initial_examples(len(inside), seed=0).numpy()
    others = {
        name: draw_outliers(name, inside, levels=source.levels, data_dir=data_dir)
        for name in against
    }
    study = analysis.study_outliers(model, typical, inside, others)
    return plots.outliers(study), study


_STUDIES: dict[str, Callable[..., tuple[Figure, analysis.Result]]] = {
    "spectrum": _spectrum,
    "log-det": _log_det,
    "inverse": _inverse,
    "ood": _outliers,
}


@click.command()
@click.argument("run", type=PATH)
@click.argument("study", type=click.Choice(list(_STUDIES)))
@click.option("--examples", type=click.IntRange(1), help="16; for ood 500 of each set.")
@click.option(
    "--against",
    multiple=True,
    default=("noise", "constant"),
    show_default=True,
    help="ood: noise, constant, or the name of a data set, brought to the model's shape.",
)
@click.option("--out", type=PATH, help="The PNG to write; by default RUN/analysis/STUDY.png.")
@data_dir
@clear_errors
def analyze(
    run: pathlib.Path,
    study: str,
    examples: int | None,
    against: tuple[str, ...],
    out: pathlib.Path | None,
    data_dir: pathlib.Path | None,
) -> None:
    """Study RUN as the papers do: a picture, and its numbers as JSON next to it."""
    if out is not None:
        require_new(out, ".png")
    model, source = open_run(run, data_dir=data_dir)
    if out is None and not run.is_dir():
        raise ValueError(f"{run} is no run folder to write into: give --out.")
    make = _STUDIES[study]
    picture, result = make(model, source, examples, against=against, data_dir=data_dir)
    path = run / "analysis" / f"{study}.png" if out is None else out
    write_picture(picture, result.as_dict(), path)
