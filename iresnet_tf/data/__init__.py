"""Provides data sources: 2-D densities, digits, images, tables, and outliers."""

from iresnet_tf.data import densities, digits, images, tables
from iresnet_tf.data.mixed_table_source import MixedTableSource
from iresnet_tf.data.outliers import draw_outliers
from iresnet_tf.data.picture_source import image_arrays, image_file, image_folder
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
    "image_arrays",
    "image_file",
    "image_folder",
    "images",
    "names",
    "register",
    "tables",
]
