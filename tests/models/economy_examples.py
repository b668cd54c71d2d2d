"""Makes models whose training steps are cheaper, and records the gradients of their steps."""

import keras
import numpy as np

from iresnet_tf import layers, models

SHAPES = {"dense": (5,), "conv": (4, 4, 2)}


@keras.saving.register_keras_serializable("iresnet_tf_tests")
class Recording(keras.optimizers.SGD):
    """Leaves the weights as they are and keeps every gradient."""

    def __init__(self, **kwargs):
        super().__init__(**{**kwargs, "learning_rate": 0.0})

    def build(self, variables):
        super().build(variables)
        self.last = [keras.Variable(np.zeros(each.shape, each.dtype)) for each in variables]

    def update_step(self, gradient, variable, learning_rate):
        self.last[self._get_variable_index(variable)].assign(gradient)


def made(kind, estimator=None, dtype="float32", task=models.DensityModel):
    """Returns a built model of two blocks, with constraints that bind and exact norms."""
    keras.utils.set_random_seed(3)
    stack = []
    for _ in range(2):
        g = (
            layers.Contraction.mlp((8,), dtype=dtype)
            if kind == "dense"
            else layers.Contraction.conv(4, (3, 1, 3), dtype=dtype)
        )
        stack += [layers.ActNorm(dtype=dtype), layers.ResidualBlock(g, estimator)]
    options = {} if task is models.DensityModel else {"classes": 3}
    model = task(stack, seed=5, dtype=dtype, **options)
    model.initialize(data(kind, 64, dtype))
    random = np.random.default_rng(1)
    for layer in layers.spectral_layers(model):
        layer.kernel.assign(2.0 * layer.kernel + 0.1 * random.normal(size=layer.kernel.shape))
        layer.bias.assign(random.normal(size=layer.bias.shape))
    layers.refresh(model, 1e-6)
    return model


def data(kind, count, dtype="float32", seed=0):
    return np.random.default_rng(seed).normal(size=(count, *SHAPES[kind])).astype(dtype)


def gradients(model, batches, y=None, sample_weight=None, **options):
    """Returns the gradients of a step with each of the batches, ``[steps, parameters]``."""
    optimizer = Recording()
    model.compile(optimizer, **options)
    found = []
    for x in batches:
        model.train_on_batch(x, y, sample_weight)
        found.append(np.concatenate([np.ravel(each) for each in optimizer.last]))
    return np.stack(found)
