"""Typed configurations of a training run."""

from typing import Annotated, Any, ClassVar, Literal

import pydantic


class _Config(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, validate_default=True)


class LogDet(_Config):
    """The estimator of the log-determinant in training; evaluation picks its own."""

    estimator: Literal["exact", "power-series", "russian-roulette"] = "power-series"
    terms: Literal["auto"] | pydantic.PositiveInt = 5
    truncation: pydantic.PositiveFloat = pydantic.Field(
        0.01, description="with automatic terms, the largest bias of a block, nats per dimension"
    )
    probes: pydantic.PositiveInt = 1
    distribution: Literal["rademacher", "gaussian"] = "rademacher"
    series_dtype: Literal["bfloat16"] | None = pydantic.Field(
        None,
        description="dtype of the products of a series; faster if the machine multiplies it faster",
    )
    law: Literal["geometric", "poisson"] = "geometric"
    parameter: float | None = None
    exact_terms: pydantic.NonNegativeInt = 3


class _Flow(_Config):
    """The fields of every architecture; see `iresnet_tf.models.architectures`."""

    activation: str = "lipswish"
    coeff: float | None = pydantic.Field(
        0.9,
        gt=0.0,
        lt=1.0,
        description="coefficient of each layer; none for a classifier that is an ordinary ResNet",
    )
    p: Literal["learned"] | Annotated[float, pydantic.Field(ge=1.0)] = pydantic.Field(
        2.0, description="exponent of the norm that coeff bounds, up to inf, or learned"
    )
    log_det: LogDet = LogDet()
    solver: Literal["anderson", "picard"] = "anderson"
    tolerance: pydantic.PositiveFloat = 1e-6
    recompute: bool = pydantic.Field(
        False, description="whether the backward pass evaluates each block anew, to save memory"
    )


class VectorModel(_Flow):
    """The arguments of `architectures.vector_flow`."""

    architecture: Literal["vector"] = "vector"
    blocks: pydantic.PositiveInt
    width: pydantic.PositiveInt = 128
    depth: pydantic.PositiveInt = 4


class ImageModel(_Flow):
    """The arguments of `architectures.image_flow`."""

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
    """The arguments of `iresnet_tf.data.table_source.TableSource`."""

    file: str | None = pydantic.Field(None, description="a CSV or .npy file")
    sha256: str | None = pydantic.Field(None, description="SHA-256 of the file; a run notes it")
    test_fraction: float = pydantic.Field(0.2, gt=0.0, lt=1.0)
    split_seed: pydantic.NonNegativeInt = 0


class Data(_Config):
    """A data source, see `iresnet_tf.data.get`, and the processing of its examples."""

    name: str
    bits: int | None = pydantic.Field(
        None, ge=1, le=8, description="number of bits of a pixel that are kept"
    )
    size: pydantic.PositiveInt | None = pydantic.Field(
        None, description="side to which the central square of every image is resized"
    )
    only_class: pydantic.NonNegativeInt | None = pydantic.Field(
        None, description="the class whose examples alone are kept"
    )
    pad_to: pydantic.PositiveInt | None = pydantic.Field(
        None, description="side of the grid to which smaller images are padded with zeros"
    )
    preprocessing: Literal["center", "logit", "standardize"] = "center"
    alpha: float = pydantic.Field(
        0.05, gt=0.0, lt=0.5, description="fraction by which the logit keeps away from 0 and 1"
    )
    augmentation: Literal["flip", "crop", "crop-flip"] | None = None
    validation_examples: pydantic.NonNegativeInt = 0
    table: Table | None = pydantic.Field(None, description="the table, for the source named table")


class _Task(_Config):
    """The fields of every task are arguments of its model."""

    has_density: ClassVar[bool] = True
    """Whether the model has a likelihood."""

    takes_classes: ClassVar[bool] = True
    """Whether the model learns from classes, whose head normalises by whole batches."""


class DensityTask(_Task):
    """The task of a `DensityModel`."""

    takes_classes = False

    kind: Literal["density"] = "density"
    prior: Literal["learned", "fixed"] = "learned"


class ClassifierTask(_Task):
    """The task of a `Classifier`."""

    has_density = False

    kind: Literal["classifier"] = "classifier"
    dropout: float = pydantic.Field(0.0, ge=0.0, lt=1.0)


class HybridTask(_Task):
    """The task of a `HybridModel`; a likelihood weight of ``None`` is 1/D."""

    kind: Literal["hybrid"] = "hybrid"
    prior: Literal["learned", "fixed", "conditional"] = "learned"
    likelihood_weight: pydantic.NonNegativeFloat | None = None
    dropout: float = pydantic.Field(0.0, ge=0.0, lt=1.0)


