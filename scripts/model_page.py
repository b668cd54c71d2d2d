"""Writes the sections of docs/pages/models.md from the cards of the trained models that ship.

    python scripts/model_page.py

The tests notice when the page and the cards no longer agree.
"""

import pathlib

from iresnet_tf import training
from iresnet_tf.analysis.results import rounded_up

PAGE = pathlib.Path(__file__).resolve().parents[1] / "docs" / "pages" / "models.md"


def page():
    """Returns the text of the page: what it says before its first section, then the sections."""
    head = PAGE.read_text().partition("\n## ")[0]
    return "\n".join([head, *map(section, training.pretrained_names())])


def section(name):
    card = training.card(name)
    preset = card.run.preset
    versions = ", ".join(" ".join(each) for each in card.versions.items())
    rows = {
        "model": preset.summary().split(" | ")[0],
        "data": card.data_origin,
        "training": f"{preset.steps:,} steps of {preset.batch_size}, seed {card.run.seed}, "
        f"{card.cpu_seconds:,.0f} CPU-seconds",
        **_figures(card.figures),
        "file": f"{card.parameters:,} weights, {'float16' if card.unrounded else 'float32'}",
        "measured with": versions,
    }
    if card.unrounded is not None:
        rows["before rounding to float16"] = "; ".join(_figures(card.unrounded).values())
    if card.left_out:
        rows["left out"] = f"{len(card.left_out)} test examples, which the card lists"
    if card.note:
        rows["note"] = card.note
    table = [f"| {title} | {text} |" for title, text in rows.items()]
    return "\n".join(
        [
            *(f"## {name}", "", f"![What {name} makes](images/model_{name}.png)", ""),
            *("| | |", "|---|---|", *table, "", "```bash", card.command(), "```", ""),
        ]
    )


def _figures(figures):
    """Returns the figures of an evaluation with their errors, by their titles."""
    texts = {}
    for title, found in (("bits/dim", figures.bits_per_dim), ("nats", figures.nll)):
        if found is not None:
            texts[f"test {title}"] = (
                f"**{found.mean:.3f}** ± {found.standard_error:.3f} (noise) ± "
                f"{found.sampling_error:.3f} ({found.examples:,} examples); truncation at most "
                f"{rounded_up(found.truncation_bound, 2)}"
            )
    if (found := figures.classification) is not None:
        how = {0: ", at the centre of each level's cell", 1: ""}
        draws = how.get(found.passes, f", mean of {found.passes} draws of the noise")
        texts["test accuracy"] = (
            f"**{100 * figures.accuracy:.2f}** ± {100 * found.standard_error:.2f} % "
            f"({found.examples:,} examples{draws})"
        )
    error, bound = figures.reconstruction.max_abs_error, figures.lipschitz.certified_max
    texts["there and back"] = f"off by at most {rounded_up(error, 1)} in the units of the data"
    texts["certificate"] = f"Lip(g) at most {rounded_up(bound, 3)} in every block"
    return texts


def write():
    PAGE.write_text(page())
    print(PAGE)


if __name__ == "__main__":
    write()
