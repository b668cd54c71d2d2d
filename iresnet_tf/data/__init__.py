"""Data sets: 2-D densities, scikit-learn's digits, TFDS's images, tables of numbers."""

from iresnet_tf.data import densities, digits, images, tables
from iresnet_tf.data.image_source import ImageSource
from iresnet_tf.data.source import Source, shuffled
from iresnet_tf.data.sources import get, names, register
from iresnet_tf.data.vector_sources import TableRows, Toy

__all__ = [
    "ImageSource",
    "Source",
    "TableRows",
    "Toy",
    "densities",
    "digits",
    "get",
    "images",
    "names",
    "register",
    "shuffled",
    "tables",
]
