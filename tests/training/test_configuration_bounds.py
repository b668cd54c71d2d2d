"""Tests that no field of a preset is unbounded."""

import types

import numpy as np
import pytest
from pydantic import BaseModel

from iresnet_tf import presets
from iresnet_tf.data import Examples
from iresnet_tf.training import assembly, configuration


@pytest.mark.parametrize("override", [
    "model.log_det.parameter=1e300",
    "model.log_det.parameter=nan",
    "model.width=1000000000",
    "batch_size=1000000000",
    "steps=1000000000000",
    "optimizer.drops=0.5,inf",
    "optimizer.log_det_share=1.01",
    "optimizer.product_dtype=float16",
    "optimizer.learning_rate=inf",
    "optimizer.clip_norm=nan",
    "model.p=nan",
])  # fmt: skip
def test_a_field_out_of_range_is_refused_by_name(override):
    name, _, value = override.partition("=")
    with pytest.raises(ValueError, match=f"{name}.*received '{value.split(',')[-1]}'") as raised:
        presets.get("digits-density", override)
    assert "\n" not in str(raised.value)


def test_the_parameter_of_the_geometric_law_is_a_probability():
    with pytest.raises(ValueError, match="a probability below 1; received 2.0"):
        presets.get("digits-density", "model.log_det.parameter=2")
    poisson = ["model.log_det.law=poisson", "model.log_det.parameter=2"]
    assert presets.get("digits-density", poisson).model.log_det.parameter == 2.0


def test_a_run_cannot_be_made_longer_than_the_bound():
    with pytest.raises(ValueError, match="steps.*1000000000"):
        presets.get("digits-density").with_length(steps=10**30)


def test_only_the_exponent_of_a_norm_may_be_infinite():
    assert presets.get("digits-density", "model.p=inf").model.p == float("inf")
    for kind in vars(configuration).values():
        if isinstance(kind, type) and issubclass(kind, BaseModel) and kind is not BaseModel:
            assert kind.model_config["allow_inf_nan"] is False


def test_a_configuration_from_before_an_option_has_its_default():
    preset = presets.get("digits-density", "optimizer.log_det_share=1")
    fields = preset.model_dump()
    for name in ("log_det_share", "product_dtype"):
        del fields["optimizer"][name]
    assert configuration.parse(fields) == preset


def test_a_classifier_has_no_log_determinants_to_share():
    with pytest.raises(ValueError, match="log_det_share=0.5.*a classifier has no log-det"):
        presets.get("digits-classifier", ["optimizer.log_det_share=0.5"])


@pytest.mark.parametrize("name,fields", [
    ("digits-density", {"log_det_share": 0.25, "product_dtype": "bfloat16"}),
    ("digits-hybrid", {"log_det_share": 0.25, "product_dtype": "bfloat16"}),
    ("digits-classifier", {"product_dtype": "bfloat16"}),
])  # fmt: skip
def test_a_preset_compiles_its_model_with_its_savings(name, fields):
    overrides = [f"optimizer.{key}={value}" for key, value in fields.items()]
    preset = presets.get(name, [*overrides, "model.width=4"])
    source = types.SimpleNamespace(
        name="digits",
        classes=10,
        context_columns=None,
        schema=None,
        levels=17,
        examples=lambda split: Examples(np.ones((2, 8, 8, 1)), None),
        initial_examples=lambda *_, seed: np.ones((2, 8, 8, 1)),
    )
    model = assembly.make_model(preset, source, seed=0)
    assembly.compile_model(model, preset)
    assert model.economy.changed() == fields
