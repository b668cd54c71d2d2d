"""Tests seeds that are folded, against `tf.random.fold_in`."""

import numpy as np
import pytest
import tensorflow as tf

from iresnet_tf.numerics import random

SEEDS = {
    "plain": tf.constant([3, -7]),
    "placed": random.placed(tf.constant([3, -7]), tf.constant(5), tf.constant(40)),
}


@pytest.mark.parametrize("kind", SEEDS)
@pytest.mark.parametrize("options", [None, {}, {"jit_compile": True}], ids=str)
def test_seeds_folded_at_once_are_those_folded_one_by_one(kind, options):
    seed = SEEDS[kind]
    fold = random.fold_in_each if options is None else tf.function(random.fold_in_each, **options)
    found = fold(seed, 4)
    assert len(found) == 4
    for number, folded in enumerate(found):
        np.testing.assert_array_equal(folded[:2], tf.random.fold_in(seed[:2], number))
        np.testing.assert_array_equal(folded[2:], seed[2:])
        np.testing.assert_array_equal(folded, random.fold_in(seed, number))
        assert folded.shape == seed.shape


def test_nothing_is_folded_in_no_number():
    assert random.fold_in_each(SEEDS["plain"], 0) == []
