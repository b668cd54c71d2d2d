"""Draws the pictures of the trained models that ship, or of the runs of scripts/small_models.sh.

    python scripts/pictures.py [--data-dir DIR]                         (into docs/pages/images)
    python scripts/pictures.py --runs RUNS --out FOLDER [--data-dir DIR]

hero.png shows at a glance what a model does: mnist-hybrid, or digits-density if that is missing.
cifar10_panels.png has real data, reconstructions and samples; model_NAME.png, what a model makes;
curves.png, how each was trained.  It says what it leaves out because a model or its data are
missing.
"""

import pathlib

import click
import numpy as np
from PIL import Image

from iresnet_tf import training
from iresnet_tf.analysis import interpolate, plots
from iresnet_tf.analysis.evaluation import reconstruction
from iresnet_tf.analysis.likelihood import negative_log_likelihoods
from iresnet_tf.analysis.plots.canvas import BLUE, INK, new_figure
from iresnet_tf.analysis.plots.models import reconstructed
from iresnet_tf.analysis.results import rounded_up
from iresnet_tf.cli.runs import open_run
from iresnet_tf.models import bits_per_dim

IMAGES = pathlib.Path(__file__).resolve().parents[1] / "docs" / "pages" / "images"
NAMES = (
    *("digits-density", "mnist-density", "mnist-hybrid", "mnist-classifier"),
    *("cifar10-density", "cifar10-classifier"),
)
"""The models that scripts/small_models.sh trains."""

LABELS = {
    "val_bits_per_dim": "held-out bits/dim",
    "val_accuracy": "held-out accuracy",
    "bits_per_dim": "training bits/dim",
}
"""The metrics that the curves show, the last only without the first, with their labels."""

COLUMNS = 10
TEMPERATURE, TEMPERATURE_BY_CLASS = 1.0, 0.8
"""Temperatures of the samples; the pictures state them."""


@click.command()
@click.option("--runs", type=click.Path(exists=True, path_type=pathlib.Path))
@click.option("--out", type=click.Path(path_type=pathlib.Path), default=IMAGES)
@click.option("--data-dir", help="The TFDS directory.")
def main(runs, out, data_dir):
    out.mkdir(parents=True, exist_ok=True)
    draw(out, runs=runs, data_dir=data_dir)


def draw(out, *, runs=None, data_dir=None):
    opened = {}
    for name in (*NAMES, *(() if runs else training.pretrained_names())):
        if name not in opened and (found := _opened(name, runs, data_dir)):
            opened[name] = found
    for name, (model, source) in opened.items():
        _keep(made_by(model, source), out / f"model_{name}.png")
    for name in ("mnist-hybrid", "digits-density"):
        if name in opened:
            _keep(hero(*opened[name]), out / "hero.png")
            break
    if "cifar10-density" in opened:
        _keep(panels(*opened["cifar10-density"]), out / "cifar10_panels.png")
    if opened:
        _keep(curves({name: _history(name, runs) for name in opened}), out / "curves.png")


def _opened(name, runs, data_dir):
    """Returns model and data of a name, or ``None``, with the reason, if one of them is missing."""
    path = pathlib.Path(name) if runs is None else runs / name
    if runs is None and name not in training.pretrained_names():
        click.echo(f"left out {name}: it does not ship", err=True)
        return None
    try:
        return open_run(path, data_dir=data_dir)
    except FileNotFoundError as error:
        click.echo(f"left out {name}: {error}", err=True)
        return None


def _history(name, runs):
    return (
        training.card(name).curve
        if runs is None
        else training.RunFolder(runs / name).read_history()
    )


def hero(model, source):
    """Shows data with class and bits/dim, the way there and back, samples, and a path."""
    x = _one_of_each_class(source)
    nats = negative_log_likelihoods(model, x).mean(0)
    captions = [f"{value:.2f}" for value in bits_per_dim(nats, model.dimension)]
    title = "test images, with their bits/dim"
    if model.classes is not None:
        found = np.asarray(model.classify(model.dequantized(x, 0))).argmax(1)
        captions = [f"{label} · {value}" for label, value in zip(found, captions)]
        title = "test images, with the class and the bits/dim that the model gives them"
    error = reconstruction(model, x).max_abs_error
    labels = {"labels": np.tile(np.arange(COLUMNS), 2)} if model.classes is not None else {}
    temperature = TEMPERATURE_BY_CLASS if labels else TEMPERATURE
    drawn = model.sample(2 * COLUMNS, temperature=temperature, seed=0, **labels)
    path = interpolate(model, x[3:4], x[8:9], steps=COLUMNS).points[0]
    kind = "samples by class" if labels else "samples"
    rows = [
        (title, x, captions),
        (
            f"the same, there and back: off by at most {rounded_up(error, 1)} levels",
            reconstructed(model, x),
            [],
        ),
        (f"{kind}, at temperature {temperature:g}", np.asarray(drawn), []),
        ("a path in latent space from one image to another", path, []),
    ]
    return _rows(rows, source.levels)


