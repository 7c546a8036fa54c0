"""Activations, softmax and losses against high precision.

Tolerances are forward error bounds (Higham, *Accuracy and Stability of Numerical Algorithms*,
2nd ed., 2002, chapter 3): `u` is the machine epsilon of the dtype at hand, NumPy's exp and log are
taken to be good to 4 u, and a sum or product of m terms to m u.
"""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from precise import FLOATS, KINKED, SMOOTH, exact, few, mp, mp_cross_entropy, to_float, u

import gradlab
from gradlab import network
from gradlab.errors import DataError, OptionError


def tiny(dtype):
    return float(np.finfo(dtype).tiny)


# Activations

EXTREMES = [-1e4, -745.5, -104.0, -88.0, -30.0, -1.0, -1e-3, -1e-8, -0.0]
EXTREMES += [-x for x in EXTREMES]


def derivative(activation, x):
    return gradlab.grad(lambda x: activation(x).sum())(x)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", [*SMOOTH, *KINKED])
@given(extra=hnp.arrays(np.float32, 5, elements=st.floats(-100, 100, width=32)))
@few
def test_activations_and_their_derivatives_are_right_for_any_input(name, dtype, extra):
    value, slope, *relative_to = (SMOOTH | KINKED)[name]
    x = np.concatenate([np.array(EXTREMES, dtype), extra.astype(dtype)])
    y = network.ACTIVATIONS[name](x)
    dy = derivative(network.ACTIVATIONS[name], x)
    assert y.dtype == dy.dtype == dtype
    wanted = to_float([value(mp.mpf(float(v))) for v in x])
    slopes = to_float([slope(mp.mpf(float(v))) for v in x])
    magnitude = to_float([relative_to[0](mp.mpf(float(v))) if relative_to else 0 for v in x])
    # Below `tiny`, numbers are spaced evenly, and the error is absolute. A derivative has
    # one more exp of an argument as large as itself; it need not be right where that overflows.
    below = np.zeros(len(x))
    if name in ("sigmoid", "silu"):  # the sigmoid is never less than 1 / √max
        least = np.finfo(dtype).max ** -0.5
        below = np.where(x < np.log(least), 2 * least * np.maximum(abs(x.astype(float)), 1), 0)
    allowed = 8 * u(dtype) * abs(wanted) + 8 * tiny(dtype) + below
    np.testing.assert_array_less(abs(y - wanted), allowed)
    scale = np.maximum(abs(slopes), magnitude)
    np.testing.assert_array_less(
        abs(dy - slopes), 16 * u(dtype) * scale + 2e4 * tiny(dtype) + below
    )


@pytest.mark.parametrize("dtype", [np.float16, *FLOATS])
def test_sigmoid_stays_where_it_and_its_derivative_would_leave_the_range(dtype):
    least = np.finfo(dtype).max ** -0.5
    x = np.array([-np.finfo(dtype).max, 1.01 * np.log(least)], dtype)
    np.testing.assert_allclose(network.sigmoid(x), least, rtol=1e3 * u(dtype))
    np.testing.assert_array_equal(derivative(network.sigmoid, x), 0)
    just_above = np.array([0.99 * np.log(least)], dtype)
    y = network.sigmoid(just_above).astype(float)
    np.testing.assert_allclose(derivative(network.sigmoid, just_above), y, rtol=1e-2)


@pytest.mark.parametrize("dtype", [np.float16, *FLOATS])
@pytest.mark.parametrize(
    ("name", "value", "slope"),
    [
        ("sigmoid", 0.5, 0.25),
        ("tanh", 0.0, 1.0),
        ("relu", 0.0, 0.0),
        ("leaky_relu", 0.0, 0.01),
        ("elu", 0.0, 1.0),
        ("silu", 0.0, 0.5),
        ("softplus", np.log(2), 0.5),
        ("identity", 0.0, 1.0),
    ],
)
@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_derivatives_at_zero(name, value, slope, zero, dtype):
    x = np.array([zero], dtype)
    assert network.ACTIVATIONS[name](x) == dtype(value)
    assert derivative(network.ACTIVATIONS[name], x) == dtype(slope)


