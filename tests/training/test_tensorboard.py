"""Tests that TensorBoard, started as documented, serves the names that the documentation lists."""

import json
import pathlib
import re
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from iresnet_tf.training import presets, train

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "pages" / "researcher.md").read_text()
PARAGRAPH = re.search(r"`tensorboard --logdir RUN/tensorboard` shows(.*?)\n\n", PAGE, re.DOTALL)[1]
SMALL = ["model.blocks=1", "model.width=4", "model.dense_blocks=0", "data.validation_examples=100"]


def named(start, end):
    """Returns the names in backticks between two words of the page's paragraph."""
    part = PARAGRAPH.partition(start)[2].partition(end)[0]
    return set(re.findall(r"`(\w+)`", part))


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Starts TensorBoard on a run of a hybrid model, which has every figure of image models."""
    folder = tmp_path_factory.mktemp("tensorboard")
    preset = presets.get("digits-hybrid", SMALL).with_length(steps=2)
    train(preset, folder / "run", data_dir=folder / "data")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "tensorboard.main", "--host", "127.0.0.1", "--port", port]
    logdir = ["--logdir", folder / "run" / "tensorboard"]
    server = subprocess.Popen([*command, *logdir], stderr=subprocess.DEVNULL)
    yield f"http://127.0.0.1:{port}"
    server.terminate()
    server.wait()


def tags(address, plugin, patience=120.0):
    """Returns the tags that a plugin serves, once it has read the run."""
    end = time.monotonic() + patience
    while True:
        try:
            with urllib.request.urlopen(f"{address}/data/plugin/{plugin}/tags") as answer:
                runs = json.load(answer)
        except OSError:
            runs = {}
        if runs or time.monotonic() > end:
            return {tag for run in runs.values() for tag in run}
        time.sleep(0.5)


@pytest.mark.slow
def test_the_scalars_are_those_of_the_page(address):
    names = named("scalars", "histograms")
    assert {"bits_per_dim", "log_det", "accuracy", "max_gradient"} <= names
    served = tags(address, "scalars")
    assert names <= served
    assert {"val_bits_per_dim", "val_log_prior", "val_log_det", "val_accuracy"} <= served


@pytest.mark.slow
def test_the_histograms_are_those_of_the_page(address):
    assert named("histograms", "images") == tags(address, "histograms") != set()


@pytest.mark.slow
def test_the_images_are_those_of_the_page(address):
    # Only runs on points of the plane have a picture of the density.
    assert named("images", ".") - {"density"} == tags(address, "images") != set()
