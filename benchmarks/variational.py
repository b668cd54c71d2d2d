"""Compares flows as surrogate posteriors: ELBO of a residual flow, RealNVP and MAF of TFP.

    ELBO = E_q[log p(x, y) − log q(x)] = log p(y) − KL(q ‖ p(·|y))

    python benchmarks/variational.py --out variational.json

All flows have about the same number of parameters. `tfp.vi.fit_surrogate_posterior` fits each with
the same optimizer, steps and draws per step. The ELBO is of new draws, and ``log p(y)`` is known.
"""

import argparse
import math
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import scipy.integrate
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras
from measuring import set_threads, show

import iresnet_tf as irn
from iresnet_tf.models import architectures

tfd, tfb = tfp.distributions, tfp.bijectors

EFFECTS = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
ERRORS = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


def banana(x):
    """``x₁ ~ N(0, 2²)``, ``x₂ | x₁ ~ N(x₁²/4, 1)``: Papamakarios et al. 2017, figure 1."""
    first, second = tf.unstack(x, axis=-1)
    return tfd.Normal(0.0, 2.0).log_prob(first) + tfd.Normal(first**2 / 4.0, 1.0).log_prob(second)


def eight_schools(x):
    """Rubin 1981, non-centred: ``x = (m, log τ, t₁ … t₈)``, school ``j``'s effect ``5 m + τ t_j``.

    ``m, t_j ~ N(0, 1)``, ``τ ~ HalfCauchy(5)``.
    """
    mean, log_scale, offsets = 5.0 * x[..., :1], x[..., 1], x[..., 2:]
    scale = tf.exp(log_scale)
    prior = tfd.Normal(0.0, 1.0).log_prob(x[..., :1])[..., 0] + log_scale
    prior += tfd.HalfCauchy(0.0, 5.0).log_prob(scale)
    prior += tf.reduce_sum(tfd.Normal(0.0, 1.0).log_prob(offsets), -1)
    effects = tfd.Normal(mean + scale[..., tf.newaxis] * offsets, tf.constant(ERRORS, x.dtype))
    return prior + tf.reduce_sum(effects.log_prob(tf.constant(EFFECTS, x.dtype)), -1)


def eight_schools_evidence():
    """Returns ``log p(y)``: given τ everything is normal, so one integral is left."""

    def given(scale):
        # y ~ N(0, diag(σ² + τ²) + 5² 1 1ᵀ)
        covariance = np.diag(ERRORS**2 + scale**2) + 25.0
        normal = scipy.stats.multivariate_normal(cov=covariance)
        return normal.pdf(EFFECTS) * scipy.stats.halfcauchy(scale=5.0).pdf(scale)

    halves = [scipy.integrate.quad(given, *ends)[0] for ends in ((0.0, 20.0), (20.0, np.inf))]
    return math.log(sum(halves))


TARGETS = {
    # log density, dimension, log p(y)
    "banana": (banana, 2, lambda: 0.0),
    "eight schools": (eight_schools, 10, eight_schools_evidence),
}


def residual(dimension, blocks, width):
    layers = architectures.vector_flow(blocks, width, 2, coeff=0.97, log_det=irn.log_det.Exact())
    stack = irn.layers.Stack(layers)
    stack.build((None, dimension))
    return irn.bijectors.from_layer(stack)


def real_nvp(dimension, couplings, width):
    kept = dimension // 2

    def coupling():
        hidden = [tf_keras.layers.Dense(width, "relu") for _ in range(2)]
        network = tf_keras.Sequential([*hidden, tf_keras.layers.Dense(2 * (dimension - kept))])
        network.build((None, kept))

        def shift_and_log_scale(x, output_units, **_):
            return tf.split(network(x), 2, axis=-1)

        nvp = tfb.RealNVP(kept, shift_and_log_scale_fn=shift_and_log_scale)
        # `tf.Module` finds variables in attributes, but not in closures.
        nvp._network = network
        return nvp

    return _between(coupling, couplings, dimension)


def masked_autoregressive(dimension, layers, width):
    def layer():
        network = tfb.AutoregressiveNetwork(
            2, event_shape=[dimension], hidden_units=[width, width], activation="relu"
        )
        network.build((None, dimension))
        return tfb.MaskedAutoregressiveFlow(network)

    return _between(layer, layers, dimension)


