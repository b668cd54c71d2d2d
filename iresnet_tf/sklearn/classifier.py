"""Classifies the rows of a table."""

import warnings

import keras
import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, log_softmax, softmax
from sklearn.base import ClassifierMixin
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data
from typing_extensions import Self

from iresnet_tf.sklearn.columns import JohnsonColumns, constant_columns
from iresnet_tf.sklearn.network import Architecture, Network, draw_weights, predicted, train
from iresnet_tf.sklearn.settings import FlowEstimator


class ResidualFlowClassifier(ClassifierMixin, FlowEstimator):
    """``p(y | x) = softmax(H(F(x)))``, a head on an invertible network, for scikit-learn.

    The columns are mapped as in `ResidualFlowDensity`.  The training ends when the cross-entropy of
    held-out rows has stopped falling; the best weights are kept.

    Args:
        blocks, width, learning_rate, weight_decay, batch_size, max_iter, validation_fraction,
            patience, tol, random_state, verbose: see `ResidualFlowDensity`.  What is held out has
            the classes in the same proportions as far as possible, and its loss is the
            cross-entropy, in nats.

    Attributes:
        classes_: the classes, ``[K]``.
        n_features_in_, feature_names_in_: number and names of the columns.
        n_iter_: number of epochs that were trained.
        validation_losses_: cross-entropy of the held-out rows before the first epoch and after
            each, nats.

    Raises:
        ValueError: from ``fit``, for fewer than two classes, a value that is not finite, fewer
            than four rows, or a setting out of range.
    """

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fits the classifier to rows ``X [rows, columns]`` and their classes ``y [rows]``."""
        x, y = validate_data(self, X, y, dtype=np.float64, ensure_min_samples=4)
        self._check_settings()
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"A classifier needs at least two classes; received one class, "
                f"{str(self.classes_[0])!r}."
            )
        constant = constant_columns(x, getattr(self, "feature_names_in_", None))
        if constant:
            warnings.warn(
                f"{len(constant)} of the columns are constant and tell nothing: "
                f"{', '.join(constant[:10])}.",
                stacklevel=2,
            )
        rng = check_random_state(self.random_state)
        self.columns_ = JohnsonColumns(x)
        rows, _ = self.columns_.transform(x)
        train_rows, held_rows, train_labels, held_labels = self._split(rows, labels, rng)
        blocks, width, batch = self._sizes(len(x))
        architecture = Architecture(x.shape[1], blocks, width, classes=len(self.classes_))
        model = architecture.build()
        draw_weights(model, rng)
        model.initialize(train_rows)

        def held_out_loss(model: keras.Model) -> float:
            log_p = log_softmax(predicted(model, held_rows), axis=1)
            return -float(np.mean(log_p[np.arange(len(held_labels)), held_labels]))

        options = {**self._training_options(rng), "batch_size": min(batch, len(train_rows))}
        record = train(model, train_rows, train_labels, held_out_loss, **options)
        self.n_iter_ = len(record.losses) - 1
        self.validation_losses_ = record.losses
        self.network_ = Network(architecture, record.weights)
        return self

    def _split(self, rows, labels, rng):
        """Returns the rows to train on, those held out, and the classes of both."""
        held = max(1, round(self.validation_fraction * len(rows)))
        classes = len(self.classes_)
        can_stratify = held >= classes and np.bincount(labels).min() >= 2
        stratify = labels if can_stratify and len(rows) - held >= classes else None
        return train_test_split(rows, labels, test_size=held, random_state=rng, stratify=stratify)

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """Returns the logits, ``[rows, classes]``; for two classes their difference, ``[rows]``."""
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Returns the probabilities of the classes, ``[rows, classes]``."""
        logits = self._logits(X)
        if logits.shape[1] == 2:
            second = expit(logits[:, 1] - logits[:, 0])
            return np.stack([1.0 - second, second], 1)
        return softmax(logits, axis=1)

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Returns the most probable class of each row, ``[rows]``."""
        best = np.argmax(self._logits(X), 1)
        return self.classes_[best]

    def _logits(self, X):
        rows, _ = self._rows(X)
        return predicted(self.network_.model, rows)
