"""Adds the model of a finished run, with its card, to the models that ship with the package.

    python scripts/publish_pretrained.py RUN NAME [--half] [--data-dir DIR]

RUN is a folder, or the name of a model that ships already, to round its weights.

It refuses a run that has not finished, a block that is not certified, a truncation bound above
0.005 bits/dim, and more than 25 MB of all models together.  The figures on the card describe the
file that ships, on all test examples: they are those of the run if it measured exactly that;
otherwise the script evaluates the file.  With ``--as-measured`` they are those of the run in any
case.  Then it makes the page of the models and the pictures again.
"""

import hashlib
import io
import json
import pathlib
import platform
import zipfile

import click
import h5py
import keras
import model_page
import numpy as np
import pictures
import tensorflow as tf

import iresnet_tf as irn
from iresnet_tf.analysis.likelihood import TARGET_BOUND, choose_estimator
from iresnet_tf.files import write_json, written_whole
from iresnet_tf.training import ModelCard, RunFolder, open_source

SHIPPED = pathlib.Path(irn.__file__).parent / "pretrained"
MAX_BYTES = 25_000_000
ORIGINS = {
    "digits": "Optical Recognition of Handwritten Digits, by E. Alpaydin and C. Kaynak (UCI, 1998, "
    "doi:10.24432/C50P49), the part that scikit-learn carries; license CC BY 4.0",
    "mnist": "MNIST, by Y. LeCun, C. Cortes and C. J. C. Burges (1998), derived from databases of "
    "NIST; license CC BY-SA 3.0",
    "cifar10": "CIFAR-10, by A. Krizhevsky (Learning multiple layers of features from tiny images, "
    "2009), photographs from the web; its author states no license",
}
"""Origin and license of each data set that a model which ships may be trained on."""


@click.command()
@click.argument("run")
@click.argument("name")
@click.option("--half", is_flag=True, help="Store weights in float16, which halves the file.")
@click.option(
    "--leave-out",
    type=click.File(),
    help="A JSON list of the positions of test examples that the figures leave out.",
)
@click.option("--as-measured", is_flag=True, help="Keep the run's figures, of its test examples.")
@click.option("--passes", type=click.IntRange(2), help="Draws of noise and probes, 5 by default.")
@click.option("--plain-probes", is_flag=True, help="Evaluate with probes that are not coloured.")
@click.option("--note", default="", help="What else the card should say.")
@click.option("--data-dir", help="The TFDS directory.")
@click.option(
    "--into",
    type=click.Path(exists=True, file_okay=False, path_type=pathlib.Path),
    help="Only write model and card, to this folder.",
)
def main(run, name, half, leave_out, as_measured, passes, plain_probes, note, data_dir, into):
    left_out = json.load(leave_out) if leave_out else []
    try:
        options = half, left_out, as_measured, passes, plain_probes, note, data_dir
        found = Shipped(run) if run in irn.training.pretrained_names() else RunFolder(run)
        publish(found, name, into or SHIPPED, *options)
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    if into is None:
        pictures.draw(pictures.IMAGES, data_dir=data_dir)
        model_page.write()


class Shipped:
    """A model that ships already, in place of the folder of its run."""

    def __init__(self, name):
        self.card, self.path = irn.training.card(name), name
        if self.card.unrounded is not None:
            raise ValueError(f"The weights of {name} are rounded to float16 already.")

    def read_run(self):
        return self.card.run

    def read_result(self, steps):
        fields = self.card.model_dump(mode="json")
        keys = "parameters", "wall_seconds", "cpu_seconds"
        return {**fields["figures"], **{key: fields[key] for key in keys}}

    def read_history(self):
        return list(self.card.curve)

    def load_model(self):
        return irn.load(self.path)


