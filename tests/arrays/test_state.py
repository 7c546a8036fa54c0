"""Layers that keep something from one call for the next, as people write them.

Batch normalisation keeps running statistics, a recurrent layer its hidden state, dropout its mask.
With `gradlab.detach` around what they keep they are right on every backend that evaluates NumPy;
the truth is computed from the same formulas without any state, and by numerical quotients.
"""

import warnings

import numpy as np
import pytest
from optional import EXACT, each_backend

import gradlab
from gradlab.errors import GradlabError, StatefulLossWarning, UntraceableWarning

EPS = np.finfo(float).eps
EVALUATES_ONCE = ["autograd", "tape", "torch", "forward-gradient"]
"""Backends that call a loss once for a gradient."""
OF_NUMPY = [name for name in EXACT if name not in ("complex-step", "jax")]
RECORDS = ["tape", "central", "central4", "forward"]
DECAY = 0.9
WIDTH = 8
"""With it, the parameters are numerous enough for finite differences to record the loss."""

CLOSE = {"forward": 1e-6, "central": 1e-8, "central4": 1e-9}
"""Accepted error relative to the largest entry: h f''/2 and ε f/h with h = √ε, h² f'''/6 and
ε f/h with h = ε^⅓, h⁴ f⁽⁵⁾/30 with h = 1e-3, each times derivatives and values of the order of 10
(of 1000 for f⁽⁵⁾); others are off by roundings."""


def close_to(backend, found, exact):
    allowed = CLOSE.get(backend, 1e-10)
    largest = max(abs(leaf).max() for leaf in exact.values())
    for name, leaf in exact.items():
        np.testing.assert_allclose(found[name], leaf, rtol=0, atol=allowed * largest, err_msg=name)


