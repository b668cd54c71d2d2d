"""Tests of how results are stated."""

import numpy as np
import pytest

from iresnet_tf.analysis.results import rounded_up


@pytest.mark.parametrize(
    ("bound", "digits", "text"),
    [
        (0.9424014, 3, "0.943"),
        (0.9420, 3, "0.942"),
        (0.005, 2, "0.005"),
        (4.9591e-4, 1, "0.0005"),
        (2.01e-7, 1, "3e-07"),
        (0.9996, 3, "1"),
        (0.123456781, 8, "0.12345679"),
        (0.0, 3, "0"),
        (float("inf"), 3, "inf"),
    ],
)
def test_a_bound_is_rounded_up(bound, digits, text):
    assert rounded_up(bound, digits) == text


def test_a_stated_bound_holds_and_is_off_by_less_than_its_last_digit():
    for bound in np.random.default_rng(0).lognormal(0.0, 8.0, 1000):
        stated = float(rounded_up(np.float32(bound), 3))
        assert np.float32(bound) <= stated < np.float32(bound) * 1.01
