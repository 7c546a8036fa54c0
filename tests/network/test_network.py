"""The network against high precision, against symmetry, and against everything that is not one.

Tolerances are forward error bounds (Higham, *Accuracy and Stability of Numerical Algorithms*,
2nd ed., 2002, chapter 3): `u` is the machine epsilon of the dtype at hand, NumPy's exp and log are
taken to be good to 4 u, and a sum or product of m terms to m u.
"""

from functools import partial
from itertools import pairwise

import mpmath
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import gradlab
from gradlab import network
from gradlab.errors import DataError, OptionError, ParameterError

FLOATS = [np.float32, np.float64]
mp = mpmath.MPContext()
mp.dps = 60

few = settings(max_examples=40, deadline=None)


def u(dtype):
    return float(np.finfo(dtype).eps)


def tiny(dtype):
    return float(np.finfo(dtype).tiny)


def exact(array):
    """The entries of an array as high-precision numbers, in nested lists."""
    return [exact(row) for row in array] if np.ndim(array) else mp.mpf(float(array))


def to_float(values):
    return np.array(values, dtype=object).astype(float)


# Activations

# name: (value, derivative, what their round-off is relative to where that is more than themselves)
SMOOTH = {
    "sigmoid": (
        lambda x: 1 / (1 + mp.exp(-x)),
        lambda x: mp.exp(-abs(x)) / (1 + mp.exp(-abs(x))) ** 2,
        lambda x: 0,
    ),
    "tanh": (mp.tanh, lambda x: mp.sech(x) ** 2, lambda x: 0),
    "softplus": (
        lambda x: mp.log1p(mp.exp(x)),
        lambda x: 1 / (1 + mp.exp(-x)),
        lambda x: 0,
    ),
    "silu": (  # its derivative is a sum that changes sign
        lambda x: x / (1 + mp.exp(-x)),
        lambda x: (1 + x * mp.exp(-x) / (1 + mp.exp(-x))) / (1 + mp.exp(-x)),
        lambda x: (1 + abs(x)) * mp.exp(-abs(x)) if x < 0 else 1,
    ),
    "elu": (  # autograd takes its derivative as (exp(x) - 1) + 1, which is off by u
        lambda x: x if x > 0 else mp.expm1(x),
        lambda x: mp.mpf(1) if x > 0 else mp.exp(x),
        lambda x: 1,
    ),
    "identity": (lambda x: x, lambda x: mp.mpf(1), lambda x: 0),
}
KINKED = {
    "relu": (lambda x: max(x, mp.mpf(0)), lambda x: mp.mpf(x > 0)),
    "leaky_relu": (
        lambda x: x if x > 0 else x * mp.mpf("0.01"),
        lambda x: mp.mpf(1) if x > 0 else mp.mpf("0.01"),
    ),
}
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
    # Below `tiny` the numbers are spaced evenly: there, the error is absolute. A derivative has
    # one more exp of an argument as large as itself; none is asked to be good where it overflows.
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
def test_at_zero(name, value, slope, zero, dtype):
    x = np.array([zero], dtype)
    assert network.ACTIVATIONS[name](x) == dtype(value)
    assert derivative(network.ACTIVATIONS[name], x) == dtype(slope)


@pytest.mark.parametrize("name", SMOOTH)
@given(x=hnp.arrays(np.float64, 6, elements=st.floats(-40, 40)))
@example(x=np.zeros(6))
@few
def test_a_complex_step_sees_the_derivative_that_autograd_sees(name, x):
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
    """The relative error of softmax: exp amplifies that of its argument, k terms are added."""
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


def mp_cross_entropy(z, targets):
    total = mp.mpf(0)
    for row, target in zip(exact(z), exact(targets), strict=True):
        log_sum = max(row) + mp.log(sum(mp.exp(v - max(row)) for v in row))
        total += sum(t * (log_sum - v) for t, v in zip(target, row, strict=True))
    return float(total / len(z))


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
    # log p takes over the relative error of p.
    bound = softmax_bound(z).max() + 16 * u(float) * (1 + 35)
    assert abs(without_guard - network.cross_entropy(z, labels)) <= bound
    guarded = network.cross_entropy_from_probabilities(p, labels)
    wanted = [-mp.log(mp.mpf(float(v)) + mp.mpf(1e-7)) for v in p[np.arange(4), labels]]
    assert abs(guarded - float(sum(wanted) / 4)) <= 16 * u(float) * 17


