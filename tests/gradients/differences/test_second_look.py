"""Which entries are measured again, and which of several slopes is the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from counting import calls_of

from gradlab import CentralDifference, CentralDifference4, ForwardDifference
from gradlab.errors import LossError, NonFiniteError, OptionError
from gradlab.gradients.differences.closer import (
    is_level,
    look_closer,
    roundoff,
    slope_inside_domain,
)
from gradlab.gradients.differences.difference import (
    MAX_REMEASURED_SINGLY,
    SMALL_ENTRY,
    TYPICAL_SLOPE_SHARE,
)
from gradlab.gradients.differences.steps import STEP_REDUCTION

EPSILON = 2.0**-52
H = 2.0**-17


class Scripted:
    """A formula whose slopes and bends are a list, one for each smaller step."""

    name = "scripted"

    def __init__(self, slopes: Sequence[float], bends: Sequence[float] = ()) -> None:
        self.first, *self._slopes = slopes
        self._bends = [*bends, *[0.0] * (len(slopes) - len(bends))][1:]
        self.steps: list[float] = []

    def quotient(self, f: Any, x: Any, h: Any, centre: Any) -> tuple[float, float]:
        self.steps.append(h)
        k = min(len(self.steps), len(self._slopes)) - 1
        if np.isnan(self._slopes[k]):
            raise NonFiniteError("no value there")
        return self._slopes[k], self._bends[k]


def probe(precision: float = EPSILON) -> Any:
    looks: list[int] = []
    return SimpleNamespace(
        value=1.0, precision=precision, looks=looks, look_into=lambda: looks.append(1)
    )


class Line:
    """An entry with a name, and the loss along it."""

    name = "w[0]"

    def __init__(self, function: Any = lambda x: 1.0) -> None:
        self._function = function

    def __call__(self, x: Any) -> Any:
        return self._function(x)


def best(slopes: Sequence[float], bends: Sequence[float] = (0.0,), **options: Any) -> Any:
    """Return the chosen slope, the steps, and whether the loss counted as doubtful."""
    method, around = Scripted(slopes, bends), probe(**options)
    f: Any = Line()
    found = look_closer(method, around, f, 1.0, H, method.first, bends[0])  # type: ignore[arg-type]
    return found, method.steps, len(around.looks)


def test_round_off_is_eight_units_of_the_value_over_the_step_and_of_the_slope() -> None:
    around = SimpleNamespace(value=-3.0, precision=EPSILON)
    assert roundoff(around, 0.5, -2.0) == 8 * EPSILON * (3.0 / 0.5 + 2.0)  # type: ignore[arg-type]


def test_a_good_step_keeps_its_digits() -> None:
    """The finer slope agrees within its own round-off, which is larger."""
    assert best([1.0, 1.0 + 1e-9]) == (1.0, [H / STEP_REDUCTION], 0)


def test_steps_get_smaller_until_two_agree() -> None:
    """The loss is doubted once, because the first smaller step does not agree."""
    found, steps, doubted = best([1.5, 1.1, 1.0, 1.0 + 1e-9])
    assert found == 1.0
    assert steps == [H / STEP_REDUCTION, H / STEP_REDUCTION**2, H / STEP_REDUCTION**3]
    assert doubted == 1


def test_round_off_of_finer_steps_does_not_count_against_a_coarser_one() -> None:
    """Here 1e-7 is the round-off of the finest step, 1e-4 the truncation of the first."""
    assert best([1.0001, 1.0, 1.0 + 2e-8, 1.0 + 1e-7])[0] == 1.0


def test_a_difference_within_the_round_off_of_both_its_steps_does_not_count() -> None:
    """The round-offs of the next two steps are 16 and 256 units of the first step's.

    The error of the first slope is 60 only, because 80 is less than 16 + 256; the second one has
    the error 80 and its own 16. A bend that grows keeps the second difference from ending the
    search.
    """
    unit = float(roundoff(probe(), H, 1.0))
    slopes = [1.0, 1 + 60 * unit, 1 + 140 * unit, 1 + 140 * unit]
    assert best(slopes, [0.0, 1e-6, 1e-3, 0.0])[0] == 1.0


@pytest.mark.parametrize(("growth", "steps"), [(3.0, 1), (5.0, 2)])
def test_slopes_agree_by_chance_where_the_bend_grows_fourfold(growth: float, steps: int) -> None:
    """At a spike, two slopes may agree by chance; the bends show that."""
    bends = [1e-3, growth * 1e-3, 0.0, 0.0]
    assert len(best([1.0, 1.0, 1.0, 1.0], bends)[1]) == steps


def test_bends_within_their_round_off_do_not_grow() -> None:
    tiny = roundoff(probe(), H / STEP_REDUCTION, 1.0)
    assert len(best([1.0, 1.0, 1.0], [0.0, 0.9 * tiny, 0.0])[1]) == 1
    assert len(best([1.0, 1.0, 1.0], [0.0, 1.1 * tiny, 0.0])[1]) == 2


def test_noise_affects_the_largest_step_least() -> None:
    """Values off by 1e-12 in turn: 17 of them lie between two slopes, and 2 over the first step."""
    noise = 1e-12
    steps = [H / STEP_REDUCTION**k for k in range(12)]
    slopes = [1 + (-1) ** k * noise / h for k, h in enumerate(steps)]
    found, taken, doubted = best(slopes)
    assert found == slopes[0]
    assert len(taken) == 8  # the entry is 1, so 2^-53 is lost
    assert doubted == 1


def test_slopes_that_all_differ_are_an_error() -> None:
    """The exception is a slope that is zero within its own changes: see `is_level`."""
    jump = [1 / (H / STEP_REDUCTION**k) for k in range(12)]
    with pytest.raises(
        LossError, match=r"scripted: cannot resolve the slope of the loss at w\[0\]"
    ):
        best(jump)


@pytest.mark.parametrize(
    ("function", "level"),
    [
        (lambda x: (x - 1) ** 2, True),  # less steep over smaller steps
        (lambda x: float(x > 1), False),  # steeper
        (lambda x: abs(x - 1), False),  # as steep
        (lambda x: 1e-9 * (x - 1) ** 2, False),  # its slope is below the error
    ],
)
def test_a_minimum_is_level_and_a_jump_is_not(function: Any, level: bool) -> None:
    line: Any = Line(function)
    assert is_level(line, 1.0, H, 0.0, H / 2) is level


def test_smaller_steps_begin_with_the_first_that_has_values() -> None:
    line: Any = Line()
    method: Any = Scripted([0.0, np.nan, np.nan, 2.0, 2.0])
    assert slope_inside_domain(method, probe(), line, 1.0, H) == 2.0
    assert method.steps == [
        H / STEP_REDUCTION,
        H / STEP_REDUCTION**2,
        H / STEP_REDUCTION**3,
        H / STEP_REDUCTION**4,
    ]
    nowhere: Any = Scripted([0.0, np.nan])
    with pytest.raises(NonFiniteError):
        slope_inside_domain(nowhere, probe(), line, 1.0, H)
    assert nowhere.steps[-1] == H  # which says why


# Which entries of a leaf are measured again

AGAIN: list[float] = []


@dataclass(frozen=True)
class Noted(CentralDifference):
    """Central differences that record the entries measured again; finer slopes are 1 + 1e-3."""

    agree: bool = False

    def _look_again(self, probe: Any, f: Any, x: Any, h: Any, slope: Any, bend: Any) -> Any:
        AGAIN.append(f)
        return 99.0

    def by_recording(self, probe: Any, leaf: int, h: Any) -> Any:
        AGAIN.append(-1)
        assert h[0] == H / STEP_REDUCTION
        return np.ones(h.shape) + (0.0 if self.agree else 1e-3), np.zeros(h.shape)


def looked_at(
    x: Sequence[float], slopes: Sequence[float], bends: Sequence[float], recorded: bool = True,
    agree: bool = False, **known: Any,
) -> list[float]:  # fmt: skip
    """Return the indices of the entries measured again; -1 for all of them together."""
    AGAIN.clear()
    around: Any = SimpleNamespace(
        given_steps=None, leaves=[np.array(x)], recorded=object() if recorded else None,
        precision=EPSILON, value=1.0, line=lambda leaf, i: i,
    )  # fmt: skip
    vars(around).update(known)
    found = np.array(slopes, float)
    result = Noted(agree=agree).measured_again(
        around, 0, np.full(len(x), H), found, np.array(bends)
    )
    assert [i for i in range(len(x)) if result[i] == 99.0] == [i for i in AGAIN if i >= 0]
    return list(AGAIN)


BENT = 2.0**-9
TINY, LARGE = SMALL_ENTRY * H / 2, 1.0


def test_bends_above_a_512th_of_the_slope_are_examined() -> None:
    bends = [0.9 * BENT, 1.1 * BENT, -1.1 * BENT, 0.0]
    assert looked_at([LARGE] * 4, [1.0] * 4, bends, recorded=False) == [1, 2]
    assert looked_at([TINY] * 4, [1.0] * 4, bends) == [1, 2]


def test_in_a_recording_larger_entries_are_not_examined() -> None:
    """The exceptions bend by a quarter of their slope, or of the leaf's typical slope."""
    assert looked_at([LARGE, TINY], [1.0, 1.0], [2 * BENT] * 2) == [1]
    assert looked_at(
        [0.9 * SMALL_ENTRY * H, 1.1 * SMALL_ENTRY * H], [1.0, 1.0], [2 * BENT] * 2
    ) == [0]
    assert looked_at([LARGE] * 2, [1.0, -1.0], [0.23, 0.27]) == [1]
    typical = np.sqrt((0.01**2 + 1) / 2)
    assert looked_at([LARGE] * 2, [0.01, 1.0], [0.2 * typical, 0.0]) == []
    assert looked_at([LARGE] * 2, [0.01, 1.0], [0.3 * typical, 0.0]) == [0]


