"""The example server in a thread, and requests to it."""

import contextlib
import importlib.util
import json
import pathlib
import threading
import time
import urllib.error
import urllib.request

import pytest


@contextlib.contextmanager
def served(folder, **limits):
    """Starts the example server with an exported model; yields its loopback address."""
    pytest.importorskip("fastapi", reason="the server needs the extra: pip install -e '.[serve]'")
    uvicorn = pytest.importorskip("uvicorn", reason="the server needs uvicorn: the extra `serve`")
    path = pathlib.Path(__file__).parents[2] / "scripts" / "serve.py"
    spec = importlib.util.spec_from_file_location("serve", path)
    serve = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(serve)
    config = serve.configuration(folder, serve.Limits(**limits), port=0, log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        (listening,) = server.servers[0].sockets
        yield "http://{}:{}".format(*listening.getsockname())
    finally:
        server.should_exit = True
        thread.join()


def ask(address, name, inputs=None):
    """Returns the status and the answer of a request; ``inputs`` are JSON, or the bytes to send."""
    body = inputs
    if inputs is not None and not isinstance(inputs, bytes):
        body = json.dumps(inputs).encode()
    request = urllib.request.Request(
        f"{address}/{name}", body, {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
