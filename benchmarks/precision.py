"""Compares a series in bfloat16 with one in float32: its bias, and the noise of the probes.

    python benchmarks/precision.py --terms 10 --draws 200

Both take the same probes, on the digits model that ships with the package and 64 test digits.
For the value, it prints the mean difference over probes and digits, in nats, with its standard
error, and the standard deviation of one probe's value. For the gradient, it prints the length of
the mean difference relative to that of one probe's noise, over all kernels. Chance alone already
gives a mean difference above zero.
"""

import click
import measuring
import numpy as np


@click.command()
@click.option("--terms", default=10)
@click.option("--draws", default=200)
@click.option("--out", type=click.Path(dir_okay=False), help="JSON file.")
def main(terms, draws, out):
    """Measures the bias of a series in bfloat16."""
    import tensorflow as tf

    import iresnet_tf as irn
    from iresnet_tf.data import digits
    from iresnet_tf.layers import residual_blocks

    model = irn.load("digits-density")
    x = model.dequantize.add_noise(tf.cast(digits.load("test")[0][:64], tf.float32), [0, 0])
    variables = [weight.value for weight in model.trainable_variables if "kernel" in weight.path]

    def measured(dtype):
        for block in residual_blocks(model.flow):
            block.log_det = irn.log_det.PowerSeries(terms, series_dtype=dtype)

        @tf.function(autograph=False)
        def take(seed):
            with tf.GradientTape() as tape:
                tape.watch(variables)
                log_det = model.flow.forward_and_log_det(x, seed=seed)[1]
                total = tf.reduce_mean(log_det)
            gradients = tape.gradient(total, variables)
            return log_det, tf.concat([tf.reshape(each, [-1]) for each in gradients], 0)

        return take

    values, gradients = [], []
    wide = measured(None)
    wide(tf.constant([0, 0]))  # traced before the estimators are exchanged
    low = measured("bfloat16")
    for draw in range(draws):
        pairs = [take(tf.constant([1, draw])) for take in (wide, low)]
        values.append([pair[0].numpy().astype(np.float64) for pair in pairs])
        gradients.append([pair[1].numpy().astype(np.float64) for pair in pairs])
    values, gradients = np.array(values), np.array(gradients)
    difference = values[:, 1] - values[:, 0]
    noise = gradients[:, 0] - gradients[:, 0].mean(0)
    apart = gradients[:, 1] - gradients[:, 0]
    row = {
        "terms": terms,
        "draws": draws,
        "bias of a value, nats": float(difference.mean()),
        "its standard error": float(difference.mean(1).std(ddof=1) / np.sqrt(draws)),
        "deviation of one probe, nats": float(values[:, 0].std(0, ddof=1).mean()),
        "difference of one probe, nats": float(difference.std()),
        # Below the second figure, which chance alone gives, the first may be zero.
        "gradient: mean difference / noise": _length(apart.mean(0)) / _length(noise),
        "by chance": _length(apart - apart.mean(0)) / np.sqrt(draws) / _length(noise),
        "gradient: difference / noise": _length(apart) / _length(noise),
    }
    measuring.show([row], out)


def _length(rows):
    """Returns the root mean square length of vectors, ``[n, D]`` or ``[D]``."""
    return float(np.sqrt(np.mean(np.sum(np.square(rows), -1))))


if __name__ == "__main__":
    main()
