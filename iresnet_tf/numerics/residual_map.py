"""``F(x) = x + g(x)``: its value with log-determinant, and its inverse.

Each is traced once for every kind and shape of ``g``, for batches of any size, and
called with the tensors of the block at hand: sixteen equal blocks cost one trace,
eager calls run compiled, and the same numbers come out however a block is called.
"""

import functools

import numpy as np
import tensorflow as tf

from iresnet_tf.numerics import paths, preconditioner
from iresnet_tf.numerics.fixed_point import implicit_gradient
from iresnet_tf.numerics.linearization import Shift
from iresnet_tf.numerics.rounding import event_norm, rounding_error
from iresnet_tf.numerics.threads import Whole, number_of_parts, shared_out


def add(g, x, recompute=False):
    """``x + g(x)``; see `transform` for ``recompute``."""
    return _call(_add_again if recompute else _add, (), g, x)


def transform(g, x, estimator, seed, lipschitz=None, recompute=False):
    """``(x + g(x), log |det(I + J_g(x))|)`` from one evaluation of ``g``.

    Args:
        g: map of `iresnet_tf.numerics.linearization`.
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
    return _call(function, (estimator, lipschitz), g, x, seed)


def _add(part, g, x):
    del part
    return x + g(x)


def _transform(estimator, lipschitz, part, g, x, seed):
    linearization = g.linearize(x)
    return x + linearization.value, estimator(linearization, part.of_seed(seed), lipschitz)


def _transform_again(estimator, lipschitz, part, g, x, seed):
    def forward(g, x):
        linearization = g.linearize(x)
        value, factors = estimator.frozen(linearization, part.of_seed(seed), lipschitz)
        return (x + linearization.value, value), factors

    def again(g, x, factors):
        linearization = g.linearize(x)
        return x + linearization.value, estimator.differentiable(linearization, factors)

    return _recomputed(forward, again, g, x)


def _add_again(part, g, x):
    del part
    return _recomputed(lambda g, x: ((x + g(x),), ()), lambda g, x, factors: (x + g(x),), g, x)[0]


def _recomputed(forward, again, g, x):
    """``forward(g, x)[0]`` with the gradient of ``again(g, x, forward(g, x)[1])``.

    Source: Chen et al. 2016 (arXiv:1604.06174), gradient checkpointing.
    """
    structure = _Structure(g)
    if structure.is_foreign:
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
        g: map of `iresnet_tf.numerics.linearization`.
        y: ``[batch, …event]``.
        solver: of `iresnet_tf.numerics.fixed_point`.
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
        both = tf.stack([y, tf.stop_gradient(initial)], 1)
        return _call(function, (solver,), _of_rows(g, rows), both, tolerance)

    if path_steps is None:
        return solve(y, y, Whole())
    return paths.coarse_to_fine(solve, y, path_steps)


def _preimage(*arguments):
    return _invert(*arguments)[:1]


def _invert(solver, part, g, y_and_initial, tolerance):
    del part
    y, initial = tf.unstack(y_and_initial, axis=1)
    varies, precondition = _holds_a_shift(g), None
    if solver.is_preconditioned and not varies and not _Structure(g).is_foreign:
        precondition = preconditioner.at_origin(g, y.shape[1:], y.dtype)
    found = solver(g, y, initial, tolerance, not varies, precondition)
    # The sum x + g(x) − y rounds as well.
    epsilon = np.finfo(y.dtype.as_numpy_dtype).eps
    margin = rounding_error(g, found.x) + 4.0 * epsilon * (event_norm(y) + event_norm(found.x))
    return implicit_gradient(g, y, found.x, solver), found, tf.stop_gradient(margin)


def _call(function, options, g, *arguments):
    """``function(*options, part, g, *arguments)``, compiled; ``arguments[0]`` is a batch.

    On several threads its parts run beside each other, see `threads`.
    """
    structure = _Structure(g)
    if structure.is_foreign:
        return function(*options, Whole(), g, *arguments)
    specs = tuple(
        tf.TensorSpec([None, *each.shape[1:]] if index == 0 else each.shape, each.dtype)
        for index, each in enumerate(arguments)
    )
    parts, examples = number_of_parts(), arguments[0].shape[0]
    if examples is not None and examples < parts:
        parts = 1
    return _compiled(function, options, structure, specs, parts)(structure.tensors(g), *arguments)


@functools.lru_cache(maxsize=256)
def _compiled(function, options, structure, specs, parts):
    run = functools.partial(_run, function, options, structure, parts)
    return tf.function(
        run,
        autograph=False,
        input_signature=[structure.specs, *specs],
        # Copied into the graph of a training step for every block, it would fill the memory.
        experimental_attributes={"_noinline": True},
    )


def _run(function, options, structure, parts, tensors, x, *arguments):
    g = structure.rebuild(tensors)

    def run(rows, part):
        return function(*options, part, _of_rows(g, part), rows, *arguments)

    return shared_out(run, x, parts)


class _Structure:
    """What a map is made of but its tensors: a key, and the way back from the tensors."""

    def __init__(self, g):
        self.template = _template(g)
        leaves = tf.nest.flatten(self.template)
        self.specs = [leaf for leaf in leaves if isinstance(leaf, tf.TensorSpec)]
        known = (tf.TensorSpec, int, str, type(None))
        # A Keras layer or a function may change behind the same identity: never cached.
        self.is_foreign = not all(isinstance(leaf, known) for leaf in leaves)
        # Tuples compare without their types.
        self._key = (_types(g), tuple(leaves))

    @staticmethod
    def tensors(g):
        return [leaf for leaf in tf.nest.flatten(g) if tf.is_tensor(leaf)]

    def rebuild(self, tensors):
        rest = iter(tensors)
        leaves = tf.nest.flatten(self.template)
        filled = [next(rest) if isinstance(leaf, tf.TensorSpec) else leaf for leaf in leaves]
        return tf.nest.pack_sequence_as(self.template, filled)

    def __hash__(self):
        return hash(self._key)

    def __eq__(self, other):
        return self._key == other._key


def _template(g):
    """The map with a specification in place of each tensor; shifts are of any number of samples."""
    if isinstance(g, Shift):
        return Shift(tf.TensorSpec([None, *g.offset.shape[1:]], g.offset.dtype))
    if isinstance(g, tuple):
        parts = map(_template, g)
        return type(g)(*parts) if hasattr(g, "_fields") else tuple(parts)
    return tf.TensorSpec(g.shape, g.dtype) if tf.is_tensor(g) else g


def _holds_a_shift(g):
    """Whether the map is another one for every sample of its batch."""
    return isinstance(g, Shift) or isinstance(g, tuple) and any(map(_holds_a_shift, g))


def _of_rows(g, part):
    """The map of a part of the batch that ``g`` is of."""
    if isinstance(g, Shift):
        return Shift(part.of_rows(g.offset))
    if isinstance(g, tuple) and _holds_a_shift(g):
        parts = (_of_rows(each, part) for each in g)
        return type(g)(*parts) if hasattr(g, "_fields") else tuple(parts)
    return g


def _types(g):
    return (type(g), *map(_types, g)) if isinstance(g, tuple) else None
