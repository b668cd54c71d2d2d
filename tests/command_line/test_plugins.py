"""Tests modules that the command imports before it runs."""

import runpy
import sys

import keras
import pytest
from commands import invoke

import iresnet_tf as irn

PLUGIN = """
import keras
import iresnet_tf as irn

@keras.saving.register_keras_serializable("plugin")
class Renamed(irn.layers.ActNorm):
    pass
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Yields a file that registers a layer, and removes the registration after the test."""
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "plugin_of_a_user.py"
    file.write_text(PLUGIN)
    yield file
    sys.modules.pop(file.stem, None)
    keras.saving.get_custom_objects().pop("plugin>Renamed", None)


@pytest.mark.parametrize("as_path", [True, False])
def test_a_command_knows_the_layers_that_a_plugin_registers(as_path, plugin, tmp_path):
    layer = runpy.run_path(str(plugin))["Renamed"]()
    model = irn.models.DensityModel([layer], prior="fixed")
    model.build((None, 2))
    model.save(tmp_path / "model.keras")
    keras.saving.get_custom_objects().pop("plugin>Renamed")
    assert invoke("certify", tmp_path / "model.keras").exit_code != 0
    module = plugin if as_path else plugin.stem
    # A plugin that is named twice is imported once.
    result = invoke("--plugin", module, "--plugin", module, "certify", tmp_path / "model.keras")
    assert result.exit_code == 0, result.output
    assert '"certified": true' in result.output


@pytest.mark.parametrize(
    "name, text, reason",
    [
        ("missing_plugin", None, "ModuleNotFoundError"),
        ("missing_plugin.py", None, "FileNotFoundError"),
        ("broken_plugin.py", "raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
        ("json.py", "", "another module json is loaded already"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_named_in_one_line(name, text, reason, tmp_path):
    module = tmp_path / name if name.endswith(".py") else name
    if text is not None:
        module.write_text(text)
    result = invoke("--plugin", module, "presets")
    assert result.exit_code == 1
    assert result.output.count("\n") == 1
    assert f"--plugin {module} cannot be imported" in result.output and reason in result.output
    assert name != "broken_plugin.py" or "broken_plugin" not in sys.modules
