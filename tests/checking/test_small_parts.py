"""Small parts of the checker, each tested alone: constants, caches, sums over nothing."""

from __future__ import annotations

from contextlib import nullcontext
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gradlab.checking import check_layer, functions, jacobian
from gradlab.checking.analytic import Analytic, _numbers, _row, epsilon_of, is_accumulating
from gradlab.checking.causes import _nearly_right, lengths_of, repeated_in
from gradlab.checking.check import _require_steady
from gradlab.checking.claims import Claim
from gradlab.checking.columns import Clues, Columns
from gradlab.checking.complex_numbers import ComplexParts, Real, _joined, conjugated
from gradlab.checking.entries import _beside_jumps
from gradlab.checking.functions import Function
from gradlab.checking.jacobian import Subject, check_row
from gradlab.checking.jacobian_causes import _of_block
from gradlab.checking.kinks import Finding
from gradlab.checking.layer_objects import _accumulating_slots
from gradlab.checking.matrices import joined
from gradlab.checking.patterns import (
    COMMON_FACTORS,
    _clipped,
    _constant_factor,
    _name,
    _place,
    _smeared,
)
from gradlab.checking.result import Entry, Leaf
from gradlab.errors import LossError, OptionError, ParameterError
from gradlab.gradients.slopes import Slope
from gradlab.gradients.surface import Surface

DIGITS = {
    "ln 10": "2.302585092994046", "1/ln 10": "0.4342944819032518", "ln 2": "0.6931471805599453",
    "1/ln 2": "1.442695040888963", "π": "3.141592653589793", "1/π": "0.3183098861837907",
    "2π": "6.283185307179586", "1/2π": "0.1591549430918953", "π/180": "0.01745329251994330",
    "180/π": "57.29577951308232", "√2": "1.414213562373095", "1/√2": "0.7071067811865475",
}  # fmt: skip


def test_factors_have_the_values_of_their_names() -> None:
    assert COMMON_FACTORS.keys() == DIGITS.keys()
    for name, digits in DIGITS.items():
        assert COMMON_FACTORS[name] == pytest.approx(float(Decimal(digits)), rel=1e-15)
        assert _name(COMMON_FACTORS[name], 1e-9) == (f"{name} times what it should be", True)


def matrix(wrong: list[tuple[int, int]], seen: Any = None) -> Columns:
    """Return a leaf (4, 3) whose gradient is wrong at some places."""
    entries = [
        Entry("w", index, 9.0 if index in wrong else 1.0, 1.0, 1e-9, 1e-9,
              "mismatch" if index in wrong else "agree")
        for index in (np.ndindex(4, 3) if seen is None else seen)
    ]  # fmt: skip
    return Columns.of(Leaf("w", (4, 3), "mismatch", len(entries)), entries, None, Clues())


def test_a_row_is_blamed_for_two_of_its_entries_or_four_of_a_sample() -> None:
    zeros = matrix([(1, 0)])
    zeros.numerical[zeros.index[:, 0] == 1] = 0.0  # the rest of the row is uninformative
    assert _place(zeros) == ""
    assert _place(matrix([(1, k) for k in range(3)])) == "in row 1 alone"
    assert _place(matrix([(k, 1) for k in range(4)])) == "in column 1 alone"
    column, others = [(k, 1) for k in range(4)], [(0, 0), (1, 2)]
    assert _place(matrix(column, [*column, *others])) == "in column 1 alone"
    assert _place(matrix(column[:3], [*column[:3], *others])) == ""


def test_a_sum_over_no_outputs_is_an_empty_matrix() -> None:
    assert joined([]).shape == (0, 0)
    assert joined([[]]).shape == (0, 0)


@pytest.mark.parametrize("bent", [np.nan, np.inf])
def test_a_curvature_that_is_not_known_adds_no_round_off(bent: float) -> None:
    claimed = Analytic(np.ones(2), np.full(2, 2.0**-52), np.array([3.0, 4.0]))
    assert claimed.roundoff(1, bent, 2.0) == 4.0
    assert claimed.roundoff(1, 0.5, 2.0) == 4.0 + 8 * 2.0**-52


@pytest.mark.parametrize("size", [1e8, 1e-8])
def test_exact_numbers_of_any_size_may_be_off_by_a_few_units(size: float) -> None:
    signs = size * np.array([[1.0, 1.0, -1.0], [-1.0, 1.0, 1.0], [1.0, -1.0, 1.0]])
    for units, causes in ((12, ["transposed"]), (24, [])):
        claimed = signs.T * (1 + units * 2.0**-52)
        entries: Any = [
            Entry("b", i, float(claimed[i]), float(x), 0.0, 0.0, "mismatch")
            for i, x in np.ndenumerate(signs)
        ]
        assert list(_of_block(Leaf("b", (3, 3), "mismatch", 9), entries)) == causes


