"""The limits and refusals of the example server."""

import json
import socket
import time
import urllib.parse

import numpy as np
import pytest
from server_examples import ask, served

import iresnet_tf as irn


@pytest.fixture(scope="module")
def model():
    model = irn.models.DensityModel([irn.layers.ResidualBlock(irn.layers.Contraction.mlp((4,)))])
    model.build((None, 2))
    return model


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served") / "model"
    model.export(folder)
    return folder


@pytest.fixture(scope="module")
def address(folder):
    with served(folder, body_bytes=20_000, rows=300, count=50, seconds=60.0) as address:
        yield address


@pytest.fixture(scope="module")
def impatient(folder):
    with served(folder, seconds=1.5) as address:
        yield urllib.parse.urlsplit(address)


SAMPLE = {"count": 2, "temperature": 1.0, "seed": 0}


@pytest.mark.parametrize(
    "name, inputs, status, message",
    [
        ("encode", b'{"x": ', 400, "is JSON"),
        ("encode", b'{"x": [[NaN, 0]]}', 400, "NaN is no number"),
        ("encode", b"[" * 10_000, 400, "is JSON"),
        ("encode", b"\xff", 400, "is JSON"),
        ("encode", [1], 422, "The inputs are"),
        ("encode", {"x": []}, 422, "at least one row"),
        ("encode", {"x": [[1, 2], [3]]}, 422, "differ in length"),
        ("encode", {"x": [[1, "2"]]}, 422, "received the types int, str"),
        ("encode", {"x": [[1.0, True]]}, 422, "received the types bool, float"),
        ("encode", {"x": [[1, None]]}, 422, "received the types NoneType, int"),
        ("encode", {"x": [[1, 2**2000]]}, 422, "out of the range of float32"),
        ("encode", {"x": [[1, 1e39]]}, 422, "out of the range of float32"),
        ("encode", b'{"x": [[1, 1e999]]}', 422, "out of the range of float32"),
        ("encode", {"x": [[0, 0]] * 301}, 413, "at most 300 rows"),
        ("encode", b" " * 20_001, 413, "at most 20000 bytes"),
        ("sample", SAMPLE | {"count": 51}, 413, "at most 50"),
        ("sample", SAMPLE | {"count": 0}, 422, "positive"),
        ("sample", SAMPLE | {"count": 2**31}, 422, "count has numbers out of the range of int32"),
        ("sample", SAMPLE | {"count": 2.0}, 422, "received the types float"),
        ("sample", SAMPLE | {"count": "3"}, 422, "received the types str"),
        ("sample", SAMPLE | {"count": True}, 422, "received the types bool"),
        ("sample", SAMPLE | {"seed": 2**2000}, 422, "seed has numbers out of the range of int32"),
        ("sample", SAMPLE | {"seed": -(2**31) - 1}, 422, "out of the range of int32"),
    ],
)
def test_a_request_that_cannot_be_answered_is_refused(address, name, inputs, status, message):
    found, answer = ask(address, name, inputs)
    assert found == status and message in answer["detail"], (found, answer)
    assert "node" not in answer["detail"] and len(answer["detail"]) < 300


def test_what_is_not_finite_is_null(address):
    """The square of 1e30 is no float32, so the log-density is minus infinity."""
    status, answer = ask(address, "log_prob", {"x": [[0.0, 1.0], [1e30, 0.0]], "seed": 0})
    assert status == 200
    finite, null = answer["log_prob"]
    assert finite < 0 and null is None
    assert "1 in log_prob" in answer["warning"]


def test_rows_that_are_computed_in_parts_have_the_numbers_of_the_whole(address, model):
    x = np.random.default_rng(0).normal(size=(300, 2)).round(3)
    answer = ask(address, "encode", {"x": x.tolist()})[1]
    np.testing.assert_allclose(answer["z"], model.encode(x), atol=1e-6)


def test_the_limits_are_described(address):
    limits = ask(address, "")[1]["limits"]
    assert limits["body_bytes"] == 20_000 and limits["seconds"] == 60.0


HEAD = b"POST /encode HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n"


@pytest.mark.parametrize("sent, status", [(HEAD + b"\r\n{", b"408"), (HEAD, b""), (b"", b"")])
def test_a_request_that_is_sent_in_part_does_not_stay(impatient, sent, status):
    """A started body is answered; without it the connection only ends."""
    where = (impatient.hostname, impatient.port)
    with socket.create_connection(where, timeout=20) as connection:
        connection.sendall(sent)
        started, received = time.monotonic(), b""
        while part := connection.recv(4096):
            received += part
    assert 1.0 < time.monotonic() - started < 10.0
    assert received.split(b" ", 2)[1:2] == ([status] if status else [])
    if status:
        assert "longer than 1.5 s" in json.loads(received.split(b"\r\n\r\n", 1)[1])["detail"]
