"""Builds the model and the optimizer that a preset describes."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from iresnet_tf.data import Source
from iresnet_tf.layers import Center, Dequantize, Gaussianize, Invertible, Logit, Standardize
from iresnet_tf.models import (
    Classifier,
    ConditionalDensityModel,
    DensityModel,
    FlowModel,
    HybridModel,
    TableModel,
    architectures,
)
from iresnet_tf.numerics import log_det, solvers
from iresnet_tf.numerics.registered import registered
from iresnet_tf.training import configuration, layer_configuration, optimizers, schedules


def build_model(preset: configuration.Preset, source: Source, *, seed: int) -> FlowModel:
    """Returns the model of a preset, built for the examples of a source, but not compiled.

    Raises:
        ValueError: for a task that needs classes, if the data have none; for data of another
            rank, or images whose sides the model cannot halve.
    """
    _require_fitting(preset.model, source)
    model = make_model(preset, source, seed=seed)
    model.build((None, *source.event_shape))
    return model


def make_model(preset: configuration.Preset, source: Source, *, seed: int) -> FlowModel:
    """Returns the model of a preset before it is built; see `build_model`."""
    task = preset.task
    options: dict[str, Any] = {
        "layers": build_layers(preset.model, **build_conditioner(preset, source)),
        "preprocessing": build_preprocessing(preset, source, seed=seed),
        "seed": seed,
        "name": preset.name.replace("-", "_"),
        **task.model_dump(exclude={"kind", "conditioner", "act_norm"}),
    }
    if task.takes_classes:
        if source.classes is None:
            raise ValueError(
                f"{source.name} has no classes, so it cannot train a {task.kind}. Choose data with "
                "classes, or train a density."
            )
        options["classes"] = source.classes
    if source.schema is not None:
        if task.kind != "density":
            raise ValueError(
                f"A table of mixed columns can only train a density; received {task.kind}. Take "
                "the preset tabular."
            )
        return TableModel(schema=source.schema, **options)
    return _MODELS[task.kind](**options)


def _require_fitting(model, source):
    """Requires examples of the rank of a model and, for images, sides that it can halve."""
    rank = 1 if model.architecture == "vector" else 3
    shape = source.event_shape
    if len(shape) != rank:
        wanted, example = {1: ("vectors", "tabular"), 3: ("images", "image-density")}[rank]
        raise ValueError(
            f"The model takes {wanted}, and the examples of {source.name} have shape {shape}. "
            f"Choose a preset for them, or {wanted} for this one, as for {example}."
        )
    if rank == 1:
        return
    scales = len(model.blocks)
    halvings = sum(model.squeeze * scales if len(model.squeeze) == 1 else model.squeeze)
    unit = 2**halvings
    if any(side % unit for side in shape[:2]):
        above = -(-max(shape[:2]) // unit) * unit
        sizes = [f"data.size={each}" for each in (above - unit, above) if each]
        raise ValueError(
            f"The model halves the sides of its images {halvings} times, so they must be "
            f"multiples of {unit}; those of {source.name} are {shape[0]}×{shape[1]}. Resize them, "
            f"{' or '.join(sizes)}, or put zeros around them, data.pad_to={above}."
        )


def initialized_model(preset: configuration.Preset, source: Source, *, seed: int) -> FlowModel:
    """Returns the compiled and initialised model of a preset before its first step."""
    model = build_model(preset, source, seed=seed)
    compile_model(model, preset)
    context = source.initial_contexts(seed=seed)
    model.initialize(source.initial_examples(seed=seed), context=context)
    return model


def compile_model(model: FlowModel, preset: configuration.Preset) -> None:
    """Compiles a model with the optimizer and the cost-saving options of a preset."""
    names = {"accumulation_steps", "product_dtype"}
    if preset.task.has_density:
        names.add("log_det_share")
    model.compile(build_optimizer(preset), **preset.optimizer.model_dump(include=names))


_MODELS: dict[str, Callable[..., FlowModel]] = {
    "density": DensityModel,
    "conditional": ConditionalDensityModel,
    "classifier": Classifier,
    "hybrid": HybridModel,
}
"""The class of the model for each task; its options are the fields of the task."""


def build_layers(
    options: layer_configuration.VectorModel | layer_configuration.ImageModel, **condition: Any
) -> list[Invertible]:
    """Returns the invertible layers that the configuration of a model describes.

    The condition is that of `build_conditioner`.
    """
    fields = {**dict(options), **condition}
    fields["log_det"] = build_log_det(options.log_det)
    named = {"anderson": solvers.Anderson, "picard": solvers.Picard}
    solver = named.get(options.solver) or _own(options.solver, solvers.Solver)
    fields["solver"] = solver(tolerance=fields.pop("tolerance"))
    if fields.pop("architecture") == "vector":
        return architectures.vector_flow(**fields)
    return architectures.image_flow(**fields)


def build_conditioner(preset: configuration.Preset, source: Source) -> dict[str, Any]:
    """Returns the options of `vector_flow` for a conditional model; of other models there are none.

    All blocks share the conditioner.  It standardizes the context by the training examples, and
    has layers of the widths that the preset tells.

    Raises:
        ValueError: if the data have no contexts and the task needs them, or the other way round.
    """
    task = preset.task
    if task.takes_context != (source.context_columns is not None):
        raise ValueError(
            f"{source.name} has {'no ' if task.takes_context else ''}contexts, so it cannot train "
            f"a {task.kind} model. The preset conditional and data named conditional-table belong "
            "together."
        )
    if not isinstance(task, configuration.ConditionalTask):
        return {}
    context = np.asarray(source.examples("train").y, np.float64)
    mean, variance = context.mean(0).tolist(), context.var(0).tolist()
    layers: list[keras.layers.Layer] = [keras.layers.Normalization(mean=mean, variance=variance)]
    layers += [keras.layers.Dense(width, "swish") for width in task.conditioner]
    conditioner = keras.Sequential(layers, name="conditioner")
    return {
        "context_shape": context.shape[1:],
        "conditioner": conditioner,
        "conditional_act_norm": task.act_norm,
    }


def build_preprocessing(
    preset: configuration.Preset, source: Source, *, seed: int
) -> list[Invertible]:
    """Returns the fixed layers from the data of a source to the inputs of the trained layers.

    Continuous data are either standardized by their training examples or not processed.
    """
    options = preset.data
    if source.levels is None:
        if options.preprocessing != "standardize":
            return []
        x = source.examples("train").x.astype(np.float64)
        return [Standardize(x.mean(0), x.std(0))]
    if options.preprocessing == "standardize":
        if preset.task.has_density:
            raise ValueError(
                "data.preprocessing=standardize adds no noise to levels, and without noise they "
                f"have no density; a {preset.task.kind} model takes center, logit or gaussianize."
            )
        x = np.asarray(source.initial_examples(4096, seed=seed))
        axes = tuple(range(x.ndim - 1))
        mean, stddev = x.mean(axes), x.std(axes)
        return [Standardize(np.round(mean, 2), np.maximum(np.round(stddev, 2), 1.0))]
    last: Invertible = Center()
    if options.preprocessing == "logit":
        last = Logit(options.alpha)
    elif options.preprocessing == "gaussianize":
        x = source.examples("train").x
        last = Gaussianize.of_levels(x, source.levels, alpha=options.alpha)
    return [Dequantize(source.levels), last]


def build_log_det(options: layer_configuration.LogDet) -> log_det.LogDet:
    """Returns the estimator of the log-determinant that a configuration describes."""
    if options.estimator == "exact":
        return log_det.Exact()
    shared = options.model_dump(include={"probes", "distribution", "series_dtype"})
    if options.estimator == "power-series":
        return log_det.PowerSeries(options.terms, truncation=options.truncation, **shared)
    if options.estimator == "krylov":
        limits = options.residual, options.truncation
        return log_det.Krylov(options.products, *limits, **shared)
    if options.estimator == "russian-roulette":
        law = options.law, options.parameter
        return log_det.RussianRoulette(*law, options.exact_terms, **shared)
    return _own(options.estimator, log_det.LogDet)()


def _own(name, base):
    """Returns the registered subclass of ``base`` with that name."""
    found = registered(name, base)
    if found is None:
        raise ValueError(
            f"No {base.__name__} is registered as {name!r}. Import the module that registers it, "
            "with iresnet --plugin MODULE in the command."
        )
    return found


def build_optimizer(preset: configuration.Preset) -> keras.optimizers.Optimizer:
    """Returns the Keras optimizer of a preset, with its schedule over the whole run.

    The average of the weights reaches back over 1/(1 − momentum) steps: at most a tenth of the run,
    or ten steps, so that the average of a shortened run also forgets the start.
    """
    options = preset.optimizer
    betas = {"beta_2": options.beta_2}
    momentum = {"momentum": options.momentum, "nesterov": options.nesterov}
    kind, specific = {
        "adam": (optimizers.Adam, betas),
        "adamax": (optimizers.Adamax, betas),
        "sgd": (keras.optimizers.SGD, momentum),
    }[options.name]
    return kind(
        build_schedule(options, preset.steps),
        weight_decay=options.weight_decay or None,
        global_clipnorm=options.clip_norm,
        use_ema=options.ema is not None,
        ema_momentum=min(options.ema or 0.99, 1.0 - 1.0 / max(10.0, preset.steps / 10)),
        **specific,
    )


def build_schedule(options: configuration.Optimizer, steps: int) -> schedules.WarmUp:
    """Returns a linear warm-up to the learning rate, followed by the configured schedule.

    The warm-up takes at most a tenth of the run, so that a shortened run also completes it.
    """
    warmup = min(options.warmup_steps, steps // 10)
    rate, after = options.learning_rate, max(1, steps - warmup)
    if options.schedule == "steps" and options.drops:
        boundaries = [round(fraction * steps) - warmup for fraction in options.drops]
        rates = [rate * options.drop**index for index in range(len(boundaries) + 1)]
        schedule = keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, rates)
    else:
        # α is the fraction of the rate that remains at the end.
        alpha = 0.0 if options.schedule == "cosine" else 1.0
        schedule = keras.optimizers.schedules.CosineDecay(rate, after, alpha)
    return schedules.WarmUp(schedule, warmup)
