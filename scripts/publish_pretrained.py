"""Puts a run's model, without its optimizer, among those that ship with the package.

python scripts/publish_pretrained.py RUN NAME
"""

import pathlib
import sys

import iresnet_tf as irn


def main(run, name):
    trained = irn.load(run)
    bare = type(trained).from_config(trained.get_config())
    bare.build((None, *trained.flow.event_shape))
    bare.set_weights(trained.get_weights())
    path = pathlib.Path(irn.__file__).parent / "pretrained" / f"{name}.keras"
    bare.save(path)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main(*sys.argv[1:])
