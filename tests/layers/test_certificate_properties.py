"""No certificate lies below the truth, for random weights of every kind of contraction.

The truth is computed in extended precision, from the weights as they are applied.  The number of
random cases of the slow run is ``CERTIFICATE_CASES``, 1000 by default; a thorough one takes 10,000.
"""

import functools
import os
from unittest import mock

import hypothesis
import keras
import numpy as np
import pytest
import tensorflow as tf
from exact_maps import evaluate, exact, inverse, jacobians, matrix_of_operator
from hypothesis import strategies

from iresnet_tf import layers, solvers
from iresnet_tf.layers import Contraction, SpectralDense, activations
from iresnet_tf.numerics import maps
from iresnet_tf.numerics.norms import induced_norm, singular_values

POINTS = 4


def chain(*names, **options):
    """Returns linear layers of width 4 and the activations between them; the last width is open."""
    dense = [SpectralDense(4, **options) for _ in names] + [SpectralDense(**options)]
    parts = [[each, activations.get(name)] for each, name in zip(dense, names)]
    return Contraction([*sum(parts, []), dense[-1]])


def nested():
    shared, tanh = SpectralDense(3, coeff=0.97), layers.Activation("tanh")
    inner = Contraction([SpectralDense(4), layers.CLipSwish(), SpectralDense()])
    return Contraction([shared, tanh, inner, shared])


def preactivated(activation="softplus", **options):
    return Contraction.mlp((4,), activation, preactivation=True, **options)


def concatenated_images():
    return Contraction.dense_net(2, 2, activation="lipswish")


def contextual(**options):
    return Contraction.mlp((4,), "elu", context_shape=(2,), **options)


KINDS = {
    "linear": lambda: chain(coeff=0.97),
    "smooth": lambda: chain("lipswish", "clipswish", "softplus"),
    "kinked": lambda: chain("relu", "maxmin", "elu"),
    "bounded": lambda: chain("tanh", "linear", "sigmoid"),
    "unbounded": lambda: chain("tanh", "lipswish", coeff=None),
    "preactivated": preactivated,
    "nested": nested,
    "concatenated": lambda: Contraction.dense_net(2, 2, None, "clipswish"),
    "conditional": contextual,
    "sum": lambda: chain("tanh", p=1),
    "largest": lambda: chain("relu", p=np.inf),
    "between": lambda: chain("lipswish", p=1.5),
    "learned": lambda: chain("elu", p="learned"),
    "mixed": lambda: Contraction.mlp((4, 4), "relu", p=[2, 3, 1.5]),
    "image": lambda: Contraction.conv(2, (3, 1, (2, 3)), "lipswish"),
    "image in the largest norm": lambda: Contraction.conv(2, (3, 3), "relu", p=np.inf),
    "concatenated image": concatenated_images,
}


