"""Provides the density models, data and helpers that several test files share."""

import os
import pathlib
import subprocess
import sys
import textwrap

import keras
import numpy as np

from iresnet_tf.layers import (
    ActNorm,
    Center,
    Contraction,
    Dequantize,
    Logit,
    ResidualBlock,
    Squeeze,
    spectral_layers,
)
from iresnet_tf.models import DensityModel
from iresnet_tf.numerics.log_det import Exact
from iresnet_tf.numerics.solvers import Anderson

IMAGE, LEVELS = (4, 4, 1), 8
PIXELS = 16


@keras.saving.register_keras_serializable("iresnet_tf_tests")
class KnownNoise(Dequantize):
    """Adds 1/4 to every level instead of random noise."""

    def add_noise(self, x, seed):
        return x + 0.25


def vector_model(prior="learned", dtype="float32", log_det=None, units=(16,), **kwargs):
    options = {"log_det": log_det or Exact(), "solver": Anderson(tolerance=1e-5), "dtype": dtype}
    blocks = [ResidualBlock(Contraction.mlp(units=units, dtype=dtype), **options) for _ in range(2)]
    layers = [blocks[0], ActNorm(dtype=dtype), blocks[1]]
    return DensityModel(layers, prior=prior, dtype=dtype, seed=3, **kwargs)


def image_model(dequantize=Dequantize, dtype="float32", log_det=None, **kwargs):
    g = Contraction.conv(filters=4, kernel_sizes=(3, 3), dtype=dtype)
    block = ResidualBlock(
        g, log_det=log_det or Exact(), solver=Anderson(tolerance=1e-5), dtype=dtype
    )
    preprocessing = [dequantize(LEVELS, dtype=dtype), Logit(0.05, dtype=dtype)]
    layers = [Center(0.1, dtype=dtype), Squeeze(dtype=dtype), ActNorm(dtype=dtype), block]
    return DensityModel(layers, preprocessing=preprocessing, dtype=dtype, seed=3, **kwargs)


def vectors(count=64):
    """Returns vectors in two clusters."""
    random = np.random.default_rng(1)
    centres = random.choice([-1.0, 3.0], size=(count, 1)) * [1.0, 0.5]
    return (random.normal(size=(count, 2)) * [0.3, 0.6] + centres).astype("float32")


def images(count=24):
    random = np.random.default_rng(2)
    ramp = np.linspace(0, 5, PIXELS).reshape(IMAGE)
    return np.floor(ramp + random.uniform(0, 3, (count, *IMAGE))).astype("uint8")


def fit(model, x, epochs=1, learning_rate=1e-2, optimizer=None, **kwargs):
    if not model.compiled:
        model.compile(optimizer=optimizer or keras.optimizers.Adam(learning_rate))
    return model.fit(x, epochs=epochs, verbose=0, **{"batch_size": 16, **kwargs}).history


def build(model, shape):
    """Builds a model and randomises every weight except the spectral vectors."""
    model.build((None, *shape))
    random = np.random.default_rng(4)
    for weight in model.trainable_variables:
        weight.assign(weight + 0.2 * random.normal(size=weight.shape))
    return model


def loosen(model):
    """Shrinks the kernels so that no constraint binds, and refining the vectors changes nothing."""
    for layer in spectral_layers(model):
        layer.kernel.assign(0.01 * layer.kernel)


def run(script, *arguments):
    """Runs a script in a new process that imports only this checkout."""
    root = pathlib.Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "TF_CPP_MIN_LOG_LEVEL": "3"}
    finished = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script), *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    return finished.stdout
