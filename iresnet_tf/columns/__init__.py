"""Describes the columns of a table, and maps each to standard normal coordinates and back."""

from iresnet_tf.columns.kinds import Boolean, Categorical, Drop, Integer, Interval, Numeric
from iresnet_tf.columns.reading import read, write
from iresnet_tf.columns.schema import TableSchema

__all__ = [
    "Boolean",
    "Categorical",
    "Drop",
    "Integer",
    "Interval",
    "Numeric",
    "TableSchema",
    "read",
    "write",
]
