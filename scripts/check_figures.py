"""Evaluates the trained models that ship, and compares the figures with those of their cards.

    python scripts/check_figures.py [NAME …] [--data-dir DIR]

`bash scripts/check_wheel.sh --figures` runs it with the package from the wheel.  It fails if a
figure differs in the digits that docs/pages/models.md states.
"""

import sys

import click
import numpy as np

import iresnet_tf as irn
from iresnet_tf import training

ROUNDING = {"bits/dim": 5e-4, "nats": 5e-4, "accuracy": 5e-5}
"""Half of the last digit that the page states, of each figure."""


@click.command()
@click.argument("names", nargs=-1)
@click.option("--data-dir", help="The TFDS directory.")
def main(names, data_dir):
    print(f"iresnet_tf {irn.__version__} from {irn.__path__[0]}")
    wrong = [name for name in names or training.pretrained_names() if not agrees(name, data_dir)]
    sys.exit(f"{', '.join(wrong)}: figures differ from the card" if wrong else 0)


def agrees(name, data_dir):
    """Returns whether an evaluation of all test examples gives the figures of the card."""
    card = training.card(name)
    source = training.open_source(card.run.preset, data_dir=data_dir)
    x, y = (part if part is None else np.delete(part, card.left_out, 0)
            for part in source.examples("test"))  # fmt: skip
    found = figures(irn.analysis.evaluate(irn.load(name), x, y, seed=card.run.seed))
    stated = figures(card.figures)
    for figure, value in found.items():
        print(f"{name}: {value:.5f} {figure}, {stated[figure]:.5f} on the card", flush=True)
    return all(abs(found[each] - stated[each]) <= ROUNDING[each] for each in found)


def figures(evaluation):
    means = {"bits/dim": evaluation.bits_per_dim, "nats": evaluation.nll}
    found = {figure: measured.mean for figure, measured in means.items() if measured}
    return found | ({} if evaluation.accuracy is None else {"accuracy": evaluation.accuracy})


if __name__ == "__main__":
    main()
