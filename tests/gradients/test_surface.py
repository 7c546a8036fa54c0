"""A loss as a surface: points of evaluation, stored values, and the precision of values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradlab.errors import NonFiniteError, ReadOnlyError
from gradlab.gradients.slopes import FLOAT64_BITS
from gradlab.gradients.surface import Surface, watch

PARAMS = {"w": np.array([[0.75, -3.0], [0.0, 5e-324]]), "b": 2.5}


def total(params: Any) -> Any:
    return np.sum(params["w"] ** 2) + params["b"]


def test_entries_lie_leaf_by_leaf() -> None:
    surface = Surface(total, PARAMS)
    assert surface.size == 5
    assert surface.x.tolist() == [0.75, -3.0, 0.0, 5e-324, 2.5]
    assert surface.spans == [slice(0, 4), slice(4, 5)]
    assert [surface.name(i) for i in (0, 3, 4)] == ["w[0, 0]", "w[1, 1]", "b"]
    assert surface.place(2) == ("w", (1, 0))
    hung = surface.unravel(np.arange(5.0))
    assert hung["w"].tolist() == [[0.0, 1.0], [2.0, 3.0]]
    assert hung["b"] == 4.0


def test_scales_are_powers_of_two_and_of_a_zero_that_of_its_leaf() -> None:
    """The leaf's scale is the median of |0.75| and |−3|, 1.875. A denormal number counts as 0."""
    surface = Surface(total, PARAMS)
    assert surface.scales.tolist() == [0.5, 2.0, 1.0, 1.0, 2.0]
    assert Surface(lambda x: np.sum(x), np.zeros(3)).scales.tolist() == [1.0] * 3


def test_an_entry_near_zero_moves_by_a_part_of_its_leafs_size_along_a_direction() -> None:
    x = np.array([1.0, 1.0, 2.0**-4, 2.0**-10])
    surface = Surface(lambda x: np.sum(x), x)
    assert surface.scales.tolist() == [1.0, 1.0, 2.0**-4, 2.0**-10]
    # The median of the scales is (1 + 2^-4) / 2.
    assert surface.widths.tolist() == [1.0, 1.0, 2.0**-4, (1 + 2.0**-4) / 64]


def test_reach_and_finest_steps() -> None:
    tiny = {"w": np.full(3, 2.0**-20), "b": np.array([8.0, 2.0**-20, 64.0, 0.0])}
    surface = Surface(lambda p: np.sum(p["w"]) + np.sum(p["b"]), tiny)
    assert surface.reach(0) == 1.0  # of a leaf that is tiny as a whole
    assert surface.reach(3) == 8.0  # the leaf's typical scale
    assert surface.reach(5) == 64.0
    assert surface.finest(3) == 8 * np.spacing(8.0)
    assert surface.finest(6) == 0.0


def test_a_line_along_an_entry_restores_the_parameters() -> None:
    surface = Surface(total, PARAMS)
    line = surface.along_entry(1)
    assert line(0.5) == (0.5, pytest.approx(0.75**2 + 2.5**2 + 2.5))
    assert line(0.0) == (0.0, surface.value)
    # The effective step at 3, where the spacing of numbers is 4.4e-16.
    assert line(1e-16)[0] == 0.0
    assert line(3e-16)[0] == np.spacing(2.0)


def test_a_line_along_a_direction_starts_at_the_parameters_or_at_another_point() -> None:
    surface = Surface(lambda x: np.sum(x * np.array([1.0, 10.0, 100.0])), np.ones(3))
    which, way = np.array([0, 2]), np.array([1.0, -1.0])
    line = surface.along(which, way)
    assert line(0.5) == (0.5, pytest.approx(1.5 + 10 + 50))
    assert line(0.0) == (0.0, 111.0)
    start = np.array([0.0, 3.0, 1.0])
    elsewhere = surface.along(which, way, start)
    assert elsewhere(0.5) == (0.5, pytest.approx(0.5 + 30 + 50))
    assert elsewhere(0.0) == (0.0, 130.0)
    assert line(0.0) == (0.0, 111.0)


