"""Defines the presets for one's own pictures: a density, a hybrid and a classifier."""

from collections.abc import Iterator
from typing import Any

from iresnet_tf.training.configuration import (
    ClassifierTask,
    Data,
    DensityTask,
    HybridTask,
    Optimizer,
    Preset,
)
from iresnet_tf.training.layer_configuration import ImageModel, LogDet
from iresnet_tf.training.source_configuration import OWN_IMAGES

# Sides need be multiples of 4 only, as those of 28×28 are.
_FLOW = ImageModel(blocks=(6, 6), width=(64, 128), log_det=LogDet(estimator="krylov", products=3))
_WHITENED: dict[str, Any] = {"whiten": True, "coeff": 0.98, "power_iterations": 2}
_OPTIMIZER = Optimizer(
    learning_rate=3e-3, warmup_steps=100, ema=0.99, clip_norm=1.0, log_det_share=0.25
)
_SHARED: dict[str, Any] = {
    "source": "this package: your own pictures, --folder FOLDER or --npz FILE",
    "batch_size": 64,
    "steps": 2000,
    "steps_per_epoch": 200,
    "evaluation_examples": 500,
}


def presets() -> Iterator[Preset]:
    """Returns the presets for pictures whose sides are multiples of 4."""
    yield Preset(
        name="image-density",
        data=Data(name=OWN_IMAGES),
        task=DensityTask(),
        model=_FLOW.model_copy(update=_WHITENED),
        optimizer=_OPTIMIZER.model_copy(update={"learning_rate": 1e-2}),
        **_SHARED,
    )
    yield Preset(
        name="image-hybrid",
        data=Data(name=OWN_IMAGES),
        task=HybridTask(prior="conditional"),
        model=_FLOW,
        optimizer=_OPTIMIZER,
        **_SHARED,
    )
    yield Preset(
        name="image-classifier",
        data=Data(name=OWN_IMAGES, preprocessing="standardize"),
        task=ClassifierTask(),
        model=ImageModel(
            blocks=(3, 3),
            width=(64,),
            padding=1,
            preactivation=True,
            last_act_norm=False,
            **_WHITENED,
        ),
        optimizer=Optimizer(learning_rate=3e-3, warmup_steps=200),
        **{**_SHARED, "evaluation_examples": None},
    )
