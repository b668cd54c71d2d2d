"""Writes a model as ONNX files, which run without TensorFlow.

ONNX has no random numbers that a seed repeats, and `tf2onnx` does not convert the loops of the
solvers.  So the inverse takes a fixed number of evaluations, the log-determinant a fixed number of
terms and fixed probes, all written out; the resulting errors are measured and stated.
"""

import contextlib
import importlib
import logging
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from iresnet_tf.layers import residual_blocks
from iresnet_tf.layers.blocks import estimator_replaced
from iresnet_tf.numerics.log_det import PowerSeries, truncation_bound
from iresnet_tf.numerics.log_det.series import inner
from iresnet_tf.numerics.solvers import FixedPoint, Picard

OPSET = 17
"""Version of the operators of ONNX that the files use."""

BASIS = 64
"""Largest dimension whose traces are exact; above it `PROBES` fixed probes estimate them."""

PROBES = 16
"""Number of fixed probes of a block."""

_TRIED = 16  # samples on which the errors are measured
_MOST = 200  # evaluations and terms, by default


class _WrittenOutPicard(Picard):
    """``x_{k+1} = y − g(x_k)``, without a loop and without a test of convergence."""

    def __call__(self, g: Callable, y: tf.Tensor, **options: Any) -> FixedPoint:
        x = y
        for _ in range(self.max_iterations):
            x = y - g(x)
        rows = tf.shape(y)[:1]
        # Nothing of an exported function reads the report.
        report = tf.fill(rows, self.max_iterations), tf.zeros(rows, y.dtype), tf.fill(rows, True)
        return FixedPoint(x, *report)


class _WrittenOutSeries(PowerSeries):
    """A power series without a loop, whose probes are fixed for the dimension of each block."""

    def draw(self, value, seed):
        event = value.shape[1:]
        size = int(np.prod(event))
        probes, weight = np.eye(size), 1.0
        if size > BASIS:
            probes = np.random.default_rng(0).choice([-1.0, 1.0], (PROBES, size))
            weight = 1.0 / PROBES
        v = tf.reshape(tf.constant(probes, value.dtype), [len(probes), 1, *event])
        return tf.broadcast_to(v, tf.concat([[len(probes)], tf.shape(value)], 0)), weight

    def sums(self, linearization, v, image, *, seed, lipschitz):
        power, series, neumann = v, 0.0, 0.0
        for k in range(1, self.number_of_terms(lipschitz) + 1):
            power = v if k == 1 else -linearization.vjp(power)
            series += inner(power, image) / k
            neumann += power
        return series, neumann


def write(model: Any, folder: pathlib.Path, evaluations: int | None = None) -> dict[str, Any]:
    """Writes ``encode.onnx``, ``decode.onnx``, and ``log_prob.onnx`` or ``classify.onnx``.

    Args:
        model: a built `FlowModel`.
        folder: where the files are written.
        evaluations: of ``g`` in every block of ``decode``; by default so many that, by a block's
            certified constant, its error is below 1e-6 of the initial one, but at most 200.

    Returns:
        the evaluations, terms and probes, and the errors measured on latents and samples of the
        model: plain data for ``signatures.json``.

    Raises:
        ImportError: without `tf2onnx`.
        ValueError: if a part of the model cannot be converted.
    """
    convert = _converter()
    bounds = model.lipschitz_bounds().values()
    lipschitz = min(max(bounds, default=0.0), 1.0 - 1e-9)
    if evaluations is None:
        evaluations = _steps_below(lambda n: lipschitz**n, 1e-6)
    x = tf.TensorSpec([None, *model.flow.event_shape], model.compute_dtype, name="x")
    z = tf.TensorSpec([None, *model.flow.latent_shape], model.compute_dtype, name="z")

    def encode(x):
        return {"z": model.encode(x)}

    def decode(z):
        return {"x": model.decode(z)}

    def log_prob(x):
        return {"log_prob": model.log_prob(x, seed=0)}

    def classify(x):
        return {"logits": model.classify(x)}

    latent = tf.random.stateless_normal([_TRIED, *z.shape[1:]], [0, 1], dtype=z.dtype)
    if model.has_density:
        latent = model.encode(model.dequantized(model.sample(_TRIED, seed=0), 0))
    points = model.decode(latent)
    convert(encode, x, folder)
    facts: dict[str, Any] = {"opset": OPSET}
    with _solver_replaced(model, _WrittenOutPicard(max_iterations=evaluations)):
        found = convert(decode, z, folder)(latent)["x"]
    error = float(tf.reduce_max(tf.abs(found - points)))
    facts["decode"] = {"evaluations": evaluations, "max_abs_error": error}
    if model.has_density:
        facts["log_prob"] = _write_log_prob(model, log_prob, x, points, lipschitz, convert, folder)
        facts["log_det"] = ["PowerSeries({terms}, probes={probes})".format(**facts["log_prob"])]
    if model.classes is not None:
        convert(classify, x, folder)
    return facts


def _write_log_prob(model, log_prob, spec, points, lipschitz, convert, folder):
    terms = _steps_below(lambda n: truncation_bound(lipschitz, n), 1e-4)
    is_exact = model.dimension <= BASIS
    with estimator_replaced(model.flow, _WrittenOutSeries(terms)):
        found = convert(log_prob, spec, folder)(points)["log_prob"]
    # Twice as many terms, and other probes, tell what these leave.
    reference = _WrittenOutSeries(2 * terms) if is_exact else PowerSeries(2 * terms, probes=64)
    with estimator_replaced(model.flow, reference):
        expected = model.log_prob(points, seed=0)
    return {
        "terms": terms,
        "probes": model.dimension if is_exact else PROBES,
        "exact_traces": is_exact,
        "root_mean_square_error": float(tf.sqrt(tf.reduce_mean((found - expected) ** 2))),
    }


def _steps_below(error: Callable[[int], float], target: float) -> int:
    return next((n for n in range(1, _MOST) if error(n) <= target), _MOST)


@contextlib.contextmanager
def _solver_replaced(model, solver) -> Iterator[None]:
    blocks = {block: block.solver for block in residual_blocks(model.flow)}
    try:
        for block in blocks:
            block.solver = solver
        yield
    finally:
        for block, own in blocks.items():
            block.solver = own


def _converter() -> Callable:
    """Returns a function that writes a function as a file, and returns it as a `tf.function`."""
    try:
        tf2onnx = importlib.import_module("tf2onnx")
        importlib.import_module("tf2onnx.convert")
    except ImportError as error:
        raise ImportError(
            "ONNX files need tf2onnx: pip install 'iresnet_tf[onnx]', or pip install tf2onnx."
        ) from error
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)

    def convert(function, spec, folder):
        traced = tf.function(function, autograph=False, input_signature=[spec])
        path = folder / f"{function.__name__}.onnx"
        try:
            tf2onnx.convert.from_function(traced, [spec], opset=OPSET, output_path=str(path))
        except Exception as error:  # tf2onnx raises errors of many types.
            raise ValueError(
                f"tf2onnx {tf2onnx.__version__} cannot convert {function.__name__} of this model "
                f"({type(error).__name__}: {error}). Export a SavedModel."
            ) from error
        return traced

    return convert
