"""Options that several commands take."""

import pathlib
from typing import Any

import click

from iresnet_tf.numerics.log_det import Exact, LogDet, PowerSeries, RussianRoulette

PATH = click.Path(path_type=pathlib.Path)
SEED = click.IntRange(0, 2**31 - 1)

run_argument: Any = click.argument("run", type=PATH)
seed_option = click.option("--seed", type=SEED, default=0, show_default=True)
data_dir_option = click.option(
    "--data-dir",
    type=PATH,
    help="The TFDS directory, by default TFDS's own; a data set that it lacks is downloaded.",
)


class LogDetType(click.ParamType):
    """An estimator of the log-determinant: exact, russian-roulette, or a number of terms."""

    name = "estimator"

    def convert(self, value: str, param, ctx) -> LogDet:
        if value.isdecimal() and int(value) > 0:
            return PowerSeries(int(value))
        named = {"exact": Exact, "russian-roulette": RussianRoulette}
        if value not in named:
            self.fail(
                f"it is exact, russian-roulette or a positive number of terms; received {value!r}."
            )
        return named[value]()
