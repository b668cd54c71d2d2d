"""Trains one classifier under several constraints and without any, and tabulates what each costs.

    python scripts/invertibility_table.py cifar10-classifier --out TABLE
    python scripts/invertibility_table.py cifar10-classifier --out TABLE --steps 1500 \
        model.blocks=3,3,3 model.width=64 model.squeeze=true model.padding=1 batch_size=64

The first command trains the published size, the second a small one. Each run has a folder under
TABLE. Given again, the command continues a run that was cut off and keeps one that is finished.
The table is written to TABLE/table.json and TABLE/table.md.

Source: Behrmann et al. 2019 (arXiv:1811.00995), table 1.
"""

import json
import pathlib
import subprocess
import sys

import click

from iresnet_tf.analysis.results import rounded_up
from iresnet_tf.files import write_json
from iresnet_tf.training import RunFolder


@click.command()
@click.argument("preset")
@click.argument("overrides", nargs=-1, metavar="[FIELD=VALUE]...")
@click.option("--coeffs", default="0.9,0.8,0.7,0.6,0.5", show_default=True)
@click.option("--out", required=True, type=click.Path(path_type=pathlib.Path))
@click.option(
    "--steps", type=click.IntRange(1), help="Steps of every run, instead of the preset's."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--data-dir", help="The TFDS directory.")
def main(preset, overrides, coeffs, out, steps, seed, data_dir):
    rows = []
    for coeff in ["none", *coeffs.split(",")]:
        run = RunFolder(out / f"coeff-{coeff}")
        command = [sys.executable, "-m", "iresnet_tf", "train", preset, "--out", str(run.path)]
        options = ["--resume", f"model.coeff={coeff}", *overrides, "--seed", str(seed)]
        options += ["--data-dir", data_dir] if data_dir else []
        options += ["--steps", str(steps)] if steps else []
        subprocess.run([*command, *options], check=True, stdout=subprocess.DEVNULL)
        rows.append(_row(coeff, json.loads(run.result.read_text())))
    write_json(out / "table.json", rows)
    table = _markdown(rows)
    (out / "table.md").write_text(table)
    click.echo(table)


def _row(coeff, result):
    if "accuracy" not in result:
        raise click.UsageError(
            f"The table needs a classifier; received the preset {result['preset']}."
        )
    return {
        "coeff": None if coeff == "none" else float(coeff),
        "accuracy": result["accuracy"],
        "standard_error": result["classification"]["standard_error"],
        "max_abs_error": result["reconstruction"]["max_abs_error"],
        "evaluations": result["reconstruction"]["iterations"],
        "certified_max": result["lipschitz"]["certified_max"],
        "cpu_seconds": result["cpu_seconds"],
    }


def _markdown(rows):
    lines = [
        "| c | test accuracy, % | inversion error, levels | evaluations of g | certified Lip(g) |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        error = "diverges" if row["max_abs_error"] is None else f"{row['max_abs_error']:.1e}"
        bound = row["certified_max"]
        known = bound is not None and bound < 1.0
        cells = [
            "none" if row["coeff"] is None else f"{row['coeff']:g}",
            f"{100 * row['accuracy']:.1f} ± {100 * row['standard_error']:.1f}",
            error,
            str(row["evaluations"]),
            f"≤ {rounded_up(bound, 3)}" if known else "not certified",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
