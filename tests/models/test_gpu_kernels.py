"""Every operation of the graphs of training, evaluation and inversion has a kernel for GPUs.

The kernels are those that the installed TensorFlow has registered, which it tells without a GPU.
This shows that no operation would run on the CPU while a GPU waits for its result.  It does not
show that a kernel is quick, that it gives the right numbers, or that it fits a certain GPU; and
kernels for ``int32`` are counted, although TensorFlow runs most of them on the host by design.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import kernels

from iresnet_tf import layers, models
from iresnet_tf.numerics.log_det import Exact, PowerSeries, RussianRoulette
from iresnet_tf.numerics.solvers import Anderson, Picard

pytestmark = pytest.mark.skipif(
    not tf.test.is_built_with_cuda(), reason="This TensorFlow has no kernels for GPUs."
)

ON_THE_HOST = {
    # The text of an assertion; the condition itself is computed on the GPU.
    ("Const", "string"),
    # The certified norms, computed by NumPy in float64.  `decode` and `sample` do without them;
    # only the error bound of `inverse` needs them, once a call.
    ("PyFuncStateless", ""),
    # The cross-entropy of classes, [batch, classes] numbers a step; only float64 has no kernel.
    ("SparseSoftmaxCrossEntropyWithLogits", "float64 int32"),
}
SHAPES = {"dense": (4,), "conv": (4, 4, 2)}
CONTEXT, BATCH = (3,), 6

# The estimator and the solver of each of two blocks, and whether it is recomputed.
METHODS = {
    "series": [
        (PowerSeries(3, distribution="gaussian"), Anderson(), True),
        (RussianRoulette(), Picard(), False),
    ],
    "exact": [
        (Exact(), Anderson(), False),
        (PowerSeries(3, series_dtype="bfloat16"), Picard(), False),
    ],
}
KINDS = {
    "density": models.DensityModel,
    "conditional": models.ConditionalDensityModel,
    "classifier": models.Classifier,
    "hybrid": models.HybridModel,
}


def model_of(kind, shape, method, dtype):
    """Returns a compiled model with every kind of layer, and a batch for `fit`."""
    options = {"activation": "lipswish", "dtype": dtype}
    if kind == "conditional":
        options["context_shape"] = CONTEXT

    def block(estimator, solver, recompute):
        if shape == "dense":
            g = layers.Contraction.mlp((8,), **options)
        else:
            g = layers.Contraction.conv(4, (3, 1), **options)
        return layers.ResidualBlock(g, estimator, solver, recompute=recompute)

    first, second = (block(*options) for options in METHODS[method])
    stack, preprocessing = [layers.ActNorm(dtype=dtype), first, second], []
    if shape == "conv":
        rest = layers.FactorOut([second], dtype=dtype)
        stack = [layers.Squeeze(dtype=dtype), *stack[:2], rest]
        preprocessing = [layers.Dequantize(8, dtype=dtype), layers.Logit(0.05, dtype=dtype)]
    classes = {"classes": 3} if kind in ("classifier", "hybrid") else {}
    model = KINDS[kind](stack, preprocessing=preprocessing, seed=0, dtype=dtype, **classes)
    optimizer = keras.optimizers.Adam(global_clipnorm=1.0, weight_decay=1e-4, use_ema=True)
    model.compile(optimizer)
    random = np.random.default_rng(0)
    x = random.integers(0, 8, (BATCH, *SHAPES[shape])).astype(dtype)
    targets = {"conditional": random.normal(size=(BATCH, *CONTEXT)).astype(dtype)}
    targets |= dict.fromkeys(("classifier", "hybrid"), np.arange(BATCH) % 3)
    return model, (x, targets[kind]) if kind in targets else (x,)


def graphs_of(model, batch):
    """Yields the names and the graphs of a model's computations."""
    batch = tuple(map(tf.constant, batch))
    x, *rest = batch
    condition = {"context": rest[0]} if model.takes_context else {}
    model.build(x.shape)
    model.initialize(x, **condition)
    model.optimizer.build(model.trainable_variables)
    z = model.encode(x, **condition)
    functions = {
        "train": (lambda *batch: model.train_step(batch), *batch),
        "test": (lambda *batch: model.test_step(batch), *batch),
        "decode": (lambda z: model.decode(z, **condition), z),
        "inverse": (lambda z: tuple(model.flow.inverse(z, **condition)), z),
    }
    if model.has_density:
        functions["log_prob"] = (lambda x: model.log_prob(x, seed=1, **condition), x)
    for name, (function, *arguments) in functions.items():
        traced = tf.function(function, autograph=False).get_concrete_function(*arguments)
        yield name, traced.graph.as_graph_def()


def nodes_of(graph):
    """Returns the operations of a graph and of the functions and loops inside it."""
    functions = {function.signature.name for function in graph.library.function}
    nodes = [*graph.node, *(node for each in graph.library.function for node in each.node_def)]
    calls = {"Placeholder", *functions}
    return [node for node in nodes if node.op not in calls]


def types_of(node, name):
    """Returns the dtypes of an attribute of an operation."""
    attribute = node.attr[name]
    if attribute.WhichOneof("value") == "type":
        return {attribute.type}
    return set(attribute.list.type)


def has_gpu_kernel(node):
    """Returns whether a kernel for GPUs, or for any device, takes the operation's dtypes."""
    return any(
        kernel.device_type in ("GPU", "DEFAULT")
        and all(
            types_of(node, constraint.name) <= set(constraint.allowed_values.list.type)
            for constraint in kernel.constraint
        )
        for kernel in kernels.get_registered_kernels_for_op(node.op).kernel
    )


def without_kernel(graph):
    """Returns the operations without a kernel, each with the dtypes of its attributes."""
    missing = set()
    for node in nodes_of(graph):
        if not has_gpu_kernel(node):
            values = node.attr.values()
            types = [each.type for each in values if each.WhichOneof("value") == "type"]
            missing.add((node.op, " ".join(sorted(tf.as_dtype(each).name for each in types))))
    return missing


slow = pytest.mark.slow
CASES = [
    ("hybrid", "conv", "series", "float32"),
    ("density", "dense", "exact", "float32"),
]
CASES += [
    pytest.param(kind, shape, method, dtype, marks=slow)
    for kind in KINDS
    for shape in SHAPES
    for method in METHODS
    for dtype in ("float32", "float64")
    if (kind, shape, method, dtype) not in CASES and (dtype == "float32" or shape == "dense")
]


@pytest.mark.parametrize("kind,shape,method,dtype", CASES)
def test_every_operation_has_a_gpu_kernel(kind, shape, method, dtype):
    for name, graph in graphs_of(*model_of(kind, shape, method, dtype)):
        nodes = nodes_of(graph)
        assert len(nodes) > 100 and any(node.op == "MatMul" for node in nodes), name
        allowed = ON_THE_HOST if name == "inverse" else ON_THE_HOST - {("PyFuncStateless", "")}
        assert without_kernel(graph) <= allowed, name


def test_an_operation_without_a_gpu_kernel_is_found_in_a_loop():
    def power(x):
        return tf.while_loop(lambda x: x[0] < 9, lambda x: [x**2], [x])[0]

    def graph(dtype):
        traced = tf.function(power, autograph=False)
        return traced.get_concrete_function(tf.TensorSpec([2], dtype)).graph.as_graph_def()

    assert without_kernel(graph(tf.int32)) == {("Pow", "int32")}
    assert without_kernel(graph(tf.float32)) == set()
