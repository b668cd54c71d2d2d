"""``F(x) = x + g(x)``: its value with log-determinant, its inverse, and their recomputation."""

import numpy as np
import tensorflow as tf

from iresnet_tf.numerics.execution import compiled
from iresnet_tf.numerics.execution.threads import Whole
from iresnet_tf.numerics.maps.rounding import event_norm, rounding_error
from iresnet_tf.numerics.solvers import implicit_gradient, paths, preconditioner


def add(g, x, recompute=False):
    """``x + g(x)``; see `transform` for ``recompute``."""
    return compiled.call(_add_again if recompute else _add, (), g, x)


def transform(g, x, estimator, seed, lipschitz=None, recompute=False):
    """``(x + g(x), log |det(I + J_g(x))|)`` from one evaluation of ``g``.

    Args:
        g: map of `iresnet_tf.numerics.maps.linearization`.
        x: ``[batch, …event]``.
        estimator: of `iresnet_tf.numerics.log_det`.
        seed: stateless seed ``[2]``.
        lipschitz: the constant that ``g`` is held to, or ``None``.
        recompute: whether the backward pass evaluates ``g`` anew instead of keeping what it
            needs of the forward pass: one evaluation more, and memory for ``x``, the probes
            and their Neumann sums alone.

    Returns:
        ``[batch, …event]`` and ``[batch]``, nats.

    Raises:
        ValueError: for ``recompute`` with a ``g`` of other layers than this package's.
    """
    function = _transform_again if recompute else _transform
    return compiled.call(function, (estimator, lipschitz), g, x, seed)


def _add(part, g, x):
    del part
    return x + g(x)


def _transform(estimator, lipschitz, part, g, x, seed):
    linearization = g.linearize(x)
    return x + linearization.value, estimator(linearization, part.of_seed(seed), lipschitz)


def _transform_again(estimator, lipschitz, part, g, x, seed):
    def forward(g, x):
        linearization = g.linearize(x)
        value, factors = estimator.value_and_residuals(linearization, part.of_seed(seed), lipschitz)
        return (x + linearization.value, value), factors

    def again(g, x, factors):
        linearization = g.linearize(x)
        return x + linearization.value, estimator.surrogate(linearization, factors)

    return _recomputed(forward, again, g, x)


def _add_again(part, g, x):
    del part
    return _recomputed(lambda g, x: ((x + g(x),), ()), lambda g, x, factors: (x + g(x),), g, x)[0]


def _recomputed(forward, again, g, x):
    """``forward(g, x)[0]`` with the gradient of ``again(g, x, forward(g, x)[1])``.

    Source: Chen et al. 2016 (arXiv:1604.06174), gradient checkpointing.
    """
    structure = compiled.MapSignature(g)
    if structure.is_opaque:
        raise ValueError(
            "recompute evaluates g anew from its weights, which are not known of other layers "
            "than this package's. Leave it out, or build g of them."
        )

    @tf.custom_gradient
    def outputs(x, *tensors):
        values, factors = forward(structure.rebuild(tensors), x)

        def gradient(*cotangents):
            # Not before the cotangents are there: else it would be kept from the forward pass.
            with tf.control_dependencies([each for each in cotangents if each is not None]):
                inputs = [tf.identity(each) for each in (x, *tensors)]
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                recomputed = again(structure.rebuild(inputs[1:]), inputs[0], factors)
            return tape.gradient(recomputed, inputs, cotangents, unconnected_gradients="zero")

        return values, gradient

    return outputs(x, *structure.tensors(g))


def invert(g, y, solver, tolerance=None, path_steps=None):
    """``x`` with ``x + g(x) = y``, differentiable.

    Args:
        g: map of `iresnet_tf.numerics.maps.linearization`.
        y: ``[batch, …event]``.
        solver: of `iresnet_tf.numerics.solvers`.
        tolerance: in place of the solver's own.
        path_steps: of how many points the paths are, one after the other, that the batch is
            made of; ``None`` where its samples have nothing to do with each other.

    Returns:
        ``x``, the solver's `FixedPoint` report, and a bound on the rounding of
        its residual, ``[batch]``.
    """
    return _solved(_invert, g, y, solver, tolerance, path_steps)


def preimage(g, y, solver, tolerance=None, path_steps=None):
    """The ``x`` of `invert` alone."""
    return _solved(_preimage, g, y, solver, tolerance, path_steps)[0]


def _solved(function, g, y, solver, tolerance, path_steps):
    tolerance = tf.cast(solver.tolerance if tolerance is None else tolerance, y.dtype)

    def solve(y, initial, rows):
        # One batch, so that both are shared out alike.
        both = tf.stack([y, tf.stop_gradient(initial)], 1)
        return compiled.call(function, (solver,), compiled.of_rows(g, rows), both, tolerance)

    if path_steps is None:
        return solve(y, y, Whole())
    return paths.coarse_to_fine(solve, y, path_steps)


def _preimage(*arguments):
    return _invert(*arguments)[:1]


def _invert(solver, part, g, y_and_initial, tolerance):
    del part
    y, initial = tf.unstack(y_and_initial, axis=1)
    varies, precondition = compiled.holds_a_shift(g), None
    if solver.is_preconditioned and not varies and not compiled.MapSignature(g).is_opaque:
        precondition = preconditioner.at_origin(g, y.shape[1:], y.dtype)
    found = solver(g, y, initial, tolerance, not varies, precondition)
    # The sum x + g(x) − y rounds as well.
    epsilon = np.finfo(y.dtype.as_numpy_dtype).eps
    margin = rounding_error(g, found.x) + 4.0 * epsilon * (event_norm(y) + event_norm(found.x))
    return implicit_gradient(g, y, found.x, solver), found, tf.stop_gradient(margin)
