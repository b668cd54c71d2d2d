"""Trains a network until its loss on held-out rows stops falling, and keeps it as arrays."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from iresnet_tf.internals import all_layers
from iresnet_tf.layers import InjectivePadding, SpectralDense, refresh
from iresnet_tf.models import Classifier, DensityModel, FlowModel, NormalMixture, architectures
from iresnet_tf.numerics.log_det import Exact, LogDet, PowerSeries
from iresnet_tf.training.averaging import averaged_weights
from iresnet_tf.training.optimizers import Adam

LARGEST_EXACT = 64
"""The number of columns up to which training computes the exact log-determinant."""

ROWS = 1000
"""Number of rows that a prediction takes at a time."""

FIRST_SCALE = 0.05
"""Factor of each block's last kernel at the start, so that the block begins near the identity."""


@contextlib.contextmanager
def _global_state_kept() -> Iterator[None]:
    """Restores the global state of NumPy, of which new layers and Keras's ``fit`` take seeds."""
    state = np.random.get_state()
    try:
        yield
    finally:
        np.random.set_state(state)


@dataclasses.dataclass(frozen=True)
class Architecture:
    """The sizes of a network; ``classes`` or else ``components`` tells its task."""

    columns: int
    blocks: int
    width: int
    components: int = 1
    classes: int | None = None

    @_global_state_kept()
    def build(self, log_det: LogDet | None = None) -> FlowModel:
        """Returns a model that computes in float64, built for rows of the table."""
        layers = architectures.vector_flow(
            self.blocks,
            self.width,
            2,
            coeff=0.97,
            log_det=Exact() if log_det is None else log_det,
            whiten=True,
            dtype="float64",
        )
        model: FlowModel
        if self.classes is None:
            prior = NormalMixture(self.components, dtype="float64")
            model = DensityModel(layers, prior=prior, seed=0, dtype="float64")
        else:
            padding = max(0, 2 * self.classes - self.columns)
            if padding:
                layers.insert(1, InjectivePadding(padding, dtype="float64"))
            model = Classifier(layers, self.classes, seed=0, dtype="float64")
        model.build((None, self.columns))
        return model

    def training_log_det(self) -> LogDet:
        return Exact() if self.columns <= LARGEST_EXACT else PowerSeries(10)


class Network:
    """A trained model, pickled as the sizes and the arrays of its weights.

    Pickle restores no code of a model: the model is built anew when it is first used.
    """

    def __init__(self, architecture: Architecture, weights: list[np.ndarray]) -> None:
        self.architecture, self.weights = architecture, weights
        self._model: FlowModel | None = None

    @property
    def model(self) -> FlowModel:
        if self._model is None:
            model = self.architecture.build()
            for variable, value in zip(model.weights, self.weights):
                variable.assign(value)
            self._model = model
        return self._model

    def __getstate__(self) -> dict[str, Any]:
        return {"architecture": self.architecture, "weights": self.weights, "_model": None}


def by_parts(function: Callable[[np.ndarray], Any], x: np.ndarray) -> np.ndarray:
    """Applies a function to rows ``[rows, columns]``, a part at a time."""
    return np.concatenate([function(x[start : start + ROWS]) for start in range(0, len(x), ROWS)])


def predicted(model: keras.Model, x: np.ndarray) -> np.ndarray:
    """Returns what a model returns for rows: log-densities in nats, or logits."""
    return by_parts(model.predict_on_batch, x)


def draw_weights(model: keras.Model, rng: np.random.RandomState) -> None:
    """Draws the weights of every block from ``rng`` alone, not from the global state of Keras."""
    for layer in all_layers(model):
        if isinstance(layer, (SpectralDense, keras.layers.Dense)):
            fan = sum(layer.kernel.shape)
            layer.kernel.assign(rng.normal(0.0, np.sqrt(2.0 / fan), layer.kernel.shape))
        if isinstance(layer, SpectralDense):
            for vector in (layer.right_vector, layer.left_vector):
                drawn = rng.normal(size=vector.shape)
                vector.assign(drawn / np.linalg.norm(drawn))
    for part in model.flow.parts:
        kernels = [w for w in part.trainable_weights if w.name == "kernel"]
        for kernel in kernels[-1:]:
            kernel.assign(FIRST_SCALE * kernel.value)
    refresh(model)


class BestWeights(keras.callbacks.Callback):
    """Stops a training when the loss on held-out rows has not fallen for ``patience`` epochs.

    The averaged weights are measured, and those of the lowest loss are kept in ``weights``.  The
    weights from before the training count too.
    """

    def __init__(self, loss: Callable[[keras.Model], float], patience: int, tol: float) -> None:
        super().__init__()
        self.loss, self.patience, self.tol = loss, patience, tol
        self.losses: list[float] = []
        self.best, self.last_gain = np.inf, 0
        self.weights: list[np.ndarray] = []

    def on_train_begin(self, logs: Any = None) -> None:
        self._measure()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        with averaged_weights(self.model):
            self._measure()
        if len(self.losses) - 1 - self.last_gain >= self.patience:
            self.model.stop_training = True

    def _measure(self):
        loss = self.loss(self.model)
        if loss < self.best - self.tol:
            self.last_gain = len(self.losses)
        if loss < self.best:
            self.best = loss
            self.weights = [np.array(weight) for weight in self.model.weights]
        self.losses.append(float(loss))


@_global_state_kept()
def train(
    model: FlowModel,
    x: np.ndarray,
    y: np.ndarray | None,
    held_out_loss: Callable[[keras.Model], float],
    *,
    learning_rate: float,
    weight_decay: float,
    batch_size: int,
    max_iter: int,
    patience: int,
    tol: float,
    seed: int,
    verbose: int,
) -> BestWeights:
    """Trains an initialised model, and gives it the best weights; returns the record."""
    steps = -(-len(x) // batch_size)
    optimizer = Adam(
        learning_rate,
        weight_decay=weight_decay or None,
        global_clipnorm=10.0,
        use_ema=True,
        # The average covers about the last two epochs, and at least 20 steps.
        ema_momentum=1.0 - 1.0 / max(20, 2 * steps),
    )
    optimizer.exclude_from_weight_decay(var_names=["scale", "shift", "bias", "beta", "gamma"])
    model.compile(optimizer)

    def order(epoch):
        # Unlike `tf.data.Dataset.shuffle`, this does not depend on TensorFlow's global seed.
        return np.random.default_rng([seed, int(epoch)]).permutation(len(x))

    def of_epoch(epoch):
        rows = tf.numpy_function(order, [epoch], tf.int64)
        return tf.data.Dataset.from_tensor_slices(rows).batch(batch_size)

    def batch(rows):
        chosen = tf.gather(x, tf.ensure_shape(rows, [None]))
        return chosen if y is None else (chosen, tf.gather(y, rows))

    data = tf.data.Dataset.counter().flat_map(of_epoch).map(batch)
    record = BestWeights(held_out_loss, patience, tol)
    options: dict[str, Any] = {"steps_per_epoch": steps, "verbose": verbose}
    model.fit(data, epochs=max_iter, callbacks=[record], **options)
    for variable, value in zip(model.weights, record.weights):
        variable.assign(value)
    return record