@pytest.mark.parametrize("scale", [0.25, 1.0, 8.0])
def test_a_slope_between_jumps_is_one_by_the_entry_whatever_its_scale(scale: float) -> None:
    """The directions along which it is measured are longer or shorter than 1."""
    surface: Any = Surface(lambda x: 1 + 2 * x[0] + (x[0] > 1.2 * scale), np.array([scale]))
    surface.rounding = 1.0
    wide = Finding(0, Slope(3.0, 10.0, "smooth"), 2.0, 0.0)
    found = _beside_jumps(surface, wide).slope
    assert abs(found.value - 2.0) <= found.error <= 1e-3
    narrow = Finding(0, Slope(3.0, 1.4, "smooth"), 2.0, 0.0)  # half of the larger of the two
    assert _beside_jumps(surface, narrow) is narrow
    surface.rounding = 0.0
    assert _beside_jumps(surface, wide) is wide


def test_a_claim_is_asked_once_for_a_direction_while_few_are_kept() -> None:
    asked: list[float] = []

    def rows(u: Any) -> Any:
        asked.append(float(u[0]))
        return u * np.ones(2)

    claim = Claim("vjp", SimpleNamespace(size=1), np.ones(2), rows, True)  # type: ignore[arg-type]
    for k in (*range(65), *range(65)):
        assert claim.product(np.array([float(k)])).values.tolist() == [k, k]
    assert asked == list(range(65))
    claim.product(np.array([65.0]))  # one too many: all are forgotten
    claim.product(np.array([0.0]))
    assert asked[65:] == [65.0, 0.0]


def test_only_gradients_that_grow_are_reported_to_grow() -> None:
    state = {"adds": 0.0, "stays": 1.0, "doubles": 1.0}

    def both() -> None:
        state["adds"] += 2.0
        state["doubles"] *= 2.0

    slots: Any = [
        SimpleNamespace(name=name, gradient=lambda _, name=name: np.array([state[name]]))
        for name in state
    ]
    assert [slot.name for slot in _accumulating_slots(None, slots, both)] == ["adds"]


def test_a_bare_complex_array_has_a_name_and_a_structure_has_its_own() -> None:
    assert ComplexParts(np.array([1j]), "z")._bare == "z"
    assert ComplexParts(np.array([1.0]), "z")._bare == ""
    both = ComplexParts({"z": np.array([1j]), "x": np.array([1.0])}, "z")
    assert both._bare == ""
    assert any(both.complex)
    assert not any(ComplexParts({"x": np.array([1.0])}).complex)


@pytest.mark.parametrize(
    ("off", "name"),
    [(1.5, "3 times too large"), (-1.5, "3 times too large"), (5.0, "3.0015 times what it should")],
)
def test_a_factor_is_known_to_twice_the_accuracy_of_the_clearest_entry(
    off: float, name: str
) -> None:
    true = np.array([1.0, -2.0, 4.0])
    claimed, tolerances = 3 * (1 + 1e-4 * off) * true, 1e-4 * np.array([4.0, 4.0, 4.0])
    entries = [
        Entry("w", (k,), float(a), float(n), t, t, "mismatch")
        for k, (a, n, t) in enumerate(zip(claimed, true, tolerances, strict=True))
    ]
    leaf = Leaf("w", (3,), "mismatch", 3)
    (said,) = _constant_factor(Columns.of(leaf, entries, None, Clues()))
    assert said.startswith(name)


def test_one_number_for_a_vector_has_one_cause() -> None:
    entries = [Entry("w", (k,), 10.0, float(k), 1e-9, 1e-9, "mismatch") for k in range(5)]
    found = Columns.of(Leaf("w", (5,), "mismatch", 5), entries, None, Clues())
    assert list(_smeared(found)) == ["the same number throughout: summed over too many axes?"]


def test_integers_are_as_exact_as_doubles() -> None:
    assert epsilon_of(np.array([1])) == 2.0**-52
    assert epsilon_of(np.array([1]), np.ones(1, np.float32)) == 2.0**-23


def test_a_kink_is_not_noise() -> None:
    assert Finding(0, Slope(1.0, 0.1, "kink", noise=0.5), 1.0, 0.0).noise == 0.0
    assert Finding(0, Slope(1.0, 0.1, "smooth", noise=0.5), 1.0, 0.0).noise == 0.5


def test_an_output_without_weight_counts_nothing() -> None:
    function = Function(lambda x: np.array([x[0], 3 * x[1]]), np.ones(2))
    assert function.weighted(np.array([1]), np.zeros(1))(np.ones(2)) == 0.0
    assert function.weighted(np.array([1]), np.ones(1))(np.ones(2)) == 3.0
    assert function.weighted(np.array([1]), np.full(1, 2.0))(np.ones(2)) == 6.0