def test_a_surface_counts_and_notes_whether_it_is_constant() -> None:
    flat = Surface(lambda x: 3.0, np.ones(2))
    line, before = flat.along_entry(0), flat.evaluations
    line(0.5)
    assert flat.constant
    assert flat.evaluations == before + 1
    bent = Surface(lambda x: np.sum(x), np.ones(2))
    bent.along_entry(0)(0.5)
    bent.along_entry(0)(0.0)
    assert not bent.constant


def test_points_without_a_value() -> None:
    def loss(x: Any) -> Any:
        if x[0] > 1:
            raise ValueError("beyond")
        return np.inf if x[0] < 1 else 2.0

    surface = Surface(loss, np.ones(1))
    line = surface.along_entry(0)
    assert np.isnan(line(0.5)[1])
    assert np.isnan(line(-0.5)[1])
    assert surface.value == 2.0
    with pytest.raises(NonFiniteError):
        Surface(lambda x: np.nan, np.ones(1))

    def writes(x: Any) -> Any:
        if x[0] != 1:
            x[0] = 7.0
        return 2.0

    with pytest.raises(ReadOnlyError):
        Surface(writes, np.ones(1)).along_entry(0)(0.5)


@pytest.mark.parametrize(
    ("loss", "bits"),
    [
        (lambda x: np.sum(x) / 3, FLOAT64_BITS),
        (lambda x: np.float32(np.sum(x) / 3), 23),
        (lambda x: np.float16(np.sum(x) / 3), 10),
        (lambda x: np.float64(np.float32(np.sum(x) / 3)), 23),  # inside, and returned as float64
        (lambda x: float(np.float16(np.sum(x) / 3)), 10),
        (lambda x: float(np.round(100 * np.sum(x))), FLOAT64_BITS),  # a count
        (lambda x: 0.5, FLOAT64_BITS),  # a constant shows no precision
        (lambda x: np.float32(0.5), 23),
    ],
)
def test_the_bits_of_values_are_those_they_have(loss: Any, bits: int) -> None:
    assert Surface(loss, np.array([0.7, 1.9])).bits == bits


def test_a_loss_that_differs_is_unsteady_by_as_much() -> None:
    values = iter([1.0, 1.0 + 1e-9, 1.0, 1.0 + 1e-9, *[1.0 + 3e-9] * 9])
    surface = Surface(lambda x: next(values), np.ones(1))
    surface.look_again()
    surface.look_again()
    assert surface.unsteadiness == pytest.approx(3e-9)
    steady = Surface(lambda x: np.sum(x), np.ones(1))
    assert steady.unsteadiness == 0.0
    assert steady.slope(steady.along_entry(0)).error < 1e-9
    steady.unsteadiness = 1e-3
    assert steady.slope(steady.along_entry(0)).error > 1e-3


def test_rounding_that_was_seen_is_remembered() -> None:
    surface = Surface(lambda x: np.round(np.sum(x), 6), np.array([0.7, 0.3]))
    found = surface.slope(surface.along_entry(0), scale=0.5, effort="thorough")
    assert found.rounding > 1e-7
    assert surface.rounding == found.rounding


def test_whether_a_loss_looks_at_its_parameters() -> None:
    kept = {"w": np.ones(3)}
    assert Surface(lambda p: float(kept["w"].sum()), {"w": np.ones(3)}).ignores_parameters()
    looks = [
        lambda p: float(p["w"].sum()), lambda p: float(np.exp(p["w"])[0]),
        lambda p: float(p["w"][0]), lambda p: float(np.dot(p["w"], p["w"])),
    ]  # fmt: skip
    for loss in looks:
        assert not Surface(loss, {"w": np.ones(3)}).ignores_parameters()


@pytest.mark.parametrize(
    "use",
    [lambda x: x + 1, lambda x: np.sum(x), lambda x: x[0], lambda x: x.T, lambda x: float(x[0])],
)
def test_a_watched_array_records_its_use(use: Any) -> None:
    seen: list[bool] = []
    watched = watch(np.ones(3), seen)
    assert not seen
    assert np.all(np.asarray(use(watched)) == np.asarray(use(np.ones(3))))
    assert seen


def test_the_point_cannot_be_moved() -> None:
    surface = Surface(np.sum, np.ones(2))
    with pytest.raises(ValueError, match="read-only"):
        surface.x[0] = 2.0
