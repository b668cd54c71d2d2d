"""Keras models built from invertible layers."""

from iresnet_tf.models.density import DensityModel, bits_per_dim

__all__ = ["DensityModel", "bits_per_dim"]
