"""Execution of the numerics: compiled once, on several threads and on several replicas."""