@pytest.mark.parametrize("name", SMOOTH)
@given(x=hnp.arrays(np.float64, 6, elements=st.floats(-40, 40)))
@example(x=np.zeros(6))
@few
def test_a_complex_step_uses_the_derivative_that_autograd_uses(name, x):
    activation, h = network.ACTIVATIONS[name], 1e-100
    by_step = activation(x + 1j * h).imag / h
    # elu and silu: see their rows above
    scale = 1.0 if name in ("elu", "silu") else abs(by_step)
    assert (abs(derivative(activation, x) - by_step) <= 16 * u(float) * scale + 1e-200).all()


@pytest.mark.parametrize("name", ["relu", "leaky_relu"])
@pytest.mark.parametrize("imaginary", [-1e-100, 1e-100, -3.0, 3.0])
def test_the_branch_is_that_of_the_real_part(name, imaginary):
    x = np.array([-2.0, -1e-300, 0.0, 1e-300, 2.0])
    activation = network.ACTIVATIONS[name]
    below = 0.0 if name == "relu" else 0.01
    assert np.array_equal(
        activation(x + 1j * imaginary), np.where(x > 0, 1.0, below) * (x + 1j * imaginary)
    )
    slope = activation(x + 1j * imaginary).imag / imaginary
    assert np.allclose(slope, derivative(activation, x), rtol=2 * u(float), atol=0)


@given(x=hnp.arrays(np.float64, (3, 4), elements=st.floats(-20, 20)), i=st.integers(0, 3))
@few
def test_a_complex_step_through_softmax_and_cross_entropy(x, i):
    h, labels = 1e-100, np.array([0, 3, 1])
    direction = np.eye(4)[i]
    for loss in (
        lambda x: network.cross_entropy(x, labels),
        lambda x: network.squared_error(network.softmax(x), labels),
        lambda x: network.softmax(x)[0, 2] + network.log_softmax(x)[1, 1],
    ):
        by_step = loss(x + 1j * h * direction).imag / h
        # The terms are at most 1 (probabilities), over at most 4 classes and 3 samples.
        by_rows = np.sum(gradlab.grad(loss)(x) * direction)
        assert abs(by_rows - by_step) <= 64 * u(float)


def test_integers_do_not_wrap_around():
    for dtype in (np.uint8, np.int8, np.int64, bool):
        x = np.array([0, 1, 100], dtype)
        for name, activation in network.ACTIVATIONS.items():
            if name != "identity":
                assert np.array_equal(activation(x), activation(x.astype(float))), name


@pytest.mark.parametrize("name", network.ACTIVATIONS)
@pytest.mark.parametrize("dtype", [np.float16, *FLOATS, np.complex128])
def test_the_dtype_is_kept(name, dtype):
    x = np.linspace(-2, 2, 6).reshape(2, 3).astype(dtype)
    assert network.ACTIVATIONS[name](x).dtype == dtype


# Softmax

logit_rows = hnp.arrays(
    np.float64,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=5),
    elements=st.one_of(st.floats(-30, 30), st.sampled_from([-1e4, 1e4, 9999.0, 0.0])),
)


def softmax_bound(z):
    """Bound the relative error of softmax: exp amplifies its argument's, and k terms are added."""
    shift = np.minimum(z.max(axis=-1, keepdims=True) - z, -np.log(tiny(z.dtype)))
    return u(z.dtype) * (shift + z.shape[-1] + 12)


