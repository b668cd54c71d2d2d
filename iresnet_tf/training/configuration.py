"""Defines the typed configuration of a training run."""

import reprlib
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from iresnet_tf.training.layer_configuration import (
    Config,
    ImageModel,
    Length,
    Rate,
    Side,
    VectorModel,
)
from iresnet_tf.training.source_configuration import DataSource, Table


class Data(DataSource):
    """A data source and the processing of its examples."""

    bits: int | None = Field(None, ge=1, le=8, description="number of bits kept of every pixel")
    size: Side | None = Field(None, description="side of the resized square images")
    only_class: NonNegativeInt | None = Field(
        None, description="a class; only its examples are kept"
    )
    pad_to: Side | None = Field(None, description="side of the images after padding")
    preprocessing: Literal["center", "logit", "gaussianize", "standardize"] = "center"
    alpha: float = Field(
        0.05,
        gt=0.0,
        lt=0.5,
        description="least distance to 0 and 1 of the argument of the logit or normal quantile",
    )
    augmentation: Literal["flip", "shift", "crop", "crop-flip"] | None = Field(
        None, description="shift: by up to 2 pixels; crop: by up to 4; flip: left and right"
    )
    validation_examples: NonNegativeInt = 0
    table: Table | None = Field(
        None, description="the table, for the sources named mixed-table and table"
    )
    context: tuple[str, ...] = Field(
        (), description="the columns that are given, for the source named conditional-table"
    )

    @model_validator(mode="after")
    def _require_one_kind(self):
        if self.table is not None and (self.folder or self.npz):
            raise ValueError(
                "this preset is for tables, and folder and npz are for pictures; choose a preset "
                "for images, such as image-density"
            )
        return self


class _Task(Config):
    """The base class of tasks; the fields of a task are arguments of its model."""

    has_density: ClassVar[bool] = True
    """Whether the model has a likelihood."""

    takes_context: ClassVar[bool] = False
    """Whether the model depends on a context, which a conditioner computes from given columns."""

    takes_classes: ClassVar[bool] = True
    """Whether the model learns from classes, with a head that normalises by whole batches."""


class DensityTask(_Task):
    """The arguments of a `DensityModel`."""

    takes_classes = False
    kind: Literal["density"] = "density"
    prior: Literal["learned", "fixed"] = "learned"


class ConditionalTask(_Task):
    """The arguments of a `ConditionalDensityModel`, and of the network that sees the context."""

    takes_classes = False
    takes_context = True
    kind: Literal["conditional"] = "conditional"
    prior: Literal["learned", "fixed"] = "learned"
    conditioner: tuple[Annotated[int, Field(gt=0, le=65_536)], ...] = Field(
        (64, 64), description="widths of the layers between the context and the blocks"
    )
    act_norm: bool = Field(False, description="whether a ConditionalActNorm precedes the blocks")


class ClassifierTask(_Task):
    """The arguments of a `Classifier`."""

    has_density = False
    kind: Literal["classifier"] = "classifier"
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    pooling: bool = True


class HybridTask(_Task):
    """The arguments of a `HybridModel`; a likelihood weight of ``None`` is 1/D."""

    kind: Literal["hybrid"] = "hybrid"
    prior: Literal["learned", "fixed", "conditional"] = "learned"
    likelihood_weight: float | None = Field(None, ge=0.0, le=1e6)
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    pooling: bool = True


class Optimizer(Config):
    """A Keras optimizer with a linear warm-up and a schedule over the run.

    The schedule ``steps`` multiplies the rate by ``drop`` after each fraction of the run in
    ``drops``.
    """

    name: Literal["adam", "adamax", "sgd"] = "adam"
    learning_rate: Rate = 2e-3
    warmup_steps: int = Field(0, ge=0, le=10**9)
    schedule: Literal["cosine", "constant", "steps"] = "cosine"
    drops: tuple[Annotated[float, Field(gt=0.0, lt=1.0)], ...] = ()
    drop: float = Field(0.2, gt=0.0, le=1.0)
    beta_2: float = Field(0.999, gt=0.0, lt=1.0)
    momentum: float = Field(0.9, ge=0.0, lt=1.0, description="momentum of sgd")
    nesterov: bool = False
    weight_decay: float = Field(
        0.0,
        ge=0.0,
        le=1000.0,
        description="decoupled decay: each step reduces the weights by this times the rate",
    )
    clip_norm: PositiveFloat | None = None
    accumulation_steps: Length = Field(1, description="number of parts of a batch of a density")
    log_det_share: float = Field(
        1.0,
        gt=0.0,
        le=1.0,
        description="share of a batch whose log-determinants a training step estimates; unbiased",
    )
    product_dtype: Literal["bfloat16"] | None = Field(
        None, description="dtype of the residual branches in training steps"
    )
    ema: float | None = Field(None, gt=0.0, lt=1.0)  # See `build_optimizer`.


