"""Compares a 3×3 convolution on a tiny grid with one matrix product.

    python benchmarks/unrolled_convolution.py

Times the operations of one layer in a block's training step with a series of five terms: five
applications and adjoints, of which one each is differentiated. Both forms alternate in one process.
Prints the median CPU time of each and their ratio.
"""

import statistics
import time

import tensorflow as tf

from iresnet_tf.numerics.maps.operators import Convolution, UnrolledConvolution

CASES = [(128, 4, 4, 64), (128, 4, 64, 4), (128, 4, 16, 64), (128, 6, 4, 64)]
TERMS, ROUNDS, CALLS = 5, 9, 4


def step(make):
    """Applies the operator and its adjoint, with the gradients of a training step."""

    @tf.function(autograph=False)
    def run(kernel, v):
        with tf.GradientTape() as tape:
            tape.watch([kernel, v])
            operator = make(kernel)
            power = tf.stop_gradient(v)
            for _ in range(TERMS - 1):
                power = tf.stop_gradient(operator.adjoint(operator(power)))
            loss = 1e-9 * tf.reduce_sum(power)
            loss += tf.reduce_sum(operator.adjoint(operator(v)) ** 2)
        return tape.gradient(loss, [kernel, v])

    return run


def cpu_seconds(run, *arguments):
    start = time.process_time()
    for _ in range(CALLS):
        run(*arguments)
    return (time.process_time() - start) / CALLS


def main():
    print("batch  grid  channels   convolution   unrolled   ratio")
    for batch, side, channels, filters in CASES:
        kernel = tf.random.normal([3, 3, channels, filters])
        v = tf.random.normal([batch, side, side, channels])
        plain = step(Convolution)
        unrolled = step(lambda k, n=side: UnrolledConvolution.from_kernel(k, (n, n)))
        plain(kernel, v), unrolled(kernel, v)
        times = [
            (cpu_seconds(plain, kernel, v), cpu_seconds(unrolled, kernel, v)) for _ in range(ROUNDS)
        ]
        first, second = (1e3 * statistics.median(column) for column in zip(*times))
        print(
            f"{batch:5}  {side}×{side}  {channels:2} → {filters:3}  {first:8.2f} ms  "
            f"{second:7.2f} ms   {first / second:5.2f}"
        )


if __name__ == "__main__":
    main()
