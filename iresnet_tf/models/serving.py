"""A model's functions as a SavedModel, which runs where this package is not installed."""

import json
import math
import os
import pathlib
import tempfile

import tensorflow as tf

from iresnet_tf.layers import refresh, residual_blocks
from iresnet_tf.numerics import random
from iresnet_tf.numerics.execution import threads


@threads.undivided()
def export(model, path):
    """Writes the model's signatures to a new folder, whole or not at all.

    Beside the SavedModel lies ``signatures.json``: what each signature takes and returns, the
    shapes, the number of levels, the estimator, the certified Lipschitz constant.

    Args:
        model: a built model of this package; its spectral vectors are refined first.
        path: the folder.

    Raises:
        FileExistsError: if the path exists.
        ValueError: for a conditional model, whose signatures would need contexts.
    """
    if model.takes_context:
        raise ValueError(
            f"{model.name} depends on a context, which no exported signature takes. Save it with "
            "model.save instead."
        )
    path = pathlib.Path(path)
    if path.exists():
        raise FileExistsError(
            f"{path} exists already; nothing was changed. Choose another folder, or remove it."
        )
    refresh(model)
    module = tf.Module()
    # What the functions read, as TensorFlow tracks it.
    module.variables_of_the_model = [weight.value for weight in model.weights]
    functions = _functions(model)
    for name, function in functions.items():
        setattr(module, name, function)
    signatures = {name: each.get_concrete_function() for name, each in functions.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".partial-") as temporary:
        partial = pathlib.Path(temporary) / "model"
        # Custom gradients would be traced anew, and nobody trains what is served.
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        tf.saved_model.save(module, str(partial), signatures, options)
        facts = {**_facts(model), "signatures": _described(functions, signatures)}
        (partial / "signatures.json").write_text(json.dumps(facts, indent=2) + "\n")
        os.replace(partial, path)


def _functions(model):
    """Name → `tf.function` of every signature that the model has."""
    flow, dtype = model.flow, model.compute_dtype
    x = tf.TensorSpec([None, *flow.event_shape], dtype)
    z = tf.TensorSpec([None, *flow.latent_shape], dtype)
    scalar, integer = tf.TensorSpec([], dtype), tf.TensorSpec([], tf.int32)

    def encode(x):
        """Latents z = F(x) of points x of data space (levels plus noise, for discrete data)."""
        return {"z": model.encode(x)}

    def decode(z):
        """Points x = F⁻¹(z) of data space (for discrete data floor(x) is the level)."""
        return {"x": model.decode(z)}

    def classify(x):
        """Logits of the classes at points x of data space, as `encode` takes them."""
        return {"logits": model.classify(x)}

    def log_prob(x, seed):
        """log p(x), nats, at points x of data space; for discrete data levels plus noise drawn
        uniformly on [0, 1). The seed decides the probes of the log-determinant."""
        return {"log_prob": model.log_prob(x, seed=seed)}

    def sample(count, temperature, seed):
        """Samples x of the model, levels for discrete data; the latent deviation is multiplied
        by the temperature."""
        return _generated(count, temperature, seed)

    def sample_given_labels(labels, temperature, seed):
        """A sample x of each of the given classes."""
        return _generated(tf.size(labels), temperature, seed, labels=labels)

    def _generated(count, temperature, seed, **condition):
        tf.debugging.assert_positive(count, "count is an integer of at least 1.")
        tf.debugging.assert_positive(temperature, "temperature is a positive number.")
        z = model.prior.sample(count, temperature, random.as_seed(seed), **condition)
        return {"x": model.to_levels(model.decode(z))}

    functions: list[tuple] = [(encode, x), (decode, z)]
    if hasattr(model, "prior"):
        functions += [(log_prob, x, integer), (sample, integer, scalar, integer)]
        if model.prior.kind == "conditional":
            labels = tf.TensorSpec([None], tf.int32)
            functions.append((sample_given_labels, labels, scalar, integer))
    if hasattr(model, "head"):
        functions.append((classify, x))
    return {
        function.__name__: tf.function(function, autograph=False, input_signature=specs)
        for function, *specs in functions
    }


def _facts(model):
    bound = max(model.lipschitz_bounds().values(), default=0.0)
    estimators = {repr(block.log_det) for block in residual_blocks(model.flow)}
    return {
        "model": type(model).__name__,
        "event_shape": list(model.flow.event_shape),
        "latent_shape": list(model.flow.latent_shape),
        "levels": None if model.dequantize is None else model.dequantize.levels,
        "classes": model.head.classes if hasattr(model, "head") else None,
        "log_det": sorted(estimators) if hasattr(model, "prior") else None,
        # Where it is not known to be below 1, `decode` may not be the inverse of `encode`.
        "certified_lipschitz": bound if math.isfinite(bound) else None,
    }


def _described(functions, signatures):
    def specs(named):
        return {
            name: {"shape": spec.shape.as_list(), "dtype": spec.dtype.name}
            for name, spec in named.items()
        }

    described = {}
    for name, function in functions.items():
        inputs, _ = signatures[name].structured_input_signature
        described[name] = {
            "does": " ".join(function.python_function.__doc__.split()),
            "inputs": specs({spec.name: spec for spec in inputs}),
            "outputs": specs(signatures[name].structured_outputs),
        }
    return described