@pytest.fixture(autouse=True)
def uncompiled():
    """Runs functions eagerly: compiling all kinds takes longer than the test."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@functools.cache
def block_of(kind, dtype):
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype)
    try:
        block = layers.ResidualBlock(KINDS[kind](), solver=solvers.Anderson(1e-6))
    finally:
        keras.config.set_dtype_policy(policy)
    # The first vectors are replaced later, so none of their iteration is needed.
    with (
        mock.patch.object(singular_values, "_MOST_APPLICATIONS", 0),
        mock.patch.object(induced_norm, "_MOST_STEPS", 0),
    ):
        block.build((None, *((3, 2, 2) if "image" in kind else (3,))))
    return block


def set_weights(block, random, size, steps):
    """Draws all weights anew, of that size; refines the vectors, or takes steps towards it."""
    g = block.g
    spectral = {id(each): each for each in layers.spectral_layers(g)}.values()
    kernels = {id(each.kernel) for each in spectral}
    for weight in g.trainable_variables:
        scale = size * 10.0 ** random.uniform(-1, 1) if id(weight) in kernels else 1.5
        value = scale * random.standard_normal(weight.shape)
        weight.assign(value * random.choice([1.0, 1.0, 0.0], p=[0.5, 0.4, 0.1]))
    for layer in spectral:
        refined = steps is None and layer.is_euclidean()
        if refined:
            set_exact_vectors(layer)
        for _ in range(0 if refined else 4 if steps is None else steps):
            layer.update_vectors(layer.kernel)


def set_exact_vectors(layer):
    """Does what `refresh` does, in much less time for so small a kernel."""
    kernel = layer.kernel.numpy().astype(float)
    grid = layer.right_vector.shape[1:-1]
    largest = np.abs(kernel).max() or 1.0
    operator = layer.make_operator(tf.constant(kernel / largest))
    u, _, v = np.linalg.svd(matrix_of_operator(operator, grid).T.astype(float))
    layer.left_vector.assign(u[:, 0].reshape(layer.left_vector.shape))
    layer.right_vector.assign(v[0].reshape(layer.right_vector.shape))


def norm(x, reciprocal):
    """Returns the p-norm over the last axis, in extended precision."""
    largest = np.abs(x).max(-1, keepdims=True)
    if reciprocal == 0.0:
        return largest[..., 0]
    relative = np.abs(x) / np.where(largest > 0.0, largest, 1.0)
    return largest[..., 0] * (relative ** (1.0 / reciprocal)).sum(-1) ** reciprocal


def norms_from_below(matrix, domain, codomain, random):
    """Yields lower bounds of ``‖A‖_{p→q}``, ``A`` ``[out, in]``: the norm itself if it is known."""
    if domain == codomain == 0.5:
        largest = np.abs(matrix).max() or 1.0
        # The decomposition itself rounds to some ε; a truth that is too high would be no truth.
        yield largest * np.linalg.svd((matrix / largest).astype(float), compute_uv=False)[0]
        return
    directions = [random.standard_normal((8, matrix.shape[1])), np.eye(matrix.shape[1])]
    if domain == 0.0:
        directions.append(np.sign(matrix))
    for v in directions:
        v = exact(v)[norm(v, 0.0) > 0.0]
        if len(v):
            yield (norm(v @ matrix.T, codomain) / norm(v, domain)).max()


def check_layers(block, random):
    for layer in layers.spectral_layers(block.g):
        bound, grid = layer.lipschitz_bound(), getattr(layer, "grid", ())
        operator = maps.derived(layer.bind()).operator
        matrix = matrix_of_operator(operator, grid).T
        for truth in norms_from_below(matrix, *map(float, layer._exponents()), random):
            assert truth <= bound * (1.0 + 1e-14), layer.name


def check_contraction(block, g, x, random):
    lipschitz = block.lipschitz_bound()
    power = 1.0 / float(block._reciprocal_exponent()) if block._reciprocal_exponent() else np.inf
    value, jacobian = jacobians(g, x)
    for matrix in jacobian:
        for truth in norms_from_below(matrix, 1.0 / power, 1.0 / power, random):
            assert truth <= lipschitz * (1.0 + 1e-14)
    for distance in (1e-6, 1.0, 1e3):
        step = exact(distance * random.standard_normal(x.shape))
        other, _ = evaluate(g, x + step, step[np.newaxis])
        rise, run = ((a.reshape(len(x), -1)) for a in (other - value, step))
        # The difference of two values rounds.
        rounding = 1e-17 * np.abs(value).max()
        assert (norm(rise, 1.0 / power) <= lipschitz * norm(run, 1.0 / power) + rounding).all()


def check_inverse(block, g, y, context):
    result = block.inverse(y, **context)
    if not np.isfinite(np.asarray(result.error_bound)).any():
        return
    truth, slack = inverse(g, exact(y), exact(result.x), min(block.lipschitz_bound(), 1.0 - 1e-9))
    slack = slack * float(block._norm_ratio())
    error = np.sqrt(np.square(exact(result.x) - truth).reshape(len(y), -1).sum(1))
    bound = exact(result.error_bound)
    assert (slack <= 1e-3 * bound).all(), "the truth is not exact enough"
    assert (error <= bound + slack).all(), (error, bound)


CASES = {
    "seed": strategies.integers(0, 2**31 - 1),
    "dtype": strategies.sampled_from(["float32", "float64"]),
    "size": strategies.sampled_from([1.0] * 6 + [1e-3, 30.0, 1e-25, 1e12, 1e25]),
    "steps": strategies.sampled_from([None, None, 0, 1, 3]),
    "scale": strategies.sampled_from([1e-20, 1e-6, 0.1, 1.0, 1.0, 10.0, 1e3, 1e6, 1e12]),
}


def check(kind, seed, dtype, size, steps, scale):
    random, block = np.random.default_rng(seed), block_of(kind, dtype)
    set_weights(block, random, size, steps)
    shape = (POINTS, *block.event_shape)
    x = (scale * random.standard_normal(shape)).astype(dtype)
    context = {}
    if block.is_conditional:
        context = {"context": 10.0 ** random.uniform(-2, 3) * random.standard_normal((POINTS, 2))}
        context["context"] = context["context"].astype(dtype)
    g = block._map(context.get("context"))
    check_layers(block, random)
    check_contraction(block, g, exact(x), random)
    check_inverse(block, g, x, context)


def cases(count, **strategies_of_arguments):
    """Returns a decorator that runs a test on so many random cases, the same ones every time."""
    settings = hypothesis.settings(
        max_examples=count, derandomize=True, deadline=None, database=None
    )
    given = hypothesis.given(**strategies_of_arguments, **CASES)
    return lambda test: settings(given(test))


@pytest.mark.parametrize("kind", KINDS)
@cases(-(-300 // len(KINDS)))
def test_no_certificate_lies_below_the_truth(kind, **case):
    check(kind, **case)


@pytest.mark.slow
@cases(int(os.environ.get("CERTIFICATE_CASES", 1000)), kind=strategies.sampled_from(sorted(KINDS)))
def test_no_certificate_of_many_cases_lies_below_the_truth(kind, **case):
    check(kind, **case)
