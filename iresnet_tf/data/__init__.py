"""Data: the embedded digits, the two-dimensional densities and the TFDS image pipelines."""