def test_the_guard_bounds_the_loss_of_an_impossible_class():
    p = np.array([[1.0, 0.0]])
    assert network.cross_entropy_from_probabilities(p, [1]) == -np.log(1e-7)
    assert network.cross_entropy_from_probabilities(p, [1], guard=1e-3) == -np.log(1e-3)
    # The logarithm of zero is met only where the label is not: it has no part in the loss.
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
def test_one_hot_refuses_what_is_no_class(labels):
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
def test_what_is_no_array_of_numbers(function, x):
    with pytest.raises(DataError, match="the input"):
        function(x)


# The network

sizes_of_networks = st.lists(st.integers(1, 5), min_size=2, max_size=4)


@st.composite
def networks(draw, dtype=np.float64):
    """Parameters, inputs and labels of a small network."""
    sizes = draw(sizes_of_networks)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    scale = draw(st.sampled_from([0.1, 1.0, 3.0]))
    params = network.init(sizes, rng, scale="normal", dtype=dtype)
    params = {name: (scale * leaf).astype(dtype) for name, leaf in params.items()}
    n = draw(st.integers(1, 5))
    x = rng.normal(size=(n, sizes[0])).astype(dtype)
    return params, x, rng.integers(sizes[-1], size=n)


def forward_error(params, x):
    """Bound the round-off of the logits, for activations of slope at most 1.1 (silu)."""
    eps = u(x.dtype)
    size, error = abs(x).astype(float), np.zeros(x.shape)
    for W, b in network.layers({name: abs(leaf).astype(float) for name, leaf in params.items()}):
        sums = size @ W + b
        error = (len(W) + 1) * eps * sums + 1.1 * error @ W
        size = np.maximum(1, sums)  # no activation is larger than its argument, or than 1
        error = error + 8 * eps * size
    return error


def mp_logits(params, x, activation):
    rows = exact(x)
    depth = len(params) // 2
    for layer in range(1, depth + 1):
        W, b = exact(params[f"W{layer}"]), exact(params[f"b{layer}"])
        rows = [
            [
                sum((row[i] * W[i][j] for i in range(len(W))), mp.mpf(0)) + b[j]
                for j in range(len(b))
            ]
            for row in rows
        ]
        if layer < depth:
            rows = [[activation(v) for v in row] for row in rows]
    return to_float(rows)


@pytest.mark.parametrize("name", [*SMOOTH, *KINKED])
@pytest.mark.parametrize("dtype", FLOATS)
@given(data=st.data())
@settings(max_examples=10, deadline=None)
def test_logits_against_high_precision(name, dtype, data):
    params, x, labels = data.draw(networks(dtype))
    z = network.logits(params, x, activation=name)
    wanted = mp_logits(params, x, (SMOOTH | KINKED)[name][0])
    assert z.dtype == dtype
    assert (abs(z - wanted) <= forward_error(params, x)).all()
    k = z.shape[1]
    loss = network.loss(params, x, labels, activation=name)
    wanted_loss = mp_cross_entropy(wanted, np.eye(k)[labels])
    # The loss moves by at most twice as much as the largest logit.
    bound = 2 * forward_error(params, x).max() + u(dtype) * (2 + len(x)) * (wanted_loss + k + 12)
    assert abs(loss - wanted_loss) <= bound


@given(networks())
@few
def test_the_ways_to_look_at_a_network_are_one(case):
    params, x, labels = case
    k = len(params[f"b{len(params) // 2}"])
    z = network.logits(params, x)
    assert np.array_equal(network.probabilities(params, x), network.softmax(z))
    assert np.array_equal(network.predict(params, x), z.argmax(axis=1))
    assert network.accuracy(params, x, labels) == np.mean(z.argmax(axis=1) == labels)
    assert network.accuracy(params, x, np.eye(k)[labels]) == network.accuracy(params, x, labels)
    assert network.accuracy(params, x, network.predict(params, x)) == 1.0
    assert network.loss(params, x, labels) == network.cross_entropy(z, labels)
    assert network.loss(params, x, labels, kind="squared_error") == network.squared_error(
        network.softmax(z), labels
    )


