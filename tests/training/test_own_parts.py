"""Tests that presets and files find parts of the user's own by their registered names."""

import keras
import pytest

import iresnet_tf as irn
from iresnet_tf import layers, presets
from iresnet_tf.layers import residual_blocks
from iresnet_tf.numerics import log_det, solvers
from iresnet_tf.training.assembly import build_layers
from iresnet_tf.training.model_files import load_model
from iresnet_tf.training.run_folder import RunFolder


@keras.saving.register_keras_serializable("own_parts")
class Gentle(layers.LipSwish):
    """LipSwish with another slope at the start."""

    def __init__(self, initial_slope=2.0, **kwargs):
        super().__init__(initial_slope, **kwargs)


@keras.saving.register_keras_serializable("own_parts")
class Seven(log_det.PowerSeries):
    """A series of seven terms."""

    def __init__(self):
        super().__init__(7)

    def get_config(self):
        return {}


@keras.saving.register_keras_serializable("own_parts")
class Halved(solvers.Solver):
    """``x_{k+1} = x_k + r/2``."""

    def next_iterate(self, state, residual, correction, improved):
        return state.x + 0.5 * residual, state.memory


OWN = {"activation": "own_parts>Gentle", "solver": "own_parts>Halved"}


def test_a_preset_finds_registered_parts(tmp_path):
    estimator = presets.LogDet(estimator="own_parts>Seven")
    model = presets.VectorModel(blocks=1, width=8, log_det=estimator, tolerance=1e-3, **OWN)
    toy = presets.get("toy-8gaussians", ["steps=2", "steps_per_epoch=2", "batch_size=16"])
    preset = toy.model_copy(update={"name": "own-parts", "model": model})
    irn.training.train(preset, tmp_path / "run")
    block = residual_blocks(irn.load(tmp_path / "run").flow)[0]
    assert block.log_det == Seven() and block.solver == Halved(1e-3)
    (slope,) = {each.initial_slope for each in block.g.parts if isinstance(each, Gentle)}
    assert slope == 2.0


@pytest.mark.parametrize(
    "field,message",
    [
        ({"solver": "own_parts>Missing"}, "No Solver is registered as 'own_parts>Missing'"),
        ({"solver": "own_parts>Seven"}, "No Solver is registered as 'own_parts>Seven'"),
        ({"log_det": {"estimator": "own_parts>Halved"}}, "No LogDet is registered as"),
        ({"activation": "own_parts>Seven"}, "registered name of one, 'package>Class'"),
    ],
)
def test_a_name_of_another_kind_is_refused(field, message):
    with pytest.raises(ValueError, match=message):
        build_layers(presets.VectorModel(blocks=1, **field))


def test_a_name_that_is_no_registered_one_is_refused():
    with pytest.raises(ValueError, match="'anderson' or 'picard'"):
        presets.VectorModel(blocks=1, solver="newton")


def test_automatic_products_need_the_two_norm_before_a_run_begins():
    automatic = {"estimator": "krylov", "products": "auto"}
    assert presets.VectorModel(blocks=1, log_det=automatic).p == 2.0
    for p in (1.0, "learned"):
        with pytest.raises(ValueError, match="products=auto needs a bound on the 2-norm"):
            presets.VectorModel(blocks=1, log_det=automatic, p=p)


def test_the_class_that_a_file_lacks_is_named(tmp_path):
    block = layers.ResidualBlock(layers.Contraction.mlp((4,)), solver=Halved())
    model = irn.models.DensityModel([block])
    model.build((None, 2))
    model.save(tmp_path / "model.keras")
    registered = keras.saving.get_custom_objects()
    halved = registered.pop("own_parts>Halved")
    try:
        with pytest.raises(ValueError, match="class Halved, which is not registered .* --plugin"):
            load_model(tmp_path / "model.keras")
    finally:
        registered["own_parts>Halved"] = halved
    assert residual_blocks(load_model(tmp_path / "model.keras").flow)[0].solver == halved()


def test_a_file_is_no_run_folder(tmp_path):
    (tmp_path / "model.keras").touch()
    with pytest.raises(ValueError, match="Not a directory.* does not say which data"):
        RunFolder(tmp_path / "model.keras").is_begun()