def test_a_small_slope_is_compared_with_the_leafs_typical_one() -> None:
    """In a recording, errors count relative to the typical slope of the leaf."""
    bend = BENT * TYPICAL_SLOPE_SHARE / np.sqrt(2)
    assert looked_at([TINY] * 2, [0.0, 1.0], [0.9 * bend, 0.0]) == []
    assert looked_at([TINY] * 2, [0.0, 1.0], [1.1 * bend, 0.0]) == [0]
    assert looked_at([TINY] * 2, [0.0, 1.0], [0.9 * bend, 0.0], recorded=False) == [0]


def test_bends_within_round_off_are_not_examined() -> None:
    noise = float(roundoff(SimpleNamespace(value=1e9, precision=EPSILON), H, 1.0))  # type: ignore[arg-type]
    assert looked_at([TINY] * 2, [1.0] * 2, [0.9 * noise, 1.1 * noise], value=1e9) == [1]


def test_many_entries_are_first_examined_together() -> None:
    """Entries whose finer slopes agree are accepted; only the others are examined one by one."""
    few, many = [TINY] * MAX_REMEASURED_SINGLY, [TINY] * (MAX_REMEASURED_SINGLY + 1)
    assert looked_at(
        few, [1.0] * MAX_REMEASURED_SINGLY, [2 * BENT] * MAX_REMEASURED_SINGLY
    ) == list(range(MAX_REMEASURED_SINGLY))
    count = MAX_REMEASURED_SINGLY + 1
    assert looked_at(many, [1.0] * count, [2 * BENT] * count) == [-1, *range(count)]
    assert looked_at(many, [1.0] * count, [2 * BENT] * count, agree=True) == [-1]
    plain = looked_at(many, [1.0] * count, [2 * BENT] * count, recorded=False, agree=True)
    assert plain == [-1]