@given(networks())
@few
def test_samples_alone_and_together(case):
    params, x, labels = case
    bound = 2 * forward_error(params, x).max()
    for row, label, together in zip(x, labels, network.logits(params, x), strict=True):
        alone = network.logits(params, row)
        assert alone.shape == together.shape
        assert (abs(alone - together) <= bound).all()  # BLAS may add up in another order
        assert network.predict(params, row).shape == ()
        assert network.accuracy(params, row, label) in (0.0, 1.0)
        assert network.loss(params, row, label) == network.loss(params, row[None], [label])


@given(networks(), st.randoms(use_true_random=False))
@few
def test_hidden_units_may_change_places(case, random):
    params, x, labels = case
    depth = len(params) // 2
    assume(depth > 1)
    layer = random.randint(1, depth - 1)
    order = list(range(len(params[f"b{layer}"])))
    random.shuffle(order)
    renamed = params | {
        f"W{layer}": params[f"W{layer}"][:, order],
        f"b{layer}": params[f"b{layer}"][order],
        f"W{layer + 1}": params[f"W{layer + 1}"][order],
    }
    bound = 4 * forward_error(params, x).max() + 64 * u(float)
    assert abs(network.loss(renamed, x, labels) - network.loss(params, x, labels)) <= bound


@given(networks(), st.randoms(use_true_random=False))
@few
def test_the_order_of_the_batch_does_not_matter(case, random):
    params, x, labels = case
    order = list(range(len(x)))
    random.shuffle(order)
    z = network.logits(params, x)
    for kind in ("cross_entropy", "squared_error"):
        loss = partial(network.loss, params, kind=kind)
        bound = 4 * forward_error(params, x).max() + 16 * u(float) * (1 + abs(z).max())
        assert abs(loss(x[order], labels[order]) - loss(x, labels)) <= bound
    gap = np.sort(z, axis=1)[:, -2:]
    assume(z.shape[1] == 1 or (gap[:, 1] - gap[:, 0]).min() > 4 * bound)
    assert network.accuracy(params, x[order], labels[order]) == network.accuracy(params, x, labels)


@given(networks())
@few
def test_the_order_of_the_dict_does_not_matter(case):
    params, x, labels = case
    backwards = dict(reversed(params.items()))
    assert network.loss(backwards, x, labels) == network.loss(params, x, labels)


@given(networks())
@few
def test_a_batch_twice_has_the_loss_of_the_batch(case):
    params, x, labels = case
    loss = network.loss(params, x, labels)
    twice = network.loss(params, np.vstack([x, x]), np.concatenate([labels, labels]))
    assert abs(twice - loss) <= 4 * forward_error(params, x).max() + 32 * u(float) * (1 + loss)


def test_a_callable_activation_is_used():
    params = network.init((3, 4, 2), seed=1)
    x = np.random.default_rng(0).normal(size=(5, 3))
    assert np.array_equal(
        network.logits(params, x, activation=np.sin),
        np.sin(x @ params["W1"]) @ params["W2"],
    )
    assert np.array_equal(
        network.logits(params, x, activation=network.relu),
        network.logits(params, x, activation="relu"),
    )
    softened = partial(network.leaky_relu, slope=0.5)
    assert np.array_equal(softened(np.array([-2.0, 2.0])), [-1.0, 2.0])
    assert network.loss(params, x, np.zeros(5, int), activation=softened) > 0
    gradient = gradlab.grad(partial(network.loss, activation=softened))(params, x, np.zeros(5, int))
    assert gradient["W1"].any()


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32, np.int64, bool])
def test_images_of_integers_work(dtype):
    params = network.init((6, 4, 3), seed=1)
    x = np.random.default_rng(0).integers(0, 2 if dtype is bool else 100, size=(5, 6)).astype(dtype)
    labels = np.array([0, 1, 2, 1, 0], np.uint8)
    loss, gradient = gradlab.value_and_grad(network.loss)(params, x, labels)
    wanted, wanted_gradient = gradlab.value_and_grad(network.loss)(
        params, x.astype(float), labels.astype(int)
    )
    assert loss == wanted
    for name in params:
        assert np.array_equal(gradient[name], wanted_gradient[name])
    assert network.accuracy(params, x, labels) == network.accuracy(params, x.astype(float), labels)


def test_float32_parameters_stay_float32_beside_bytes():
    params = network.init((6, 4, 3), seed=1, dtype=np.float32)
    x = np.arange(12, dtype=np.uint8).reshape(2, 6)
    assert network.logits(params, x).dtype == np.float32
    assert network.loss(params, x, [0, 2]).dtype == np.float32


