"""Tests the published presets and their faster twins."""

import pytest

from iresnet_tf.numerics.log_det import Krylov
from iresnet_tf.training import presets
from iresnet_tf.training.assembly import build_log_det

TWINS = [name for name in presets.names() if name.endswith("-fast")]


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_differs_in_the_estimate_of_the_log_determinant_alone(name):
    twin, published = presets.get(name), presets.get(name.removesuffix("-fast"))
    assert twin.source.startswith(published.source)
    options = published.model.log_det.model_dump()
    changed = {"estimator": "krylov", "products": twin.model.log_det.products}
    assert twin.model.log_det.model_dump() == {**options, **changed}
    assert twin.optimizer.log_det_share == 0.25
    restored = twin.model_copy(
        update={
            "name": published.name,
            "source": published.source,
            "model": twin.model.model_copy(update={"log_det": published.model.log_det}),
            "optimizer": twin.optimizer.model_copy(update={"log_det_share": 1.0}),
        }
    )
    assert restored == published


def test_every_published_density_has_a_twin():
    assert {name.removesuffix("-fast") for name in TWINS} == {
        *("mnist-density", "cifar10-density", "svhn-density", "residual-flow-mnist"),
        *("residual-flow-cifar10", "residual-flow-imagenet32", "residual-flow-imagenet64"),
        "i-densenet-cifar10",
    }


def test_the_options_of_krylov_reach_the_estimator():
    overrides = ["model.log_det.estimator=krylov", "model.log_det.products=7"]
    options = presets.get("digits-density", [*overrides, "model.log_det.residual=0.01"])
    assert build_log_det(options.model.log_det) == Krylov(7, 0.01)
    options = presets.get("digits-density", [overrides[0], "model.log_det.products=auto"])
    assert build_log_det(options.model.log_det) == Krylov("auto", truncation=0.01)
    with pytest.raises(ValueError, match="received residual=0.01"):
        presets.get(
            "digits-density",
            [overrides[0], "model.log_det.products=auto", "model.log_det.residual=0.01"],
        )