def quietly(function, *args):
    """Call a function; return its result and its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        return function(*args), caught


# Batch normalisation


class BatchNorm:
    """Batch norm with running statistics in the style of textbooks, and `detach` for the state."""

    def __init__(self, n):
        self.running_mean, self.running_var = np.zeros(n), np.ones(n)
        self.calls = 0
        self.training = True

    def forward(self, x, gamma, beta):
        if self.training:
            mean, var = np.mean(x, axis=0), np.mean((x - np.mean(x, axis=0)) ** 2, axis=0)
            self.running_mean = DECAY * self.running_mean + (1 - DECAY) * gradlab.detach(mean)
            self.running_var = DECAY * self.running_var + (1 - DECAY) * gradlab.detach(var)
            self.calls += 1
        else:
            mean, var = self.running_mean, self.running_var
        return gamma * (x - mean) / np.sqrt(var + 1e-5) + beta


def head(params, h, labels):
    """Compute the rest of the network after the tested layer: softmax and cross entropy."""
    z = np.dot(np.tanh(h), params["V"])
    z = z - np.max(z, axis=1, keepdims=True)
    log_p = z - np.log(np.sum(np.exp(z), axis=1, keepdims=True))
    return -np.mean(log_p[np.arange(len(labels)), labels])


def of_layer(layer):
    return lambda params, x, labels: head(
        params, layer.forward(np.dot(x, params["W"]), params["gamma"], params["beta"]), labels
    )


def without_state(params, x, labels):
    h = x @ params["W"]
    mean = h.mean(axis=0)
    normal = (h - mean) / np.sqrt(((h - mean) ** 2).mean(axis=0) + 1e-5)
    return head(params, params["gamma"] * normal + params["beta"], labels)


def problem():
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(24, 4)), rng.integers(3, size=24)
    params = {
        "W": rng.normal(size=(4, WIDTH)),
        "gamma": rng.uniform(0.5, 1.5, WIDTH),
        "beta": rng.normal(size=WIDTH),
        "V": rng.normal(size=(WIDTH, 3)),
    }
    return params, x, labels


def test_the_reference_without_state_agrees_with_difference_quotients():
    params, *data = problem()
    gradient = gradlab.grad(without_state)(params, *data)
    h = 1e-5
    for name, leaf in params.items():
        for i in np.ndindex(leaf.shape):
            values = []
            for sign in (1, -1):
                moved = dict(params, **{name: leaf.copy()})
                moved[name][i] += sign * h
                values.append(without_state(moved, *data))
            # h²/6 times a third derivative of the order of 10, and round-off.
            assert abs(gradient[name][i] - (values[0] - values[1]) / (2 * h)) < 1e-8


@each_backend(OF_NUMPY)
def test_running_statistics_do_not_change_the_gradient_of_batch_norm(backend):
    params, *data = problem()
    layer = BatchNorm(WIDTH)
    gradient, told = quietly(gradlab.grad(of_layer(layer), backend=backend), params, *data)
    close_to(backend, gradient, gradlab.grad(without_state)(params, *data))
    assert StatefulLossWarning not in {w.category for w in told}
    assert type(layer.running_mean) is type(layer.running_var) is np.ndarray


@each_backend([*OF_NUMPY, "spsa", "forward-gradient"])
def test_the_running_mean_is_that_of_the_number_of_calls(backend):
    """Each evaluation of a numerical backend updates the running mean."""
    params, *data = problem()
    layer = BatchNorm(WIDTH)
    quietly(gradlab.grad(of_layer(layer), backend=backend), params, *data)
    assert (layer.calls == 1) is (backend in EVALUATES_ONCE)
    share = 1 - DECAY**layer.calls  # a tenth is the mean, the rest the zero at the start
    h = data[0] @ params["W"]
    # Backends that do not halve their steps take at most 1e-3; the mean changes by this times x.
    moved = 1e-13 if backend in (*EVALUATES_ONCE, "autograd-forward") else 0.1
    np.testing.assert_allclose(layer.running_mean, share * h.mean(axis=0), rtol=0, atol=moved)
    np.testing.assert_allclose(
        layer.running_var, 1 - share + share * h.var(axis=0), rtol=0, atol=10 * moved
    )


@each_backend(["autograd", "tape", "torch"])
def test_a_training_leaves_the_running_mean_of_its_batches(backend):
    params, *data = problem()
    layer, batches = BatchNorm(WIDTH), []

    def note(step):
        batches.append((step.params["W"].copy(), step.batch[0].copy()))

    result, told = quietly(
        lambda: gradlab.fit(
            of_layer(layer), params, tuple(data), backend=backend, learning_rate=0.1,
            batch_size=8, iterations=12, callbacks=[note],
        )
    )  # fmt: skip
    mean = np.zeros(WIDTH)
    for W, x in batches:
        mean = DECAY * mean + (1 - DECAY) * (x @ W).mean(axis=0)
    assert layer.calls == len(batches) == 12
    np.testing.assert_allclose(layer.running_mean, mean, rtol=0, atol=1e-13)
    pure = gradlab.fit(
        without_state, params, tuple(data), backend="autograd", learning_rate=0.1,
        batch_size=8, iterations=12,
    )  # fmt: skip
    close_to(backend, result.params, pure.params)
    slower = [w for w in told if w.category is UntraceableWarning]
    assert len(slower) == (backend == "tape")
    layer.training = False
    assert np.isfinite(of_layer(layer)(result.params, *data))


@each_backend(OF_NUMPY)
def test_a_layer_that_only_reads_its_statistics_is_recorded(backend):
    """In evaluation mode, the kept statistics are constants, and there is no warning."""
    params, *data = problem()
    layer = BatchNorm(WIDTH)
    of_layer(layer)(params, *data)
    layer.training = False
    mean, var = layer.running_mean.copy(), layer.running_var.copy()

    def constant(params, x, labels):
        normal = (x @ params["W"] - mean) / np.sqrt(var + 1e-5)
        return head(params, params["gamma"] * normal + params["beta"], labels)

    gradient = gradlab.grad(of_layer(layer), backend=backend)(params, *data)
    close_to(backend, gradient, gradlab.grad(constant)(params, *data))
    assert np.array_equal(layer.running_mean, mean)


@each_backend(RECORDS)
def test_a_loss_that_cannot_be_recorded_warns_once(backend):
    params, *data = problem()
    f = gradlab.grad(of_layer(BatchNorm(WIDTH)), backend=backend)
    told = [w for _ in range(3) for w in quietly(f, params, *data)[1]]
    assert [w.category for w in told] == [UntraceableWarning]
    assert "test_state.py" in str(told[0].message)


@each_backend(["jax"])
def test_a_compiled_loss_is_right_or_refused(backend):
    params, *data = problem()
    layer = BatchNorm(WIDTH)
    try:
        gradient = quietly(gradlab.grad(of_layer(layer), backend=backend), params, *data)[0]
    except GradlabError as error:
        assert "detach" in str(error)  # noqa: PT017
        return
    close_to(backend, gradient, gradlab.grad(without_state)(params, *data))
    assert layer.calls >= 1


@pytest.mark.parametrize("keep", [gradlab.detach, lambda x: x], ids=["detach", "as it is"])
def test_the_complex_step_leaves_plain_real_numbers(keep):
    """This includes values computed from earlier state, which would otherwise contain the step."""
    params, x, _ = problem()
    kept = {"mean": np.zeros(WIDTH)}

    def loss(params, x):
        h = np.dot(x, params["W"])
        kept["mean"] = DECAY * kept["mean"] + (1 - DECAY) * keep(np.mean(h, axis=0))
        return np.sum(np.tanh(h) * params["gamma"])

    gradient = gradlab.grad(loss, backend="complex-step")(params, x)
    close_to("complex-step", gradient, gradlab.grad(lambda p: loss_without(p, x))(params))
    assert type(kept["mean"]) is np.ndarray
    assert kept["mean"].dtype == np.float64


def loss_without(params, x):
    return np.sum(np.tanh(x @ params["W"]) * params["gamma"])


# A recurrent layer


class Recurrent:
    """A layer that continues from the hidden state of the previous call."""

    def __init__(self, n, keep):
        self.h, self.keep = np.zeros(n), keep

    def forward(self, params, steps):
        h = self.h
        for x in steps:
            h = np.tanh(np.dot(x, params["W"]) + np.dot(h, params["U"]))
        self.h = self.keep(h)
        return np.sum(h**2)


def recurrent(params, h, steps):
    """Apply the layer to a given state, and also return the next state."""
    for x in steps:
        h = np.tanh(x @ params["W"] + h @ params["U"])
    return (h**2).sum(), h


def sequence():
    rng = np.random.default_rng(1)
    params = {"W": rng.normal(size=(2, 3)), "U": rng.normal(size=(3, 3))}
    return params, rng.normal(size=(2, 4, 2))


def carried_on(backend, keep):
    """Differentiate two parts of a sequence, and return the warnings about the loss's state.

    The second call continues from the state of the first, and differentiates only its own steps.
    """
    params, parts = sequence()
    layer = Recurrent(3, keep)
    f = gradlab.grad(layer.forward, backend=backend)
    h, told = np.zeros(3), []
    for steps in parts:
        gradient, caught = quietly(f, params, steps)
        told += [str(w.message) for w in caught if w.category is StatefulLossWarning]
        exact = gradlab.grad(lambda p, held=h, s=steps: recurrent(p, held, s)[0])(params)
        close_to(backend, gradient, exact)
        h = recurrent(params, h, steps)[1]
        assert type(layer.h) is np.ndarray
        np.testing.assert_allclose(layer.h, h, rtol=0, atol=8 * EPS)
    return told


@each_backend(["autograd", "tape", "torch"])
def test_a_hidden_state_is_carried_on_as_a_constant(backend):
    assert carried_on(backend, gradlab.detach) == []


@each_backend(["autograd", "tape", "torch"])
def test_a_hidden_state_that_is_traced_is_replaced_and_named(backend):
    told = carried_on(backend, lambda h: h)
    assert told
    assert all("h, where its plain number" in message for message in told)


@each_backend(["central", "central4", "forward", "richardson", "spsa"])
def test_a_hidden_state_that_changes_the_loss_is_refused_by_differences(backend):
    """The differences would subtract values of different losses."""
    params, parts = sequence()
    layer = Recurrent(3, gradlab.detach)
    with pytest.raises(GradlabError):
        quietly(gradlab.grad(layer.forward, backend=backend), params, parts[0])


@each_backend(OF_NUMPY)
def test_a_hidden_state_that_is_reset_has_one_gradient(backend):
    params, parts = sequence()
    layer = Recurrent(3, gradlab.detach)

    def loss(params, steps):
        layer.h = np.zeros(3)
        return layer.forward(params, steps)

    gradient = quietly(gradlab.grad(loss, backend=backend), params, parts[0])[0]
    exact = gradlab.grad(lambda p: recurrent(p, np.zeros(3), parts[0])[0])(params)
    close_to(backend, gradient, exact)


@pytest.mark.parametrize("data", [np.ones((2, 3, 2)), np.ones((2, 3, 2))[:, ::-1]])
def test_rows_of_a_view_are_writeable_after_the_call(data):
    """Rows are views, too, made after their base was protected from writes."""
    f = gradlab.grad(lambda w, x: sum(np.dot(row, w) ** 2 for row in x), backend="autograd")
    assert np.array_equal(f(np.ones(2), data[0]), [12.0, 12.0])
    rows = list(data[1])
    assert np.array_equal(f(np.ones(2), rows), [12.0, 12.0])
    assert data.flags.writeable
    assert all(row.flags.writeable for row in rows)


def test_a_view_of_a_read_only_array_stays_read_only():
    data = np.ones((3, 2))
    view = data[:]
    data.flags.writeable = False
    gradlab.grad(lambda w, x: np.sum(np.dot(x, w)), backend="autograd")(np.ones(2), view)
    assert view.flags.writeable
    assert not data.flags.writeable


# Dropout


class Dropout:
    """Dropout with a mask drawn outside, which it keeps."""

    def forward(self, x, mask):
        self.mask = mask
        return x * mask / 0.5


@each_backend(OF_NUMPY)
def test_dropout_with_masks_as_arguments(backend):
    params, x, labels = problem()
    layer = Dropout()
    rng = np.random.default_rng(2)

    def loss(params, x, labels, mask):
        return head(params, layer.forward(np.dot(x, params["W"]), mask), labels)

    f = gradlab.grad(loss, backend=backend)
    for _ in range(2):
        mask = rng.random((len(x), WIDTH)) < 0.5
        gradient, told = quietly(f, params, x, labels, mask)
        exact = gradlab.grad(lambda p, m=mask: head(p, np.where(m, 2 * (x @ p["W"]), 0.0), labels))(
            params
        )
        close_to(backend, gradient, exact)
        assert not np.any(gradient["gamma"])
        assert StatefulLossWarning not in {w.category for w in told}


@pytest.mark.parametrize("inner", ["autograd", "tape", "central"])
@pytest.mark.parametrize("outer", ["autograd", "tape", "central"])
def test_gradient_at_arrays_that_a_loss_creates(inner, outer):
    """A loss may differentiate at arrays that it creates while it is traced."""

    def loss(s):
        w = np.array([1.0, 2.0])
        grads = gradlab.grad(lambda p, c: np.sum(c * p["w"] ** 2), inner)({"w": w}, 3.0)
        return s**2 * np.sum(grads["w"])

    found = gradlab.grad(loss, outer)(0.5)
    assert found == pytest.approx(18.0, rel=1e-8)