def test_inputs_may_be_lists():
    params = network.init((2, 3), seed=1)
    x = [[1.0, 2.0], [0.5, -1.0]]
    assert np.array_equal(network.logits(params, x), network.logits(params, np.array(x)))
    assert network.loss(params, x, [0, 2]) == network.loss(params, np.array(x), np.array([0, 2]))
    assert network.predict(params, [1.0, 2.0]).shape == ()


@given(networks())
@few
def test_nothing_is_mutated(case):
    params, x, labels = case
    for array in (*params.values(), x, labels):
        array.flags.writeable = False  # writing into it would raise
    before = {name: leaf.tobytes() for name, leaf in params.items()}
    for kind in ("cross_entropy", "squared_error"):
        network.loss(params, x, labels, kind=kind)
        gradlab.grad(partial(network.loss, kind=kind))(params, x, labels)
    network.accuracy(params, x, labels)
    network.probabilities(params, x)
    network.one_hot(labels, 5)
    assert {name: leaf.tobytes() for name, leaf in params.items()} == before


# Other libraries' arrays


# Imported before a test begins: JAX draws from NumPy's global generator when it is.
@pytest.fixture(scope="module", params=["jax", "torch"])
def library(request):
    name = {"jax": "JAX", "torch": "PyTorch"}[request.param]
    pytest.importorskip(request.param, reason=f"{name} is not installed")
    return request.param


@pytest.mark.parametrize("name", network.ACTIVATIONS)
@pytest.mark.parametrize("kind", ["cross_entropy", "squared_error"])
@pytest.mark.parametrize("hot", [False, True])
def test_the_same_network_runs_on_other_libraries_arrays(library, name, kind, hot):
    params = network.init((4, 5, 3), seed=0, activation=name)
    x, labels = np.random.default_rng(0).normal(size=(6, 4)), np.array([0, 1, 2, 0, 1, 2])
    labels = network.one_hot(labels, 3) if hot else labels
    loss = partial(network.loss, x=x, labels=labels, activation=name, kind=kind)
    value, grads = gradlab.value_and_grad(loss, library)(params)
    wanted, wanted_grads = gradlab.value_and_grad(loss)(params)
    # Two evaluations, each off by the round-off of the logits, which the loss at most doubles.
    bound = 4 * forward_error(params, x).max() + 32 * u(float) * (1 + wanted)
    assert abs(value - wanted) <= bound
    assert all(grad.dtype == np.float64 for grad in grads.values())
    # A gradient is a sum of 6 such terms, none of which weighs more than an input.
    for path, grad in grads.items():
        assert (abs(grad - wanted_grads[path]) <= 6 * bound * abs(x).max()).all()


GOOD = network.init((3, 4, 2), seed=0)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "the network lacks W1, b1"),
        ({"W1": GOOD["W1"]}, "the network lacks b1"),
        ({"b1": GOOD["b1"]}, "the network lacks W1"),
        ({name: GOOD[name] for name in ("W1", "b1", "W2")}, "the network lacks b2"),
        ({name: GOOD[name] for name in ("W1", "b1", "b2")}, "the network lacks W2"),
        (GOOD | {"scale": 1.0}, "lacks|scale"),
        (GOOD | {"scale": 1.0, "shift": 1.0}, "scale, shift|lacks"),
        ({"W1": GOOD["W1"], "b1": GOOD["b1"], "w2": 1, "b2": 1}, "w2: not a parameter"),
        ({"W0": GOOD["W1"], "b0": GOOD["b1"]}, "W0, b0: not a parameter"),
        ({0: GOOD["W1"], "b1": GOOD["b1"]}, "0: not a parameter"),
        (GOOD | {"W2": GOOD["W2"][:3]}, r"W2 has shape \(3, 2\), but the layer before it has 4"),
        (GOOD | {"b1": np.zeros(3)}, r"b1 has shape \(3,\); expected \(4,\), the outputs of W1"),
        (GOOD | {"b2": np.zeros((1, 2))}, r"b2 has shape \(1, 2\); expected \(2,\)"),
        (GOOD | {"W1": np.zeros(3)}, r"W1 has shape \(3,\); expected \(inputs, outputs\)"),
        (GOOD | {"W1": np.zeros((0, 4))}, r"W1 has shape \(0, 4\)"),
        (GOOD | {"W1": 3.0}, r"W1 has shape \(\)"),
        ([GOOD["W1"], GOOD["b1"]], "a network is a dict W1, b1, W2, b2, ...; not list"),
        (GOOD["W1"], "not ndarray"),
        (None, "not NoneType"),
    ],
)
def test_what_is_not_a_network(params, message):
    with pytest.raises(ParameterError, match=message):
        network.layers(params)
    with pytest.raises(ParameterError, match=message):
        network.loss(params, np.zeros((1, 3)), np.array([0]))


