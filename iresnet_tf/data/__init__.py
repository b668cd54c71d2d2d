"""Data: the embedded digits and the two-dimensional densities."""
