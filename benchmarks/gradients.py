"""Compares the gradients of training steps by their options: bias and noise.

    python benchmarks/gradients.py digits-density --steps 0,300,1000

Trains the preset, and at each number of steps takes the gradients of the same batches, with the
same noise and probes, in float32, in bfloat16, and with a share of the log-determinants.  The unit
is the noise of a step in float32: the root mean square distance of the gradients from their mean.
Chance alone already gives a mean difference above zero; its error is printed beside it.
"""

import click
import keras
import measuring
import numpy as np

import iresnet_tf as irn
from iresnet_tf.training import open_source, presets
from iresnet_tf.training.assembly import initialized_model

OPTIONS = {
    "bfloat16": {"product_dtype": "bfloat16"},
    "a quarter": {"log_det_share": 0.25},
    "an eighth": {"log_det_share": 0.125},
    "a sixteenth": {"log_det_share": 0.0625},
}


class Recording(keras.optimizers.SGD):
    """Leaves the weights as they are and keeps the gradient."""

    def build(self, variables):
        super().build(variables)
        self.last = [keras.Variable(np.zeros(each.shape, "float32")) for each in variables]

    def update_step(self, gradient, variable, learning_rate):
        self.last[self._get_variable_index(variable)].assign(gradient)


@click.command()
@click.argument("preset")
@click.argument("overrides", nargs=-1)
@click.option("--steps", default="0,300,1000", help="Numbers of training steps.")
@click.option("--draws", default=80, help="Number of batches.")
@click.option("--out", type=click.Path(dir_okay=False), help="JSON file.")
def main(preset, overrides, steps, draws, out):
    """Prints a row for each number of steps and option."""
    preset = presets.get(preset, overrides)
    measuring.set_threads(1)
    source = open_source(preset)
    keras.utils.set_random_seed(0)
    model = initialized_model(preset, source, seed=0)
    optimizer, stream = model.optimizer, iter(source.stream(preset.batch_size, seed=0))
    batches = [batch for batch, *_ in source.stream(preset.batch_size, seed=1).take(draws)]
    rows, taken = [], 0
    for wanted in map(int, steps.split(",")):
        model.compile(optimizer)
        while taken < wanted:
            model.train_on_batch(next(stream)[0])
            taken += 1
        # Steps of the power iteration would change the kernels meanwhile, before it converges.
        irn.layers.refresh(model.flow, tolerance=1e-7)
        plain = gradients(model, batches)
        noise = root_mean_square(plain - plain.mean(0))
        for name, options in OPTIONS.items():
            found = gradients(model, batches, **options)
            change = found - plain
            rows.append({
                "steps": wanted,
                "option": name,
                "difference of a step": root_mean_square(change) / noise,
                "mean difference": np.linalg.norm(change.mean(0)) / noise,
                "its error": root_mean_square(change - change.mean(0)) / noise / draws**0.5,
                "noise": root_mean_square(found - found.mean(0)) / noise,
            })  # fmt: skip
    measuring.show(rows, out)


def gradients(model, batches, **options):
    """Returns the gradient of a step with each of the batches, ``[steps, parameters]``."""
    optimizer = Recording(0.0)
    model.compile(optimizer, **options)
    found = []
    for x in batches:
        model.train_on_batch(x)
        found.append(np.concatenate([np.ravel(each) for each in optimizer.last]))
    return np.stack(found)


def root_mean_square(vectors):
    return float(np.sqrt(np.mean(np.sum(np.square(vectors), 1))))


if __name__ == "__main__":
    main()