def test_layers_are_pairs_in_order_and_not_copied():
    layers = network.layers(GOOD)
    assert [(W.shape, b.shape) for W, b in layers] == [((3, 4), (4,)), ((4, 2), (2,))]
    assert layers[0][0] is GOOD["W1"]
    deep = network.init([2] * 12, seed=0)  # W10 comes after W9, not after W1
    assert network.layers(deep)[9][0] is deep["W10"]
    assert len(network.layers(deep)) == 11


@pytest.mark.parametrize("shape", [(2, 4), (2, 2), (4,), (), (1, 2, 3), (3, 1), (2, 0)])
def test_inputs_of_another_shape(shape):
    with pytest.raises(DataError, match=r"x has shape .*; the network expects \(samples, 3\)"):
        network.logits(GOOD, np.zeros(shape))


@pytest.mark.parametrize("x", [["a", "b", "c"], [None, None, None], [[1.0, 2.0, 3.0], [1.0]]])
def test_inputs_that_are_no_numbers(x):
    with pytest.raises(DataError, match=r"^x[ :]"):
        network.logits(GOOD, x)


def test_parameters_that_are_lists():
    as_lists = {name: leaf.tolist() for name, leaf in GOOD.items()}
    with pytest.raises(ParameterError, match="W1"):
        network.logits(as_lists, np.ones((1, 3)))


def test_an_empty_batch_has_no_loss_and_no_accuracy():
    x, labels = np.zeros((0, 3)), np.zeros(0, int)
    with pytest.raises(DataError, match="empty"):
        network.loss(GOOD, x, labels)
    with pytest.raises(DataError, match="empty"):
        network.accuracy(GOOD, x, labels)
    assert network.logits(GOOD, x).shape == (0, 2)


def test_unknown_options_are_named():
    x, labels = np.zeros((1, 3)), np.array([0])
    with pytest.raises(OptionError, match=r"unknown activation 'sigmod': did you mean 'sigmoid'"):
        network.loss(GOOD, x, labels, activation="sigmod")
    with pytest.raises(OptionError, match=r"kind='mse': choose cross_entropy or squared_error"):
        network.loss(GOOD, x, labels, kind="mse")


# Drawing parameters


@given(
    sizes_of_networks,
    st.sampled_from([np.float16, np.float32, np.float64, "float32", np.longdouble]),
    st.sampled_from([None, "xavier", "he", "normal", 0.5]),
)
@few
def test_init_gives_a_network_of_these_sizes(sizes, dtype, scale):
    params = network.init(sizes, seed=0, dtype=dtype, scale=scale)
    layers = network.layers(params)
    assert [W.shape for W, _ in layers] == list(pairwise(sizes))
    assert list(params)[:2] == ["W1", "b1"]
    assert all(leaf.dtype == np.dtype(dtype) for leaf in params.values())
    if scale != "normal":
        assert not any(b.any() for _, b in layers)
    assert network.logits(params, np.zeros(sizes[0], dtype)).dtype == np.dtype(dtype)


SIZES = (100, 80, 60)


