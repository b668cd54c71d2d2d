"""Holds the settings that both estimators share, and chooses those that depend on the table."""

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from iresnet_tf.sklearn.columns import JohnsonColumns
from iresnet_tf.sklearn.network import Network

_WHOLE = {"blocks": 0, "width": 1, "batch_size": 1, "max_iter": 1, "patience": 1}
"""The least values of the settings that are whole numbers."""


class FlowEstimator(BaseEstimator):
    """The base class of the estimators: settings, checks, and the fitted parts.

    A fitted estimator has ``columns_`` and ``network_``, which pickle as arrays.
    """

    columns_: JohnsonColumns
    network_: Network

    def __init__(
        self,
        *,
        blocks: int | str = "auto",
        width: int | str = "auto",
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
        self.blocks = blocks
        self.width = width
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.tol = tol
        self.random_state = random_state
        self.verbose = verbose

    def _check_settings(self) -> None:
        for name, least in _WHOLE.items():
            value = getattr(self, name)
            if value == "auto" and name not in ("max_iter", "patience"):
                continue
            if not isinstance(value, int | np.integer) or value < least:
                raise ValueError(
                    f"{name} is a whole number of at least {least}; received {value!r}."
                )
        for name in ("learning_rate", "weight_decay", "tol"):
            value = getattr(self, name)
            positive = name == "learning_rate"
            is_number = isinstance(value, (int, float, np.number))
            if not is_number or not value >= 0.0 or (positive and value == 0.0):
                raise ValueError(
                    f"{name} is a {'positive' if positive else 'non-negative'} number; received "
                    f"{value!r}."
                )
        fraction = self.validation_fraction
        if not isinstance(fraction, (int, float, np.number)) or not 0.0 < fraction < 1.0:
            raise ValueError(
                f"validation_fraction lies between 0 and 1 (exclusive); received {fraction!r}."
            )

    def _sizes(self, rows: int) -> tuple[int, int, int]:
        """Returns the number of blocks, their width, and the rows of a batch."""
        blocks, width, batch = 4, 32, int(np.clip(rows // 8, 16, 256))
        if rows >= 2_000:
            blocks, width = 6, 64
        if rows >= 20_000:
            blocks, width = 8, 96
        chosen = (self.blocks, self.width, self.batch_size)
        blocks, width, batch = (
            automatic if value == "auto" else int(value)
            for value, automatic in zip(chosen, (blocks, width, batch))
        )
        return blocks, width, batch

    def _training_options(self, rng: np.random.RandomState) -> dict[str, Any]:
        names = "learning_rate", "weight_decay", "max_iter", "patience", "tol", "verbose"
        return {
            **{name: getattr(self, name) for name in names},
            "seed": int(rng.randint(2**31 - 1)),
        }

    def _rows(self, x: Any) -> tuple[np.ndarray, np.ndarray]:
        """Returns the network's inputs for rows, and the logarithm of the slope of the map."""
        check_is_fitted(self)
        return self.columns_.transform(validate_data(self, x, dtype=np.float64, reset=False))