class Optimizer(_Config):
    """A Keras optimizer with a linear warm-up and a schedule over the run.

    The schedule ``steps`` multiplies the rate by ``drop`` after each fraction of the run in
    ``drops``.
    """

    name: Literal["adam", "adamax", "sgd"] = "adam"
    learning_rate: pydantic.PositiveFloat = 2e-3
    warmup_steps: pydantic.NonNegativeInt = 0
    schedule: Literal["cosine", "constant", "steps"] = "cosine"
    drops: tuple[pydantic.PositiveFloat, ...] = ()
    drop: pydantic.PositiveFloat = 0.2
    beta_2: float = pydantic.Field(0.999, gt=0.0, lt=1.0)
    momentum: float = pydantic.Field(0.9, ge=0.0, lt=1.0, description="momentum of sgd")
    nesterov: bool = False
    weight_decay: pydantic.NonNegativeFloat = pydantic.Field(
        0.0, description="decoupled decay: each step reduces the weights by this times the rate"
    )
    clip_norm: pydantic.PositiveFloat | None = None
    accumulation_steps: pydantic.PositiveInt = pydantic.Field(
        1, description="number of parts of a batch, to save memory; for a density"
    )
    ema: float | None = pydantic.Field(None, gt=0.0, lt=1.0)


class Preset(_Config):
    """The configuration of a training run, except its seed and folder."""

    name: str
    source: str = pydantic.Field(description="origin of the configuration")
    data: Data
    task: DensityTask | ClassifierTask | HybridTask = pydantic.Field(discriminator="kind")
    model: VectorModel | ImageModel = pydantic.Field(discriminator="architecture")
    optimizer: Optimizer = Optimizer()
    batch_size: pydantic.PositiveInt
    steps: pydantic.PositiveInt
    steps_per_epoch: pydantic.PositiveInt
    evaluation_examples: pydantic.PositiveInt | None = pydantic.Field(
        None, description="number of test examples for the result, the first ones; all if None"
    )
    intra_op_threads: pydantic.PositiveInt | Literal["auto"] | None = pydantic.Field(
        "auto",
        description="threads inside one operation; with 1, the threads share the samples of a "
        "batch; auto: 1 without a GPU on up to 8 cores; none: TensorFlow's own number",
    )

    @pydantic.model_validator(mode="after")
    def _refuse_crops_of_a_density(self):
        if "crop" in (self.data.augmentation or "") and self.task.has_density:
            raise ValueError(
                f"data.augmentation={self.data.augmentation} changes the density that a "
                f"{self.task.kind} model is to learn; it takes flip or none"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _refuse_densities_without_a_constraint(self):
        if self.model.coeff is None and self.task.has_density:
            raise ValueError(
                f"model.coeff=none leaves no inverse and no log-determinant to a {self.task.kind} "
                "model; it takes a coefficient between 0 and 1"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _refuse_parts_of_a_normalised_batch(self):
        if self.optimizer.accumulation_steps > 1 and self.task.takes_classes:
            raise ValueError(
                f"optimizer.accumulation_steps={self.optimizer.accumulation_steps} splits a "
                f"batch, but the head of a {self.task.kind} normalises by the statistics of whole "
                "batches; leave it at 1, and set model.recompute=true to save memory"
            )
        return self

    @property
    def epochs(self) -> int:
        """Number of epochs of ``steps_per_epoch``, the last one filled up."""
        return -(-self.steps // self.steps_per_epoch)

    def with_length(self, epochs: int | None = None, steps: int | None = None) -> "Preset":
        """Returns the preset with that number of epochs, or of steps, rounded up to epochs."""
        per_epoch = self.steps_per_epoch
        if steps is not None:
            epochs = -(-steps // per_epoch)
            per_epoch = -(-steps // epochs)
        fields = {"steps": (epochs or self.epochs) * per_epoch, "steps_per_epoch": per_epoch}
        return self.model_copy(update=fields)


def parse(fields: dict[str, Any]) -> Preset:
    """Returns a preset from plain data, for example from the ``config.json`` of a run.

    Raises:
        ValueError: if a field is wrong; the message names every such field.
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
    """Returns the path of a field as overrides spell it, without the kind of model or task."""
    part, *rest = map(str, location)
    return ".".join([part, *(rest[1:] if part in ("model", "task") else rest)])
