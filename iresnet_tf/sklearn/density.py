"""Estimates the density of a table."""

import warnings
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import ClassNamePrefixFeaturesOutMixin, DensityMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from typing_extensions import Self

from iresnet_tf.sklearn.columns import JohnsonColumns, constant_columns
from iresnet_tf.sklearn.network import (
    Architecture,
    Network,
    by_parts,
    draw_weights,
    predicted,
    train,
)
from iresnet_tf.sklearn.settings import FlowEstimator

MIXTURE_ROWS = 20_000
"""Number of rows that the mixture is fitted to, at most."""


class ResidualFlowDensity(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, DensityMixin, FlowEstimator
):
    """``log p(x) = log p_Z(F(x)) + log |det ∂F/∂x|`` of a table, as a scikit-learn estimator.

    ``F`` begins with a map of every column (`JohnsonColumns`) and the removal of the linear
    correlations (`iresnet_tf.layers.Whiten`).  Invertible residual blocks follow, which are the
    identity at the start.  ``p_Z`` is a mixture of normals that is fitted to the latents before
    the blocks are trained.  So the training begins at the likelihood of a mixture model, and ends
    when the likelihood of held-out rows has stopped rising; the best weights are kept.

    Args:
        blocks: number of residual blocks; ``"auto"`` chooses 4 to 8 by the number of rows.
        width: units of the two hidden layers of a block; ``"auto"`` chooses 32 to 96.
        components: number of normals in ``p_Z``; ``"auto"`` chooses 1 to 10 by held-out rows.
            With 1 the latents are standard normal, as far as the model fits.
        learning_rate: of Adam.
        weight_decay: decay of the kernels in a step, as a multiple of the learning rate.
        batch_size: rows of a step; ``"auto"`` chooses 16 to 256.
        max_iter: largest number of epochs.
        validation_fraction: fraction of the rows that is held out, in (0, 1).
        patience: number of epochs without a gain of ``tol`` in held-out likelihood, after which
            the training stops.
        tol: nats.
        random_state: integer, `numpy.random.RandomState` or ``None``; decides the held-out rows,
            the first weights and the order of the rows.
        verbose: 0, 1 or 2, as in `keras.Model.fit`.

    Attributes:
        n_features_in_, feature_names_in_: number and names of the columns.
        n_iter_: number of epochs that were trained.
        components_: number of normals in ``p_Z``.
        validation_scores_: mean log-density of the held-out rows before the first epoch and after
            each, nats.
        best_validation_score_: the highest of them; the model has the weights of that epoch.

    Raises:
        ValueError: from ``fit``, for a column that is constant, a value that is not finite, fewer
            than four rows, or a setting out of range.

    Example:
        >>> flow = irn.sklearn.ResidualFlowDensity(random_state=0).fit(x)
        >>> flow.score(x_test)  # mean of log p(x), nats
        >>> flow.sample(1000, random_state=1)
    """

    def __init__(
        self,
        *,
        blocks: int | str = "auto",
        width: int | str = "auto",
        components: int | str = "auto",
        learning_rate: float = 5e-3,
        weight_decay: float = 0.1,
        batch_size: int | str = "auto",
        max_iter: int = 200,
        validation_fraction: float = 0.1,
        patience: int = 10,
        tol: float = 1e-3,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(
            blocks=blocks,
            width=width,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            batch_size=batch_size,
            max_iter=max_iter,
            validation_fraction=validation_fraction,
            patience=patience,
            tol=tol,
            random_state=random_state,
            verbose=verbose,
        )
        self.components = components

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Fits the density to rows ``X [rows, columns]``; ``y`` is not used."""
        x = validate_data(self, X, dtype=np.float64, ensure_min_samples=4)
        self._check_settings()
        constant = constant_columns(x, getattr(self, "feature_names_in_", None))
        if constant:
            raise ValueError(
                f"{len(constant)} of the columns are constant, so they have no density: "
                f"{', '.join(constant[:10])}. Leave them out, for example by "
                "sklearn.feature_selection.VarianceThreshold."
            )
        rng = check_random_state(self.random_state)
        order = rng.permutation(len(x))
        held = max(1, round(self.validation_fraction * len(x)))
        self.columns_ = JohnsonColumns(x)
        rows, slopes = self.columns_.transform(x)
        train_rows, held_rows, slope = rows[order[held:]], rows[order[:held]], slopes[order[:held]]

        seed = int(rng.randint(2**31 - 1))
        self.components_ = self._components(train_rows, held_rows, seed)
        blocks, width, batch = self._sizes(len(x))
        architecture = Architecture(x.shape[1], blocks, width, self.components_)
        model: Any = architecture.build(architecture.training_log_det())
        draw_weights(model, rng)
        model.initialize(train_rows)
        if self.components_ > 1:
            mixture = _mixture(np.asarray(model.encode(train_rows)), self.components_, seed)
            model.prior.set_parameters(mixture.weights_, mixture.means_, mixture.covariances_)

        def held_out_loss(model: keras.Model) -> float:
            return -float(np.mean(predicted(model, held_rows) + slope))

        options = {**self._training_options(rng), "batch_size": min(batch, len(train_rows))}
        record = train(model, train_rows, None, held_out_loss, **options)
        self.n_iter_ = len(record.losses) - 1
        self.validation_scores_ = [-loss for loss in record.losses]
        self.best_validation_score_ = -float(record.best)
        self.network_ = Network(architecture, record.weights)
        return self

    def _components(self, train_rows, held_rows, seed):
        """Returns the number of normals with the highest likelihood of the held-out rows."""
        if self.components != "auto":
            if self.components != int(self.components) or self.components < 1:
                raise ValueError(
                    f"components is 'auto' or a whole number of at least 1; received "
                    f"{self.components!r}."
                )
            return int(self.components)
        train_rows = train_rows[:MIXTURE_ROWS]
        center = train_rows.mean(0)
        _, stddev, axes = np.linalg.svd(train_rows - center, full_matrices=False)
        if len(stddev) < train_rows.shape[1] or stddev[-1] < 1e-6 * stddev[0]:
            return 1  # some columns depend on the others
        axes = axes.T / stddev * np.sqrt(len(train_rows))
        most = max(1, min(10, len(train_rows) // (train_rows.shape[1] + 1)))
        pair = (train_rows - center) @ axes, (held_rows - center) @ axes
        scores = [_mixture(pair[0], count, seed).score(pair[1]) for count in range(1, most + 1)]
        return 1 + int(np.argmax(scores))

    def score_samples(self, X: ArrayLike) -> np.ndarray:
        """Returns ``log p(x)`` of each row, ``[rows]``, in nats of the columns' own units."""
        rows, slope = self._rows(X)
        return predicted(self.network_.model, rows) + slope

    def score(self, X: ArrayLike, y: Any = None) -> float:
        """Returns the mean of ``log p(x)`` over the rows, nats, as `GaussianMixture.score` does."""
        return float(np.mean(self.score_samples(X)))

    def sample(self, n_samples: int = 1, random_state: Any = None) -> np.ndarray:
        """Returns rows drawn from the density, ``[n_samples, columns]``, float64.

        Args:
            n_samples: number of rows.
            random_state: integer, `numpy.random.RandomState` or ``None`` (random).
        """
        check_is_fitted(self)
        seed = int(check_random_state(random_state).randint(2**31 - 1))
        return self.columns_.inverse(np.asarray(self.network_.model.sample(n_samples, seed=seed)))

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Returns the latents ``F(x)``, ``[rows, columns]``, float64."""
        rows, _ = self._rows(X)
        return by_parts(self.network_.model.encode, rows)

    def inverse_transform(self, X: ArrayLike) -> np.ndarray:
        """Returns the rows ``F⁻¹(z)`` of latents ``X [rows, columns]``."""
        check_is_fitted(self)
        z = check_array(X, dtype=np.float64)
        if z.shape[1] != self.n_features_in_:
            raise ValueError(
                f"The latents have {self.n_features_in_} columns; received {z.shape[1]}."
            )

        def decode(part):
            return self.network_.model.decode(part, tolerance=1e-10)

        return self.columns_.inverse(by_parts(decode, z))

    @property
    def _n_features_out(self) -> int:
        return self.n_features_in_


def _mixture(z: np.ndarray, components: int, seed: int) -> GaussianMixture:
    """Returns the mixture of normals that maximises the likelihood of some rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return GaussianMixture(components, random_state=seed).fit(z[:MIXTURE_ROWS])
