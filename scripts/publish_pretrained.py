"""Adds a run's model, without its optimizer, to the models that ship with the package.

python scripts/publish_pretrained.py RUN NAME
"""

import pathlib
import sys
import zipfile

import iresnet_tf as irn


def main(run, name):
    trained = irn.load(run)
    bare = type(trained).from_config(trained.get_config())
    bare.build((None, *trained.flow.event_shape))
    bare.set_weights(trained.get_weights())
    path = pathlib.Path(irn.__file__).parent / "pretrained" / f"{name}.keras"
    bare.save(path)
    _compress(path)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


def _compress(path):
    """Compresses the archive, which Keras stores uncompressed."""
    with zipfile.ZipFile(path) as stored:
        contents = {name: stored.read(name) for name in stored.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for name, content in contents.items():
            packed.writestr(name, content)


if __name__ == "__main__":
    main(*sys.argv[1:])