@pytest.mark.parametrize("dtype", FLOATS)
@given(z=logit_rows)
@few
def test_softmax_against_high_precision(dtype, z):
    z = z.astype(dtype)
    rows = [[mp.exp(v - max(row)) for v in row] for row in exact(z)]
    wanted = to_float([[v / sum(row) for v in row] for row in rows])
    p = network.softmax(z)
    assert p.dtype == dtype
    assert (abs(p - wanted) <= softmax_bound(z) * wanted + tiny(dtype)).all()
    # Where p underflows, its logarithm does not.
    log_wanted = to_float(
        [
            [v - max(given) - mp.log(sum(row)) for v in given]
            for given, row in zip(exact(z), rows, strict=True)
        ]
    )
    bound = u(dtype) * (2 * abs(log_wanted) + z.shape[-1] + 12)
    assert (abs(network.log_softmax(z) - log_wanted) <= bound).all()


@given(z=logit_rows)
@few
def test_each_row_adds_up_to_one(z):
    k = z.shape[-1]
    assert (abs(network.softmax(z).sum(axis=1) - 1) <= 2 * k * u(float)).all()


@given(z=logit_rows, other=hnp.arrays(np.float64, 5, elements=st.floats(-1e4, 1e4)))
@few
def test_a_row_does_not_depend_on_the_other_rows(z, other):
    alone = network.softmax(z[:1])
    beside = network.softmax(np.vstack([z, other[: z.shape[1]]]) if z.shape[1] <= 5 else z)
    assert np.array_equal(beside[:1], alone)
    assert np.array_equal(network.softmax(z[0]), alone[0])
    assert np.array_equal(network.log_softmax(z)[0], network.log_softmax(z[0]))


@given(
    z=hnp.arrays(np.float64, (2, 4), elements=st.integers(-1000, 1000).map(float)),
    shift=st.integers(-10000, 10000).map(float),
)
@few
def test_softmax_is_invariant_to_a_shift(z, shift):
    # Integers are shifted without round-off, so that not a bit may differ.
    assert np.array_equal(network.softmax(z + shift), network.softmax(z))
    assert np.array_equal(network.log_softmax(z + shift), network.log_softmax(z))
    labels = np.array([3, 0])
    assert network.cross_entropy(z + shift, labels) == network.cross_entropy(z, labels)


# Losses


def classes_for(z, seed=0):
    return np.random.default_rng(seed).integers(z.shape[-1], size=z.shape[:-1])


@pytest.mark.parametrize("dtype", FLOATS)
@given(z=logit_rows, seed=st.integers(0, 99))
@few
def test_cross_entropy_and_its_gradient_against_high_precision(dtype, z, seed):
    z = z.astype(dtype)
    n, k = z.shape
    labels = classes_for(z, seed)
    targets = np.eye(k)[labels]
    wanted = mp_cross_entropy(z, targets)
    loss = network.cross_entropy(z, labels)
    assert loss.dtype == dtype
    assert abs(loss - wanted) <= u(dtype) * (2 * wanted + k + 12 + n * wanted)
    gradient = gradlab.grad(network.cross_entropy)(z, labels)
    probabilities = to_float(
        [[mp.exp(v - max(row)) / sum(mp.exp(w - max(row)) for w in row) for v in row]
         for row in exact(z)]
    )  # fmt: skip
    assert gradient.dtype == dtype
    assert (abs(gradient - (probabilities - targets) / n) <= u(dtype) * (2 * k + 16) / n).all()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("label", "wanted"), [(0, 0.0), (1, 2e4), (2, 1e4)])
def test_cross_entropy_at_logits_of_ten_thousand(label, wanted, dtype):
    z = np.array([[1e4, -1e4, 0.0]], dtype)
    value, gradient = gradlab.value_and_grad(network.cross_entropy)(z, np.array([label]))
    assert value == wanted
    assert np.array_equal(gradient, np.array([[1, 0, 0]]) - np.eye(3)[[label]])
    small = network.squared_error(network.softmax(z), np.eye(3)[[label]])
    assert small == (label != 0)