def _between(make, count, dimension):
    """Chains ``count`` bijectors, and reverses the coordinates between them."""
    parts = [make()]
    for _ in range(count - 1):
        parts += [tfb.Permute(list(range(dimension))[::-1]), make()]
    return tfb.Chain(parts)


def inverted(make):
    return lambda *sizes: tfb.Invert(make(*sizes))


FLOWS = {
    # name: (its bijector z ↦ x, layers and width for each target)
    "residual, x = F(z)": (
        residual,
        {"banana": (8, 16), "eight schools": (4, 24)},
    ),
    "residual, x = F⁻¹(z)": (
        inverted(residual),
        {"banana": (8, 16), "eight schools": (4, 24)},
    ),
    "RealNVP": (real_nvp, {"banana": (4, 24), "eight schools": (4, 26)}),
    "MAF": (
        masked_autoregressive,
        {"banana": (4, 23), "eight schools": (4, 21)},
    ),
}


def fitted(target, bijector, dimension, steps, draws, rate, seed):
    """Returns the surrogate posterior after training."""
    surrogate = tfd.TransformedDistribution(tfd.Sample(tfd.Normal(0.0, 1.0), dimension), bijector)
    schedule = tf_keras.optimizers.schedules.CosineDecay(rate, steps)
    tfp.vi.fit_surrogate_posterior(
        target,
        surrogate,
        tf_keras.optimizers.Adam(schedule),
        steps,
        sample_size=draws,
        seed=seed,
    )
    return surrogate


def elbo(target, surrogate, draws, seed, batch=10_000):
    """Returns mean and standard error of ``log p(x, y) − log q(x)`` over new draws."""

    @tf.function
    def ratios(batch_seed):
        x, log_q = surrogate.experimental_sample_and_log_prob(batch, seed=batch_seed)
        return target(x) - log_q

    values = np.concatenate(
        [ratios(tf.constant([seed, part])).numpy() for part in range(draws // batch)]
    ).astype(np.float64)
    return values.mean(), values.std(ddof=1) / math.sqrt(len(values))


def measure(name, flow, seed, options):
    """Returns the ELBO, its standard error, CPU seconds of training and parameters."""
    target, dimension, _ = TARGETS[name]
    make, sizes = FLOWS[flow]
    keras.utils.set_random_seed(seed)
    start = time.process_time()
    bijector = make(dimension, *sizes[name])
    surrogate = fitted(
        target, bijector, dimension, options.steps, options.draws, options.rate, seed
    )
    seconds = time.process_time() - start
    mean, error = elbo(target, surrogate, options.evaluation_draws, seed)
    print(f"{name}, {flow}, seed {seed}: {mean:.5f} ± {error:.5f}", file=sys.stderr, flush=True)
    return mean, error, seconds, sum(int(tf.size(v)) for v in bijector.trainable_variables)


def row(name, flow, results):
    """Returns the seed of the median ELBO, its KL, and the KLs of all seeds."""
    mean, error, seconds, parameters = sorted(results)[len(results) // 2]
    evidence = TARGETS[name][2]()
    return {
        "target": name,
        "flow": flow,
        "parameters": parameters,
        "ELBO": f"{mean:.5f}",
        "standard error": f"{error:.5f}",
        "KL": f"{evidence - mean:.5f}",
        "KL of each seed": " ".join(f"{evidence - each[0]:.5f}" for each in results),
        "CPU seconds": round(seconds),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--targets", nargs="*", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--flows", nargs="*", choices=FLOWS, default=list(FLOWS))
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--draws", type=int, default=1000, help="draws in each step")
    parser.add_argument(
        "--rate", type=float, default=1e-2, help="learning rate of Adam, with a cosine to zero"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--evaluation-draws", type=int, default=100_000)
    parser.add_argument("--out", help="JSON file to write")
    options = parser.parse_args()
    set_threads(1)
    cases = [(name, flow) for name in options.targets for flow in options.flows]
    results = {case: [] for case in cases}
    # All flows for one seed, then the next: an interrupted run has compared all flows.
    for seed in range(options.seeds):
        for case in cases:
            results[case].append(measure(*case, seed, options))
    show([row(*case, results[case]) for case in cases], options.out)


if __name__ == "__main__":
    main()
