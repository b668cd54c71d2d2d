"""Catalogue of the presets: this package's own, and the published ones."""

import json
from collections.abc import Iterable
from typing import Any

from iresnet_tf.data import densities
from iresnet_tf.training import own_images, published, small_images
from iresnet_tf.training.configuration import (
    ClassifierTask,
    ConditionalTask,
    Data,
    DensityTask,
    HybridTask,
    Optimizer,
    Preset,
    parse,
)
from iresnet_tf.training.layer_configuration import ImageModel, LogDet, VectorModel
from iresnet_tf.training.source_configuration import Table


def _toy(density):
    return Preset(
        name=f"toy-{density}",
        source="Residual Flows' 2-D trainer (100 blocks of 128×4, batch 500), ten blocks here",
        data=Data(name=f"toy-{density}"),
        task=DensityTask(prior="fixed"),
        model=VectorModel(blocks=10, log_det=LogDet(estimator="exact")),
        optimizer=Optimizer(learning_rate=5e-3),
        batch_size=500,
        steps=2000,
        steps_per_epoch=200,
    )


_TABLE: dict[str, Any] = {
    "batch_size": 256,
    "steps": 2000,
    "steps_per_epoch": 200,
}


def _tabular():
    return Preset(
        name="tabular",
        source="this package: any table, --csv FILE",
        data=Data(name="mixed-table", table=Table()),
        task=DensityTask(),
        model=VectorModel(
            blocks=8,
            width=64,
            depth=2,
            coeff=0.98,
            whiten=True,
            log_det=LogDet(estimator="exact"),
        ),
        optimizer=Optimizer(learning_rate=2e-2, warmup_steps=50, ema=0.99),
        **_TABLE,
    )


def _conditional():
    return Preset(
        name="conditional",
        source="this package: any table of numbers, --csv FILE --context COLUMNS",
        data=Data(name="conditional-table", preprocessing="standardize", table=Table()),
        task=ConditionalTask(act_norm=True),
        model=VectorModel(
            blocks=6, width=64, depth=2, coeff=0.97, log_det=LogDet(estimator="exact")
        ),
        optimizer=Optimizer(learning_rate=5e-3, warmup_steps=50, ema=0.99),
        **_TABLE,
    )


# 8×8 images with 17 levels.
_ADAM: dict[str, Any] = {"learning_rate": 6e-3, "warmup_steps": 50, "ema": 0.99}
_DIGITS: dict[str, Any] = {
    "source": "this package: scikit-learn's digits",
    "batch_size": 128,
    "steps": 1000,
    "steps_per_epoch": 50,
    "optimizer": Optimizer(**_ADAM),
}
_DIGITS_FLOW = ImageModel(blocks=(16,), width=(64,))


def _digits():
    yield Preset(
        name="digits-density",
        data=Data(name="digits", preprocessing="gaussianize", alpha=1e-6),
        task=DensityTask(),
        model=ImageModel(blocks=(12,), width=(64,), dense_blocks=6),
        **{
            **_DIGITS,
            "optimizer": Optimizer(**{**_ADAM, "learning_rate": 1.5e-2}, log_det_share=0.25),
        },
    )
    yield Preset(
        name="digits-classifier",
        data=Data(name="digits", preprocessing="standardize"),
        task=ClassifierTask(),
        model=ImageModel(blocks=(4, 4), width=(64,), squeeze=(False, True), padding=7),
        **{**_DIGITS, "optimizer": Optimizer(learning_rate=2e-3, warmup_steps=50)},
    )
    yield Preset(
        name="digits-hybrid",
        data=Data(name="digits"),
        task=HybridTask(prior="conditional"),
        model=_DIGITS_FLOW,
        **_DIGITS,
    )


def _hybrid(name, data, blocks, examples, weight, suffix=""):
    """Returns a hybrid model with a class-conditional prior, which generates by class."""
    epoch = (examples - 1000) // 128
    return Preset(
        name=name + suffix,
        source="Residual Flows' hybrid loss (λ of 0, 1/D or 1) on this package's trunk",
        data=Data(name=data, validation_examples=1000),
        task=HybridTask(prior="conditional", likelihood_weight=weight),
        model=ImageModel(blocks=blocks, width=(128,)),
        optimizer=Optimizer(learning_rate=2e-3, warmup_steps=epoch, clip_norm=1.0, ema=0.999),
        batch_size=128,
        steps=50 * epoch,
        steps_per_epoch=epoch,
    )


def _catalogue():
    yield from map(_toy, densities.NAMES)
    yield _tabular()
    yield _conditional()
    yield from _digits()
    yield from own_images.presets()
    yield from small_images.presets()
    yield from published.presets()
    for weight, suffix in ((None, ""), (0.0, "-weight-0"), (1.0, "-weight-1")):
        yield _hybrid("mnist-hybrid", "mnist", (8, 8), 60_000, weight, suffix)
        yield _hybrid("cifar10-hybrid", "cifar10", (8, 8, 8), 50_000, weight, suffix)


_BY_NAME = {preset.name: preset for preset in _catalogue()}


def names() -> tuple[str, ...]:
    """Returns the names of the presets."""
    return tuple(_BY_NAME)


def register(preset: Preset) -> Preset:
    """Adds your preset to the catalogue, for `get` and for the command.

    Raises:
        ValueError: if there is a different preset of that name.
    """
    if _BY_NAME.get(preset.name, preset) != preset:
        raise ValueError(f"There is a preset {preset.name!r} already. Choose another name.")
    _BY_NAME[preset.name] = preset
    return preset


def get(name: str, overrides: Iterable[str] = ()) -> Preset:
    """Returns the preset named ``name``, with some fields replaced.

    Args:
        name: one of `names`.
        overrides: one or several strings ``"field=value"``; dots separate the parts of the path
            to a nested field, for example ``"model.log_det.terms=10"``.  A field of named values
            takes JSON, for example ``'data.table.kinds={"age": "integer"}'``.

    Raises:
        ValueError: for an unknown name or field, or a value out of range; the message names it.
    """
    if name not in _BY_NAME:
        raise ValueError(f"There is no preset {name!r}. The presets are: {', '.join(names())}.")
    return replaced(_BY_NAME[name], overrides).with_length()


def replaced(preset: Preset, overrides: Iterable[str]) -> Preset:
    """Returns a preset with some fields replaced, as `get` does."""
    fields = preset.model_dump()
    for override in (overrides,) if isinstance(overrides, str) else overrides:
        _replace(fields, override)
    return parse(fields)


def _parsed(override, text):
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{override!r} is not valid JSON: {error}.") from None


def _replace(fields, override):
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise ValueError(
            f"An override is field=value, for example model.width=32; received {override!r}."
        )
    *parents, last = path.split(".")
    for parent in parents:
        if not isinstance(fields.get(parent), dict):
            raise ValueError(
                f"There is no part {parent!r} in {override!r}. The fields here are: "
                f"{', '.join(fields)}."
            )
        fields = fields[parent]
    if isinstance(fields.get(last), dict) and text.startswith("{"):
        fields[last] = _parsed(override, text)
        return
    if isinstance(fields.get(last), dict):
        first = next(iter(fields[last]), "NAME")
        raise ValueError(
            f"{path} is a part, not a field. Set one of its fields, for example "
            f"{path}.{first}=VALUE, or give it as JSON."
        )
    if last not in fields:
        raise ValueError(f"There is no field {path!r}. The fields here are: {', '.join(fields)}.")
    if text.lower() in ("none", "null"):
        fields[last] = None
    elif isinstance(fields[last], tuple):
        fields[last] = tuple(text.split(","))
    else:
        fields[last] = text
