"""Provides data sources: 2-D densities, digits, images of TFDS, tables, and outliers."""

from iresnet_tf.data import densities, digits, images, tables
from iresnet_tf.data.mixed_table_source import MixedTableSource
from iresnet_tf.data.outliers import draw_outliers
from iresnet_tf.data.source import ArraySource, Examples, Source
from iresnet_tf.data.sources import get, names, register

__all__ = [
    "ArraySource",
    "Examples",
    "MixedTableSource",
    "Source",
    "densities",
    "digits",
    "draw_outliers",
    "get",
    "images",
    "names",
    "register",
    "tables",
]
