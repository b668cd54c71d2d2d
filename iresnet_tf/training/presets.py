"""Presets: typed configurations of the models and their training."""

from typing import Literal

import pydantic

from iresnet_tf.data import sources


class _Config(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, validate_default=True)


class LogDet(_Config):
    """The estimator used in training; evaluation picks its own."""

    estimator: Literal["exact", "power-series", "russian-roulette"] = "power-series"
    terms: pydantic.PositiveInt = 5
    probes: pydantic.PositiveInt = 1
    distribution: Literal["rademacher", "gaussian"] = "rademacher"
    law: Literal["geometric", "poisson"] = "geometric"
    parameter: float | None = None
    exact_terms: pydantic.NonNegativeInt = 2


class Model(_Config):
    """The flow: `iresnet_tf.models.architectures` says what each architecture is."""

    architecture: Literal["vector", "image"]
    blocks: tuple[pydantic.PositiveInt, ...]
    width: pydantic.PositiveInt = 128
    depth: pydantic.PositiveInt = 4
    activation: str = "lipswish"
    coeff: float = pydantic.Field(0.9, gt=0.0, lt=1.0)
    prior: Literal["learned", "fixed"] = "learned"
    log_det: LogDet = LogDet()
    solver: Literal["anderson", "picard"] = "anderson"
    tolerance: pydantic.PositiveFloat = 1e-6


class Optimizer(_Config):
    """A Keras optimizer with linear warm-up, then cosine decay over the run or a constant rate."""

    name: Literal["adam", "adamax", "sgd"] = "adam"
    learning_rate: pydantic.PositiveFloat = 2e-3
    warmup_steps: pydantic.NonNegativeInt = 0
    schedule: Literal["cosine", "constant"] = "cosine"
    weight_decay: pydantic.NonNegativeFloat = 0.0
    clip_norm: pydantic.PositiveFloat | None = None
    ema: float | None = pydantic.Field(None, gt=0.0, lt=1.0)


class Preset(_Config):
    """Everything that a training run needs but its seed and folder."""

    name: str
    source: str = pydantic.Field(description="where the configuration comes from")
    data: str
    batch_size: pydantic.PositiveInt
    steps: pydantic.PositiveInt
    steps_per_epoch: pydantic.PositiveInt
    model: Model
    optimizer: Optimizer = Optimizer()
    intra_op_threads: pydantic.PositiveInt | None = pydantic.Field(
        None, description="threads inside one operation; 1 is quicker where all are small"
    )

    @property
    def epochs(self):
        """Epochs of ``steps_per_epoch``, the last one filled up."""
        return -(-self.steps // self.steps_per_epoch)

    def with_length(self, epochs=None, steps=None):
        """The same for that number of epochs, or of steps; filled up to whole epochs."""
        per_epoch = self.steps_per_epoch
        if steps is not None:
            epochs = -(-steps // per_epoch)
            per_epoch = -(-steps // epochs)
        fields = {"steps": (epochs or self.epochs) * per_epoch, "steps_per_epoch": per_epoch}
        return self.model_copy(update=fields)


def _toy(density):
    return Preset(
        name=f"toy-{density}",
        source="Residual Flows' 2-D trainer (100 blocks of 128×4, batch 500), ten blocks here",
        data=f"toy-{density}",
        batch_size=500,
        steps=1600,
        steps_per_epoch=200,
        model=Model(
            architecture="vector",
            blocks=(10,),
            prior="fixed",
            log_det=LogDet(estimator="exact"),
        ),
        optimizer=Optimizer(learning_rate=5e-3),
        intra_op_threads=1,
    )


def _presets():
    for name in sources.names():
        if name.startswith("toy-"):
            yield _toy(name.removeprefix("toy-"))
    yield Preset(
        name="digits-density",
        source="this package: scikit-learn's digits, 8×8 with 17 levels",
        data="digits",
        batch_size=128,
        steps=1000,
        steps_per_epoch=50,
        model=Model(architecture="image", blocks=(16,), width=64),
        optimizer=Optimizer(learning_rate=6e-3, warmup_steps=50, ema=0.99),
        intra_op_threads=1,
    )


_BY_NAME = {preset.name: preset for preset in _presets()}


def names():
    """The presets' names."""
    return tuple(_BY_NAME)


def get(name, overrides=()):
    """The preset of that name, with fields replaced.

    Args:
        name: one of `names`.
        overrides: strings ``"field=value"``; a dot reaches into a part, as
            ``"model.log_det.terms=10"``.

    Returns:
        `Preset`.

    Raises:
        ValueError: for an unknown name or field, or a value out of range; the
            message names it.
    """
    if name not in _BY_NAME:
        raise ValueError(f"There is no preset {name!r}. The presets are: {', '.join(names())}.")
    fields = _BY_NAME[name].model_dump()
    for override in overrides:
        _replace(fields, override)
    return parse(fields).with_length()


def parse(fields):
    """A preset from plain data, as a run's ``config.json`` holds it.

    Raises:
        ValueError: naming every field that is wrong.
    """
    try:
        return Preset.model_validate(fields)
    except pydantic.ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']} "
            f"(received {problem['input']!r})"
            for problem in error.errors()
        )
        raise ValueError(f"The configuration is not valid. {problems}.") from None


def _replace(fields, override):
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise ValueError(f"An override is field=value, as model.width=32; received {override!r}.")
    *parents, last = path.split(".")
    for parent in parents:
        if not isinstance(fields.get(parent), dict):
            raise ValueError(f"There is no part {parent!r} in {override!r}.")
        fields = fields[parent]
    if last not in fields or isinstance(fields[last], dict):
        raise ValueError(f"There is no field {path!r}. The fields here are: {', '.join(fields)}.")
    if text.lower() in ("none", "null"):
        fields[last] = None
    elif isinstance(fields[last], tuple):
        fields[last] = tuple(text.split(","))
    else:
        fields[last] = text