def _rows(rows, levels, *, side=0.74, pitch=0.8, line=0.3):
    """Draws rows of images, each with a title and captions; lengths are in inches."""
    lines = [len(images) // COLUMNS for _, images, _ in rows]
    height = sum(lines) * pitch + line * sum(1.2 + 0.6 * bool(texts) for *_, texts in rows)
    figure = new_figure(COLUMNS * pitch, height)
    top = height
    for count, (title, images, texts) in zip(lines, rows):
        top -= line
        figure.text(0.0, (top + 0.1) / height, f" {title}", va="center", color=INK, fontsize=10)
        top -= line * (0.2 + 0.6 * bool(texts))
        for index, image in enumerate(images):
            row, column = divmod(index, COLUMNS)
            place = (column * pitch + 0.5 * (pitch - side), top - row * pitch - side, side, side)
            axes = figure.add_axes(np.divide(place, [COLUMNS * pitch, height] * 2))
            shown = np.clip(image.squeeze() / (levels - 1), 0.0, 1.0)
            axes.imshow(shown, cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
            axes.set_axis_off()
            if texts:
                axes.set_title(texts[index], fontsize=8, color=INK, pad=3)
        top -= count * pitch
    return figure


def _one_of_each_class(source):
    x, y = source.examples("test")
    return x[[int(np.argmax(y == label)) for label in range(COLUMNS)]]


def panels(model, source):
    """Shows real data, their reconstructions and samples, as the original's page does."""
    x = source.examples("test", 36).x
    drawn = model.sample(36, temperature=TEMPERATURE, seed=0)
    parts = {
        "real data": x,
        "reconstructions": reconstructed(model, x),
        f"samples, at temperature {TEMPERATURE:g}": np.asarray(drawn),
    }
    figure = new_figure(11.0, 4.0)
    for axes, (title, images) in zip(figure.subplots(1, len(parts)), parts.items()):
        axes.imshow(plots.image_sheet(images, source.levels), interpolation="nearest")
        axes.set_title(title, color=INK)
        axes.set_axis_off()
    figure.tight_layout()
    return figure


def made_by(model, source):
    """Draws samples of a density, in columns of classes if it has them; else reconstructions."""
    x = source.examples("test", 20).x
    if not model.has_density:
        return plots.reconstructions(model, x, levels=source.levels)
    by_class = model.prior.takes_labels
    labels = np.tile(np.arange(COLUMNS), COLUMNS) if by_class else None
    count = COLUMNS**2 if by_class else 64
    return plots.samples(model, x, count=count, temperature=TEMPERATURE, labels=labels)


def curves(histories):
    """Plots the metrics of every epoch against the steps, one panel for each metric of a model."""
    found = [
        (name, metric, lines)
        for name, lines in histories.items()
        for metric in LABELS
        if metric in lines[0] and not (metric == "bits_per_dim" and "val_bits_per_dim" in lines[0])
    ]
    columns = min(3, len(found))
    figure = new_figure(3.4 * columns, 2.6 * -(-len(found) // columns))
    panels = figure.subplots(-(-len(found) // columns), columns, squeeze=False).flat
    for axes, (name, metric, lines) in zip(panels, found):
        axes.plot([line["step"] for line in lines], [line[metric] for line in lines], color=BLUE)
        axes.set(title=name, xlabel="steps", ylabel=LABELS[metric])
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels:
        axes.set_visible(False)
    figure.tight_layout()
    return figure


def _keep(figure, path):
    """Saves a figure with 256 colours."""
    image = Image.fromarray(plots.as_array(figure)[0])
    image.quantize(256).save(path, optimize=True)
    click.echo(f"{path} ({path.stat().st_size / 1000:.0f} kB)")


if __name__ == "__main__":
    main()
