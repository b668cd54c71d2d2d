"""Measures test bits/dim by CPU-seconds of training.

    python benchmarks/curve.py digits-density --out FILE

Trains the preset as ``iresnet train`` does, without its files and pictures. After every epoch it
evaluates the test images with the averaged weights: by exact log-determinants up to 256 dimensions,
above by a series of 20 terms. CPU-seconds are those of the process from its start, with imports,
tracing and initialisation and without these evaluations.
"""

import time

import click
import keras
import measuring

from iresnet_tf.analysis.likelihood import EXACT_DIMENSION, negative_log_likelihoods
from iresnet_tf.models import bits_per_dim
from iresnet_tf.numerics import log_det
from iresnet_tf.training import open_source, presets
from iresnet_tf.training.assembly import initialized_model
from iresnet_tf.training.averaging import averaged_weights


class Curve(keras.callbacks.Callback):
    """Adds a row after each epoch: steps, CPU-seconds of training so far, test bits/dim."""

    def __init__(self, x, passes):
        super().__init__()
        self.x, self.passes, self.rows, self.evaluating = x, passes, [], 0.0

    def set_model(self, model):
        super().set_model(model)
        is_small = model.dimension <= EXACT_DIMENSION
        self.estimator = log_det.Exact() if is_small else log_det.PowerSeries(20)

    def on_epoch_end(self, epoch, logs=None):
        now = time.process_time()
        with averaged_weights(self.model):
            nats = negative_log_likelihoods(
                self.model, self.x, estimator=self.estimator, passes=self.passes
            )
        row = {"steps": int(self.model.optimizer.iterations.numpy())}
        row["CPU s"] = now - self.evaluating
        row["bits/dim"] = float(bits_per_dim(nats.mean(), self.model.dimension))
        self.rows.append(row)
        self.evaluating += time.process_time() - now


@click.command()
@click.argument("preset")
@click.argument("overrides", nargs=-1)
@click.option("--seed", default=0, help="Of weights, order and noise.")
@click.option("--passes", default=4, help="Draws of the noise in every evaluation.")
@click.option("--out", type=click.Path(dir_okay=False), help="JSON file.")
def main(preset, overrides, seed, passes, out):
    """Trains PRESET and prints its curve."""
    preset = presets.get(preset, overrides)
    measuring.set_threads(1)
    source = open_source(preset)
    keras.utils.set_random_seed(seed)
    model = initialized_model(preset, source, seed=seed)
    curve = Curve(source.examples("test", preset.evaluation_examples).x, passes)
    model.fit(
        source.stream(preset.batch_size, seed=seed),
        epochs=preset.epochs,
        steps_per_epoch=preset.steps_per_epoch,
        verbose=0,
        callbacks=[curve],
    )
    measuring.show(curve.rows, out)


if __name__ == "__main__":
    main()
