"""Models the rows of a table of mixed columns."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from scipy import special

from iresnet_tf.columns import TableSchema, read
from iresnet_tf.columns.schema import Rows
from iresnet_tf.layers import Invertible
from iresnet_tf.models.density import DensityModel
from iresnet_tf.models.imputation import Imputation, imputed
from iresnet_tf.numerics import random

SAMPLES_AT_ONCE = 8192
"""Number of rows that are sampled at once."""


@keras.saving.register_keras_serializable("iresnet_tf")
class TableModel(DensityModel):
    """``ln p(row) ≥ E[ln p_Z(F(y)) + ln |det ∂F/∂y| + ln |dy/dv| − ln q(v | row)]``, nats.

    The coordinates ``y`` of a row come from ``v``, its cells with the noise ``q`` of a
    `TableSchema`.  All other methods of a `DensityModel` take and give coordinates.

    Args:
        layers: invertible layers for vectors ``[batch, schema.width]``.
        schema: of the table, or its configuration.
        **kwargs: see `DensityModel`.

    Raises:
        ValueError: see `DensityModel`.

    Sources: Theis et al. 2016 (arXiv:1511.01844), §3.1, for the bound; Burda et al. 2016
    (arXiv:1509.00519), for the one of several draws.

    Example::

        source = irn.data.MixedTableSource(frame)
        print(source.schema)
        flow = irn.models.architectures.vector_flow(8, 64, 2, whiten=True)
        model = irn.models.TableModel(flow, source.schema)
        model.compile(keras.optimizers.Adam(5e-3))
        model.fit(source.stream(256, seed=0), steps_per_epoch=100, epochs=10)
        model.sample_rows(1000)
    """

    def __init__(
        self,
        layers: Sequence[Invertible],
        schema: TableSchema | Mapping[str, Any],
        **kwargs: Any,
    ) -> None:
        super().__init__(layers, **kwargs)
        made = schema if isinstance(schema, TableSchema) else TableSchema.from_config(schema)
        self.schema: TableSchema = made

    def rows(self, table: Any) -> Rows:
        """Returns the rows of a table: what `iresnet_tf.columns.read` takes, or rows."""
        return table if isinstance(table, Rows) else self.schema.rows(read(table))

    def log_prob_rows(
        self, table: Any, *, draws: int = 16, seed: int = 0, batch_size: int = 512
    ) -> np.ndarray:
        """``ln (1/n) Σ_i exp(ln p(y_i) + log_det_i)`` over ``n`` draws of the noise of each row.

        The expectation is a lower bound on the log-likelihood of the row, which rises to it with
        the number of draws.  ``schema.parts()`` names the columns that contribute a density, and
        those that contribute a probability.

        Args:
            table: path of a file, array or DataFrame with the columns of the schema.
            draws: ``n``; with 1, the bound of a single draw.
            seed: of the noise, and of the probes of the log-determinant.
            batch_size: number of rows that are computed at once.

        Returns:
            float64 ``[rows]``, nats.

        Raises:
            ValueError: for a cell that its column cannot have; the message names it.
        """
        rows, found, log_prob = self.rows(table), [], self.log_prob_function()
        for start in range(0, len(rows), batch_size):
            part, each = rows[start : start + batch_size], []
            for number in range(draws):
                points = part.points([seed, start, number])
                probes = random.fold_in(random.fold_in(random.as_seed(seed), start), number)
                each.append(log_prob(points.x, probes) + points.log_det)
            found.append(special.logsumexp(each, axis=0) - np.log(draws))
        return np.concatenate(found)

    def log_prob_function(self) -> Callable[[np.ndarray, tf.Tensor], np.ndarray]:
        """Returns a compiled `log_prob` that takes arrays of coordinates and a stateless seed."""
        compiled = tf.function(self.log_prob, autograph=False, reduce_retracing=True)
        return lambda x, seed: compiled(tf.constant(x, self.compute_dtype), seed=seed).numpy()

    def sample_rows(self, count: int, *, temperature: float = 1.0, seed: int | None = None) -> Any:
        """Returns samples as a DataFrame with the columns and dtypes of the table.

        Args:
            count: number of rows.
            temperature: see `DensityModel.sample`.
            seed: integer; random by default.
        """
        self._require_sampling(count, temperature)
        seeds = self.flow._next_seed() if seed is None else random.as_seed(seed)
        parts = []
        for start in range(0, count, SAMPLES_AT_ONCE):
            size = min(SAMPLES_AT_ONCE, count - start)
            options = {"temperature": temperature, "seed": random.fold_in(seeds, start)}
            parts.append(self.sample(size, **options).numpy())
        return self.schema.frame(np.concatenate(parts))

    def impute(self, table: Any, *, steps: int = 500, seed: int = 0) -> Imputation:
        """Draws the missing cells of every row, given those that are present.

        It samples from the distribution that the model gives to the missing cells of a row, given
        the cells that are present and that no cell is missing.  This is the distribution of the
        missing cells if they are missing at random: if, given the cells that are present, whether
        a cell is missing does not depend on its value.  Each row is a Markov chain of Metropolis
        steps; see `iresnet_tf.models.imputation.imputed`.

        Args:
            table: see `log_prob_rows`.
            steps: number of steps of each chain, of which the last state is the draw.
            seed: of the chains.

        Returns:
            the table with all cells, and a diagnostic of the chains.
        """
        table = read(table)
        found = imputed(self, self.schema.rows(table), steps=steps, seed=seed)
        columns = {name: table[name] for name in self.schema.names}
        for name, drawn in found.frame.items():
            drawn.index = columns[name].index
            # The cells that are present keep their digits.
            columns[name] = columns[name].where(columns[name].notna(), drawn)
        frame = type(found.frame)(columns)
        return dataclasses.replace(found, frame=frame)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "schema": self.schema.get_config()}