def test_outputs_are_kept_at_eight_points_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(functions, "CACHE_BYTES", 0)
    function = Function(lambda x: 2 * x, np.ones(1))
    before = function.evaluations
    for k in (*range(8), *range(8)):
        assert function.at(np.array([float(k)])).tolist() == [2.0 * k]
    assert function.evaluations == before + 8
    function.at(np.array([8.0]))
    function.at(np.array([7.0]))
    assert function.evaluations == before + 9
    function.at(np.array([0.0]))  # the oldest was forgotten
    assert function.evaluations == before + 10


def test_an_allowed_error_of_a_row_counts_once_unless_it_is_a_direction() -> None:
    subject = Subject(Function(lambda x: 2 * x, np.ones(2)), np.ones(2), allow=1e-3)
    surface, row = subject.row(0), np.array([2.0, 0.0])
    plain = Subject(subject.function, np.ones(2)).analytic(surface, row, 2.0**-52).floor
    size = np.array([2.0, np.sqrt(2)])  # the second has the root mean square
    assert subject.analytic(surface, row, 2.0**-52).floor - plain == pytest.approx(1e-3 * size)
    wide = subject.analytic(surface, row, 2.0**-52, 2.5).floor
    assert wide - plain == pytest.approx(2.5e-3 * size)


def test_a_row_of_which_all_is_known_may_hide_a_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """The verdict on a sample is that of its worst entry."""
    every = [
        Entry("params", (k,), 1.0, 1.0, tolerance, tolerance, verdict)
        for k, (tolerance, verdict) in enumerate([(1e-9, "agree"), (1e-3, "inconclusive")])
    ]  # fmt: skip
    monkeypatch.setattr(
        jacobian, "check_entries", lambda surface, analytic, which, rng: [every[k] for k in which]
    )
    subject, rng = Subject(Function(lambda x: x, np.ones(2)), np.ones(2)), np.random.default_rng(0)
    row = np.array([1.0, 0.0])
    assert check_row(subject, 0, row, 2.0**-52, [0, 1], rng)[1] == "agree"
    assert check_row(subject, 0, row, 2.0**-52, [1], rng)[1] == "inconclusive"


def test_a_forward_pass_that_is_not_a_function_is_refused() -> None:
    with pytest.raises(OptionError, match="forward"):
        check_layer(3, lambda dout, cache: dout, np.ones(2))


def imaginary(cause: str = "the wrong sign", path: str = "z.imag") -> Leaf:
    return Leaf(path, (2,), "mismatch", 2, cause)


def test_wrong_signs_of_all_imaginary_parts_are_the_other_convention() -> None:
    right = Leaf("z.real", (2,), "agree", 2)
    assert conjugated([right, imaginary()], "jax").startswith("conjugated: ")
    assert conjugated([right, imaginary()], None) == ""
    assert conjugated([right], "jax") == ""
    assert conjugated([imaginary("2 times too large")], "jax") == ""
    assert conjugated([imaginary(), imaginary(path="x")], "jax") == ""


@pytest.mark.parametrize(
    ("kind", "params", "outputs", "needed"),
    [
        ("jacobian", 1j, 1j, False), ("jacobian", 1.0, 1j, False), ("jacobian", 1.0, 1.0, False),
        ("jacobian", 1j, 1.0, True), ("vjp", 1j, 1j, True), ("gradient", 1j, 1.0, True),
        ("jacobian", 1j, [1j, 1.0], True), ("jacobian", 1.0, [1j, 1.0], False),
    ],
)  # fmt: skip
def test_a_convention_is_needed_unless_a_jacobian_has_complex_entries_of_one_meaning(
    kind: str, params: complex, outputs: Any, needed: bool
) -> None:
    split = [np.array([x]) for x in outputs] if isinstance(outputs, list) else np.array([outputs])
    real = Real(lambda x: x, np.array([params]), split, None)
    if needed:
        with pytest.raises(OptionError, match="convention"):
            real._sign(kind)
    else:
        assert real._sign(kind) == 1