def publish(run, name, folder, half, left_out, as_measured, passes, plain_probes, note, data_dir):
    stored = run.read_run()
    result = run.read_result(stored.preset.steps)
    if result is None:
        raise ValueError(f"{run.path} has not finished: continue it with --resume.")
    data = stored.preset.data.name
    if data not in ORIGINS:
        raise ValueError(f"Origin and license of {data} are not known: add them to {__file__}.")
    source = open_source(stored.preset, data_dir=data_dir)
    x, y = (
        None if part is None else np.delete(part, left_out, 0) for part in source.examples("test")
    )

    def measured(model):
        options = {"passes": passes, "seed": stored.seed}
        if plain_probes:
            # The truncation bound is the same; the noise of many examples is small anyway.
            chosen = choose_estimator(model)
            is_coloured = isinstance(chosen, irn.log_det.Coloured)
            options["estimator"] = chosen.series if is_coloured else chosen
        return irn.analysis.evaluate(model, x, y, **options).as_dict()

    path = folder / f"{name}.keras"
    with written_whole(path) as partial:
        trained = run.load_model()
        save(trained, partial, half)
        shipped = irn.load(partial)
        require_certified(shipped)
        require_room(partial, folder)
        is_complete = not left_out and (as_measured or _examples(result) == len(x))
        unrounded = result if is_complete else measured(trained) if half else None
        figures = measured(shipped) if half or not is_complete else result
        require_bound(figures)
        card = ModelCard(
            name=name,
            run=stored,
            curve=_curve(run.read_history()),
            data_origin=ORIGINS[data],
            versions=versions(),
            sha256=hashlib.sha256(partial.read_bytes()).hexdigest(),
            figures=_evaluation(figures),
            unrounded=_evaluation(unrounded) if half else None,
            left_out=sorted(left_out),
            note=note,
            **{key: result[key] for key in ("parameters", "wall_seconds", "cpu_seconds")},
        )
        card.command()  # It raises an error if no preset has the name of the run's.
        write_json(path.with_suffix(".json"), card.model_dump(mode="json"))
    click.echo(f"{path} ({path.stat().st_size / 1e6:.2f} MB) and {path.stem}.json")


def save(trained, path, half):
    """Saves a model without its optimizer, compressed, and with ``half`` its floats as float16.

    Keras converts the weights to the dtype of their variables when it loads the file.  The
    matrices of a `Whiten` stay in float32, because float16 does not keep them orthogonal.
    """
    bare = type(trained).from_config(trained.get_config())
    bare.build((None, *trained.flow.event_shape))
    bare.set_weights(trained.get_weights())
    irn.layers.refresh(bare)
    bare.save(path)
    with zipfile.ZipFile(path) as stored:
        contents = {name: stored.read(name) for name in stored.namelist()}
    if half:
        contents["model.weights.h5"] = _halved(contents["model.weights.h5"])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for name, content in contents.items():
            packed.writestr(name, content)


def _halved(content):
    """Returns an HDF5 file with the float32 arrays of another one as float16."""
    buffer = io.BytesIO()
    with h5py.File(io.BytesIO(content)) as whole, h5py.File(buffer, "w") as half:

        def copy(name, item):
            if isinstance(item, h5py.Group):
                half.require_group(name)
            else:
                is_rounded = item.dtype == np.float32 and "/whiten" not in f"/{name}"
                half[name] = item[()].astype(np.float16) if is_rounded else item[()]
            half[name].attrs.update(item.attrs)

        whole.visititems(copy)
        half.attrs.update(whole.attrs)
    return buffer.getvalue()


def require_certified(model):
    certificate = irn.analysis.certify(model)
    if not certificate.certified:
        names = ", ".join(block.name for block in certificate.blocks if not block.certified)
        raise ValueError(f"The blocks {names} are not certified as contractions.")


def require_bound(figures):
    bound = figures.get("bits_per_dim", {}).get("truncation_bound", 0.0)
    if bound is None or round(bound, 6) > TARGET_BOUND:
        raise ValueError(
            f"The truncation bound is {bound} bits/dim, above {TARGET_BOUND}: evaluate the "
            "run without --log-det."
        )


def require_room(file, folder):
    others = [each for each in folder.glob("*.[jk]*") if each.stem != file.stem]
    total = sum(each.stat().st_size for each in [file, *others])
    if total > MAX_BYTES:
        raise ValueError(
            f"All models together would have {total / 1e6:.1f} MB, above "
            f"{MAX_BYTES / 1e6:.0f}: give --half, or train a smaller model."
        )


def versions():
    own = {"iresnet_tf": irn.__version__, "keras": keras.__version__}
    return {**own, "tensorflow": tf.__version__, "python": platform.python_version()}


def _evaluation(figures):
    return {key: figures[key] for key in irn.analysis.Evaluation.__annotations__ if key in figures}


def _examples(result):
    """Returns the number of test examples on which every figure of a result is based."""
    parts = (result.get(key) for key in ("bits_per_dim", "nll", "classification"))
    return min(part["examples"] for part in parts if part)


def _curve(history):
    """Returns step and metrics of every epoch; those of held-out examples, if there are any."""
    held_out = [key for key in ("val_bits_per_dim", "val_accuracy") if key in history[0]]
    shown = (
        held_out or [key for key in ("bits_per_dim", "accuracy") if key in history[0]] or ["loss"]
    )
    return [{key: line[key] for key in ("step", *shown)} for line in history]


if __name__ == "__main__":
    main()
