"""Compares Hamiltonian Monte Carlo in the coordinates of a flow and in those of the target.

    x₁ ~ N(0, 10²),   x₂ | x₁ ~ N(x₁²/100, ½²)

    python benchmarks/hmc.py --out hmc.json

The flow is a surrogate posterior that is fitted to the target first. Its inverse maps the target
to nearly a standard normal. The moments are known: means 0 and 1, variances 100 and 2.25.
"""

import argparse
import math
import time

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
import variational
from measuring import set_threads, show

tfd, tfb = tfp.distributions, tfp.bijectors

MEANS, VARIANCES = np.array([0.0, 1.0]), np.array([100.0, 2.25])
LEAPFROGS = 5


def target(x):
    first, second = tf.unstack(x, axis=-1)
    return tfd.Normal(0.0, 10.0).log_prob(first) + tfd.Normal(first**2 / 100.0, 0.5).log_prob(
        second
    )


def sample(bijector, chains, draws, burn_in):
    """Returns draws ``[draws, chains, 2]``, the acceptance rate and CPU seconds after tracing."""
    kernel = tfp.mcmc.HamiltonianMonteCarlo(target, 0.1, LEAPFROGS)
    if bijector is not None:
        kernel = tfp.mcmc.TransformedTransitionKernel(kernel, bijector)
    kernel = tfp.mcmc.DualAveragingStepSizeAdaptation(
        kernel, int(0.8 * burn_in), target_accept_prob=0.8
    )

    def accepted(_, results):
        inner = results.inner_results
        return (inner if bijector is None else inner.inner_results).is_accepted

    @tf.function(autograph=False)
    def run(start):
        return tfp.mcmc.sample_chain(
            draws, start, kernel=kernel, num_burnin_steps=burn_in, trace_fn=accepted, seed=1
        )

    x, rate = run(tf.zeros([chains, 2]))
    start = time.process_time()
    x, rate = run(tf.zeros([chains, 2]))
    return x, float(tf.reduce_mean(tf.cast(rate, tf.float32))), time.process_time() - start


def row(name, bijector, options):
    x, rate, seconds = sample(bijector, options.chains, options.draws, options.burn_in)
    size = tfp.mcmc.effective_sample_size(
        x, filter_beyond_positive_pairs=True, cross_chain_dims=1
    ).numpy()
    gradients = options.draws * options.chains * LEAPFROGS
    # The standard error of a mean follows from the target's variance and the ESS.
    off = (np.mean(x, (0, 1)) - MEANS) / np.sqrt(VARIANCES / size)
    return {
        "coordinates": name,
        "ESS of x₁ per 1000 gradients": float(1000.0 * size[0] / gradients),
        "ESS of x₂ per 1000 gradients": float(1000.0 * size[1] / gradients),
        "accepted": rate,
        "means": " ".join(f"{each:.2f}" for each in np.mean(x, (0, 1))),
        "variances": " ".join(f"{each:.2f}" for each in np.var(x, (0, 1))),
        "means off, in standard errors": " ".join(f"{each:.1f}" for each in off),
        "CPU seconds": round(seconds, 1),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000, help="steps of fitting the flow")
    parser.add_argument("--chains", type=int, default=20)
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--burn-in", type=int, default=200)
    parser.add_argument("--out", help="JSON file to write")
    options = parser.parse_args()
    set_threads(1)
    keras.utils.set_random_seed(0)
    scale = tfb.Scale([10.0, math.sqrt(2.25)])
    flow = tfb.Chain([scale, variational.residual(2, 4, 24)])
    variational.fitted(target, flow, 2, options.steps, 100, 1e-2, 0)
    cases = {"the target's": None, "scaled": scale, "the flow's": flow}
    show([row(name, bijector, options) for name, bijector in cases.items()], options.out)


if __name__ == "__main__":
    main()
