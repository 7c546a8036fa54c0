"""The checker recognises common mistakes from the numbers, and only where they were made."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import gradlab
from gradlab.checking.causes import guess
from gradlab.checking.result import Entry, Leaf, worst
from gradlab.errors import LossError

BAR = 1e-10
LOOSE = "not far from right: other data, stale values, or a missing term?"


def leaf_of(path, analytic, numerical, which=None):
    """Return the entries of one leaf (all, or those at `which`), and the leaf's properties."""
    analytic, numerical = np.asarray(analytic, float), np.asarray(numerical, float)
    entries = []
    for number, index in enumerate(np.ndindex(numerical.shape)):
        if which is None or number in which:
            a, n = float(analytic[index]), float(numerical[index])
            tolerance = BAR + 1e-13 * abs(a)
            verdict = "agree" if abs(a - n) <= tolerance else "mismatch"
            entries.append(Entry(path, index, a, n, BAR, tolerance, verdict))
    verdict = worst(entry.verdict for entry in entries)
    return entries, Leaf(path, numerical.shape, verdict, len(entries))


def cause(analytic, numerical, value=None, lengths=(), which=None):
    entries, leaf = leaf_of("w", analytic, numerical, which)
    return guess(entries, [leaf], value if value is None else {"w": value}, lengths).get("w", "")


@st.composite
def gradients(draw, least=2, most=6, axes=(1, 2, 3)):
    """Draw gradients with entries away from 0 and from each other."""
    sides = [draw(st.integers(least, most)) for _ in range(draw(st.sampled_from(axes)))]
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return rng.uniform(0.1, 2, sides) * rng.choice([-1, 1], sides)


def like(g, seed=1):
    return np.random.default_rng(seed).standard_normal(g.shape)


# One number for all entries


@given(gradients())
def test_a_right_gradient_gets_no_cause(g):
    assert cause(g, g) == ""


@given(gradients(least=3), st.integers(3, 500))
def test_a_whole_factor(g, n):
    assert cause(n * g, g) == f"{n} times too large"
    assert cause(g / n, g) == f"{n} times too small"
    assert cause(n * g, g, lengths=[n]) == f"{n} times too large: a sum for a mean?"
    assert cause(g / n, g, lengths=[n]) == f"{n} times too small: a mean for a sum?"
    assert cause(-n * g, g) == f"{n} times too large, and of the wrong sign"


@given(gradients())
def test_signs_zeros_and_constants(g):
    assert cause(-g, g) == "the wrong sign"
    assert cause(g / 2, g) == "2 times too small: the 2 of a square?"
    assert cause(0 * g, g) == "zero throughout: never computed, or never stored"
    assert cause(np.log(10) * g, g) == "ln 10 times what it should be"
    assert cause(g / np.pi, g) == "1/π times what it should be"
    assert cause(np.full_like(g, np.nan), g) == "not finite"


@given(gradients(), st.floats(1.1, 1.9))
def test_any_factor(g, factor):
    found = cause(factor * g, g)
    assert found.endswith(" times what it should be")


@given(gradients(least=3), st.floats(0.01, 2), st.sampled_from([1, -1]))
def test_a_penalty_that_is_missing_or_too_much(g, rate, sign):
    w, how = like(g), "large" if sign > 0 else "small"
    assert cause(g + sign * rate * w, g, w) == (
        f"too {how} by {rate:.6g} times the parameter: an L2 penalty?"
    )
    assume(np.ptp(np.sign(w)) > 0)
    assert cause(g + sign * rate * np.sign(w), g, w) == (
        f"too {how} by {rate:.6g} times the parameter's sign: an L1 penalty?"
    )
    assert cause(g + sign * rate, g, w) == f"too {how} by {rate:.6g}"


# The right numbers in the wrong places


@given(gradients(axes=[2], least=2))
def test_rearranged_matrices(g):
    if g.shape[0] == g.shape[1]:
        assert cause(g.T, g) == "transposed"
    else:
        other = "laid out in the other order: transposed, then reshaped?"
        assert cause(g.ravel(order="F").reshape(g.shape), g) == other
    if min(g.shape) > 2:
        assert cause(np.flip(g), g) == "in reverse order along all axes: a flipped kernel?"
        for axis in (0, 1):
            assert cause(np.flip(g, axis), g) == f"in reverse order along axis {axis}"


