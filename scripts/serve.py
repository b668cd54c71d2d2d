"""Serves an exported model over HTTP; needs TensorFlow, FastAPI and uvicorn, not this package.

    iresnet export RUN --out MODEL
    python scripts/serve.py MODEL --port 8000
    curl localhost:8000/sample --json '{"count": 4, "temperature": 1.0, "seed": 0}'

Each signature of the model is a POST of its inputs by name, as JSON; the answer has its outputs by
name.  A number that is not finite is answered as null, and ``warning`` then says so.  ``GET /``
describes what each signature takes and returns, and the limits of a request.

A refusal is JSON too: ``{"detail": sentence}``.  Its status is 400 for a body that is not JSON, 408
for a request that takes too long, 413 for one that is too large, and 422 for wrong inputs.
"""

import argparse
import asyncio
import concurrent.futures
import dataclasses
import json
import pathlib
import re
import time

import fastapi
import h11
import numpy as np
import tensorflow as tf
import uvicorn
from starlette.requests import ClientDisconnect
from uvicorn.protocols.http.h11_impl import H11Protocol


def _limit(default, meaning):
    return dataclasses.field(default=default, metadata={"help": meaning})


@dataclasses.dataclass(frozen=True)
class Limits:
    """The limits of the server; each is an option of the command."""

    body_bytes: int = _limit(4 * 2**20, "largest body of a request")
    rows: int = _limit(1000, "largest number of rows of an input")
    count: int = _limit(1000, "largest number of samples")
    seconds: float = _limit(30.0, "longest time from the start of a request to its answer")
    connections: int = _limit(64, "largest number of connections; others get status 503")
    threads: int = _limit(2, "number of requests that are computed at a time; others wait")


ROWS_AT_ONCE = 128
"""Rows of a signature without a seed that are computed at once, which bounds the memory."""


class Refusal(fastapi.HTTPException):
    """Tells the client why a request gets no answer."""


def application(folder, limits=Limits()):  # noqa: B008
    """Returns the web application of an exported model."""
    # An inverse or a log-determinant from products in TF32 would be off by 1e-3.
    tf.config.experimental.enable_tensor_float_32_execution(False)
    model = tf.saved_model.load(str(folder))
    facts = json.loads((pathlib.Path(folder) / "signatures.json").read_text())
    app = fastapi.FastAPI(title=facts["model"])
    # The signatures read the model's variables, so the application keeps the model.
    app.state.model = model
    threads = concurrent.futures.ThreadPoolExecutor(limits.threads)

    @app.get("/")
    def describe():
        return {**facts, "limits": dataclasses.asdict(limits)}

    for name in facts["signatures"]:
        signature = Signature(model.signatures[name], facts, limits)
        app.post(f"/{name}", name=name)(_endpoint(signature, limits, threads))
    return app


def _endpoint(signature, limits, threads):
    async def answer(request, deadline):
        body = await _body(request, limits.body_bytes)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(threads, signature.answer, body, deadline)

    async def call(request: fastapi.Request):
        deadline = time.monotonic() + limits.seconds
        try:
            text = await asyncio.wait_for(answer(request, deadline), limits.seconds)
        except asyncio.TimeoutError:
            raise _too_slow(limits) from None
        except ClientDisconnect:
            raise Refusal(400, "The request ended before its body.") from None
        return fastapi.Response(text, media_type="application/json")

    return call


def _too_slow(limits):
    sentence = (
        f"The request took longer than {limits.seconds:g} s. Send it faster, or ask for less."
    )
    return Refusal(408, sentence, {"Connection": "close"})


async def _body(request, largest):
    body = bytearray()
    too_large = Refusal(413, f"The body of a request has at most {largest} bytes; send less.")
    if int(request.headers.get("content-length", 0)) > largest:
        raise too_large
    async for part in request.stream():
        body += part
        if len(body) > largest:
            raise too_large
    return bytes(body)


