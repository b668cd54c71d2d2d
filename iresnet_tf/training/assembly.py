"""From a preset to its model and optimizer."""

import keras
import numpy as np

from iresnet_tf.layers import Center, Dequantize, Logit, Standardize
from iresnet_tf.models import Classifier, DensityModel, HybridModel, architectures
from iresnet_tf.numerics import log_det, solvers
from iresnet_tf.training import optimizers, schedules


def build_model(preset, source, seed):
    """The preset's model, built for the source's examples, not compiled.

    Raises:
        ValueError: for a task that the data do not allow.
    """
    task = preset.task
    shared = {
        "layers": build_layers(preset.model),
        "preprocessing": build_preprocessing(preset, source, seed),
        "seed": seed,
        "name": preset.name.replace("-", "_"),
    }
    if task.kind != "density" and source.classes is None:
        raise ValueError(f"{source.name} has no classes, so it cannot train a {task.kind}.")
    if task.kind == "density":
        model = DensityModel(prior=task.prior, **shared)
    elif task.kind == "classifier":
        model = Classifier(classes=source.classes, dropout=task.dropout, **shared)
    else:
        model = HybridModel(
            classes=source.classes,
            likelihood_weight=task.likelihood_weight,
            prior=task.prior,
            dropout=task.dropout,
            **shared,
        )
    model.build((None, *source.event_shape))
    return model


def build_layers(options):
    """The invertible layers that a model's configuration describes."""
    fields = dict(options)
    architecture = fields.pop("architecture")
    fields["log_det"] = build_log_det(options.log_det)
    fields["solver"] = build_solver(options)
    del fields["tolerance"]
    if architecture == "vector":
        return architectures.vector_flow(**fields)
    return architectures.image_flow(**fields)


def build_preprocessing(preset, source, seed):
    """Fixed layers from the source's data to the model's space.

    Continuous data are standardized, by their training examples, or left as they are.
    """
    options = preset.data
    if source.levels is None:
        if options.preprocessing != "standardize":
            return []
        x = source.examples("train")[0].astype(np.float64)
        return [Standardize(x.mean(0), x.std(0))]
    if options.preprocessing == "standardize":
        if preset.task.kind != "classifier":
            raise ValueError(
                "data.preprocessing=standardize leaves levels as they are, and levels have no "
                f"density; a {preset.task.kind} model takes center or logit."
            )
        x = np.asarray(source.initial_examples(seed, 4096))
        axes = tuple(range(x.ndim - 1))
        mean, stddev = x.mean(axes), x.std(axes)
        return [Standardize(np.round(mean, 2), np.maximum(np.round(stddev, 2), 1.0))]
    last = Center() if options.preprocessing == "center" else Logit(options.alpha)
    return [Dequantize(source.levels), last]


def build_log_det(options):
    """The estimator that `presets.LogDet` describes."""
    if options.estimator == "exact":
        return log_det.Exact()
    shared = {
        "probes": options.probes,
        "distribution": options.distribution,
        "series_dtype": options.series_dtype,
    }
    if options.estimator == "power-series":
        return log_det.PowerSeries(options.terms, truncation=options.truncation, **shared)
    return log_det.RussianRoulette(options.law, options.parameter, options.exact_terms, **shared)


def build_solver(options):
    """The solver that the preset's model names."""
    kind = {"anderson": solvers.Anderson, "picard": solvers.Picard}[options.solver]
    return kind(tolerance=options.tolerance)


def build_optimizer(preset):
    """The Keras optimizer with its schedule over the whole run."""
    options = preset.optimizer
    betas = {"beta_2": options.beta_2}
    momentum = {"momentum": options.momentum, "nesterov": options.nesterov}
    kind, own = {
        "adam": (optimizers.Adam, betas),
        "adamax": (optimizers.Adamax, betas),
        "sgd": (keras.optimizers.SGD, momentum),
    }[options.name]
    return kind(
        build_schedule(options, preset.steps),
        weight_decay=options.weight_decay or None,
        global_clipnorm=options.clip_norm,
        use_ema=options.ema is not None,
        ema_momentum=options.ema or 0.99,
        **own,
    )


def compile_options(preset):
    """What the preset's model is compiled with beside the optimizer."""
    if preset.task.kind != "density":
        return {}
    return {"accumulation_steps": preset.optimizer.accumulation_steps}


def build_schedule(options, steps):
    """Linear warm-up to the learning rate, then what the configuration says.

    The warm-up takes at most a tenth of the run, so that a shortened one gets past it.
    """
    warmup = min(options.warmup_steps, steps // 10)
    rate, after = options.learning_rate, max(1, steps - warmup)
    if options.schedule == "steps" and options.drops:
        boundaries = [round(fraction * steps) - warmup for fraction in options.drops]
        rates = [rate * options.drop**index for index in range(len(boundaries) + 1)]
        schedule = keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, rates)
    else:
        # α is the fraction of the rate that is left at the end.
        alpha = 0.0 if options.schedule == "cosine" else 1.0
        schedule = keras.optimizers.schedules.CosineDecay(rate, after, alpha)
    return schedules.WarmUp(schedule, warmup)
