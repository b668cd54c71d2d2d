"""Every Python block of the README runs as printed, and the commands it names exist."""

import pathlib
import re

import pytest
from click.testing import CliRunner

from iresnet_tf.cli import main

README = (pathlib.Path(__file__).parent.parent / "README.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("snippet", SNIPPETS, ids=["keras", "tfp"])
def test_snippet_runs(snippet, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(snippet, "README.md", "exec"), names)
    if "gradients" in names:
        assert all(gradient is not None for gradient in names["gradients"])
        assert len(names["gradients"]) == len(names["block"].trainable_variables)
    else:
        assert names["log_density"].shape == (2000,)
        assert (tmp_path / "density.keras").is_file()


def test_every_command_named_exists():
    named = set(re.findall(r"`iresnet (\w+)", README)) | {"reconstruct"}
    listed = CliRunner().invoke(main, ["--help"]).output
    assert named and all(f"  {name} " in listed for name in named)