@given(z=logit_rows, seed=st.integers(0, 99))
@few
def test_classes_one_hot_and_distributions_are_one_loss(z, seed):
    n, k = z.shape
    labels = classes_for(z, seed)
    hot = network.one_hot(labels, k)
    loss = network.cross_entropy(z, labels)
    bound = u(float) * n * k * (1 + abs(loss))
    for same in (labels.astype(np.uint8), labels.astype(np.int32), labels.tolist(), hot == 1):
        if n != k or not isinstance(same, list):
            assert network.cross_entropy(z, same) == loss
    assert abs(network.cross_entropy(z, hot) - loss) <= bound
    assert abs(network.cross_entropy(z, hot.astype(int)) - loss) <= bound
    rng = np.random.default_rng(seed)
    spread = rng.dirichlet(np.ones(k), size=n)
    wanted = mp_cross_entropy(z, spread)
    largest = abs(network.log_softmax(z)).max()
    assert abs(network.cross_entropy(z, spread) - wanted) <= u(float) * (n + k + 14) * (
        1 + k * largest
    )


@given(z=hnp.arrays(np.float64, (4, 3), elements=st.floats(-15, 15)), seed=st.integers(0, 99))
@few
def test_cross_entropy_from_logits_and_from_probabilities_agree(z, seed):
    labels = classes_for(z, seed)
    p = network.softmax(z)
    without_guard = network.cross_entropy_from_probabilities(p, labels, guard=0.0)
    # The error of log p is the relative error of p.
    bound = softmax_bound(z).max() + 16 * u(float) * (1 + 35)
    assert abs(without_guard - network.cross_entropy(z, labels)) <= bound
    guarded = network.cross_entropy_from_probabilities(p, labels)
    wanted = [-mp.log(mp.mpf(float(v)) + mp.mpf(1e-7)) for v in p[np.arange(4), labels]]
    assert abs(guarded - float(sum(wanted) / 4)) <= 16 * u(float) * 17


def test_the_guard_bounds_the_loss_of_an_impossible_class():
    p = np.array([[1.0, 0.0]])
    assert network.cross_entropy_from_probabilities(p, [1]) == -np.log(1e-7)
    assert network.cross_entropy_from_probabilities(p, [1], guard=1e-3) == -np.log(1e-3)
    # The logarithm of zero occurs only for other labels, and does not enter the loss.
    with np.errstate(divide="ignore"):
        assert network.cross_entropy_from_probabilities(p, [0], guard=0.0) == 0.0


@given(
    y=hnp.arrays(np.float64, (3, 4), elements=st.floats(-10, 10)),
    t=hnp.arrays(np.float64, (3, 4), elements=st.floats(-10, 10)),
)
@few
def test_squared_error_and_its_gradient(y, t):
    pairs = zip(exact(y.ravel()), exact(t.ravel()), strict=True)
    wanted = float(sum((a - b) ** 2 / 2 for a, b in pairs) / 3)
    assert abs(network.squared_error(y, t) - wanted) <= 20 * u(float) * wanted + tiny(float)
    gradient = gradlab.grad(network.squared_error)(y, t)
    assert np.allclose(gradient, (y - t) / 3, rtol=8 * u(float), atol=tiny(float))
    labels = np.array([3, 0, 2])
    assert network.squared_error(y, labels) == network.squared_error(y, network.one_hot(labels, 4))


def test_a_single_sample_counts_as_a_batch_of_one():
    z, t = np.array([0.3, -1.0, 2.0]), np.array([0.0, 1.0, 0.0])
    for loss in (
        network.cross_entropy,
        network.squared_error,
        lambda z, t: network.cross_entropy_from_probabilities(network.softmax(z), t),
    ):
        assert loss(z, t) == loss(z[None], t[None])
        assert loss(z, 1) == loss(z, np.int64(1)) == loss(z[None], [1])
    assert network.softmax(z).shape == (3,)


def test_losses_take_lists():
    assert network.cross_entropy([[1.0, 2.0]], [1]) == network.cross_entropy(
        np.array([[1.0, 2.0]]), np.array([1])
    )
    assert network.squared_error([0.5, 0.5], [0, 1]) == 0.25
    assert network.cross_entropy_from_probabilities([0, 1], [0, 1], guard=1e-7) == -np.log(1 + 1e-7)
    assert network.softmax([0, 0]).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("dtype", [np.float16, *FLOATS])
