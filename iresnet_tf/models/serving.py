"""Writes a model as a ``.keras`` file, or as a SavedModel that runs without this package."""

import math
import os
import pathlib
from typing import Any

import keras
import tensorflow as tf

from iresnet_tf.files import write_json, written_whole
from iresnet_tf.layers import refresh, residual_blocks, vouched_blocks
from iresnet_tf.models import onnx
from iresnet_tf.numerics.execution import threads


class ServedModel(keras.Model):
    """Writes a model to files; a subclass has the ``flow`` and its ``signatures``."""

    def save(self, filepath: str | os.PathLike, **kwargs: Any) -> None:
        """Refines the spectral vectors, then saves like `keras.Model.save` to a ``.keras`` file.

        Raises:
            ValueError: for another suffix, unless ``zipped=False`` asks for a folder, because
                HDF5 does not keep the configuration of nested objects.
        """
        if kwargs.get("zipped") is not False and not str(filepath).endswith(".keras"):
            raise ValueError(
                f"{self.name} is saved as a .keras file; received {str(filepath)!r}. export writes "
                "a SavedModel, save_weights the weights alone."
            )
        refresh(self)
        super().save(filepath, **kwargs)

    @threads.undivided()
    def export(
        self,
        filepath: str | os.PathLike,
        format: str = "tf_saved_model",
        *,
        evaluations: int | None = None,
    ) -> None:
        """Writes a SavedModel, or ONNX files, that run without this package, into a new folder.

        It refines the spectral vectors, then writes the `signatures` of the model for batches of
        any size, and a ``signatures.json`` that describes them, the shapes, the number of levels,
        the estimator and the certified Lipschitz constant.  The folder is written whole or not at
        all.

        Args:
            filepath: the folder.
            format: ``"tf_saved_model"`` or ``"onnx"``; the latter needs `tf2onnx`, and writes a
                file for each function, see `iresnet_tf.models.onnx.write`.
            evaluations: for ``"onnx"``, of ``g`` in every block of the inverse.

        Raises:
            FileExistsError: if the path exists; nothing is changed then.
            ImportError: for ``"onnx"`` without `tf2onnx`.
            ValueError: for another format; if the model is not built; for ``"onnx"``, if it
                depends on a context.
        """
        if format not in ("tf_saved_model", "onnx"):
            raise ValueError(
                f"{self.name} is exported as a SavedModel with several signatures, "
                f"format='tf_saved_model', or as format='onnx'; received format={format!r}."
            )
        if evaluations is not None and (format != "onnx" or evaluations < 1):
            raise ValueError(
                "evaluations is a number of at least 1 for format='onnx'; received "
                f"{evaluations!r} for {format!r}."
            )
        self._require_built()
        if format == "onnx" and self.takes_context:
            raise ValueError(
                f"{self.name} depends on a context, which the ONNX files do not take. Export it as "
                "a SavedModel: leave format out."
            )
        path = pathlib.Path(filepath)
        if path.exists():
            raise FileExistsError(
                f"{path} exists already; nothing was changed. Choose another folder, or remove it."
            )
        refresh(self)
        with written_whole(path) as partial:
            if format == "onnx":
                partial.mkdir()
                facts = {**self._facts(), **onnx.write(self, partial, evaluations)}
            else:
                facts = {**self._facts(), "signatures": self._write_saved_model(partial)}
            write_json(partial / "signatures.json", facts)

    def _write_saved_model(self, path: pathlib.Path) -> dict[str, Any]:
        """Writes a SavedModel and returns the description of its signatures."""
        module = tf.Module()
        # TensorFlow saves the variables that the functions read only if it tracks them.
        module.variables_of_the_model = [weight.value for weight in self.weights]
        functions = self.signatures()
        for name, function in functions.items():
            setattr(module, name, function)
        signatures = {
            name: function.get_concrete_function() for name, function in functions.items()
        }
        # Custom gradients would be traced anew, and nobody trains a served model.
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        tf.saved_model.save(module, str(path), signatures, options)
        return _described(functions, signatures)

    def _facts(self) -> dict[str, Any]:
        bound = max(self.lipschitz_bounds().values(), default=0.0)
        bound = math.inf if vouched_blocks(self.flow) else bound
        estimators = {repr(block.log_det) for block in residual_blocks(self.flow)}
        return {
            "model": type(self).__name__,
            "event_shape": list(self.flow.event_shape),
            "context_shape": list(self.flow.context_shape) if self.takes_context else None,
            "latent_shape": list(self.flow.latent_shape),
            "levels": None if self.dequantize is None else self.dequantize.levels,
            "classes": self.classes,
            "log_det": sorted(estimators) if self.has_density else None,
            # Unless this is below 1, `decode` may not be the inverse of `encode`.  A constant
            # that somebody vouched for is no certificate.
            "certified_lipschitz": bound if math.isfinite(bound) else None,
        }


def as_signatures(*functions: tuple) -> dict[str, Any]:
    """Converts functions to `tf.function`s and returns them by their names.

    Args:
        *functions: tuples ``(function, *specs)``: a function that returns a dict of tensors, whose
            docstring becomes its description, and the `tf.TensorSpec` of each argument.
    """
    return {
        function.__name__: tf.function(function, autograph=False, input_signature=specs)
        for function, *specs in functions
    }


def _described(functions: dict[str, Any], signatures: dict[str, Any]) -> dict[str, Any]:
    """Returns the description, inputs and outputs of every function as plain data."""

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
