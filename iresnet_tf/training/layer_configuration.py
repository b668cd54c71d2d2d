"""Defines the typed configuration of a model's layers, and the base of all configurations."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, model_validator

# Upper bounds keep mistakes such as 10⁹ for 10⁻⁹ from failing late, for want of memory.
Length = Annotated[int, Field(gt=0, le=10**9)]
Width = Annotated[int, Field(gt=0, le=65_536)]
Depth = Annotated[int, Field(gt=0, le=10_000)]
Side = Annotated[int, Field(gt=0, le=4096)]
Rate = Annotated[float, Field(gt=0.0, le=1000.0)]
Own = Annotated[str, Field(pattern="^[^>]+>[^>]+$")]
"""The name ``package>Class`` of a class of the user's own, which is registered with Keras."""


class Config(BaseModel):
    """The base class of all parts of a configuration: it refuses unknown fields and changes."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )


class LogDet(Config):
    """The estimator of the log-determinant in training; evaluation chooses another."""

    estimator: Literal["exact", "krylov", "power-series", "russian-roulette"] | Own = "power-series"
    terms: Literal["auto"] | Depth = 5
    products: Literal["auto"] | Depth = Field(4, description="Jacobian products of krylov")
    residual: PositiveFloat | None = Field(
        None, description="relative residual at which krylov takes no more products"
    )
    truncation: PositiveFloat = Field(
        0.01,
        description="with automatic terms or products, the largest error of a block, nats per "
        "dimension",
    )
    probes: Depth = 1
    distribution: Literal["rademacher", "gaussian"] = "rademacher"
    series_dtype: Literal["bfloat16"] | None = Field(
        None,
        description="dtype of the products of a series; saves time if bfloat16 is faster here",
    )
    law: Literal["geometric", "poisson"] = "geometric"
    parameter: float | None = Field(
        None, gt=0.0, le=1000.0, description="of the law: a probability, or the mean of poisson"
    )
    exact_terms: int = Field(3, ge=0, le=10_000)

    @model_validator(mode="after")
    def _require_one_criterion(self):
        if self.products == "auto" and self.residual is not None:
            raise ValueError(
                "products=auto stops at truncation: leave residual out, or give a number of "
                f"products; received residual={self.residual}"
            )
        return self

    @model_validator(mode="after")
    def _require_a_probability(self):
        if self.law == "geometric" and (self.parameter or 0.5) >= 1.0:
            raise ValueError(
                f"the parameter of the geometric law is a probability below 1; received "
                f"{self.parameter}"
            )
        return self


class _Flow(Config):
    """The fields of every architecture; see `iresnet_tf.models.architectures`."""

    activation: str = "lipswish"
    coeff: float | None = Field(
        0.9,
        gt=0.0,
        lt=1.0,
        description="coefficient of each layer; none makes a classifier an ordinary ResNet",
    )
    p: Literal["learned"] | Annotated[float, Field(ge=1.0, allow_inf_nan=True)] = Field(
        2.0, description="exponent of the norm that coeff bounds, up to inf, or learned"
    )
    log_det: LogDet = LogDet()
    solver: Literal["anderson", "picard"] | Own = "anderson"
    tolerance: float = Field(1e-6, gt=0.0, le=1.0)
    recompute: bool = Field(False, description="whether the backward pass recomputes blocks")
    whiten: bool = Field(False, description="whether the first layer removes linear correlations")

    @model_validator(mode="after")
    def _require_a_spectral_bound(self):
        estimator = self.log_det
        if estimator.estimator == "krylov" and estimator.products == "auto" and self.p != 2.0:
            raise ValueError(
                "log_det.products=auto needs a bound on the 2-norm: give a number of products, or "
                f"leave p at 2; received p={self.p}"
            )
        return self


class VectorModel(_Flow):
    """The arguments of `architectures.vector_flow`."""

    architecture: Literal["vector"] = "vector"
    blocks: Depth
    width: Width = 128
    depth: Depth = 4


class ImageModel(_Flow):
    """The arguments of `architectures.image_flow`."""

    architecture: Literal["image"] = "image"
    blocks: tuple[Depth, ...]
    width: tuple[Width, ...] = (128,)
    branch: Literal["residual", "dense-net"] = "residual"
    squeeze: tuple[bool, ...] = (True,)
    factor_out: bool = False
    padding: int = Field(0, ge=0, le=65_536)
    preactivation: bool = False
    act_norm: bool = True
    last_act_norm: bool = True
    dense_blocks: int = Field(0, ge=0, le=10_000)
    dense_width: Width = 128
    power_iterations: Depth = 1
