"""Tests the shell scripts that train, with a command that only writes down how it was called."""

import os
import pathlib
import subprocess

import pytest

SCRIPTS = pathlib.Path(__file__).parents[2] / "scripts"
PRESETS = {
    "demo": ["digits-density"],
    "classify_cifar": ["cifar10-classifier"],
    "dens_est_cifar": ["cifar10-density"],
    "paper_figures": ["digits-density"],
    "small_models": [
        *("mnist-classifier", "mnist-density", "mnist-hybrid"),
        *("cifar10-density", "cifar10-classifier"),
    ],
}


@pytest.mark.parametrize("name", PRESETS)
def test_a_script_given_again_continues_its_runs(name, tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / ".installed").touch()
    for command in ("python", "iresnet"):
        program = tmp_path / "bin" / command
        program.write_text(f'#!/bin/sh\necho {command} "$@" >> {tmp_path}/calls\n')
        program.chmod(0o755)
    command = ["bash", SCRIPTS / f"{name}.sh", tmp_path / "run"]
    subprocess.run(command, check=True, env={**os.environ, "VENV": str(tmp_path), "EXTRAS": ""})
    calls = [line.split() for line in (tmp_path / "calls").read_text().splitlines()]
    trained = [words[2:] for words in calls if words[:2] == ["iresnet", "train"]]
    assert [words[0] for words in trained] == PRESETS[name]
    assert all("--resume" in words and "--out" in words for words in trained)
