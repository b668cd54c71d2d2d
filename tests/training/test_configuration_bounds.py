"""Tests that no field of a preset is unbounded."""

import pytest
from pydantic import BaseModel

from iresnet_tf import presets
from iresnet_tf.training import configuration


@pytest.mark.parametrize("override", [
    "model.log_det.parameter=1e300",
    "model.log_det.parameter=nan",
    "model.width=1000000000",
    "batch_size=1000000000",
    "steps=1000000000000",
    "optimizer.drops=0.5,inf",
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