@pytest.mark.parametrize(
    ("options", "deviations"),
    [
        ({"scale": "xavier"}, [np.sqrt(2 / 180), np.sqrt(2 / 140)]),
        ({"scale": "he"}, [np.sqrt(2 / 100), np.sqrt(2 / 80)]),
        ({"scale": "normal"}, [1.0, 1.0]),
        ({"scale": 0.3}, [0.3, 0.3]),
        ({"scale": 3}, [3.0, 3.0]),
        ({}, [np.sqrt(2 / 180), np.sqrt(2 / 140)]),
        ({"activation": "tanh"}, [np.sqrt(2 / 180), np.sqrt(2 / 140)]),
        ({"activation": np.sin}, [np.sqrt(2 / 180), np.sqrt(2 / 140)]),
        # The last layer's softmax is none of the relu family.
        *(({"activation": name}, [np.sqrt(2 / 100), np.sqrt(2 / 140)])
          for name in ("relu", "leaky_relu", "elu", "softplus", "silu")),
    ],
)  # fmt: skip
@given(seed=st.integers(0, 2**32))
@settings(max_examples=5, deadline=None)
def test_weights_are_normal_with_the_deviation_of_their_scale(options, deviations, seed):
    params = network.init(SIZES, seed, **options)
    for (W, b), deviation in zip(network.layers(params), deviations, strict=True):
        drawn = np.concatenate([W.ravel(), b]) if options.get("scale") == "normal" else W.ravel()
        # Each statistic's own standard error, six times: a false alarm in 5e8 draws.
        n = drawn.size
        assert abs(drawn.mean()) <= 6 * deviation / np.sqrt(n)
        assert abs(np.mean(drawn**2) / deviation**2 - 1) <= 6 * np.sqrt(2 / n)
        within = np.mean(abs(drawn) < deviation)
        assert abs(within - 0.682689) <= 6 * np.sqrt(0.682689 * 0.317311 / n)
        if options.get("scale") == "normal":
            assert abs(np.mean(b**2) - 1) <= 6 * np.sqrt(2 / b.size)
            assert b.any()


@given(st.integers(0, 2**32))
@few
def test_a_seed_decides_every_bit(seed):
    def bits(seed, **options):
        params = network.init((3, 2, 2), seed, scale="normal", **options)
        return b"".join(leaf.tobytes() for leaf in params.values())

    assert bits(seed) == bits(seed) == bits(np.random.default_rng(seed))
    assert bits(seed) != bits(seed + 1)
    rng = np.random.default_rng(seed)
    assert bits(rng) != bits(rng)  # a generator goes on
    # float32 is the same draw, rounded.
    exact = network.init((3, 2), seed)["W1"]
    assert np.array_equal(network.init((3, 2), seed, dtype="f4")["W1"], exact.astype("f4"))


def test_layers_are_drawn_independently():
    params = network.init((50, 50, 50), seed=0, scale="normal")
    drawn = [params[name].ravel() for name in ("W1", "W2")]
    assert abs(np.corrcoef(drawn)[0, 1]) <= 6 / np.sqrt(2500)


@pytest.mark.parametrize("sizes", [(), (3,), (3, 0), (3, -1), (3, 2.5), (3, "2"), "ab"])
def test_sizes_that_are_none(sizes):
    with pytest.raises(OptionError, match="sizes="):
        network.init(sizes)


@pytest.mark.parametrize("scale", ["glorot", -1, -0.5, float("nan"), float("inf")])
def test_scales_that_are_none(scale):
    with pytest.raises(OptionError, match="scale="):
        network.init((3, 2), scale=scale)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": 3}, "sizes=3"),
        ({"sizes": None}, "sizes=None"),
        ({"sizes": (True, 2)}, "sizes="),
        ({"scale": 0}, "scale=0"),
        ({"scale": 0.0}, "scale=0"),
        ({"scale": True}, "scale=True"),
        ({"scale": ""}, "scale=''"),
        ({"dtype": "foo"}, "dtype="),
        ({"activation": ["relu"]}, "unknown activation"),
    ],
)
def test_more_options_that_are_none(options, message):
    with pytest.raises(OptionError, match=message):
        network.init(**({"sizes": (3, 2)} | options))


def test_a_scale_may_be_a_number_of_numpy():
    drawn = network.init((3, 2), scale=np.float32(0.5))["W1"]
    assert np.array_equal(drawn, network.init((3, 2), scale=0.5)["W1"])
    assert np.array_equal(network.init((3, 2), scale=np.int64(1))["W1"], 2 * drawn)


@pytest.mark.parametrize("dtype", [int, np.uint8, complex, object, bool])
def test_dtypes_that_cannot_be_drawn(dtype):
    with pytest.raises(OptionError, match="dtype="):
        network.init((3, 2), dtype=dtype)


@pytest.mark.parametrize("activation", ["rleu", None, 3])
def test_activations_that_are_none(activation):
    with pytest.raises(OptionError, match="unknown activation"):
        network.init((3, 2), activation=activation)


@pytest.mark.parametrize("seed", ["abc", -1, None, True])
def test_seeds_that_are_none(seed):
    with pytest.raises(OptionError, match="seed="):
        network.init((3, 2), seed)
