"""Draws from the two-dimensional densities of FFJORD and Residual Flows, with explicit seeds.

``x ~ p(x)``, ``x ∈ ℝ²``, for ten standard shapes (`NAMES`).  ``line`` and ``cos`` are degenerate:
their points lie on a curve, so they have no density on the plane, and the negative log-likelihood
of a model fitted to them has no lower bound.

Every draw depends only on its seed.  `sample`, `stream` and `test_set` use disjoint families of
seeds, so training never sees a test point.

Source: the toy data of FFJORD (Grathwohl et al. 2019; repository ``rtqichen/ffjord``), which
Residual Flows (Chen et al. 2019; ``rtqichen/residual-flows``) also uses.  Moons, circles and the
swiss roll are those of scikit-learn; the pinwheel follows Johnson et al. 2016.  In these sources,
evenly spaced points start at the beginning of a curve, and each class has a fixed number of points.
Here the first point and the first class are random, so that any number of points is allowed and
does not change the distribution of a single point.
"""

import functools
import math
import operator
from collections.abc import Callable

import numpy as np
import tensorflow as tf

# The first word of a key: the purpose for which points are drawn.
_SAMPLE, _STREAM, _TEST = range(3)


def sample(name: str, count: int, *, seed: int) -> np.ndarray:
    """Draws ``count`` points of the named density, a function of ``(name, count, seed)``.

    Args:
        name: one of `NAMES`.
        count: number of points, at least 1.
        seed: an integer of at least 0.

    Returns:
        ``[count, 2]`` float32.

    Raises:
        ValueError: for an unknown name, ``count < 1`` or ``seed < 0``.
    """
    return _draw(_density(name), _at_least(1, "count", count), seed, _SAMPLE)


def stream(name: str, batch_size: int, *, seed: int, skip: int = 0) -> tf.data.Dataset:
    """Returns an endless data set; batch ``k`` depends only on name, batch size, seed and ``k``.

    Args:
        name: one of `NAMES`.
        batch_size: number of points in a batch, at least 1.
        seed: an integer of at least 0.
        skip: index of the first batch; a run resumed at step ``s`` passes ``skip=s``.

    Returns:
        Dataset of ``[batch_size, 2]`` float32, prefetched.

    Raises:
        ValueError: for an unknown name, ``batch_size < 1``, ``seed < 0`` or ``skip < 0``.
    """
    density = _density(name)
    batch_size = _at_least(1, "batch_size", batch_size)
    seed = _at_least(0, "seed", seed)

    def batch(index: tf.Tensor) -> tf.Tensor:
        points = tf.numpy_function(
            lambda k: _draw(density, batch_size, seed, _STREAM, int(k)), [index], tf.float32
        )
        return tf.ensure_shape(points, [batch_size, 2])

    batches = tf.data.Dataset.counter(start=_at_least(0, "skip", skip))
    return batches.map(batch).prefetch(tf.data.AUTOTUNE)


def test_set(name: str, count: int = 10_000) -> np.ndarray:
    """Returns ``count`` fixed test points of the named density, ``[count, 2]`` float32.

    No seed of `sample` or `stream` gives these points.

    Raises:
        ValueError: for an unknown name or ``count < 1``.
    """
    return _draw(_density(name), _at_least(1, "count", count), 0, _TEST)


# Without this, pytest would collect the function as a test.
test_set.__test__ = False  # type: ignore[attr-defined]


def entropy(name: str) -> float | None:
    """``H = −∫ p(x) ln p(x) dx`` in nats, the smallest NLL that a model can reach.

    It is exact for ``checkerboard``, which is uniform on 8 squares of area 4: ``H = ln 32``.  For
    ``8gaussians`` the integral is computed numerically, with an error far below 1e-6.  For the
    other densities the result is ``None``.

    Raises:
        ValueError: for an unknown name.
    """
    _density(name)
    known = _ENTROPIES.get(name)
    return None if known is None else known()


