"""Every name of the package that the documentation spells exists after ``import iresnet_tf``."""

import pathlib
import re
import subprocess
import sys

import iresnet_tf as irn

ROOT = pathlib.Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "pages").glob("*.md"))]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.py"))

# A fresh process, because other tests import submodules that the package itself may not.
RESOLVE = """
import functools, sys
import iresnet_tf
for name in sys.stdin.read().split():
    try:
        functools.reduce(getattr, name.split(".")[1:], iresnet_tf)
    except AttributeError as error:
        print(name, error)
"""


def missing(names):
    """The lines that name what does not exist, of dotted names that begin with the package."""
    command = [sys.executable, "-c", RESOLVE]
    done = subprocess.run(command, input="\n".join(names), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


def public_names(text):
    """The names ``irn.…`` of a text; what follows a class or a function is left to the code."""
    return {f"iresnet_tf.{name}" for name in re.findall(r"\birn\.(\w+(?:\.\w+)*)", text)}


def reference_names(text):
    """The names of the reference's entries, and of the members that an entry lists."""
    names = set()
    for name, members in re.findall(
        r"^::: (\S+)\n(?:    options:\n      members: \[(.*?)\]\n)?", text, re.M
    ):
        names |= {name, *(f"{name}.{member}" for member in members.split(", ") if member)}
    return names


def test_every_name_of_the_pages_exists():
    names = set().union(*(public_names(path.read_text()) for path in [*PAGES, *NOTEBOOKS]))
    assert len(names) > 50
    assert not missing(sorted(names))


def test_every_entry_of_the_reference_exists():
    names = reference_names((ROOT / "docs" / "pages" / "api.md").read_text())
    assert len(names) > 100
    assert not missing(sorted(names))


def test_the_packages_list_names_that_exist():
    packages = [irn, irn.analysis, irn.data, irn.training, irn.models, irn.layers]
    names = [f"{package.__name__}.{name}" for package in packages for name in package.__all__]
    assert len(names) > 50
    assert not missing(names)


def test_a_name_that_does_not_exist_is_found():
    assert public_names("`irn.training.trian` and irn.load(x)") == {
        "iresnet_tf.training.trian",
        "iresnet_tf.load",
    }
    assert len(missing(["iresnet_tf.training.trian", "iresnet_tf.load"])) == 1
