"""Modules of the user that are imported before a command runs."""

import importlib
import pathlib
import sys
from importlib import util

import click


def import_plugin(module: str) -> None:
    """Imports a Python module by name, or as the path of a ``.py`` file, once in a process.

    Raises:
        click.ClickException: if it cannot be imported, with one line that names it.
    """
    try:
        if module.endswith(".py"):
            _import_file(pathlib.Path(module).resolve())
        else:
            importlib.import_module(module)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise click.ClickException(f"--plugin {module} cannot be imported: {reason}") from error


def _import_file(path):
    name = path.stem
    if name in sys.modules:
        if getattr(sys.modules[name], "__file__", None) == str(path):
            return
        raise ImportError(f"another module {name} is loaded already; rename the file.")
    spec = util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # because the name ends in .py
    sys.modules[name] = util.module_from_spec(spec)
    try:
        spec.loader.exec_module(sys.modules[name])
    except BaseException:
        del sys.modules[name]
        raise
