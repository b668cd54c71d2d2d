"""Typed configurations of a training run."""

from typing import Annotated, Literal

import pydantic


class _Config(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, validate_default=True)


class LogDet(_Config):
    """The estimator used in training; evaluation picks its own."""

    estimator: Literal["exact", "power-series", "russian-roulette"] = "power-series"
    terms: Literal["auto"] | pydantic.PositiveInt = 5
    truncation: pydantic.PositiveFloat = pydantic.Field(
        0.01, description="with automatic terms, the bias accepted of a block, nats a dimension"
    )
    probes: pydantic.PositiveInt = 1
    distribution: Literal["rademacher", "gaussian"] = "rademacher"
    series_dtype: Literal["bfloat16"] | None = pydantic.Field(
        None, description="of the products of a series: quicker where the machine multiplies it so"
    )
    law: Literal["geometric", "poisson"] = "geometric"
    parameter: float | None = None
    exact_terms: pydantic.NonNegativeInt = 3


class _Flow(_Config):
    """What every architecture has: `iresnet_tf.models.architectures` says what they are."""

    activation: str = "lipswish"
    coeff: float | None = pydantic.Field(
        0.9, gt=0.0, lt=1.0, description="of each layer; none for an ordinary ResNet, a classifier"
    )
    p: Literal["learned"] | Annotated[float, pydantic.Field(ge=1.0)] = pydantic.Field(
        2.0, description="exponent of the norm that coeff bounds, up to inf, or learned"
    )
    log_det: LogDet = LogDet()
    solver: Literal["anderson", "picard"] = "anderson"
    tolerance: pydantic.PositiveFloat = 1e-6
    recompute: bool = pydantic.Field(
        False, description="less memory: the backward pass evaluates each block anew"
    )


class VectorModel(_Flow):
    """`architectures.vector_flow`."""

    architecture: Literal["vector"] = "vector"
    blocks: pydantic.PositiveInt
    width: pydantic.PositiveInt = 128
    depth: pydantic.PositiveInt = 4


class ImageModel(_Flow):
    """`architectures.image_flow`."""

    architecture: Literal["image"] = "image"
    blocks: tuple[pydantic.PositiveInt, ...]
    width: tuple[pydantic.PositiveInt, ...] = (128,)
    branch: Literal["residual", "dense-net"] = "residual"
    squeeze: tuple[bool, ...] = (True,)
    factor_out: bool = False
    padding: pydantic.NonNegativeInt = 0
    preactivation: bool = False
    act_norm: bool = True
    last_act_norm: bool = True
    dense_blocks: pydantic.NonNegativeInt = 0
    dense_width: pydantic.PositiveInt = 128
    power_iterations: pydantic.PositiveInt = 1


class Table(_Config):
    """`iresnet_tf.data.sources.table_source`."""

    file: str | None = pydantic.Field(None, description="a CSV or .npy file")
    sha256: str | None = pydantic.Field(None, description="of the file; a run notes it")
    test_fraction: float = pydantic.Field(0.2, gt=0.0, lt=1.0)
    split_seed: pydantic.NonNegativeInt = 0


class Data(_Config):
    """A source of `iresnet_tf.data.sources` and what is done to its examples."""

    name: str
    bits: int | None = pydantic.Field(None, ge=1, le=8, description="fewer bits a pixel")
    size: pydantic.PositiveInt | None = pydantic.Field(
        None, description="the central square of every image is resized to this: other data"
    )
    only_class: pydantic.NonNegativeInt | None = pydantic.Field(
        None, description="the class whose examples alone are kept"
    )
    pad_to: pydantic.PositiveInt | None = pydantic.Field(
        None, description="grid that smaller images are padded to with zeros: other data"
    )
    preprocessing: Literal["center", "logit", "standardize"] = "center"
    alpha: float = pydantic.Field(0.05, gt=0.0, lt=0.5, description="of the logit")
    augmentation: Literal["flip", "crop", "crop-flip"] | None = None
    validation_examples: pydantic.NonNegativeInt = 0
    table: Table | None = pydantic.Field(None, description="of the source named table")


class DensityTask(_Config):
    """`DensityModel`."""

    kind: Literal["density"] = "density"
    prior: Literal["learned", "fixed"] = "learned"


class ClassifierTask(_Config):
    """`Classifier`."""

    kind: Literal["classifier"] = "classifier"
    dropout: float = pydantic.Field(0.0, ge=0.0, lt=1.0)


