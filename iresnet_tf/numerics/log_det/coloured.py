"""An estimator of the log-determinant whose first terms have probes of single colours."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from typing_extensions import Self

from iresnet_tf.numerics.axes import dimension_of
from iresnet_tf.numerics.log_det.estimator import Lipschitz, LogDet
from iresnet_tf.numerics.log_det.series import Series, inner
from iresnet_tf.numerics.maps import Linearization
from iresnet_tf.numerics.options import require_integer

_GOLDEN_RATIO = (1.0 + 5.0**0.5) / 2.0


@keras.saving.register_keras_serializable("iresnet_tf")
class Coloured(Series):
    """``S(v) + Σ_{k≤m} (−1)^{k+1}/k [Σ_c v_cᵀ Jᵏ v_c − vᵀ Jᵏ v]`` with ``v = Σ_c v_c``.

    ``S(v)`` is the estimate of a series for one Rademacher probe ``v``.  Each of its first ``m``
    terms is replaced by an estimate with less noise: the coordinates are divided into ``C_k``
    colours, and ``v_c`` is ``v`` on the coordinates of a colour and 0 elsewhere, so only pairs of
    coordinates of the same colour add variance.  The coordinates of a colour are far apart (see
    `colours`), and interact little.  The bracket has the mean 0: the bias is that of ``S``.

    The colours of a term are unions of those of the term before, whose products are added up.  So
    the colours cost ``Σ_k C_k`` Jacobian products, one of which ``S`` needs as well.

    Args:
        series: ``S``, a series of one Rademacher probe, for example ``PowerSeries(20)`` or
            ``Krylov(4)``.
        colours: ``(C_1, …, C_m)``, the number of colours of each of the first terms.  Most of the
            noise is in the first term.

    Raises:
        ValueError: if ``series`` is no `Series` or has other probes; if ``colours`` is empty,
            increases, or holds anything but integers above 1.

    Sources: Tang and Saad 2012 (doi:10.1002/nla.779) for probes of colours, which estimate the
    diagonal of a matrix that decays away from it; Hutchinson 1990 for the trace.
    """

    def __init__(self, series: LogDet, colours: tuple[int, ...] = (8, 4)) -> None:
        super().__init__(probes=1, distribution="rademacher", series_dtype=None)
        if not isinstance(series, Series) or isinstance(series, Coloured):
            raise ValueError(
                f"series is a series without colours, for example PowerSeries(20); received "
                f"{series!r}."
            )
        given = series.series_config()
        if (given["probes"], given["distribution"]) != (1, "rademacher"):
            raise ValueError(
                "Coloured draws the probes itself, one Rademacher probe for all colours; received "
                f"{series!r}. Leave out its probes and its distribution."
            )
        if not isinstance(colours, (tuple, list)) or not colours:
            raise ValueError(
                f"colours is a tuple of integers, one for each of the first terms; received "
                f"{colours!r}."
            )
        colours = tuple(require_integer("A number of colours", count) for count in colours)
        if 1 in colours or list(colours) != sorted(colours, reverse=True):
            raise ValueError(
                "Numbers of colours are above 1, and none is larger than the one before; received "
                f"{colours!r}."
            )
        self.series = series
        self.takes_spectral_bound = series.takes_spectral_bound
        self.colours = colours

    def draw(self, value: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, float]:
        """Returns the probes of the colours of the first term, and the weight 1."""
        whole, weight = super().draw(value, seed)
        count = min(self.colours[0], dimension_of(value))
        colour = tf.constant(colours(tuple(value.shape[1:]), count), tf.int32)
        masks = tf.one_hot(colour, count, axis=0, dtype=value.dtype)
        return whole * masks[:, tf.newaxis], weight

    def sums(
        self,
        linearization: Linearization,
        v: tf.Tensor,
        image: tf.Tensor,
        *,
        seed: tf.Tensor,
        lipschitz: Lipschitz,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        series, neumann = self.series.sums(
            linearization, _total(v), _total(image), seed=seed, lipschitz=lipschitz
        )
        # power = (−Jᵀ)^{k−1} v and image = J v for each colour of the k-th term, and group has
        # the colour of the k-th term for each of the first.
        power, group = v, np.arange(v.shape[0])
        for k, count in enumerate(self.colours, 1):
            if k > 1:
                power, image = _merged(power, count), _merged(image, count)
                power, group = -linearization.vjp(power), group % count
            apart = tf.reduce_sum(inner(power, image), 0, keepdims=True)
            series += (apart - inner(_total(power), _total(image))) / k
            neumann += tf.gather(power, group) - _total(power)
        return series, neumann

    def _estimate(self, linearization, seed, lipschitz):
        return super()._estimate(_one_by_one(linearization), seed, lipschitz)

    def probe_seed(self, seed: tf.Tensor) -> tf.Tensor:
        return self.series.probe_seed(seed)

    def for_target(self, target: float | None) -> LogDet:
        return Coloured(self.series.for_target(target), self.colours)

    def truncation_bound(self, lipschitz: float) -> float:
        return self.series.truncation_bound(lipschitz)

    def get_config(self) -> dict[str, Any]:
        series = self.series.serialized()
        return {"series": series, "colours": list(self.colours)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        series = keras.saving.deserialize_keras_object(config["series"])
        return cls(**{**config, "series": series})

    def __repr__(self):
        return f"Coloured({self.series!r}, colours={self.colours!r})"


def colours(event: tuple[int, ...], count: int) -> np.ndarray:
    """Returns the colour of each coordinate of a sample, ``0, …, count − 1``, of shape ``event``.

        colour(i, j, c) = (c + channels · p) mod count,   p = (i + b j) mod q,   b ≈ q / φ

    for channel ``c`` at pixel ``(i, j)``, where ``q = ⌈count / channels⌉`` and ``φ`` is the golden
    ratio: the channels of a pixel have as many colours as possible, and the pixels that share
    colours form a Fibonacci lattice, whose points are far apart.  The last axis is that of the
    channels, and samples may have any number of other axes.
    """
    *grid, channels = event
    classes = -(-count // channels)
    multiplier = round(classes / _GOLDEN_RATIO)
    index = np.indices(event)
    place = sum(multiplier**axis * index[axis] for axis in range(len(grid)))
    return (index[-1] + channels * (place % classes)) % count


def _one_by_one(linearization):
    """Returns the linearization with products that take the memory of a single probe."""

    def each(product):
        def products(v):
            images: list[tf.Tensor] = []
            for row in range(v.shape[0]):
                with tf.control_dependencies(images[-1:]):
                    images.append(product(tf.identity(v[row : row + 1])))
            return tf.concat(images, 0)

        return products

    value, jvp, vjp_in = linearization
    return Linearization(value, each(jvp), lambda dtype: each(vjp_in(dtype)))


def _total(v):
    return tf.reduce_sum(v, 0, keepdims=True)


def _merged(v, count):
    """Adds up the rows of ``v [rows, …]`` whose numbers are equal modulo ``count``."""
    return tf.math.unsorted_segment_sum(v, np.arange(v.shape[0]) % count, count)
