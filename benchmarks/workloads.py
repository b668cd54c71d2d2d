"""Makes the measured models, by name, on random data, and counts their operations."""

import keras
import numpy as np

from iresnet_tf.data.source import Source
from iresnet_tf.layers import act_norms, residual_blocks, spectral_layers
from iresnet_tf.models import Classifier
from iresnet_tf.numerics import log_det
from iresnet_tf.training import presets
from iresnet_tf.training.assembly import (
    build_layers,
    build_model,
    build_optimizer,
    build_preprocessing,
)


class Data(Source):
    """Random data in place of a data set."""

    def batch(self, size):
        """Returns ``[size, …event]``, float32."""
        generator = np.random.default_rng(0)
        shape = (size, *self.event_shape)
        if self.levels is None:
            return generator.normal(size=shape).astype("float32")
        return generator.integers(0, self.levels, shape).astype("float32")


_TOY, _DIGITS = Data("toy", (2,)), Data("digits", (8, 8, 1), levels=17)
_CIFAR = Data("cifar10", (32, 32, 3), levels=256)

# name: (preset, its overrides, data)
WORKLOADS = {
    "toy": ("toy-8gaussians", ["model.log_det.estimator=power-series"], _TOY),
    # 16 convolutional blocks of width 64.
    "digits": (
        "digits-density",
        ["data.preprocessing=center", "model.blocks=16", "model.dense_blocks=0"],
        _DIGITS,
    ),
    # Three scales of 4 blocks of width 128, ELU, five power iterations, Adamax.
    "cifar-small": (
        "cifar10-density",
        ["model.blocks=4,4,4", "model.width=128", "batch_size=32"],
        _CIFAR,
    ),
    "cifar-published": ("cifar10-density", [], _CIFAR),
}


def make(name, estimator, batch_size=None, **options):
    """Returns the compiled model of a workload and a batch; ActNorm is not initialised.

    Args:
        name: a key of `WORKLOADS`.
        estimator: of every block's log-determinant.
        batch_size: by default the preset's.
        **options: of ``compile``.
    """
    preset_name, overrides, data = WORKLOADS[name]
    preset = presets.get(preset_name, overrides)
    keras.utils.set_random_seed(0)
    model = build_model(preset, data, seed=0)
    model.compile(build_optimizer(preset), **options)
    # `fit` does so too. If the first step made the variables, it would be traced twice.
    model.optimizer.build(model.trainable_variables)
    for block in residual_blocks(model.flow):
        block.log_det = estimator
    return model, data.batch(batch_size or preset.batch_size)


def make_classifier(name, batch_size=None, **options):
    """Returns a compiled classifier with the layers of a workload, and a batch; see `make`."""
    preset_name, overrides, data = WORKLOADS[name]
    preset = presets.get(preset_name, overrides)
    keras.utils.set_random_seed(0)
    flow = build_layers(preset.model)
    prepared = build_preprocessing(preset, data, seed=0)
    model = Classifier(flow, classes=10, preprocessing=prepared, seed=0)
    model.build((None, *data.event_shape))
    model.compile(build_optimizer(preset), **options)
    model.optimizer.build(model.trainable_variables)
    return model, data.batch(batch_size or preset.batch_size)


def skip_initialisation(model, skip=True):
    """Marks every ActNorm as initialised, so that the measurement leaves it out, or as not."""
    for layer in act_norms(model.flow):
        layer.initialized.assign(skip)


def estimator(spec, series_dtype=None):
    """Returns `PowerSeries` with 5 terms for ``"5"``, `RussianRoulette` for ``"roulette"``."""
    if spec == "roulette":
        return log_det.RussianRoulette(series_dtype=series_dtype)
    return log_det.PowerSeries(int(spec), distribution="gaussian", series_dtype=series_dtype)


def evaluation_flops(model, batch_size):
    """Returns ``F``, the floating-point operations of one evaluation of all ``g`` on a batch."""
    total = 0
    for layer in spectral_layers(model):
        grid = getattr(layer, "grid", (1, 1))
        total += 2 * int(np.prod(grid)) * int(np.prod(layer.kernel.shape))
    return batch_size * total


def floor_flops(model, batch_size, terms):
    """Returns ``(n + 5) F``: ``g``, ``n`` products ``Jᵀw``, one ``Jv``, three gradients."""
    return (terms + 5) * evaluation_flops(model, batch_size)
