"""Compares a residual flow with BayesFlow's coupling flow, in BayesFlow's workflow.

    python benchmarks/posteriors.py two-moons --seconds 60 --seeds 0,1,2 --out FILE

Both networks train on new simulations, with the workflow's own optimizer and schedule, for the same
CPU-seconds of the process, tracing included; a short training beforehand tells how many batches fit
into them.  The classifier two-sample test states how often a classifier tells their draws from
those of the exact posterior, for ten observations (0.5: no better than chance; standard errors over
the observations).  The ranks of 500 parameters among 99 draws of their posteriors are tested for
uniformity: the least p-value over the parameters, times their number.
"""

import os

os.environ["KERAS_BACKEND"] = "tensorflow"
# BayesFlow starts TensorFlow when it is imported.
os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["TF_NUM_INTEROP_THREADS"] = "1"

import time  # noqa: E402

import bayesflow as bf  # noqa: E402
import click  # noqa: E402
import keras  # noqa: E402
import measuring  # noqa: E402
import numpy as np  # noqa: E402
from scipy import stats  # noqa: E402
from simulators import SIMULATORS  # noqa: E402

import iresnet_tf as irn  # noqa: E402

NETWORKS = {
    "coupling flow": lambda: bf.networks.CouplingFlow(),
    "residual flow": lambda: irn.bayesflow.ResidualFlow(),
}
BATCH = 128


@click.command()
@click.argument("name", type=click.Choice(list(SIMULATORS)))
@click.option("--seconds", default=60.0, help="CPU-seconds of each training.")
@click.option("--seeds", default="0,1,2")
@click.option("--rates", default="0.0005,0.002", help="Learning rates, each tried.")
@click.option("--observations", default=10)
@click.option("--out", type=click.Path(dir_okay=False), help="JSON file.")
def main(name, seconds, seeds, rates, observations, out):
    """Prints a row for each network, rate and seed."""
    simulator, rows = SIMULATORS[name], []
    generator = np.random.default_rng(123)
    x = simulator.observe(simulator.prior(observations, generator), generator)
    exact = [simulator.posterior(each, 1000, generator) for each in x]
    theta = simulator.prior(500, generator)
    ranked = theta, simulator.observe(theta, generator)
    for seed in map(int, seeds.split(",")):
        for rate in map(float, rates.split(",")):
            for network in NETWORKS:
                row = _compared(simulator, network, rate, seed, seconds, x, exact, ranked)
                rows.append({"network": network, "rate": rate, "seed": seed, **row})
                click.echo(str(rows[-1]), err=True)
    measuring.show(rows, out)


def _compared(simulator, network, rate, seed, seconds, x, exact, ranked):
    batches = _number_of_batches(simulator, network, rate, seconds)
    keras.utils.set_random_seed(seed)
    workflow = _workflow(simulator, network, rate, seed)
    start = time.process_time()
    workflow.fit_online(epochs=10, num_batches_per_epoch=batches // 10, batch_size=BATCH, verbose=0)
    row = {"batches": batches, "CPU s": time.process_time() - start}
    draws = workflow.sample(num_samples=1000, conditions={"x": x.astype("float32")})["theta"]
    tests = [two_sample_test(drawn, true) for drawn, true in zip(draws, exact)]
    row["two-sample test"] = float(np.mean(tests))
    row["its error"] = float(np.std(tests, ddof=1) / np.sqrt(len(tests)))
    theta, observed = ranked
    draws = workflow.sample(num_samples=99, conditions={"x": observed.astype("float32")})["theta"]
    ranks = np.sum(draws < theta[:, None], 1)
    row["uniform ranks, p"] = min(1.0, len(ranks.T) * min(map(uniformity, ranks.T)))
    return row


def _number_of_batches(simulator, network, rate, seconds):
    """Returns how many batches take that time, after that of the first ones."""
    workflow = _workflow(simulator, network, rate, seed=99)
    taken = []
    for batches in (10, 400):
        start = time.process_time()
        workflow.fit_online(
            epochs=1, num_batches_per_epoch=batches, batch_size=BATCH, verbose=0,
            keep_optimizer=True,
        )  # fmt: skip
        taken.append(time.process_time() - start)
    return max(10, round((seconds - taken[0]) / (taken[1] / 400)))


def _workflow(simulator, network, rate, seed):
    generator = np.random.default_rng(seed)

    def sample(shape):
        theta = simulator.prior(np.prod(shape), generator)
        return {"theta": theta, "x": simulator.observe(theta, generator)}

    adapter = (
        bf.Adapter()
        .convert_dtype("float64", "float32")
        .constrain("theta", lower=-simulator.limit, upper=simulator.limit)
        .rename("theta", "inference_variables")
        .rename("x", "inference_conditions")
    )
    return bf.BasicWorkflow(
        simulator=bf.simulators.LambdaSimulator(sample, is_batched=True),
        adapter=adapter,
        inference_network=NETWORKS[network](),
        initial_learning_rate=rate,
        standardize=["inference_variables", "inference_conditions"],
    )


def two_sample_test(drawn, true):
    """Returns the held-out accuracy of a network that tells two sets of draws apart."""
    from sklearn.model_selection import cross_val_score
    from sklearn.neural_network import MLPClassifier

    mean, stddev = true.mean(0), true.std(0)
    rows = (np.concatenate([drawn, true]) - mean) / stddev
    labels = np.repeat([0, 1], [len(drawn), len(true)])
    order = np.random.default_rng(0).permutation(len(rows))
    width = 10 * rows.shape[1]
    network = MLPClassifier(
        (width, width), max_iter=500, early_stopping=True, n_iter_no_change=20, random_state=0
    )
    return float(np.mean(cross_val_score(network, rows[order], labels[order], cv=5)))


def uniformity(ranks):
    """Returns the p-value of χ² of 500 ranks from 0 to 99 in ten bins."""
    return float(stats.chisquare(np.histogram(ranks, 10, (0, 100))[0]).pvalue)


if __name__ == "__main__":
    main()