def test_losses_keep_the_dtype(dtype):
    z = np.array([[0.5, -1.0, 2.0], [1.0, 0.0, 0.0]], dtype)
    p = network.softmax(z)
    labels = np.array([2, 1])
    hot = network.one_hot(labels, 3).astype(dtype)
    assert network.cross_entropy(z, labels).dtype == dtype
    assert network.cross_entropy(z, hot).dtype == dtype
    assert network.cross_entropy(z, hot == 1).dtype == dtype
    assert network.cross_entropy_from_probabilities(p, labels).dtype == dtype
    assert network.squared_error(p, hot).dtype == dtype
    assert gradlab.grad(network.cross_entropy)(z, labels).dtype == dtype


def test_squared_error_of_classes_keeps_the_dtype():
    p = np.array([[0.25, 0.75]], np.float32)
    assert network.squared_error(p, [1]).dtype == np.float32


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 3], "label 3 is out of range: the classes are 0 to 2"),
        ([-1, 0], "label -1 is out of range: the classes are 0 to 2"),
        (np.array([0, 255], np.uint8), "label 255 is out of range"),
        ([0.0, 1.0], "labels have dtype float64; classes are integers"),
        ([True, False], "labels have dtype bool"),
        (["a", "b"], "labels has dtype <U1; expected numbers"),
        ([["a"] * 3] * 2, "labels has dtype <U1; expected numbers"),
        ([[0], [0, 1]], "labels: list is not an array"),
        ([0, 1, 2], r"labels have shape \(3,\); for outputs of shape \(2, 3\)"),
        (0, r"labels have shape \(\)"),
        ([[0], [1]], r"labels have shape \(2, 1\)"),
        ([[1, 0], [0, 1]], r"labels have shape \(2, 2\)"),
    ],
)
@pytest.mark.parametrize(
    "loss",
    [network.cross_entropy, network.squared_error, network.cross_entropy_from_probabilities],
)
def test_labels_that_do_not_fit(loss, labels, message):
    with pytest.raises(DataError, match=message):
        loss(np.full((2, 3), 0.5), labels)
    with pytest.raises(DataError, match=message):  # within a gradient, too
        gradlab.grad(loss)(np.full((2, 3), 0.5), labels)


@pytest.mark.parametrize("loss", [network.cross_entropy, network.squared_error])
def test_an_empty_batch_has_no_mean(loss):
    with pytest.raises(DataError, match="the batch is empty"):
        loss(np.zeros((0, 3)), np.zeros(0, int))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=8), st.integers(5, 7))
@few
def test_one_hot_is_a_table_of_zeros_and_a_one(labels, k):
    hot = network.one_hot(labels, k)
    assert hot.dtype == np.float64
    assert hot.shape == (len(labels), k)
    assert np.array_equal(hot, np.eye(k)[labels])
    assert hot.argmax(axis=1).tolist() == labels


@pytest.mark.parametrize("labels", [[3], [-1], [0.0], ["0"], [[0], [1, 2]]])
def test_one_hot_refuses_invalid_classes(labels):
    with pytest.raises(DataError, match="label"):
        network.one_hot(labels, 3)


@pytest.mark.parametrize("classes", [0, -1, 2.0, True, None])
def test_one_hot_counts_classes(classes):
    with pytest.raises(OptionError, match=r"classes=.*: give an integer from 1"):
        network.one_hot([0], classes)


@pytest.mark.parametrize(
    "function",
    [network.softmax, network.sigmoid, network.relu, lambda x: network.cross_entropy(x, 0)],
)
@pytest.mark.parametrize("x", ["abc", ["a", "b"], None, [[1.0], [1.0, 2.0]]])
def test_arguments_must_be_arrays_of_numbers(function, x):
    with pytest.raises(DataError, match="the input"):
        function(x)
