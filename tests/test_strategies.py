"""Two replicas against one device with the same global batch, in a process of their own."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import sys
import keras, numpy as np, tensorflow as tf

cpus = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpus[0], [tf.config.LogicalDeviceConfiguration()] * 2)
keras.config.set_floatx("float64")
from iresnet_tf import layers, models, log_det

kind, out = sys.argv[1:]
random = np.random.default_rng(0)
x = random.integers(0, 4, (72, 4, 4, 2)).astype(float)
y = None if kind == "DensityModel" else random.integers(0, 3, 72)


def train(strategy, batch):
    keras.utils.set_random_seed(1)
    with strategy.scope():
        stack = []
        for estimator in (log_det.PowerSeries(3), log_det.RussianRoulette()):
            g = layers.Contraction.conv(4, (3, 1, 3), dtype="float64")
            stack += [layers.ActNorm(dtype="float64"), layers.ResidualBlock(g, estimator)]
        options = {} if kind == "DensityModel" else {"classes": 3}
        if kind == "Classifier":
            options["dropout"] = 0.3
        scale = [layers.Dequantize(4, dtype="float64"), layers.Center(dtype="float64")]
        options |= {"preprocessing": scale, "seed": 5, "dtype": "float64"}
        model = getattr(models, kind)(stack, **options)
        model.build((None, 4, 4, 2))
        model.compile(keras.optimizers.SGD(1e-3))
    data = tf.data.Dataset.from_tensor_slices(x if y is None else (x, y)).repeat()
    model.initialize(x)
    history = model.fit(data.batch(batch), steps_per_epoch=20, epochs=1, verbose=0)
    return [w.numpy().astype(float) for w in model.weights], history.history

two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
one_weights, one_history = train(tf.distribute.get_strategy(), 8)
two_weights, two_history = train(two, 8)
apart = [np.max(abs(a - b)) / max(np.max(abs(a)), 1e-3) for a, b in zip(one_weights, two_weights)]
assert max(apart) < 1e-8, apart
# A replica's largest gradient is that of its share.
for name in set(one_history) - {"max_gradient"}:
    np.testing.assert_allclose(one_history[name], two_history[name], rtol=1e-5, err_msg=name)
open(out, "w").write("same")
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["DensityModel", "Classifier", "HybridModel"])
def test_two_replicas_train_as_one_device_does(kind, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-c", PROGRAM, kind, str(out)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-4000:]
    assert out.read_text() == "same"
