"""Operator norms: estimates from below by power iteration, and certified bounds from above."""
