"""Trains one model of every kind under a strategy and saves the results, for test_strategies.

``python strategies_program.py one|mirrored OUT``, or for each of two workers
``python strategies_program.py HOST:PORT,HOST:PORT INDEX OUT``.
"""

import sys

import keras
import numpy as np
import tensorflow as tf

from iresnet_tf import layers, log_det, models
from iresnet_tf.training import optimizers, strategies

KINDS = {
    "density": (models.DensityModel, {}),
    "classifier": (models.Classifier, {"classes": 3, "dropout": 0.3}),
    "hybrid": (models.HybridModel, {"classes": 3}),
    # Several replicas divide a batch into parts; one device does not.
    "accumulated density": (models.DensityModel, {}),
}
# Training batches alternate between 8 and 7 examples; evaluation batches have 8, 8 and 1.
BATCH, TRAINED, EVALUATED = 8, 15, 17
OPTIMIZERS = {
    "sgd": (lambda: keras.optimizers.SGD(1e-3, global_clipnorm=2.0), 20),
    "adamax": (lambda: optimizers.Adamax(1e-3), 1),
}


def data(kind, count):
    random = np.random.default_rng(0)
    x = random.integers(0, 4, (count, 4, 4, 2)).astype(float)
    return (x,) if kind.endswith("density") else (x, random.integers(0, 3, count))


def made(kind, strategy, optimizer):
    keras.utils.set_random_seed(1)
    with strategy.scope():
        stack = []
        for estimator in (log_det.PowerSeries(2), log_det.RussianRoulette()):
            g = layers.Contraction.conv(4, (3, 2), dtype="float64")
            stack += [layers.ActNorm(dtype="float64"), layers.ResidualBlock(g, estimator)]
        scale = [layers.Dequantize(4, dtype="float64"), layers.Center(dtype="float64")]
        make, options = KINDS[kind]
        model = make(stack, preprocessing=scale, seed=5, dtype="float64", **options)
        parts = 3 if kind.startswith("accumulated") and model.replicas > 1 else 1
        model.compile(optimizer(), accumulation_steps=parts)
    # A model is built in the scope that it was made in, wherever `build` is called.
    model.build((None, 4, 4, 2))
    return model


def trained(strategy):
    """Returns weights, optimizer state and metrics of every model, as arrays by name."""
    found = {}
    for kind in KINDS:
        for name, (optimizer, steps) in OPTIMIZERS.items():
            model = made(kind, strategy, optimizer)
            batches = tf.data.Dataset.from_tensor_slices(data(kind, TRAINED)).batch(BATCH)
            history = model.fit(batches.repeat(), steps_per_epoch=steps, epochs=1, verbose=0)
            saved = {f"weight {w.path}": w.numpy() for w in model.weights}
            saved |= {f"optimizer {w.path}": w.numpy() for w in model.optimizer.variables}
            saved |= {f"figure {key}": value for key, value in history.history.items()}
            if name == "sgd":
                figures = model.evaluate(
                    *data(kind, EVALUATED), batch_size=BATCH, verbose=0, return_dict=True
                )
                saved |= {f"evaluated {key}": value for key, value in figures.items()}
            found |= {f"{kind} {name} {key}": value for key, value in saved.items()}
    return found


if __name__ == "__main__":
    *chosen, out = sys.argv[1:]
    if chosen == ["one"]:
        strategy = strategies.get("one")
    elif chosen == ["mirrored"]:
        two = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], two)
        strategy = strategies.get("mirrored")
    else:
        strategy = strategies.get("multi-worker", chosen[0].split(","), int(chosen[1]))
    keras.config.set_floatx("float64")
    np.savez(out, **trained(strategy))
