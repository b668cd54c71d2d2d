"""Evaluates the maps of contractions in extended precision, with their derivatives, by NumPy."""

import numpy as np

from iresnet_tf.numerics import maps
from iresnet_tf.numerics.maps import activations
from iresnet_tf.numerics.maps.chain import Composition, Shift

LONG = np.longdouble


def exact(tensor):
    return np.asarray(tensor).astype(LONG)


def matrix_of_convolution(kernel, grid):
    """Returns ``[h·w·in, h·w·out]``; output q reads pixel ``q + t − ⌊(k − 1)/2⌋`` by tap t."""
    kh, kw, inputs, outputs = kernel.shape
    height, width = grid
    matrix = np.zeros((height, width, inputs, height, width, outputs), LONG)
    for row, column, i, j in np.ndindex(height, width, kh, kw):
        y, x = row + i - (kh - 1) // 2, column + j - (kw - 1) // 2
        if 0 <= y < height and 0 <= x < width:
            matrix[y, x, :, row, column] += kernel[i, j]
    return matrix.reshape(height * width * inputs, -1)


def matrix_of_operator(operator, grid):
    """Returns the matrix of an operator on flattened images, or on vectors for ``grid = ()``."""
    kernel = exact(operator.kernel)
    if isinstance(operator, maps.Convolution):
        return matrix_of_convolution(kernel, grid)
    if isinstance(operator, maps.UnrolledConvolution):
        return kernel
    pixels = int(np.prod(grid))
    return np.kron(np.eye(pixels, dtype=LONG), kernel)


def sigmoid(t):
    return np.where(t < 0.0, np.exp(np.minimum(t, 0.0)), 1.0) / (1.0 + np.exp(-np.abs(t)))


def swish(x, slope):
    """Returns ``x σ(b x)`` and its derivative ``s + b x s (1 − s)``."""
    s, rest = sigmoid(slope * x), sigmoid(-slope * x)
    return x * s, s + slope * x * s * rest


ELEMENTWISE = {
    "relu": lambda x: (np.maximum(x, 0.0), (x > 0.0) * LONG(1.0)),
    "elu": lambda x: (
        np.where(x > 0.0, x, np.expm1(np.minimum(x, 0.0))),
        np.exp(np.minimum(x, 0.0)),
    ),
    "softplus": lambda x: (np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x))), sigmoid(x)),
    "sigmoid": lambda x: (sigmoid(x), sigmoid(x) * sigmoid(-x)),
    "tanh": lambda x: (np.tanh(x), 4.0 * sigmoid(2.0 * x) * sigmoid(-2.0 * x)),
    "linear": lambda x: (x, np.ones_like(x)),
}


def evaluate(g, x, v):
    """Returns ``g(x)`` and ``J_g(x) v``: ``x`` is ``[batch, …]``, ``v`` ``[directions, batch, …]``.

    Every formula is written out anew: nothing is shared with the maps but their tensors.
    """
    if isinstance(g, maps.Derived):
        return evaluate(g.derive(), x, v)
    if isinstance(g, Composition):
        for part in g.maps:
            x, v = evaluate(part, x, v)
        return x, v
    if isinstance(g, maps.Affine):
        matrix, shape = matrix_of_operator(g.operator, x.shape[1:-1]), x.shape[1:-1]
        y = (x.reshape(len(x), -1) @ matrix).reshape(len(x), *shape, -1)
        w = (v.reshape(*v.shape[:2], -1) @ matrix).reshape(*v.shape[:2], *shape, -1)
        return (y if g.bias is None else y + exact(g.bias)), w
    if isinstance(g, Shift):
        return x + exact(g.offset), v
    if isinstance(g, maps.Concatenation):
        images, tangents = zip(*(evaluate(part, x, v) for part in g.maps), strict=True)
        return np.concatenate(images, -1), np.concatenate(tangents, -1)
    if isinstance(g, maps.Scaling):
        return exact(g.factor) * x, exact(g.factor) * v
    if isinstance(g, activations.PairSort):
        (a, b), (p, q) = np.split(x, 2, -1), np.split(v, 2, -1)
        kept = a >= b
        return (
            np.concatenate([np.maximum(a, b), np.minimum(a, b)], -1),
            np.concatenate([np.where(kept, p, q), np.where(kept, q, p)], -1),
        )
    if isinstance(g, activations.ConcatenatedSwish):
        slope = exact(g.slope)
        halves = [swish(x, slope), swish(-x, slope)]
        return (
            np.concatenate([halves[0][0], halves[1][0]], -1) / LONG("1.1044"),
            np.concatenate([halves[0][1] * v, -halves[1][1] * v], -1) / LONG("1.1044"),
        )
    if isinstance(g, activations.ScaledSwish):
        value, slope = swish(x, exact(g.slope))
        return value / LONG("1.1"), slope / LONG("1.1") * v
    if isinstance(g, activations.Elementwise):
        value, slope = ELEMENTWISE[g.name](x)
        return value, slope * v
    raise NotImplementedError(type(g).__name__)


def jacobians(g, x):
    """Returns ``g(x)`` and its Jacobians ``[batch, out, in]``."""
    size = x[0].size
    v = np.broadcast_to(np.eye(size, dtype=LONG)[:, None], (size, len(x), size))
    value, columns = evaluate(g, x, v.reshape(size, *x.shape))
    return value, np.moveaxis(columns.reshape(size, len(x), -1), 0, -1)


def inverse(g, y, start, lipschitz):
    """Solves ``x + g(x) = y`` by Newton's method; returns ``x`` and a bound on its error.

    The bound is ``‖x + g(x) − y‖₂ / (1 − L)``, in the 2-norm.
    """
    x, best = start.copy(), np.full(len(y), np.inf)
    found = start.copy()
    for step in range(60):
        value, jacobian = jacobians(g, x)
        residual = (x + value - y).reshape(len(y), -1)
        size = np.sqrt(np.square(residual).sum(1)).astype(float)
        better = size < best
        if step > 8 and not better.any():
            break
        found[better], best = x[better], np.minimum(size, best)
        # Every other step is one of Picard, which always comes closer.
        matrix = np.eye(residual.shape[1]) + jacobian.astype(float)
        newton = np.linalg.solve(matrix, residual.astype(float)[..., None])[..., 0]
        x = x - (newton if step % 2 == 0 else residual).reshape(x.shape)
    return found, best / (1.0 - lipschitz)
