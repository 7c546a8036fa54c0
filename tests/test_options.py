"""Options out of range are refused in one wording; valid ones become Python's own types."""

from fractions import Fraction

import numpy as np
import pytest

from gradlab import options
from gradlab.errors import OptionError


def is_three(value):
    return type(value) is int and value == 3


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3)])
def test_an_integer_becomes_pythons_own(value):
    assert is_three(options.integer("n", value))
    assert is_three(options.integer("n", value, least=3, most=3))


@pytest.mark.parametrize("value", [0, -1, 1.0, "3", None, True, np.True_, [3], np.array(3), 3 + 0j])
def test_values_that_are_not_integers_from_one(value):
    with pytest.raises(OptionError) as caught:
        options.integer("n", value)
    assert str(caught.value) == f"n={value!r}: give an integer from 1"


def test_the_bounds_of_an_integer_belong_to_it():
    assert options.integer("n", 0, least=0) == 0
    with pytest.raises(OptionError, match="n=4: give a smaller one"):
        options.integer("n", 4, "give a smaller one", most=3)


@pytest.mark.parametrize("value", [0.5, np.float64(0.5), np.float16(0.5), Fraction(1, 2)])
def test_a_number_becomes_pythons_own(value):
    number = options.number("rate", value)
    assert type(number) is float
    assert number == 0.5
    assert options.number("rate", 1) == 1.0


@pytest.mark.parametrize(
    "value",
    [
        0,
        -0.5,
        float("nan"),
        float("inf"),
        10**400,
        np.float32("inf"),
        True,
        np.True_,
        "1",
        None,
        1j,
    ],
)
def test_values_that_are_not_positive_numbers(value):
    with pytest.raises(OptionError, match=r"^rate=.*: give a positive number$"):
        options.number("rate", value)


def test_a_number_may_have_other_bounds():
    assert options.number("m", 0, fits=lambda m: 0 <= m < 1) == 0.0
    with pytest.raises(OptionError, match="m=1: below one"):
        options.number("m", 1, "below one", fits=lambda m: 0 <= m < 1)


@pytest.mark.parametrize("value", [None, "foo", "f8,(", ("f4", -1), 3, int, complex, bool, object])
def test_values_that_are_not_floating_dtypes(value):
    with pytest.raises(OptionError, match=r"^dtype=.*: choose float64$"):
        options.floating("dtype", value, "choose float64")


@pytest.mark.parametrize("value", [np.float32, "f4", np.dtype("float32")])
def test_a_floating_dtype(value):
    assert options.floating("dtype", value, "") == np.float32


@pytest.mark.parametrize("values", [3, None, "12", (), (3,), (3, 0), np.array(3)])
def test_values_that_are_not_lists_of_two_integers(values):
    with pytest.raises(OptionError, match=r"^sizes=.*: give two$"):
        options.each("sizes", values, options.integer, "give two", fewest=2)


@pytest.mark.parametrize("values", [(3, 3), [3, 3], np.array([3, 3]), iter([3, 3])])
def test_a_list_of_two_integers(values):
    given = options.each("sizes", values, options.integer, "", fewest=2)
    assert len(given) == 2
    assert all(map(is_three, given))


def test_an_error_of_another_kind_is_kept():
    def fail(name, value):
        raise KeyError(value)

    with pytest.raises(KeyError):
        options.each("sizes", [1], fail, "")


def test_values_that_are_not_functions():
    assert options.function("loss", len) is len
    with pytest.raises(OptionError, match="loss=3: give a function"):
        options.function("loss", 3)
