"""Measures the noise of a log-density with and without colours, on the test images of a run.

    python benchmarks/colours.py RUN --images 32 --passes 8

RUN is a run folder of an image density, above 256 dimensions. For a power series, alone and with
colours, it prints the number of Jacobian products a block, and over the images the root mean square
and the maximum of the standard deviation of one pass.
"""

import click
import measuring
import numpy as np


@click.command()
@click.argument("run", type=click.Path(exists=True, file_okay=False))
@click.option("--images", default=32)
@click.option("--passes", default=8)
@click.option("--terms", default=19, help="Of the power series.")
@click.option("--data-dir", type=click.Path(), help="Folder of the TFDS data sets.")
@click.option("--out", type=click.Path(dir_okay=False), help="JSON file.")
def main(run, images, passes, terms, data_dir, out):
    """Measures the noise of a log-density by the colours of its series."""
    from iresnet_tf.analysis import log_probs
    from iresnet_tf.cli.runs import open_run
    from iresnet_tf.models import bits_per_dim
    from iresnet_tf.numerics.log_det import Coloured, PowerSeries

    model, source = open_run(run, data_dir=data_dir)
    points = model.dequantized(source.examples("test", images)[0], 0)
    series = PowerSeries(terms)
    rows = []
    for colours in ((), (4,), (8,), (8, 2), (8, 4), (8, 4, 2), (16, 4)):
        estimator = Coloured(series, colours) if colours else series
        found = log_probs(model, points, estimator=estimator, passes=passes)
        noise = bits_per_dim(found.standard_error * np.sqrt(passes), model.dimension)
        rows.append(
            {
                "colours": ", ".join(map(str, colours or (1,))),
                "products": terms - 1 + sum(colours or (1,)),
                "root mean square, bits/dim": float(np.sqrt(np.mean(np.square(noise)))),
                "maximum, bits/dim": float(noise.max()),
            }
        )
    measuring.show(rows, out)


if __name__ == "__main__":
    main()
