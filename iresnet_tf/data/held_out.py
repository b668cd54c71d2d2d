"""Draws the examples that are held out for the test and for validation, by a seed."""

import numpy as np

TEST_FRACTION = 0.2
"""The fraction of the examples of undivided data that is held out for the test."""


def divided(
    name: str, classes: np.ndarray, *, test_fraction: float = TEST_FRACTION, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the indices of the training and of the test examples, each in a random order.

    Every class is divided in the same proportion, as far as its size allows, and at least one
    example of it is to train on.  The result depends on the classes and the seed alone.

    Args:
        name: name of the data, for messages.
        classes: ``[n]``, the class of each example; all equal for data without classes.
        test_fraction: fraction of the examples in the test.
        seed: an integer of at least 0.

    Raises:
        ValueError: if there are too few examples for a test.
    """
    rng = np.random.default_rng(seed)
    count = len(classes)
    # The places of a class are evenly spaced in [0, 1], so the first places are divided evenly.
    place = np.empty(count)
    for each in np.unique(classes):
        members = rng.permutation(np.flatnonzero(classes == each))
        place[members] = (np.arange(len(members)) + rng.uniform()) / len(members)
        place[members[-1]] = np.inf
    order = np.argsort(place)
    test = min(round(test_fraction * count), int(np.isfinite(place).sum()))
    if test < 1:
        raise ValueError(
            f"{name} has {count} pictures, too few to hold out a fraction of {test_fraction} for "
            "the test and keep one of each class. Add pictures, or set data.test_fraction."
        )
    return rng.permutation(order[test:]), rng.permutation(order[:test])


def divided_rows(
    name: str, count: int, *, test_fraction: float, split_seed: int, validation_examples: int
) -> dict[str, np.ndarray]:
    """Returns the indices of the rows of a table in each split, in a random order.

    The test rows are the first of this order, and the rows for validation are the last.

    Args:
        name: name of the table, for messages.
        count: number of rows.
        test_fraction: fraction of the rows in the test.
        split_seed: seed of the order.
        validation_examples: number of rows for validation.

    Raises:
        ValueError: if no row is left for the test, or none to train on.
    """
    order = np.random.default_rng(split_seed).permutation(count)
    test, last = round(test_fraction * count), count - validation_examples
    if not 0 < test < last:
        raise ValueError(
            f"{name} has {count} rows, too few for a test fraction of {test_fraction}, "
            f"{validation_examples} validation examples, and rows to train on."
        )
    return {"train": order[test:last], "validation": order[last:], "test": order[:test]}
