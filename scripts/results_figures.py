"""Draws the figures of docs/pages/results.md from the runs of the small image models.

    python scripts/results_figures.py RUNS [--data-dir DIR]

scripts/small_models.sh trains the runs, and then calls this.
"""

import pathlib

import click
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from iresnet_tf.models import bits_per_dim
from iresnet_tf.training import RunFolder, open_source

IMAGES = pathlib.Path(__file__).parents[1] / "docs" / "pages" / "images"
CURVES = {
    "mnist-density": ("val_bits_per_dim", "bits/dim"),
    "cifar10-density": ("val_bits_per_dim", "bits/dim"),
    "mnist-classifier": ("val_accuracy", "accuracy"),
    "cifar10-classifier": ("val_accuracy", "accuracy"),
}


@click.command()
@click.argument("runs", type=click.Path(path_type=pathlib.Path))
@click.option("--data-dir", help="The TFDS directory.")
def main(runs, data_dir):
    curves(runs).savefig(IMAGES / "small_models.png")
    run = RunFolder(runs / "mnist-hybrid")
    hybrid(run, data_dir).savefig(IMAGES / "hybrid.png")
    hybrid_curves(run).savefig(IMAGES / "hybrid_curves.png")


def curves(runs):
    """Plots the validation figure of every epoch against the wall time of training."""
    figure = _figure((10.0, 2.6))
    for axes, (name, (tag, label)) in zip(figure.subplots(1, len(CURVES)), CURVES.items()):
        events = EventAccumulator(str(RunFolder(runs / name).tensorboard), {"tensors": 0})
        events.Reload()
        found = events.Tensors(tag)
        # Figures are written when an epoch ends. The start of training is not recorded: it is
        # taken to be one median epoch before the first figures.
        times = np.array([each.wall_time for each in found])
        minutes = (times - times[0] + np.median(np.diff(times))) / 60.0
        values = [float(np.frombuffer(e.tensor_proto.tensor_content, np.float32)[0]) for e in found]
        axes.plot(minutes, values, color="#3b4cc0", marker=".")
        axes.set(title=name, xlabel="minutes", ylabel=f"validation {label}")
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    return figure


def hybrid_curves(run):
    """Plots both validation figures of the hybrid after every epoch against its steps."""
    history = run.read_history()
    steps = [line["step"] for line in history]
    figure = _figure((6.0, 2.6))
    labels = {"val_accuracy": "accuracy", "val_bits_per_dim": "bits/dim"}
    for axes, (name, label) in zip(figure.subplots(1, 2), labels.items()):
        axes.plot(steps, [line[name] for line in history], color="#3b4cc0", marker=".")
        axes.set(title="mnist-hybrid", xlabel="steps", ylabel=f"validation {label}")
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    return figure


def hybrid(run, data_dir):
    """Shows test digits with their class and likelihood, and samples of every class."""
    model = run.load_model()
    source = open_source(run.read_config()["preset"], data_dir=data_dir)
    x, y = source.examples("test", 20)
    outputs = model.predict(model.dequantized(x, 0), verbose=0)
    classes = outputs["logits"].argmax(1)
    bits = bits_per_dim(-outputs["log_prob"], model.dimension)
    figure = _figure((10.0, 5.4))
    rows = figure.subplots(6, 10)
    for axes, image, shown, value, label in zip(rows[:2].flat, x, classes, bits, y):
        right = "" if shown == label else f" (is {label})"
        _show(axes, image, source.levels, f"{shown}{right} · {value:.2f}")
    samples = model.sample(40, seed=0, labels=np.tile(np.arange(10), 4))
    for number, (axes, image) in enumerate(zip(rows[2:].flat, np.asarray(samples))):
        _show(axes, image, source.levels, f"class {number}" if number < 10 else None)
    figure.tight_layout()
    return figure


def _show(axes, image, levels, title):
    axes.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=levels - 1)
    axes.set_axis_off()
    if title:
        axes.set_title(title, fontsize=8)


def _figure(size):
    figure = Figure(size, dpi=110)
    FigureCanvasAgg(figure)
    return figure


if __name__ == "__main__":
    main()
