"""Operator norms: power iteration from below, certified bounds from above."""
