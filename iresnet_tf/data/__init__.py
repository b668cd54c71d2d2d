"""Data: 2-D densities, the embedded digits, images of TensorFlow Datasets, tables, outliers."""
