"""Tests the README and the documentation: code runs, commands parse, pictures are current."""

import pathlib
import re
import runpy
import shlex

import click
import jupytext
import matplotlib
import pytest

from iresnet_tf.cli import main
from iresnet_tf.training import presets

ROOT = pathlib.Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs" / "pages").glob("*.md"))
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.py"))
TOOL = runpy.run_path(str(ROOT / "scripts" / "docs_pictures.py"))


def _with_code(pages):
    return [page for page in pages if TOOL["code"](page)]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Returns a function that runs a page's code in a new folder."""
    monkeypatch.chdir(tmp_path)
    return TOOL["run"]


def test_the_code_of_the_readme_runs(run, tmp_path):
    names = run(README)
    assert names["log_density"].shape == (2000,)
    assert (tmp_path / "density.keras").is_file()
    assert all(gradient is not None for gradient in names["gradients"])
    assert len(names["gradients"]) == len(names["block"].trainable_variables)


@pytest.mark.parametrize("page", _with_code(PAGES), ids=lambda page: page.stem)
def test_the_code_of_a_page_runs_and_makes_the_pictures_it_shows(page, run, tmp_path):
    run(page)
    for name in TOOL["pictures"](page):
        assert (tmp_path / name).is_file()


@pytest.mark.parametrize("page", _with_code(PAGES), ids=lambda page: page.stem)
def test_the_pictures_of_a_page_are_made_by_the_code_it_shows(page):
    for name in TOOL["pictures"](page):
        made_by = TOOL["digest_of"](page.parent / "images" / name)
        assert made_by == TOOL["digest"](page), f"python scripts/docs_pictures.py {page.stem}"


@pytest.mark.slow
@pytest.mark.parametrize("source", NOTEBOOKS, ids=lambda source: source.stem)
def test_the_code_of_a_notebook_runs(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    runpy.run_path(str(source))


@pytest.mark.parametrize("source", NOTEBOOKS, ids=lambda source: source.stem)
def test_a_notebook_is_its_source_executed(source):
    cells = jupytext.read(source).cells
    executed = jupytext.read(source.with_suffix(".ipynb")).cells
    assert [(each.cell_type, each.source) for each in executed] == [
        (each.cell_type, each.source) for each in cells
    ], f"python scripts/docs_notebooks.py {source.stem}"
    code = [cell for cell in executed if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not any(each.output_type == "error" for cell in code for each in cell.outputs)


@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda page: page.stem)
def test_every_command_of_a_page_exists_as_it_is_spelt(page):
    text = page.read_text()
    for block in re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL):
        for words in _commands(block):
            _check(words)
    for name in re.findall(r"`iresnet (?:--plugin \S+ )*(\w[\w-]*)", text):
        assert name in main.commands


def test_the_page_of_the_trained_models_agrees_with_their_cards():
    tool = runpy.run_path(str(ROOT / "scripts" / "model_page.py"))
    assert tool["PAGE"].read_text() == tool["page"](), "python scripts/model_page.py"


def _commands(block):
    """Yields the simple commands of a shell block, each as a list of words."""
    lexer = shlex.shlex(block.replace("\\\n", " ").replace("\n", " ; "), posix=True,
                        punctuation_chars=True)  # fmt: skip
    lexer.whitespace_split = True
    words = []
    for word in [*lexer, ";"]:
        if set(word) <= set(";|&"):
            if words:
                yield words
            words = []
        else:
            words.append(word)


def _check(words):
    """Raises unless the words call an existing script or a valid ``iresnet`` command."""
    while "=" in words[0]:
        words = words[1:]
    if words[0] in ("bash", "python") and words[1].startswith("scripts/"):
        assert (ROOT / words[1]).is_file(), words[1]
    if words[:3] == ["python", "-m", "iresnet_tf"]:
        words = ["iresnet", *words[3:]]
    if words[0] == "iresnet":
        has_plugin = words[1] == "--plugin"
        name, *arguments = words[3:] if has_plugin else words[1:]
        context = main.commands[name].make_context(name, arguments)
        # The presets of a plugin are known only where it is imported.
        if name == "train" and not context.params["resume"] and not has_plugin:
            presets.get(context.params["preset"], context.params["overrides"])


@pytest.mark.parametrize(
    "line",
    ["iresnet bake RUN", "iresnet sample RUN --colour red --out x.png", "bash scripts/no.sh",
     "iresnet train digits-density --out RUN model.depth_of_field=3", "iresnet analyze RUN soup"],
)  # fmt: skip
def test_a_command_that_does_not_exist_is_found(line):
    (words,) = _commands(line)
    with pytest.raises((KeyError, ValueError, AssertionError, click.UsageError)):
        _check(words)
