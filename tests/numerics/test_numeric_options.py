"""Every numeric option of every estimator and solver: what is no such number gets a clear error."""

import inspect
import typing

import numpy as np
import pytest
import tensorflow as tf

from iresnet_tf.numerics import log_det, solvers
from iresnet_tf.numerics.log_det import Coloured, Krylov, LogDet, PowerSeries, RussianRoulette
from iresnet_tf.numerics.solvers import Solver

REQUIRED = {PowerSeries: {"terms": 3}, Coloured: {"series": PowerSeries(3)}}
"""The arguments without a default, by class."""


def classes(module, base):
    exported = [getattr(module, name) for name in module.__all__]
    made = [each for each in exported if inspect.isclass(each) and issubclass(each, base)]
    return [each for each in made if not inspect.isabstract(each)]


def options():
    """Yields each class with the name and the types of each of its numeric options."""
    for kind in [*classes(log_det, LogDet), *classes(solvers, Solver)]:
        for name, parameter in inspect.signature(kind.__init__).parameters.items():
            types = {parameter.annotation, *typing.get_args(parameter.annotation)}
            if types & {int, float} and typing.get_origin(parameter.annotation) is not tuple:
                yield pytest.param(kind, name, types, id=f"{kind.__name__}-{name}")


def made(kind, **options):
    return kind(**{**REQUIRED.get(kind, {}), **options})


def test_the_table_has_all_options():
    found = {(each.values[0].__name__, each.values[1]) for each in options()}
    assert found == {
        ("PowerSeries", "terms"),
        ("PowerSeries", "probes"),
        ("PowerSeries", "truncation"),
        ("Krylov", "products"),
        ("Krylov", "tolerance"),
        ("Krylov", "truncation"),
        ("Krylov", "lipschitz"),
        ("Krylov", "probes"),
        ("RussianRoulette", "parameter"),
        ("RussianRoulette", "exact_terms"),
        ("RussianRoulette", "probes"),
        ("Picard", "tolerance"),
        ("Picard", "max_iterations"),
        ("Anderson", "tolerance"),
        ("Anderson", "max_iterations"),
        ("Anderson", "memory"),
    }


@pytest.mark.parametrize("kind,name,types", options())
@pytest.mark.parametrize(
    "value",
    ["0.1", "3", "many", b"3", True, None, [0.5], np.ones(2), 0.5j, float("nan"), float("inf"), -1],
    ids=repr,
)
def test_what_is_no_number_in_range_is_named(kind, name, types, value):
    if value is None and type(None) in types:
        assert made(kind, **{name: value}).get_config()
        return
    with pytest.raises(ValueError, match=rf"^[\w ]*{name} is .+; received ") as error:
        made(kind, **{name: value})
    assert str(error.value).endswith(f"; received {value!r}.")
    assert "\n" not in str(error.value).removesuffix(f"{value!r}.")


@pytest.mark.parametrize("kind,name,types", options())
@pytest.mark.parametrize("of_type", [np.float64, np.asarray, tf.constant])
def test_a_number_of_numpy_or_tensorflow_is_that_number(kind, name, types, of_type):
    value = 3 if int in types else 0.5
    other, plain = made(kind, **{name: of_type(value)}), made(kind, **{name: value})
    assert other == plain and hash(other) == hash(plain)
    assert type(vars(other)[name]) is type(value)


@pytest.mark.parametrize(
    "make,message",
    [
        (lambda: Coloured(PowerSeries(3), ["8", "4"]), "A number of colours is an int.*'8'"),
        (lambda: Coloured(PowerSeries(3), "8"), "colours is a tuple of integers.*'8'"),
        (lambda: Krylov("4"), "products is an integer or \"auto\"; received '4'"),
        (lambda: RussianRoulette("poisson", "2"), "Poisson parameter is a positive mean.*'2'"),
        (lambda: RussianRoulette(exact_terms=1.5), "exact_terms is an integer of at least 0.*1.5"),
        (lambda: PowerSeries(2, distribution=[["a", "b"]]), "array of probes is finite.*str"),
        (lambda: PowerSeries(2, distribution=None), "array of probes.*object"),
    ],
)
def test_other_text_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
