"""Serves an exported model over HTTP; needs TensorFlow, FastAPI and uvicorn, not this package.

    iresnet export RUN --out MODEL
    python scripts/serve.py MODEL --port 8000
    curl localhost:8000/sample --json '{"count": 4, "temperature": 1.0, "seed": 0}'

Each signature of the model is a POST of its inputs by name, as JSON; the answer has its outputs by
name. ``GET /`` describes what each signature takes and returns.
"""

import argparse
import json
import pathlib

import fastapi
import numpy as np
import tensorflow as tf
import uvicorn


def application(folder):
    """Returns the web application of an exported model."""
    model = tf.saved_model.load(str(folder))
    facts = json.loads((pathlib.Path(folder) / "signatures.json").read_text())
    app = fastapi.FastAPI(title=facts["model"])
    # The signatures read the model's variables, so the application keeps the model.
    app.state.model = model

    @app.get("/")
    def describe():
        return facts

    for name in facts["signatures"]:
        app.post(f"/{name}", name=name)(_endpoint(model.signatures[name]))
    return app


def _endpoint(function):
    specs = function.structured_input_signature[1]

    def call(inputs: dict = fastapi.Body()):  # noqa: B008
        try:
            outputs = function(**_tensors(specs, inputs))
        except (ValueError, TypeError) as error:
            raise fastapi.HTTPException(422, str(error)) from None
        except tf.errors.InvalidArgumentError as error:
            raise fastapi.HTTPException(422, error.message) from None
        return {name: value.numpy().tolist() for name, value in outputs.items()}

    return call


def _tensors(specs, inputs):
    if set(inputs) != set(specs):
        raise ValueError(f"The inputs are {sorted(specs)}; received {sorted(inputs)}.")
    arrays = {
        name: np.asarray(inputs[name], spec.dtype.as_numpy_dtype) for name, spec in specs.items()
    }
    for name, array in arrays.items():
        if not specs[name].shape.is_compatible_with(array.shape):
            raise ValueError(
                f"{name} has the shape {specs[name].shape.as_list()}; received {list(array.shape)}."
            )
    return {name: tf.constant(array) for name, array in arrays.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=pathlib.Path, help="the folder of the SavedModel")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    uvicorn.run(application(options.model), host=options.host, port=options.port)


if __name__ == "__main__":
    main()
