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
        *("digits-density", "mnist-density-small", "mnist-classifier-small"),
        *("cifar10-density-small", "cifar10-classifier-small"),
        *("mnist-hybrid-small", "mnist-hybrid-small"),
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
    called = [words[2:] for words in calls if words[:2] == ["iresnet", "train"]]
    trained = [words for words in called if "--estimate" not in words]
    assert [words[0] for words in trained] == PRESETS[name]
    if name == "small_models":
        estimated = [[*words, "--estimate"] for words in trained]
        assert called == [words for pair in zip(estimated, trained) for words in pair]
    assert all("--resume" in words and "--out" in words for words in trained)


@pytest.mark.parametrize("failing", [False, True])
def test_the_check_on_a_gpu_measures_even_if_a_test_fails(failing, tmp_path):
    (tmp_path / "bin").mkdir()
    for extras in ("[test]", "[test,cuda]"):
        (tmp_path / f".installed{extras}").touch()
    program = tmp_path / "bin" / "python"
    program.write_text(f'#!/bin/sh\necho python "$@"\n[ "$1" != -m ] || exit {int(failing)}\n')
    program.chmod(0o755)
    report = tmp_path / "report.md"
    command = ["bash", SCRIPTS / "gpu_check.sh", report, "--terms", "2"]
    environment = {**os.environ, "VENV": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert bool(done.returncode) is failing
    assert report.read_text() == done.stdout
    tests, measured = (line for line in done.stdout.splitlines() if line.startswith("python"))
    assert measured == "python benchmarks/gpu.py --terms 2"
    files = [word for word in tests.split() if word.startswith("tests/")]
    assert len(files) > 10 and all((SCRIPTS.parent / name).is_file() for name in files)