class HybridTask(_Config):
    """`HybridModel`; a likelihood weight of ``None`` is 1/D."""

    kind: Literal["hybrid"] = "hybrid"
    prior: Literal["learned", "fixed", "conditional"] = "learned"
    likelihood_weight: pydantic.NonNegativeFloat | None = None
    dropout: float = pydantic.Field(0.0, ge=0.0, lt=1.0)


class Optimizer(_Config):
    """A Keras optimizer with a linear warm-up and a schedule over the run.

    The ``steps`` schedule multiplies the rate by ``drop`` after each fraction of the run
    in ``drops``.
    """

    name: Literal["adam", "adamax", "sgd"] = "adam"
    learning_rate: pydantic.PositiveFloat = 2e-3
    warmup_steps: pydantic.NonNegativeInt = 0
    schedule: Literal["cosine", "constant", "steps"] = "cosine"
    drops: tuple[pydantic.PositiveFloat, ...] = ()
    drop: pydantic.PositiveFloat = 0.2
    beta_2: float = pydantic.Field(0.999, gt=0.0, lt=1.0)
    momentum: float = pydantic.Field(0.9, ge=0.0, lt=1.0, description="of sgd")
    nesterov: bool = False
    weight_decay: pydantic.NonNegativeFloat = pydantic.Field(
        0.0, description="decoupled: the fraction taken off the weights is this times the rate"
    )
    clip_norm: pydantic.PositiveFloat | None = None
    accumulation_steps: pydantic.PositiveInt = pydantic.Field(
        1, description="less memory, of a density: a batch's gradient from so many parts in turn"
    )
    ema: float | None = pydantic.Field(None, gt=0.0, lt=1.0)


class Preset(_Config):
    """Everything that a training run needs but its seed and folder."""

    name: str
    source: str = pydantic.Field(description="where the configuration comes from")
    data: Data
    task: DensityTask | ClassifierTask | HybridTask = pydantic.Field(discriminator="kind")
    model: VectorModel | ImageModel = pydantic.Field(discriminator="architecture")
    optimizer: Optimizer = Optimizer()
    batch_size: pydantic.PositiveInt
    steps: pydantic.PositiveInt
    steps_per_epoch: pydantic.PositiveInt
    evaluation_examples: pydantic.PositiveInt | None = pydantic.Field(
        None, description="test examples that the result is measured on, the first; all if None"
    )
    intra_op_threads: pydantic.PositiveInt | Literal["auto"] | None = pydantic.Field(
        "auto",
        description="threads inside one operation; with 1, the samples of a batch are shared out "
        "among the threads; auto: 1 without a GPU on up to 8 cores; none: TensorFlow's own number",
    )

    @pydantic.model_validator(mode="after")
    def _refuse_crops_of_a_density(self):
        if "crop" in (self.data.augmentation or "") and self.task.kind != "classifier":
            raise ValueError(
                f"data.augmentation={self.data.augmentation} changes the density that a "
                f"{self.task.kind} model is to learn; it takes flip or none"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _refuse_densities_without_a_constraint(self):
        if self.model.coeff is None and self.task.kind != "classifier":
            raise ValueError(
                f"model.coeff=none leaves no inverse and no log-determinant to a {self.task.kind} "
                "model; it takes a coefficient between 0 and 1"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _refuse_parts_of_a_batch_that_is_normalised(self):
        if self.optimizer.accumulation_steps > 1 and self.task.kind != "density":
            raise ValueError(
                f"optimizer.accumulation_steps={self.optimizer.accumulation_steps} takes a batch "
                f"in parts, whose statistics are not those that the head of a {self.task.kind} "
                "normalises by; it takes 1, and model.recompute=true to save memory"
            )
        return self

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


def parse(fields):
    """A preset from plain data, as a run's ``config.json`` holds it.

    Raises:
        ValueError: naming every field that is wrong.
    """
    try:
        return Preset.model_validate(fields)
    except pydantic.ValidationError as error:
        problems = "; ".join(map(_problem, error.errors()))
        raise ValueError(f"The configuration is not valid. {problems}.") from None


def _problem(error):
    if not error["loc"]:
        return error["msg"].removeprefix("Value error, ")
    return f"{_path(error['loc'])}: {error['msg']} (received {error['input']!r})"


def _path(location):
    """The field's path as an override spells it, without the kind of model or task."""
    part, *rest = map(str, location)
    return ".".join([part, *(rest[1:] if part in ("model", "task") else rest)])
