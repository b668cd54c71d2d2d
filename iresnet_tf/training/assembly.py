"""From a preset to its model and optimizer."""

import keras

from iresnet_tf.layers import Center, Dequantize
from iresnet_tf.models import DensityModel, architectures
from iresnet_tf.numerics import fixed_point, log_det


def build_model(preset, source, seed):
    """The preset's `DensityModel`, built for the source's examples, not compiled."""
    options = preset.model
    shared = {
        "activation": options.activation,
        "coeff": options.coeff,
        "log_det": build_log_det(options.log_det),
        "solver": build_solver(options),
    }
    if options.architecture == "vector":
        layers = architectures.vector_flow(
            sum(options.blocks), options.width, options.depth, **shared
        )
    else:
        layers = architectures.image_flow(options.blocks, options.width, **shared)
    preprocessing = [] if source.levels is None else [Dequantize(source.levels), Center()]
    model = DensityModel(
        layers, options.prior, preprocessing, seed=seed, name=preset.name.replace("-", "_")
    )
    model.build((None, *source.event_shape))
    return model


def build_log_det(options):
    """The estimator that `presets.LogDet` describes."""
    if options.estimator == "exact":
        return log_det.Exact()
    probes = {"probes": options.probes, "distribution": options.distribution}
    if options.estimator == "power-series":
        return log_det.PowerSeries(options.terms, **probes)
    return log_det.RussianRoulette(options.law, options.parameter, options.exact_terms, **probes)


def build_solver(options):
    """The solver that `presets.Model` names."""
    solvers = {"anderson": fixed_point.Anderson, "picard": fixed_point.Picard}
    return solvers[options.solver](tolerance=options.tolerance)


def build_optimizer(preset):
    """The Keras optimizer with its schedule over the whole run."""
    options = preset.optimizer
    kinds = {
        "adam": keras.optimizers.Adam,
        "adamax": keras.optimizers.Adamax,
        "sgd": lambda *args, **kwargs: keras.optimizers.SGD(*args, momentum=0.9, **kwargs),
    }
    return kinds[options.name](
        build_schedule(options, preset.steps),
        weight_decay=options.weight_decay or None,
        global_clipnorm=options.clip_norm,
        use_ema=options.ema is not None,
        ema_momentum=options.ema or 0.99,
    )


def build_schedule(options, steps):
    """Linear warm-up to the learning rate, then cosine decay to 0 or a constant."""
    if options.schedule == "constant" and not options.warmup_steps:
        return options.learning_rate
    warm_up = {"warmup_target": options.learning_rate, "warmup_steps": options.warmup_steps}
    if not options.warmup_steps:
        return keras.optimizers.schedules.CosineDecay(options.learning_rate, steps)
    # α = 1 keeps the rate where the warm-up left it.
    return keras.optimizers.schedules.CosineDecay(
        0.0,
        max(1, steps - options.warmup_steps),
        alpha=1.0 if options.schedule == "constant" else 0.0,
        **warm_up,
    )
