"""Tests that every name in the documentation exists after ``import iresnet_tf``."""

import pathlib
import re
import subprocess
import sys

import pytest

import iresnet_tf as irn

ROOT = pathlib.Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "pages").glob("*.md"))]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.py"))

# This runs in a new process, because other tests may have imported more submodules.
RESOLVE = """
import functools, sys
import iresnet_tf
for name in sys.stdin.read().split():
    try:
        functools.reduce(getattr, name.split(".")[1:], iresnet_tf)
    except AttributeError:
        print(name)
"""


def public_names(text):
    """Returns the names ``irn.…`` of a text."""
    return {f"iresnet_tf.{name}" for name in re.findall(r"\birn\.(\w+(?:\.\w+)*)", text)}


def reference_names(text):
    """Returns the names of the entries of the reference, and of their members."""
    names = set()
    for name, members in re.findall(
        r"^::: (\S+)\n(?:    options:\n      members: \[(.*?)\]\n)?", text, re.M
    ):
        names |= {name, *(f"{name}.{member}" for member in members.split(", ") if member)}
    return names


PACKAGES = [irn, irn.analysis, irn.data, irn.training, irn.models, irn.layers]
NAMES = {
    "pages": set().union(*(public_names(path.read_text()) for path in [*PAGES, *NOTEBOOKS])),
    "reference": reference_names((ROOT / "docs" / "pages" / "api.md").read_text()),
    "packages": {f"{each.__name__}.{name}" for each in PACKAGES for name in each.__all__},
    "mistaken": public_names("`irn.training.trian` and irn.load(x)"),
}


@pytest.fixture(scope="module")
def missing():
    """Returns the dotted names that do not exist."""
    names = "\n".join(sorted(set().union(*NAMES.values())))
    command = [sys.executable, "-c", RESOLVE]
    done = subprocess.run(command, input=names, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return set(done.stdout.split("\n"))


@pytest.mark.parametrize("where, least", [("pages", 50), ("reference", 100), ("packages", 50)])
def test_every_name_exists(where, least, missing):
    assert len(NAMES[where]) > least
    assert not NAMES[where] & missing


def test_a_name_that_does_not_exist_is_found(missing):
    assert NAMES["mistaken"] == {"iresnet_tf.training.trian", "iresnet_tf.load"}
    assert NAMES["mistaken"] & missing == {"iresnet_tf.training.trian"}
