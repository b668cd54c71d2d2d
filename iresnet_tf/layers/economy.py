"""Options that make a training step cheaper, and at most a little noisier.

A model's ``train_step`` sets the options for the calls inside it.  Blocks read them where they
compute ``F(x)`` and its log-determinant, and linear layers where the optimizer has changed a kernel
and they update its singular vectors.  No evaluation, inverse or certificate reads them.
"""

import contextlib
import contextvars
import dataclasses
import itertools
import numbers
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from iresnet_tf.numerics import random


@dataclasses.dataclass(frozen=True)
class Economy:
    """The options of `compile` that make a training step cheaper.

    Attributes:
        log_det_share: share of the samples of a batch whose log-determinants a block estimates,
            in (0, 1]; see `residual_map.transform`.
        product_dtype: dtype of the products with the kernels of ``g`` and of the vectors between
            them, ``"bfloat16"``, or ``None`` for the dtype of the model; see `maps.in_bfloat16`.
            The steps of power iteration have these products, too.

    Raises:
        ValueError: for other options.
    """

    log_det_share: float = 1.0
    product_dtype: str | None = None

    def __post_init__(self) -> None:
        share = self.log_det_share
        is_number = isinstance(share, numbers.Real) and not isinstance(share, bool)
        if not is_number or not 0.0 < share <= 1.0:
            raise ValueError(
                "log_det_share is a share of each batch, above 0 and at most 1; received "
                f"{share!r}."
            )
        if self.product_dtype not in (None, "bfloat16"):
            raise ValueError(
                "product_dtype is 'bfloat16', or None for the dtype of the model; received "
                f"{self.product_dtype!r}."
            )

    def require_fitting(self, dtype: str) -> None:
        """Raises `ValueError` for a ``product_dtype`` in a model whose dtype is not float32."""
        if self.product_dtype is not None and dtype != "float32":
            raise ValueError(
                f"product_dtype={self.product_dtype!r} is for models in float32; this one computes "
                f"in {dtype}. Leave product_dtype out, or make the model in float32."
            )

    def changed(self) -> dict[str, Any]:
        """Returns the options that are not the defaults, as plain data."""
        given, usual = dataclasses.asdict(self), dataclasses.asdict(NO_ECONOMY)
        return {name: value for name, value in given.items() if value != usual[name]}


NO_ECONOMY = Economy()
"""The defaults, by which a training step computes what an evaluation does."""


class Step:
    """A training step in which blocks use the cheaper options.

    Args:
        economy: its options.
        seed: stateless seed of the rounding of kernels.
    """

    def __init__(self, economy: Economy = NO_ECONOMY, seed: tf.Tensor | None = None) -> None:
        self.economy = economy
        self._seed = seed
        self._numbers = itertools.count()

    def next_seed(self) -> tf.Tensor:
        """Returns another seed at each call; the calls of every trace have the same ones."""
        return random.fold_in(random.unplaced(self._seed), next(self._numbers))


NO_STEP = Step()
"""No training step: nothing is saved."""

STEP = contextvars.ContextVar("STEP", default=NO_STEP)
"""The step that the present thread takes or traces: see `economical`."""


@contextlib.contextmanager
def economical(economy: Economy, seed: tf.Tensor) -> Iterator[None]:
    """Makes blocks use the cheaper options within a ``with`` statement, even if traced in it.

    Args:
        economy: the options.
        seed: stateless seed of the step.
    """
    token = STEP.set(Step(economy, seed))
    try:
        yield
    finally:
        STEP.reset(token)