class Preset(Config):
    """The configuration of a training run, except its seed and folder."""

    name: str
    source: str = Field(description="origin of the configuration")
    data: Data
    task: DensityTask | ConditionalTask | ClassifierTask | HybridTask = Field(discriminator="kind")
    model: VectorModel | ImageModel = Field(discriminator="architecture")
    optimizer: Optimizer = Optimizer()
    batch_size: int = Field(gt=0, le=10**6)
    steps: Length
    steps_per_epoch: Length
    initial_weights: str | None = Field(
        None,
        description="run folder, .keras file or shipped name of a model of the same layers, with "
        "whose weights the training begins",
    )
    evaluation_examples: PositiveInt | None = Field(
        None, description="number of test examples, from the first on, in the result; none: all"
    )
    intra_op_threads: PositiveInt | Literal["auto"] | None = Field(
        "auto",
        description="threads inside one operation; with 1, the threads divide the samples of a "
        "batch; auto: 1 without a GPU on up to 8 cores; none: TensorFlow's default",
    )

    @model_validator(mode="after")
    def _require_options_of_the_task(self):
        # A shift spreads the density of a hybrid too, which its accuracy repays.
        allowed = (None, "flip", "shift") if self.task.kind == "hybrid" else (None, "flip")
        if self.task.has_density and self.data.augmentation not in allowed:
            raise ValueError(
                f"data.augmentation={self.data.augmentation} changes the density that a "
                f"{self.task.kind} model is to learn; it takes {', '.join(allowed[1:])} or none"
            )
        if self.model.coeff is None and self.task.has_density:
            raise ValueError(
                f"a {self.task.kind} model with model.coeff=none has no inverse and no "
                "log-determinant; it takes a coefficient between 0 and 1"
            )
        if self.task.takes_context and self.model.architecture != "vector":
            raise ValueError(
                f"a conditional model is for the columns of a table; model.architecture="
                f"{self.model.architecture} is for images; it takes vector"
            )
        if self.optimizer.accumulation_steps > 1 and self.task.takes_classes:
            raise ValueError(
                f"optimizer.accumulation_steps={self.optimizer.accumulation_steps} splits a "
                f"batch, but the head of a {self.task.kind} normalises by the statistics of whole "
                "batches; leave it at 1, and set model.recompute=true to save memory"
            )
        if self.optimizer.log_det_share < 1.0 and not self.task.has_density:
            raise ValueError(
                f"optimizer.log_det_share={self.optimizer.log_det_share} is for models with a "
                f"likelihood; a {self.task.kind} has no log-determinants; leave it at 1"
            )
        return self

    @property
    def epochs(self) -> int:
        """Number of epochs of ``steps_per_epoch`` steps, rounded up."""
        return -(-self.steps // self.steps_per_epoch)

    def summary(self) -> str:
        """Returns task, architecture and data in a line."""
        model = self.model
        blocks, width = (
            "-".join(map(str, sizes)) if isinstance(sizes, tuple) else sizes
            for sizes in (model.blocks, model.width)
        )
        dense = ""
        if isinstance(model, ImageModel) and model.dense_blocks:
            dense = f", {model.dense_blocks} dense blocks of {model.dense_width}"
        return (
            f"{self.task.kind}, {model.architecture} flow, blocks {blocks}, width {width}{dense}, "
            f"coeff {model.coeff} | data {self.data.name}"
        )

    def with_length(self, epochs: int | None = None, steps: int | None = None) -> "Preset":
        """Returns the preset with another number of epochs, or of steps, rounded up to epochs."""
        per_epoch = self.steps_per_epoch
        if steps is not None:
            epochs = -(-steps // per_epoch)
            per_epoch = -(-steps // epochs)
        fields = {"steps": (epochs or self.epochs) * per_epoch, "steps_per_epoch": per_epoch}
        return parse({**self.model_dump(), **fields})


class Extension(Config):
    """An extension of a run: after ``step``, of a run of ``steps`` steps."""

    step: NonNegativeInt
    steps: PositiveInt


class Run(BaseModel):
    """The content of ``config.json``: what a run was begun with, and how it was extended."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    preset: Preset
    seed: int = Field(ge=0, lt=2**31)
    extended: tuple[Extension, ...] = ()

    def preset_at(self, step: int) -> Preset:
        """Returns the preset, with the number of steps that the run had at that step."""
        lengths = [each.steps for each in self.extended if step <= each.step]
        return self.preset.model_copy(update={"steps": [*lengths, self.preset.steps][0]})

    def continued(self, preset: Preset, step: int) -> "Run":
        """Returns the content after the run was continued from a step with a preset."""
        extended = [
            each.model_copy(update={"step": min(each.step, step)}) for each in self.extended
        ]
        if preset.steps != self.preset.steps:
            extended.append(Extension(step=step, steps=self.preset.steps))
        update = {"preset": preset, "extended": tuple(extended) if step else ()}
        return self.model_copy(update=update)


Parsed = TypeVar("Parsed", bound=BaseModel)


def parse(fields: Any) -> Preset:
    """Returns a preset from plain data.

    Raises:
        ValueError: if fields are wrong; the message names all of them.
    """
    return parsed(Preset, fields)


def parsed(kind: type[Parsed], fields: Any) -> Parsed:
    """Returns an object of a class of configurations from plain data; see `parse`."""
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        problems = "; ".join(map(_problem, error.errors()))
        raise ValueError(f"The configuration is not valid. {problems}.") from None


_SHORT = reprlib.Repr()
_SHORT.maxstring = 200


def _problem(error):
    """Describes an error of a field, with the path of the field as overrides spell it."""
    message = f"{error['msg']} (received {_SHORT.repr(error['input'])})"
    if error["type"] == "value_error":
        message = error["msg"].removeprefix("Value error, ")
    if not error["loc"]:
        return message
    # In config.json the fields of the preset are below it, and in a card both are below the run.
    part, *rest = map(str, error["loc"])
    while part in ("run", "preset") and rest:
        part, *rest = rest
    # Below these parts, pydantic inserts the kind of model or task.
    path = ".".join([part, *(rest[1:] if part in ("model", "task") else rest)])
    return f"{path}: {message}"