@given(gradients(least=4))
def test_shifted_and_shuffled(g):
    along = " along axis 0" if g.ndim > 1 else ""
    assert cause(np.roll(g, 1, axis=0), g) == f"off by one{along}"
    shuffled = np.random.default_rng(0).permutation(g.ravel()).reshape(g.shape)
    assert cause(shuffled, g) == "the right numbers in the wrong places"


@given(gradients())
def test_two_leaves_swapped(g):
    h = like(g)
    a, u = leaf_of("u", h, g)
    b, v = leaf_of("v", g, h)
    assert guess(a + b, [u, v]) == {"u": "the gradient of v", "v": "the gradient of u"}


# Sums over the wrong axes


@given(gradients(axes=[1], least=3))
def test_summed_over_too_many_axes(g):
    assume(abs(g.sum()) > 1e-3)
    assert cause(np.full_like(g, g.sum()), g).startswith("the same number throughout")


@given(gradients(axes=[2], least=3), st.sampled_from([0, 1]))
def test_summed_over_one_axis_and_spread(g, axis):
    for reduced in (g.sum(axis, keepdims=True), g.mean(axis, keepdims=True)):
        spread = np.broadcast_to(reduced, g.shape)
        assert cause(spread, g) == f"the same along axis {axis}: summed over it?"


def test_a_total_of_zero_proves_nothing():
    """Gradients of a softmax's biases always add up to 0, right or wrong."""
    assert cause([0.3, -0.1, -0.2], [0.1, 0.3, -0.4]) == ""


@given(gradients(axes=[2], least=3), st.sampled_from([("column", 0), ("row", 1)]))
def test_a_factor_for_each_unit(g, unit):
    name, axis = unit
    shape = (1, g.shape[1]) if axis == 0 else (g.shape[0], 1)
    factors = np.random.default_rng(0).uniform(2, 3, shape)
    assert cause(factors * g, g).startswith(f"each {name} is off by a factor of its own")


# Some entries alone


@given(gradients(axes=[2], least=3), st.sampled_from(["row", "column"]), st.integers(0, 2))
def test_one_row_or_column(g, name, at):
    where = (at,) if name == "row" else (slice(None), at)
    for change, says in (
        (0, f"zero in {name} {at} alone: never stored, or masked?"),
        (-1, f"the wrong sign in {name} {at} alone"),
        (2, f"2 times too large in {name} {at} alone"),
    ):
        a = g.copy()
        a[where] *= change
        assert cause(a, g) == says
    a = g.copy()
    a[where] += like(g[where])
    assert cause(a, g) == f"wrong in {name} {at} alone"


@given(gradients(axes=[2], least=5, most=9), st.integers(1, 3))
def test_a_row_is_recognised_from_four_of_its_entries(g, at):
    """A check of a large leaf examines only a sample and the wrong entries."""
    a = g.copy()
    a[at] *= -1
    row = set(range(at * g.shape[1], at * g.shape[1] + 4))
    assert cause(a, g, which={0, g.size - 1, *row}) == f"the wrong sign in row {at} alone"
    looked_at = {0, g.size - 1, *sorted(row)[:3]}
    assert cause(a, g, which=looked_at) == "the wrong sign in 3 of 5 entries that were checked"


def test_two_rows_and_a_slice():
    g = np.arange(1.0, 25.0)
    a = g.reshape(6, 4).copy()
    a[[1, 4]] *= 2
    assert cause(a, g.reshape(6, 4)) == "2 times too large in rows 1 and 4 alone"
    a[[0, 2]] *= 2
    assert cause(a, g.reshape(6, 4)) == "2 times too large in 16 of 24 entries"
    a = g.reshape(3, 2, 4).copy()
    a[..., 3] = 0
    says = "zero in slice along axis 2, 3 alone: never stored, or masked?"
    assert cause(a, g.reshape(3, 2, 4)) == says


