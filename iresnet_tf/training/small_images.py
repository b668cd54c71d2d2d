"""Defines this package's own recipes for images, of a size that trains on a CPU."""

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

_HELD_OUT = 1000
_GAUSSIAN: dict[str, Any] = {"preprocessing": "gaussianize", "alpha": 1e-6}
_KRYLOV: dict[str, Any] = {"log_det": LogDet(estimator="krylov", products=3)}
_MNIST: dict[str, Any] = {
    "width": (64, 128),
    "dense_width": 256,
    "coeff": 0.98,
    "power_iterations": 2,
    **_KRYLOV,
}
_ADAM: dict[str, Any] = {
    "warmup_steps": 200,
    "ema": 0.998,
    "log_det_share": 0.25,
    "product_dtype": "bfloat16",
}
_CLASSIFIER = Optimizer(learning_rate=3e-3, warmup_steps=200)


def presets() -> Iterator[Preset]:
    """Returns the small models of images: densities, a hybrid and classifiers."""
    yield _preset(
        "mnist-density",
        data=_GAUSSIAN,
        task=DensityTask(),
        model=ImageModel(blocks=(8, 8), dense_blocks=6, **_MNIST),
        optimizer=Optimizer(learning_rate=3e-2, clip_norm=1.0, **_ADAM),
        batch_size=64,
        epochs=32,
        steps_per_epoch=500,
        evaluation_examples=1000,
    )
    yield _preset(
        "mnist-hybrid",
        data=_GAUSSIAN,
        task=HybridTask(prior="conditional", likelihood_weight=3e-3, pooling=False),
        model=ImageModel(blocks=(6, 6), dense_blocks=4, **_MNIST),
        optimizer=Optimizer(learning_rate=3e-2, clip_norm=3e-3, **_ADAM),
        batch_size=64,
        epochs=20,
        steps_per_epoch=500,
        evaluation_examples=1000,
    )
    yield _preset(
        "mnist-classifier",
        data={"preprocessing": "standardize"},
        task=ClassifierTask(),
        model=ImageModel(blocks=(3, 3), width=(32, 64), padding=3, last_act_norm=False),
        optimizer=_CLASSIFIER,
        batch_size=128,
        epochs=11,
        steps_per_epoch=460,
    )
    yield _preset(
        "cifar10-density",
        data={},
        task=DensityTask(),
        model=ImageModel(
            blocks=(10, 6),
            width=(96, 128),
            whiten=True,
            coeff=0.98,
            power_iterations=2,
            **_KRYLOV,
        ),
        optimizer=Optimizer(learning_rate=1e-2, clip_norm=1.0, **{**_ADAM, "warmup_steps": 100}),
        batch_size=32,
        epochs=40,
        steps_per_epoch=200,
        evaluation_examples=500,
    )
    yield _preset(
        "cifar10-classifier",
        data={"preprocessing": "standardize", "augmentation": "crop-flip"},
        task=ClassifierTask(),
        model=ImageModel(
            blocks=(3, 3, 3),
            width=(64,),
            padding=5,
            preactivation=True,
            last_act_norm=False,
            whiten=True,
            coeff=0.98,
            power_iterations=2,
        ),
        optimizer=Optimizer(
            learning_rate=8e-3, warmup_steps=200, ema=0.998, product_dtype="bfloat16"
        ),
        batch_size=128,
        epochs=30,
        steps_per_epoch=382,
    )


def _preset(name, *, data, epochs, steps_per_epoch, **fields):
    return Preset(
        name=f"{name}-small",
        source="this package",
        data=Data(name=name.partition("-")[0], validation_examples=_HELD_OUT, **data),
        steps=epochs * steps_per_epoch,
        steps_per_epoch=steps_per_epoch,
        **fields,
    )