class Signature:
    """A signature of the model, from the body of a request to the text of its answer."""

    def __init__(self, function, facts, limits):
        self.function, self.limits = function, limits
        self.specs = function.structured_input_signature[1]
        self.highest = {"x": facts["levels"], "labels": facts["classes"] and facts["classes"] - 1}

    def answer(self, body, deadline):
        inputs = self._inputs(body)
        try:
            outputs = self._outputs(inputs, deadline)
        except tf.errors.ResourceExhaustedError:
            raise Refusal(
                413, "The request needs more memory than there is; ask for less."
            ) from None
        except tf.errors.InvalidArgumentError as error:
            raise Refusal(422, _sentence(error)) from None
        finite = {name: np.isfinite(array) for name, array in outputs.items()}
        answer = {
            name: np.where(finite[name], array, None).tolist() for name, array in outputs.items()
        }
        if wrong := [
            f"{np.sum(~each)} in {name}" for name, each in finite.items() if not each.all()
        ]:
            answer["warning"] = f"Numbers that are not finite are null: {', '.join(wrong)}."
        return json.dumps(answer, allow_nan=False)

    def _outputs(self, inputs, deadline):
        rows = max((len(array) for array in inputs.values() if array.ndim), default=0)
        # A seed decides the random numbers of a whole batch, which is computed at once.
        step = rows if "seed" in inputs or not rows else ROWS_AT_ONCE
        parts = []
        for start in range(0, max(rows, 1), max(step, 1)):
            if time.monotonic() > deadline:
                raise _too_slow(self.limits)
            part = {
                name: tf.constant(array[start : start + step] if array.ndim else array)
                for name, array in inputs.items()
            }
            parts.append({name: out.numpy() for name, out in self.function(**part).items()})
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _inputs(self, body):
        try:
            inputs = json.loads(body, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise Refusal(400, f"The body of a request is JSON; this is not: {error}.") from None
        if not isinstance(inputs, dict) or set(inputs) != set(self.specs):
            received = sorted(inputs)[:10] if isinstance(inputs, dict) else type(inputs).__name__
            raise Refusal(
                422, f"The inputs are {sorted(self.specs)}; received {str(received)[:200]}."
            )
        arrays = {
            name: _array(name, inputs[name], spec.dtype.as_numpy_dtype)
            for name, spec in self.specs.items()
        }
        for name, array in arrays.items():
            self._require_limits(name, array)
        return arrays

    def _require_limits(self, name, array):
        shape, highest = self.specs[name].shape, self.highest.get(name)
        if not shape.is_compatible_with(array.shape) or 0 in array.shape:
            raise Refusal(
                422,
                f"{name} has the shape {shape.as_list()}, with at least one row; received "
                f"{list(array.shape)}.",
            )
        if array.ndim and len(array) > self.limits.rows:
            raise Refusal(
                413, f"{name} has at most {self.limits.rows} rows; received {len(array)}."
            )
        if name == "count" and array > self.limits.count:
            raise Refusal(413, f"count is at most {self.limits.count}; received {array}.")
        if name in ("count", "temperature") and array <= 0:
            raise Refusal(422, f"{name} is a positive number; received {array}.")
        if highest is not None and not 0 <= array.min() <= array.max() <= highest:
            raise Refusal(
                422,
                f"{name} is in [0, {highest}]; received numbers from {array.min()} to "
                f"{array.max()}.",
            )


def _refuse_constant(name):
    raise ValueError(f"{name} is no number of JSON")


def _array(name, value, dtype):
    """Returns the numbers of nested lists as an array; refuses other types and other numbers."""
    whole = np.issubdtype(dtype, np.integer)
    try:
        types = _types(value)
        if not types <= ({int} if whole else {int, float}):
            names = ", ".join(sorted(each.__name__ for each in types))
            wanted = "integers" if whole else "numbers"
            raise Refusal(422, f"{name} consists of {wanted}; received the types {names}.")
        array = np.asarray(value)
        with np.errstate(over="ignore", invalid="ignore"):
            cast = array.astype(dtype)
    except (OverflowError, RecursionError):
        raise Refusal(422, f"{name} has numbers out of the range of {dtype.__name__}.") from None
    except ValueError:
        raise Refusal(422, f"{name} is no array: its lists differ in length or depth.") from None
    if not (np.array_equal(cast, array) if whole else np.isfinite(cast).all()):
        raise Refusal(422, f"{name} has numbers out of the range of {dtype.__name__}.")
    return cast


def _types(value):
    """Returns the types of what nested lists contain."""
    if not isinstance(value, list):
        return {type(value)}
    types = set(map(type, value))
    if list in types:
        types = (types - {list}).union(*(_types(each) for each in value if isinstance(each, list)))
    return types


def _sentence(error):
    """Returns the sentence of a failed assertion of the model, without the text of TensorFlow."""
    found = re.search(r"assertion failed: \[(.+?)\]\s*(?:\[|$)", error.message, re.S)
    if found is None:
        return "The model cannot compute an answer for these inputs; they may be too large."
    return found[1].strip(" .") + "."


def protocol(seconds):
    """Returns uvicorn's protocol, which closes connections whose request does not end in time."""

    class Impatient(H11Protocol):
        waiting = None

        def connection_made(self, transport):
            super().connection_made(transport)
            self._watch()

        def data_received(self, data):
            super().data_received(data)
            self._watch()

        def connection_lost(self, exc):
            self._stop()
            super().connection_lost(exc)

        def _watch(self):
            if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
                self._stop()
            elif self.waiting is None:
                # The application answers a slow body first.
                self.waiting = self.loop.call_later(seconds + 1.0, self.transport.close)

        def _stop(self):
            if self.waiting is not None:
                self.waiting.cancel()
            self.waiting = None

    return Impatient


def configuration(folder, limits=Limits(), **options):  # noqa: B008
    """Returns the configuration of uvicorn for an exported model."""
    return uvicorn.Config(
        application(folder, limits),
        http=protocol(limits.seconds),
        limit_concurrency=limits.connections,
        **options,
    )


def _positive(kind):
    def parse(text):
        if not 0 < kind(text) < float("inf"):
            raise ValueError
        return kind(text)

    parse.__name__ = f"positive {kind.__name__}"
    return parse


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=pathlib.Path, help="the folder of the SavedModel")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    limits = parser.add_argument_group("limits of a request")
    for field in dataclasses.fields(Limits):
        option = "--" + field.name.replace("_", "-")
        limits.add_argument(
            option,
            type=_positive(field.type),
            default=field.default,
            help=field.metadata["help"] + " (%(default)s)",
        )
    options = vars(parser.parse_args())
    folder, host, port = (options.pop(name) for name in ("model", "host", "port"))
    uvicorn.Server(configuration(folder, Limits(**options), host=host, port=port)).run()


if __name__ == "__main__":
    main()