@pytest.mark.parametrize("claimed", [[1.0, 1.0, 1.0, 0.0], [2.0, 2.0, 2.0, 0.0]])
def test_patterns_at_a_kink_are_ignored(claimed):
    at = np.array([1.0, 1.0, 1.0, 0.0])
    report = gradlab.check_gradients(lambda w: w.max(), at, gradient=np.array(claimed))
    assert report.verdict == "mismatch"
    assert report.leaves[0].cause == ""


@given(gradients(axes=[1], least=4))
def test_two_numbers_are_not_a_pattern(g):
    assume(abs(g[0] + g[1]) > 0.01)  # exchanged, opposite numbers have the wrong sign
    assert cause(g[:2][::-1], g[:2]) == ""
    assert cause(np.full(2, g[0]), g[:2]) == ""


def test_a_factor_that_is_nearly_one():
    g = np.array([1.0, -2.0, 3.0])
    assert cause(1.000001 * g, g) == "1 + 1e-06 times what it should be"


@given(gradients(axes=[1], least=4))
def test_lost_signs(g):
    assume(0 < (g < 0).sum() < g.size)
    count = int((g < 0).sum())
    assert cause(np.abs(g), g) == f"the wrong sign in {count} of {g.size} entries"


def test_two_wrong_entries_of_a_row_do_not_blame_the_row():
    g = np.arange(1.0, 17.0).reshape(4, 4)
    a = g.copy()
    a[2, 1:3] *= -1
    assert cause(a, g) == "the wrong sign in 2 of 16 entries"


def test_entries_without_a_slope_are_ignored():
    entries, leaf = leaf_of("w", [-1.0, -2.0], [1.0, 2.0])
    blind = Entry("w", (2,), 5.0, np.nan, np.inf, np.inf, "inconclusive")
    assert guess([*entries, blind], [leaf]) == {"w": "the wrong sign"}


