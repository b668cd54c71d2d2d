"""Executes the sources docs/notebooks/*.py and writes the notebooks of the documentation.

    python scripts/docs_notebooks.py [NAME …]        (all by default)

The tests run the sources, and fail for a notebook whose cells differ from its source.
"""

import os
import pathlib
import sys
import tempfile

import jupytext
import nbclient
import nbformat

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "docs" / "notebooks"


def main(names):
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    for source in [FOLDER / f"{name}.py" for name in names] or sorted(FOLDER.glob("*.py")):
        notebook = jupytext.read(source)
        with tempfile.TemporaryDirectory() as folder:
            resources = {"metadata": {"path": folder}}
            nbclient.NotebookClient(notebook, kernel_name="python3", resources=resources).execute()
        for cell in notebook.cells:
            _tidy(cell)
        notebook.metadata = {
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
            "language_info": {"name": "python"},
        }
        target = source.with_suffix(".ipynb")
        nbformat.write(notebook, target)
        print(f"{target} ({target.stat().st_size / 1000:.0f} kB)")


def _tidy(cell):
    """Removes times, and what TensorFlow writes to stderr about the machine."""
    cell.metadata = {}
    if cell.cell_type == "code":
        cell.outputs = [each for each in cell.outputs if each.get("name") != "stderr"]


if __name__ == "__main__":
    main(sys.argv[1:])