def _draw(density: Callable, count: int, seed: int, *key: int) -> np.ndarray:
    """Draws float32 points from the generator of ``(seed, key)``."""
    sequence = np.random.SeedSequence(_at_least(0, "seed", seed), spawn_key=key)
    return density(count, np.random.default_rng(sequence)).astype(np.float32)


def _density(name: str) -> Callable:
    if name not in _DENSITIES:
        raise ValueError(f"Unknown density {name!r}; the densities are {', '.join(NAMES)}.")
    return _DENSITIES[name]


def _at_least(smallest: int, argument: str, value: int) -> int:
    value = operator.index(value)
    if value < smallest:
        raise ValueError(f"{argument} must be at least {smallest}; received {value}.")
    return value


def _classes(number: int, count: int, generator: np.random.Generator) -> np.ndarray:
    """Returns labels 0, …, number − 1 in turn, starting with a random one."""
    return (np.arange(count) + generator.integers(number)) % number


def _curves(
    number: int, count: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Returns for each point the label of a curve and a place on it in [0, 1), ``[count]`` each.

    The places on a curve are evenly spaced from a random start, so each of them is uniform.  The
    points are not shuffled.
    """
    label = _classes(number, count, generator)
    rank = np.arange(count) // number
    return label, (rank + generator.random(number)[label]) / np.bincount(label)[label]


def _noisy(points: np.ndarray, stddev: float, generator: np.random.Generator) -> np.ndarray:
    """Returns the points in random order, with independent Gaussian noise."""
    return generator.permutation(points) + stddev * generator.standard_normal(points.shape)


def _polar(radius: np.ndarray, angle: np.ndarray) -> np.ndarray:
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)


def _swissroll(count: int, generator: np.random.Generator) -> np.ndarray:
    """``((t cos t, t sin t) + noise) / 5``, t uniform on [1.5 π, 4.5 π], noise 1."""
    angle = 1.5 * math.pi * (1.0 + 2.0 * generator.random(count))
    return (_polar(angle, angle) + generator.standard_normal((count, 2))) / 5.0


def _circles(count: int, generator: np.random.Generator) -> np.ndarray:
    """Circles of radius 1/2 and 1 with noise 0.08, multiplied by 3."""
    label, place = _curves(2, count, generator)
    return 3.0 * _noisy(_polar(0.5 * (label + 1.0), 2.0 * math.pi * place), 0.08, generator)


def _moons(count: int, generator: np.random.Generator) -> np.ndarray:
    """Half-circles ``(cos t, sin t)`` and ``(1 − cos t, 1/2 − sin t)``, t in [0, π], noise 0.1.

    They are multiplied by 2, then moved by (−1, −0.2).
    """
    label, place = _curves(2, count, generator)
    arc = _polar(np.ones(count), math.pi * place)
    arc = np.where(label[:, np.newaxis] == 0, arc, (1.0, 0.5) - arc)
    return 2.0 * _noisy(arc, 0.1, generator) + (-1.0, -0.2)


_GAUSSIANS_SCALE = 1.414  # The definition rounds √2 to this number.
_GAUSSIANS_STDDEV = 0.5 / _GAUSSIANS_SCALE


def _gaussian_centres() -> np.ndarray:
    return _polar(np.full(8, 4.0 / _GAUSSIANS_SCALE), np.arange(8) * (math.pi / 4.0))


def _eight_gaussians(count: int, generator: np.random.Generator) -> np.ndarray:
    """Returns points around 8 centres on a circle of radius 4, noise 0.5, divided by 1.414."""
    centres = _gaussian_centres()[generator.integers(8, size=count)]
    return centres + _GAUSSIANS_STDDEV * generator.standard_normal((count, 2))


def _pinwheel(count: int, generator: np.random.Generator) -> np.ndarray:
    """Returns points of five arms ``2 f R(a)``, ``a = 2π class / 5 + exp(f₀) / 4``.

    The row f is normal with mean (1, 0) and standard deviations (0.3, 0.1); R(a) is the matrix
    ``[[cos a, −sin a], [sin a, cos a]]``.
    """
    features = generator.standard_normal((count, 2)) * (0.3, 0.1) + (1.0, 0.0)
    labels = generator.permutation(_classes(5, count, generator))
    angles = 2.0 * math.pi / 5.0 * labels + 0.25 * np.exp(features[:, 0])
    cosine, sine = np.cos(angles), np.sin(angles)
    rotations = np.stack([cosine, -sine, sine, cosine], axis=-1).reshape(count, 2, 2)
    return 2.0 * np.einsum("ti,tij->tj", features, rotations)


def _two_spirals(count: int, generator: np.random.Generator) -> np.ndarray:
    """Returns ``±(−n cos n + U/2, n sin n + U'/2) / 3`` plus noise 0.1, ``n = 3π √U''``."""
    angle = np.sqrt(generator.random(count)) * (540.0 * 2.0 * math.pi / 360.0)
    arm = angle[:, np.newaxis] * np.stack([-np.cos(angle), np.sin(angle)], axis=-1)
    arm += 0.5 * generator.random((count, 2))
    signs = 1 - 2 * _classes(2, count, generator)
    return _noisy(signs[:, np.newaxis] * arm / 3.0, 0.1, generator)


def _checkerboard(count: int, generator: np.random.Generator) -> np.ndarray:
    """Returns uniform points of the 8 squares of side 2 in [−4, 4]² with column + row even."""
    column = 4.0 * generator.random(count) - 2.0
    row = generator.random(count) - 2.0 * generator.integers(2, size=count)
    return 2.0 * np.stack([column, row + np.floor(column) % 2.0], axis=-1)


def _rings(count: int, generator: np.random.Generator) -> np.ndarray:
    """Returns points of circles of radius 1/4, 1/2, 3/4 and 1, times 3, plus noise 0.08."""
    label, place = _curves(4, count, generator)
    return _noisy(0.75 * _polar(label + 1.0, 2.0 * math.pi * place), 0.08, generator)


def _line(count: int, generator: np.random.Generator) -> np.ndarray:
    """Returns points of the line ``y = x`` with x uniform on [−2.5, 2.5]; they have no density."""
    x = 5.0 * generator.random(count) - 2.5
    return np.stack([x, x], axis=-1)


def _cos(count: int, generator: np.random.Generator) -> np.ndarray:
    """Returns points of ``y = 2.5 sin x`` with x uniform on [−2.5, 2.5]; they have no density."""
    x = 5.0 * generator.random(count) - 2.5
    return np.stack([x, 2.5 * np.sin(x)], axis=-1)


@functools.cache
def _eight_gaussians_entropy() -> float:
    """Returns ``−Σ h² p ln p`` on a grid of step h = s/5 that extends 12 s beyond the centres.

    The trapezoidal rule converges geometrically, because the integrand is smooth and decays fast.
    """
    reach = 4.0 / _GAUSSIANS_SCALE + 12.0 * _GAUSSIANS_STDDEV
    step = _GAUSSIANS_STDDEV / 5.0
    axis = np.arange(-reach, reach, step)
    # Each Gaussian is a product over its coordinates, so the mixture is one matrix product.
    horizontal, vertical = (
        np.exp(-0.5 * ((axis[:, np.newaxis] - centre) / _GAUSSIANS_STDDEV) ** 2)
        for centre in _gaussian_centres().T
    )
    density = horizontal @ vertical.T / (8.0 * 2.0 * math.pi * _GAUSSIANS_STDDEV**2)
    logarithm = np.log(np.maximum(density, np.finfo(np.float64).tiny))
    return float(-step * step * np.sum(density * logarithm))


_DENSITIES: dict[str, Callable] = {
    "swissroll": _swissroll,
    "circles": _circles,
    "moons": _moons,
    "8gaussians": _eight_gaussians,
    "pinwheel": _pinwheel,
    "2spirals": _two_spirals,
    "checkerboard": _checkerboard,
    "rings": _rings,
    "line": _line,
    "cos": _cos,
}

_ENTROPIES: dict[str, Callable[[], float]] = {
    "checkerboard": lambda: math.log(32.0),
    "8gaussians": _eight_gaussians_entropy,
}

NAMES = tuple(_DENSITIES)