def test_the_round_off_of_an_entry_depends_on_its_leaf_and_its_parameter() -> None:
    """It is 4 ε |a| + 8 ε min(|A|, |X A| / |x|), for the largest |A| and |X A| of the leaf."""
    a, x = np.array([1.0, -4.0, 0.0, 2.0]), np.array([1.0, 0.5, 8.0, 0.0])
    values, epsilon, floor = _row(a, np.ones(4), x)
    assert values.tolist() == a.tolist()
    assert epsilon.tolist() == [2.0**-52] * 4
    shared = [2.0, 4.0, 0.25, 4.0]  # |X A| is at most 2
    assert (floor / 2.0**-52).tolist() == [
        4 * abs(entry) + 8 * part for entry, part in zip(a, shared, strict=True)
    ]
    narrow = _row(a.astype(np.float32), np.ones(4), x)[1]
    assert narrow.tolist() == [2.0**-23] * 4
    assert np.isfinite(_row(np.array([np.nan, np.inf, 1.0]), np.ones(3), np.ones(3))[2]).all()


@pytest.mark.parametrize(("off", "clipped"), [(0.5e-6, True), (-0.5e-6, True), (3e-6, False)])
def test_a_round_norm_is_round_to_a_millionth(off: float, clipped: bool) -> None:
    true = 3 * np.array([0.6, 0.8])
    claimed = true / 3 * (1 + off)
    entries = [
        Entry("w", (k,), a, n, 1e-12, 1e-12, "mismatch")
        for k, (a, n) in enumerate(zip(claimed, true, strict=True))
    ]
    found = Columns.of(Leaf("w", (2,), "mismatch", 2), entries, None, Clues())
    assert any("clipped by its norm" in cause for cause in _clipped(found)) == clipped


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize(("share", "small"), [(0.9e-4, True), (1.1e-4, False)])
def test_a_gradient_that_is_nearly_right_is_so_at_any_size(
    size: float, share: float, small: bool
) -> None:
    """The limit is 1e-4 of its largest entry."""
    true = size * np.array([1.0, -0.7, 0.3, 0.9])
    off = share * size * np.array([1.0, 0.5, -0.5, 0.8])
    entries = [
        Entry("w", (k,), float(a), float(n), 1e-9 * size, 1e-9 * size, "mismatch")
        for k, (a, n) in enumerate(zip(true + off, true, strict=True))
    ]
    said = list(_nearly_right(Columns.of(Leaf("w", (4,), "mismatch", 4), entries, None, Clues())))
    assert [cause[:32] for cause in said] == ["off by 9e-05 of its largest entr"] * small


def test_one_output_of_extended_precision_is_not_rounded() -> None:
    """This needs a processor with such numbers."""
    fine = np.longdouble(1) + np.longdouble(2) ** -60
    function = Function(lambda x: np.array([fine, fine * x[0]]), np.ones(1))
    assert function.weighted(np.array([0]), np.ones(1))(np.ones(1)) == fine


@pytest.mark.parametrize(
    ("units", "bits", "same"), [(15, 23, True), (17, 23, False), (15, 52, False), (0, 52, True)]
)
def test_a_loss_may_differ_by_the_round_off_of_its_values(
    units: int, bits: int, same: bool
) -> None:
    """The limit is 16 units in single precision, as for a sum in another order."""
    surface: Any = SimpleNamespace(value=1.0, unsteadiness=units * 2.0**-23, bits=bits)
    with nullcontext() if same else pytest.raises(LossError, match="not deterministic"):
        _require_steady(surface)


@pytest.mark.parametrize(("dtype", "unit"), [(np.float64, 2.0**-52), (np.float32, 2.0**-23)])
def test_a_gradient_is_the_same_within_ten_thousand_roundings(dtype: Any, unit: float) -> None:
    """The roundings of the gradient and of 1 add up to twice as many for a gradient of 1."""
    for units, grown in ((1.9e4, False), (2.1e4, True)):
        steps = [np.full(2, 1 + k * units * unit, dtype) for k in range(3)]
        assert is_accumulating(*steps) == grown


def test_sizes_of_one_do_not_count_as_numbers_of_terms() -> None:
    assert lengths_of([np.zeros((1, 3)), np.zeros(()), np.zeros((2, 1))]) == {2, 3}
    assert repeated_in([np.array([5, 5, 7], np.uint8), np.array([1.5, 1.5]), "text"]) == {5}


def test_a_gradient_that_is_not_an_array_is_refused():
    class Broken:
        def __array__(self, dtype=None, copy=None):
            raise RuntimeError("not on this device")

    with pytest.raises(ParameterError, match="of w is not an array: not on this device"):
        _numbers(Broken(), "w")


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [(np.float32, np.complex64), (np.float64, np.complex128), (np.int32, np.complex128)],
)
def test_complex_arrays_have_the_precision_of_their_parts(dtype, kind):
    """An integer of 32 bits has more digits than a float of 32 bits."""
    part = np.array([2**24 + 1 if kind is np.complex128 else 3], dtype)
    joined = _joined(part, part)
    assert joined.dtype == kind
    assert joined.real.tolist() == part.tolist() == joined.imag.tolist()