def test_given_steps_are_used_unchanged() -> None:
    assert looked_at([TINY], [1.0], [1.0], given_steps=[np.ones(1)]) == []


@pytest.mark.parametrize(
    ("backend", "precision", "limit"),
    [
        (CentralDifference(), EPSILON, 2.0**-9),
        (CentralDifference(), 2.0**-23, 0.25),
        (CentralDifference(), 2.0**-36, 64 * 2.0**-12),
        (CentralDifference4(), EPSILON, 2.0**-15),
        (CentralDifference4(), 2.0**-30, (8 * 2.0**-6) ** 3),
        (CentralDifference4(), 2.0**-11, 0.25),
        (ForwardDifference(), EPSILON, 2.0**-9),
    ],
)
def test_the_doubtful_bend_grows_with_the_step(
    backend: Any, precision: float, limit: float
) -> None:
    """The limit is proportional to the step, up to a quarter at 64 default steps of `central`."""
    assert backend._limit(SimpleNamespace(precision=precision)) == pytest.approx(limit)


def test_a_step_that_is_lost_on_one_side_is_refused_by_the_formulas_that_use_it() -> None:
    """1 + 1e-16 is 1; but 1 − 1e-16 is the number before it, so that central differences work."""
    step, x = 1e-16, np.ones(1)
    with pytest.raises(OptionError, match="step"):
        ForwardDifference(step).value_and_grad(lambda w: np.sum(w))(x)
    assert CentralDifference(step).value_and_grad(lambda w: np.sum(w))(x)[1] == 1.0


def test_the_evaluations_of_a_gradient() -> None:
    for backend, expected in (
        (ForwardDifference(), 10 + 2),
        (CentralDifference(), 20 + 1),
        (CentralDifference4(), 40 + 1),
    ):
        calls = []

        def loss(w: Any, calls: list[int] = calls) -> Any:
            calls.append(1)
            return np.sum(np.exp(w))

        plain = type(backend)(incremental=False)
        plain.value_and_grad(loss)(np.linspace(0.5, 1.5, 10))
        assert backend.equivalent_evaluations(10) == expected == len(calls)


def test_a_recording_is_compared_once_by_every_formula() -> None:
    """Evaluated, recorded, and evaluated beside it; the forward difference looks no further."""
    counts = []
    for backend in (ForwardDifference(), CentralDifference(), CentralDifference4()):
        with calls_of(exponentials) as calls:
            backend.value_and_grad(exponentials)(np.linspace(0.5, 1.5, 200).reshape(20, 10))
        counts.append(len(calls))
    assert counts == [3, 3, 3]


def exponentials(w: Any) -> Any:
    return np.sum(np.exp(np.linspace(0, 0.1, 20_000).reshape(1000, 20) @ w))


@pytest.mark.parametrize("dtype", [int, complex, "U3", "float"])
def test_a_loss_is_evaluated_in_a_floating_point_type(dtype: Any) -> None:
    if dtype == "float":
        assert CentralDifference(dtype=dtype).dtype == dtype
    else:
        with pytest.raises(OptionError, match="a loss is evaluated in a floating-point type"):
            CentralDifference(dtype=dtype)
