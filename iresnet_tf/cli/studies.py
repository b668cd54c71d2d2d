"""Defines the subcommand ``analyze``, which makes the studies of the papers."""

import pathlib
from collections.abc import Callable

import click

from iresnet_tf import analysis
from iresnet_tf.analysis import plots
from iresnet_tf.cli.options import PATH, data_dir, run_command
from iresnet_tf.cli.output import require_new, require_writable, write_picture
from iresnet_tf.cli.runs import open_run
from iresnet_tf.data import draw_outliers


def _spectrum(model, source, examples, **others):
    return analysis.study_spectrum(model)


def _log_det(model, source, examples, **others):
    x, beside = source.examples("test", examples or 16)
    context = beside if model.takes_context else None
    return analysis.study_log_det(model, x, context=context)


def _inverse(model, source, examples, **others):
    x, beside = source.examples("test", examples or 16)
    context = beside if model.takes_context else None
    return analysis.study_inverse(model, x, context=context)


def _calibration(model, source, examples, **others):
    x, beside = source.examples("test", examples or 1000)
    return analysis.study_calibration(model, x, beside, names=source.columns)


def _outliers(model, source, examples, *, against, data_dir):
    if model.takes_context:
        raise ValueError(
            f"The study ood compares log p(x), but {model.name} depends on a context. Study its "
            "calibration."
        )
    inside = source.examples("test", examples or 500).x
    typical = source.initial_examples(len(inside), seed=0).numpy()
    others = {
        name: draw_outliers(name, inside, levels=source.levels, data_dir=data_dir)
        for name in against
    }
    return analysis.study_outliers(model, typical, inside, others)


_STUDIES: dict[str, tuple[Callable[..., analysis.Result], Callable]] = {
    "spectrum": (_spectrum, plots.spectrum),
    "log-det": (_log_det, plots.log_det),
    "inverse": (_inverse, plots.inverse),
    "ood": (_outliers, plots.outliers),
    "calibration": (_calibration, plots.calibration),
}
"""The function of each study, and the function that draws its result."""


@run_command
@click.argument("study", type=click.Choice(list(_STUDIES)))
@click.option(
    "--examples",
    type=click.IntRange(1),
    help="How many; default 16, for ood 500, for calibration 1000.",
)
@click.option(
    "--against",
    multiple=True,
    default=("noise", "constant"),
    show_default=True,
    help="For ood: noise, constant, or a data set, which is fitted to the model's shape.",
)
@click.option("--out", type=PATH, help="The PNG to write; by default RUN/analysis/STUDY.png.")
@data_dir
def analyze(
    run: pathlib.Path,
    study: str,
    examples: int | None,
    against: tuple[str, ...],
    out: pathlib.Path | None,
    data_dir: pathlib.Path | None,
) -> None:
    """Study RUN as the papers do; write a picture, and its numbers as JSON next to it."""
    path = run / "analysis" / f"{study}.png" if out is None else out
    if out is not None:
        require_new(out, ".png")
    elif run.is_dir():
        require_writable(path)
    model, source = open_run(run, data_dir=data_dir)
    if out is None and not run.is_dir():
        raise ValueError(f"{run} is not a run folder to write into: give --out.")
    measure, draw = _STUDIES[study]
    result = measure(model, source, examples, against=against, data_dir=data_dir)
    write_picture(draw(result), result.as_dict(), path)
