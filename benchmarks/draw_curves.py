"""Draws curves of `curve.py`: test bits/dim by CPU-seconds of training.

    python benchmarks/draw_curves.py --out PNG "PANEL:LABEL=FILE,FILE" …

Every file is one line; files of one label, for example of several seeds, share a colour.
"""

import json
import pathlib

import click
import matplotlib.pyplot as plt


@click.command()
@click.argument("curves", nargs=-1, required=True, metavar="[PANEL:LABEL=FILE,FILE]…")
@click.option("--out", required=True, type=click.Path(dir_okay=False), help="PNG file.")
def main(curves, out):
    """Draws a panel for each PANEL, with the curves of its labels."""
    panels = {}
    for curve in curves:
        name, _, files = curve.rpartition("=")
        panel, _, label = name.partition(":")
        panels.setdefault(panel, []).append((label, files.split(",")))
    size = (4.5 * len(panels), 3.5)
    figure, axes = plt.subplots(1, len(panels), figsize=size, squeeze=False, layout="constrained")
    for axis, (panel, lines) in zip(axes[0], panels.items(), strict=True):
        for index, (label, files) in enumerate(lines):
            for number, file in enumerate(files):
                rows = json.loads(pathlib.Path(file).read_text())["rows"]
                seconds, values = ([row[key] for row in rows] for key in ("CPU s", "bits/dim"))
                axis.plot(seconds, values, f"C{index}.-", label="" if number else label, lw=1)
        axis.set(title=panel, xlabel="CPU-seconds of training", ylabel="test bits/dim")
        axis.set_xlim(left=0.0)
        axis.legend()
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    main()
