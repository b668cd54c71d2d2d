"""The command that makes the studies of a run."""

import click

from iresnet_tf import analysis
from iresnet_tf.analysis import plots
from iresnet_tf.cli import options
from iresnet_tf.cli.files import load_run, require_new, write_picture
from iresnet_tf.data.outliers import outliers


def _spectrum(model, source, examples, against, data_dir):
    study = analysis.spectrum(model)
    return study, plots.spectra(study)


def _log_det(model, source, examples, against, data_dir):
    study = analysis.log_det_study(model, source.examples("test", examples or 16)[0])
    return study, plots.estimates(study)


def _inverse(model, source, examples, against, data_dir):
    study = analysis.inverse_study(model, source.examples("test", examples or 16)[0])
    return study, plots.convergence(study)


def _outliers(model, source, examples, against, data_dir):
    inside = source.examples("test", examples or 500)[0]
    typical = source.initial_examples(0, len(inside)).numpy()
    others = {name: outliers(name, inside, source.levels, data_dir) for name in against}
    study = analysis.out_of_distribution(model, typical, inside, others)
    return study, plots.roc_curves(study)


_STUDIES = {"spectrum": _spectrum, "log-det": _log_det, "inverse": _inverse, "ood": _outliers}


@click.command()
@options.run_argument
@click.argument("study", type=click.Choice(list(_STUDIES)))
@click.option("--examples", type=click.IntRange(1), help="16; for ood, 500 of each data set.")
@click.option(
    "--against",
    multiple=True,
    default=("noise", "constant"),
    show_default=True,
    help="ood: noise, constant, or a data set, brought to the model's shape and levels.",
)
@click.option("--out", type=options.PATH, help="The PNG; by default RUN/analysis/STUDY.png.")
@options.data_dir_option
def analyze(run, study, examples, against, out, data_dir):
    """Make a study of the paper of RUN: a picture, and its numbers as JSON next to it."""
    if out is not None:
        require_new(out, ".png")
    model, source = load_run(run, data_dir)
    if out is None and not run.is_dir():
        raise ValueError(f"{run} is no run folder to write into: give --out.")
    out = run / "analysis" / f"{study}.png" if out is None else out
    result, figure = _STUDIES[study](model, source, examples, against, data_dir)
    write_picture(figure, result.as_dict(), out)