def test_a_wrong_choice_at_a_kink_is_not_a_factor():
    entries, _ = leaf_of("w", [1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    kink = Entry("w", (3,), 0.55, 0.25, 0.25, 0.25, "mismatch", "slopes 0 and 0.5")
    assert guess([*entries, kink], [Leaf("w", (4,), "mismatch", 4)]) == {}


def test_bars_of_zero():
    entries = [Entry("w", (i,), -g, g, 0.0, 0.0, "mismatch") for i, g in enumerate([1.0, 2.0])]
    entries.append(Entry("w", (2,), 0.0, 0.0, 0.0, 0.0, "agree"))
    assert guess(entries, [Leaf("w", (3,), "mismatch", 3)]) == {"w": "the wrong sign"}


def test_one_wrong_entry_of_no_special_factor_has_no_cause():
    assert cause([1.0, 2.0, 3.7], [1.0, 2.0, 3.0]) == ""
    assert cause([1.0, 2.0, -3.0], [1.0, 2.0, 3.0]) == "the wrong sign in 1 of 3 entries"


def test_no_place_is_named_behind_dead_units():
    """All entries with a slope are wrong, so the living units do not locate the mistake."""
    g = np.arange(1.0, 13.0).reshape(4, 3)
    g[:, 1] = 0
    a = g + like(g) * (g != 0)
    assert "alone" not in cause(a, g)


@given(gradients(axes=[2], least=3))
def test_a_right_total_is_not_a_cause(g):
    """The totals of a symmetrised matrix, and of what comes through a softmax, are always right."""
    lack = like(g)
    lack -= lack.mean(axis=0)
    assert cause(g + 0.1 * lack, g) in ("", LOOSE)
    if g.shape[0] == g.shape[1]:
        symmetric = "symmetrised: the mean of the right one and its transpose"
        assert cause((g + g.T) / 2, g) == symmetric


@given(gradients(least=3))
def test_clipped_entries(g):
    limit = float(np.sort(np.abs(g.ravel()))[-3])
    assume(np.sort(np.abs(g.ravel()))[-2] > 1.01 * limit)
    assert cause(np.clip(g, -limit, limit), g) == f"clipped to [-{limit:.6g}, {limit:.6g}]"


@given(gradients(least=3), st.sampled_from([0.01, 0.1]))
def test_clipped_by_the_norm(g, limit):
    assert cause(limit * g / np.linalg.norm(g), g) == (
        f"scaled to a length of {limit:.6g}: clipped by its norm?"
    )


def test_a_flipped_kernel():
    g = like(np.empty((2, 3, 3, 2)))
    says = "in reverse order along the two axes of each kernel: a flipped kernel?"
    assert cause(np.flip(g, (0, 1)), g) == says
    g = like(np.empty((2, 2, 3, 3)))
    assert cause(np.flip(g, (2, 3)), g) == says


def test_a_repeated_index_is_assigned():
    ids, above = np.array([0, 1, 0, 3]), like(np.empty((4, 4)))
    values = like(np.empty((5, 4)), 2)

    def embedded(E, ids, c):
        return np.sum(E[ids] * c)

    def gradient(E, ids, c):
        g = np.zeros_like(E)
        g[ids] += c
        return g

    report = gradlab.check_gradients(embedded, values, ids, above, gradient=gradient)
    assert report.leaves[0].cause == (
        "wrong in row 0 alone: a repeated index, of which the last one is stored instead of all "
        "added?"
    )
    mended = gradlab.check_gradients(
        lambda E: embedded(E, ids, above), values, gradient=lambda E: gradient(E, ids, above)
    )
    assert mended.leaves[0].cause == "wrong in row 0 alone"  # the index is unknown


def test_the_mean_of_a_batch_norm():
    x, above = like(np.empty((6, 3))), like(np.empty((6, 3)), 2)

    def normalised(x, c):
        return np.sum(c * (x - x.mean(axis=0)) / x.std(axis=0))

    def gradient(x, c, mean=True):
        """The gradient derived by hand, with or without the path through the mean."""
        deviation, spread = x - x.mean(axis=0), x.std(axis=0)
        front = c / spread - deviation * (c * deviation).sum(axis=0) / (len(x) * spread**3)
        return front - front.mean(axis=0) * mean

    right = gradlab.check_gradients(normalised, x, above, gradient=gradient)
    wrong = gradlab.check_gradients(
        normalised, x, above, gradient=lambda x, c: gradient(x, c, mean=False)
    )
    assert right.ok
    assert "is the path through the mean of a batch norm missing?" in wrong.leaves[0].cause


def test_a_gradient_that_adds_to_its_last_result():
    kept = np.zeros(3)

    def gradient(w):
        kept[:] += 2 * w
        return kept

    with pytest.raises(LossError, match="adds to its last result"):
        gradlab.check_gradients(lambda w: np.sum(w**2), np.array([1.0, 2, 3]), gradient=gradient)
    rng = np.random.default_rng(0)
    with pytest.raises(LossError, match="fix its seed"):
        gradlab.check_gradients(
            lambda w: np.sum(w**2), np.array([1.0, 2, 3]), gradient=lambda w: rng.normal(size=3)
        )


# Nothing exact


@given(gradients(least=3))
def test_nearly_right_gradients(g):
    """A small number inside a log makes 1e-7/p; single precision rounds each entry separately."""
    off = 1e-7 * np.sign(like(g)) * np.random.default_rng(0).uniform(1, 2, g.shape)
    assert "log(p + ε)" in cause(g * (1 + off), g)
    if g.size > 5:  # for a few numbers, some roundings are smaller than a bar
        assert "computed in single precision" in cause(g.astype(np.float32), g)


@given(gradients(least=3), st.integers(3, 500))
def test_a_small_constant_in_a_log_hides_no_factor(g, n):
    """The gradient y - t of log(p + 1e-7) leaves the 1e-7 out: it hides no factor."""
    off = 1e-6 * np.random.default_rng(0).uniform(1, 2, g.shape)
    assert cause(n * g * (1 + off), g, lengths=[n]) == f"{n} times too large: a sum for a mean?"


@given(gradients(axes=[2], least=3))
def test_a_gradient_of_another_function_gets_at_most_a_vague_cause(g):
    found = cause(g + 0.1 * like(g, 2), g, like(g, 3))
    assert found in ("", LOOSE)
    assert cause(g + 10 * like(g, 2), g, like(g, 3)) == ""


# From a network


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def loss(p, x, y):
    scores = sigmoid(x @ p["W1"] + p["b1"]) @ p["W2"] + p["b2"]
    scores = scores - scores.max(axis=1, keepdims=True)
    return (y * (np.log(np.exp(scores).sum(axis=1, keepdims=True)) - scores)).sum() / len(x)


def by_hand(p, x, y, slope=lambda a: a * (1 - a), **changes):
    """Return the gradient by backpropagation with one changed step."""
    a = sigmoid(x @ p["W1"] + p["b1"])
    q = np.exp(a @ p["W2"] + p["b2"])
    back = (q / q.sum(axis=1, keepdims=True) - y) / len(x)
    front = (back @ p["W2"].T) * slope(a)
    g = {"W1": x.T @ front, "b1": front.sum(0), "W2": a.T @ back, "b2": back.sum(0)}
    return {key: changes.get(key, lambda leaf: leaf)(leaf) for key, leaf in g.items()}


RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((20, 5)), np.eye(3)[RNG.integers(3, size=20)]
PARAMS = {
    "W1": RNG.standard_normal((5, 5)) / 2,
    "b1": RNG.standard_normal(5) / 2,
    "W2": RNG.standard_normal((5, 3)) / 2,
    "b2": RNG.standard_normal(3) / 2,
}
BEFORE = "wrong before W2, right from there on: the derivative of an activation?"


@pytest.mark.parametrize(
    ("fault", "causes"),
    [
        ({}, {}),
        ({"slope": lambda a: 1}, {"W1": BEFORE, "b1": BEFORE}),
        ({"slope": lambda a: 1 - a * a}, {"W1": BEFORE, "b1": BEFORE}),
        ({"W1": np.transpose}, {"W1": "transposed"}),
        ({"W2": lambda g: 20 * g}, {"W2": "20 times too large: a sum for a mean?"}),
        ({"b2": lambda g: g / 20}, {"b2": "20 times too small: a mean for a sum?"}),
        ({"b1": np.zeros_like}, {"b1": "zero throughout: never computed, or never stored"}),
        (
            {"W1": lambda g: g + 0.02 * PARAMS["W1"]},
            {"W1": "too large by 0.02 times the parameter: an L2 penalty?"},
        ),
    ],
)
def test_a_network_by_hand(fault, causes):
    def gradient(p, x, y):
        return by_hand(p, x, y, **fault)

    report = gradlab.check_gradients(loss, PARAMS, X, Y, gradient=gradient)
    assert {leaf.path: leaf.cause for leaf in report.leaves if leaf.cause} == causes
    assert report.ok == (not causes)
    assert {entry.path for entry in report.mismatches} == set(causes)


def test_a_layer_begins_with_its_weights():
    """If the last layer's bias is right and its weights are wrong, no earlier step is named."""
    g = {key: like(leaf, seed) for seed, (key, leaf) in enumerate(PARAMS.items())}
    pairs = {key: leaf_of(key, g[key] + (key != "b2") * g[key] ** 2, g[key]) for key in g}
    entries = [entry for own, _ in pairs.values() for entry in own]
    causes = guess(entries, [leaf for _, leaf in pairs.values()])
    assert not any(cause.startswith("wrong before") for cause in causes.values())


def test_one_wrong_entry_among_right_ones_that_only_directions_checked_is_not_a_wrong_leaf():
    def gradient(p):
        found = {name: np.cos(leaf) for name, leaf in p.items()}
        found["b"][3] *= -1
        return found

    params = {name: np.random.default_rng(0).normal(size=40) for name in "abc"}
    report = gradlab.check_gradients(
        lambda p: sum(np.sum(np.sin(leaf)) for leaf in p.values()),
        params,
        gradient=gradient,
        mode="directional",
        seed=1,
    )
    assert [e.name for e in report.mismatches] == ["b[3]"]
    assert {leaf.cause for leaf in report.leaves} == {"", "the wrong sign in 1 of 40 entries"}
