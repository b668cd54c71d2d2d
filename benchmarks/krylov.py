"""Measures the errors of a series and of a Krylov space at the blocks of a trained model.

    python benchmarks/krylov.py [RUN or pretrained name]

For every block, on 32 test digits with a Rademacher probe each, it compares with the whole Jacobian
the left factor ``w`` of the gradient (the mean of ``‖w − w*‖ / ‖w*‖``) and the value (the root mean
square error in nats per dimension).  A series of n terms takes n − 1 products ``Jᵀv``, a space of
n dimensions takes n; both also need ``J v`` for the gradient.
"""

import click
import measuring
import numpy as np

PRODUCTS = (1, 2, 3, 4, 5, 6, 8, 10)


@click.command()
@click.argument("run", default="digits-density")
@click.option("--data-dir", envvar="TFDS_DATA_DIR", help="Folder of TensorFlow Datasets.")
@click.option("--out", type=click.Path(dir_okay=False), help="JSON file.")
def main(run, data_dir, out):
    """Prints a row for each number of products."""
    import tensorflow as tf

    import iresnet_tf as irn
    from iresnet_tf.analysis.block_inputs import block_inputs
    from iresnet_tf.layers.contractive import as_contractive
    from iresnet_tf.numerics.log_det.exact import jacobian_of

    model = irn.load(run)
    source = irn.data.get("digits", data_dir=data_dir)
    x = source.examples("test").x[:32].astype("float32")
    errors = {name: {n: ([], []) for n in PRODUCTS} for name in ("series", "Krylov")}
    for block, inputs in block_inputs(model.flow, model.dequantized(x, 0)):
        linearization = as_contractive(block.g).bind().linearize(inputs)
        jacobian = jacobian_of(linearization).numpy().astype(np.float64)
        shifted = np.eye(jacobian.shape[-1]) + jacobian
        logarithms = np.stack([_logarithm(matrix) for matrix in jacobian])
        for n in PRODUCTS:
            for name, kind in (("series", irn.log_det.PowerSeries), ("Krylov", irn.log_det.Krylov)):
                value, (v, w) = kind(n).value_and_residuals(
                    linearization, tf.constant([0, 1]), block.lipschitz_target_or_none()
                )
                v, w = (each.numpy().reshape(len(x), -1).astype(np.float64) for each in (v, w))
                exact = np.linalg.solve(shifted.swapaxes(1, 2), v[..., np.newaxis])[..., 0]
                distance = np.linalg.norm(w - exact, axis=1) / np.linalg.norm(exact, axis=1)
                truth = np.einsum("bi,bij,bj->b", v, logarithms, v)
                errors[name][n][0].append(distance)
                errors[name][n][1].append((value.numpy() - truth) / v.shape[1])
    rows = []
    for n in PRODUCTS:
        row = {"n": n}
        for index, what in enumerate(("of w", "of the value, nats a dimension")):
            for name, of in errors.items():
                sizes = np.abs(np.concatenate(of[n][index]))
                size = np.mean(sizes) if index == 0 else np.sqrt(np.mean(np.square(sizes)))
                row[f"{name}: error {what}"] = float(size)
        rows.append(row)
    measuring.show(rows, out)


def _logarithm(matrix):
    """Returns ``log(I + J)``."""
    import scipy.linalg

    return np.real(scipy.linalg.logm(np.eye(len(matrix)) + matrix))


if __name__ == "__main__":
    main()
