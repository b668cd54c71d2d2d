"""Compiled functions of ``F(x) = x + g(x)``: value, log-determinant and inverse."""

import numpy as np
import tensorflow as tf

from iresnet_tf.internals import is_traced_for_xla
from iresnet_tf.numerics.axes import event_norm
from iresnet_tf.numerics.execution import compiled, tensor_float_32
from iresnet_tf.numerics.execution.threads import Whole
from iresnet_tf.numerics.log_det import LogDet
from iresnet_tf.numerics.maps import Map
from iresnet_tf.numerics.maps.share import samples_of_share
from iresnet_tf.numerics.solvers import FixedPoint, Solver, implicit_gradient, paths, preconditioner
from iresnet_tf.numerics.structure import Signature, tensors_of


def add(g: Map, x: tf.Tensor, *, recompute: bool = False) -> tf.Tensor:
    """Returns ``x + g(x)``; see `transform` for ``recompute``."""
    tensor_float_32.require_off_unless_measured("A residual block", x.dtype)
    return compiled.call_on_batch(_add_recomputed if recompute else _add, (), g, (x,))


def transform(
    g: Map,
    x: tf.Tensor,
    estimator: LogDet,
    seed: tf.Tensor,
    *,
    lipschitz: float | None = None,
    recompute: bool = False,
    share: float = 1.0,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns ``x + g(x)`` and ``log |det(I + J_g(x))|``, nats, from one evaluation of ``g``.

    With a ``share`` below 1, the log-determinant is estimated for a random share of the samples
    and weighted by its inverse; that of the other samples is 0.  Its mean over the batch, and the
    gradient of that mean, keep their expectation.

    Args:
        g: the residual branch.
        x: ``[batch, …event]``.
        estimator, seed, lipschitz: see `LogDet.__call__`.
        recompute: whether the backward pass evaluates ``g`` again, so that only ``x``, the
            probes and their Neumann sums are stored.
        share: of the samples whose log-determinant is estimated, in (0, 1]: see `Share`.  Several
            threads each choose a share of their part of the batch.

    Raises:
        ValueError: for ``recompute`` with an opaque map.
    """
    tensor_float_32.require_off_unless_measured("A residual block", x.dtype)
    function = _transform_recomputed if recompute else _transform
    return compiled.call_on_batch(function, (estimator, lipschitz, share), g, (x,), seed)


def _add(part, g, x):
    return x + g(x)


def _transform(estimator, lipschitz, share, part, g, x, seed):
    samples = samples_of_share(share, x, part.of_seed(seed))
    value, linearization = samples.linearize(g, x)
    return x + value, samples.weighted(estimator(linearization, samples.seed, lipschitz))


def _transform_recomputed(estimator, lipschitz, share, part, g, x, seed):
    samples = samples_of_share(share, x, part.of_seed(seed))

    def forward(g, x):
        value, linearization = samples.linearize(g, x)
        log_det, residuals = estimator.value_and_residuals(linearization, samples.seed, lipschitz)
        return (x + value, samples.weighted(log_det)), residuals

    def again(g, x, residuals):
        value, linearization = samples.linearize(g, x)
        surrogate = estimator.surrogate(linearization, residuals, lipschitz)
        return x + value, samples.weighted(surrogate)

    return _recomputed(forward, again, g, x)


def _add_recomputed(part, g, x):
    def forward(g, x):
        return (x + g(x),), ()

    def again(g, x, residuals):
        return (x + g(x),)

    return _recomputed(forward, again, g, x)[0]


def _recomputed(forward, again, g, x):
    """Returns ``forward(g, x)[0]`` with the gradient of ``again(g, x, forward(g, x)[1])``.

    Source: Chen et al. 2016 (arXiv:1604.06174), gradient checkpointing.
    """
    signature = Signature(g)
    if signature.is_opaque:
        raise ValueError(
            "recompute evaluates g again from its tensors, which are not known for Keras layers "
            "of other packages. Leave recompute out, or build g from contractive layers."
        )

    @tf.custom_gradient
    def outputs(x, *tensors):
        values, residuals = forward(signature.rebuild(tensors), x)

        def gradient(*cotangents):
            # Otherwise the recomputation could run early, and its results would be stored.
            with tf.control_dependencies([c for c in cotangents if c is not None]):
                inputs = [tf.identity(tensor) for tensor in (x, *tensors)]
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                recomputed = again(signature.rebuild(inputs[1:]), inputs[0], residuals)
            return tape.gradient(recomputed, inputs, cotangents, unconnected_gradients="zero")

        return values, gradient

    return outputs(x, *tensors_of(g))


def invert(
    g: Map,
    y: tf.Tensor,
    solver: Solver,
    *,
    tolerance: float | tf.Tensor | None = None,
    path_steps: int | None = None,
    initial: tf.Tensor | None = None,
) -> tuple[tf.Tensor, FixedPoint, tf.Tensor]:
    """Solves ``x + g(x) = y``.

    Args:
        g: the residual branch.
        y: ``[batch, …event]``.
        solver: of the equation.
        tolerance: replaces the tolerance of the solver.
        path_steps: number of points on each path, if ``y`` is ``[paths · path_steps, …event]``:
            see `iresnet_tf.numerics.solvers.paths`.  ``None`` for unrelated samples.
        initial: first iterate of unrelated samples; ``y`` by default.

    Returns:
        ``x``, differentiable; the solver's report; and a bound on the rounding of its residual,
        ``[batch]``.
    """
    return _solved(_invert, g, y, solver, tolerance, path_steps, initial)


def invert_point(
    g: Map,
    y: tf.Tensor,
    solver: Solver,
    *,
    tolerance: float | tf.Tensor | None = None,
    path_steps: int | None = None,
    initial: tf.Tensor | None = None,
) -> tf.Tensor:
    """Returns only the ``x`` of `invert`, without the cost of the report."""
    return _solved(_invert_point, g, y, solver, tolerance, path_steps, initial)[0]


def _solved(function, g, y, solver, tolerance, path_steps, initial):
    tensor_float_32.require_off("An inverse", y.dtype)
    tolerance = tf.cast(solver.tolerance if tolerance is None else tolerance, y.dtype)

    def solve(y, initial, rows):
        batch = (y, tf.stop_gradient(initial))
        return compiled.call_on_batch(function, (solver,), g.at_rows(rows), batch, tolerance)

    if path_steps is None:
        return solve(y, y if initial is None else initial, Whole())
    return paths.coarse_to_fine(solve, y, path_steps)


def _invert_point(*arguments):
    return _invert(*arguments)[:1]


def _invert(solver, part, g, y, initial, tolerance):
    precondition = None
    if solver.is_preconditioned and not g.varies_by_sample and not Signature(g).is_opaque:
        precondition = preconditioner.at_origin(g, y.shape[1:], y.dtype)
    # XLA needs static shapes, so every iteration takes the whole batch.
    subsets = not g.varies_by_sample and not is_traced_for_xla()
    options = {"subsets": subsets, "precondition": precondition}
    found = solver(g, y, initial=initial, tolerance=tolerance, **options)
    # The sum x + g(x) − y rounds as well.
    epsilon = np.finfo(y.dtype.as_numpy_dtype).eps
    rounding = g.rounding_error(found.x, g(found.x))
    margin = rounding + 4.0 * epsilon * (event_norm(y) + event_norm(found.x))
    return implicit_gradient(g, y, found.x, solver), found, tf.stop_gradient(margin)
