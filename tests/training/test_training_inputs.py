"""Parameters of any structure, and inputs that the trainer refuses."""

from collections import namedtuple

import numpy as np
import pytest
from lines import LINE, Constant, Recorder, X, Y, bits, distance_loss, fit_line
from optional import each_backend

import gradlab
from gradlab import descend, fit, network
from gradlab.errors import (
    BackendError,
    DataError,
    GradlabError,
    LossError,
    OptionError,
    ParameterError,
)

# Losses of the batches alone.
pytestmark = pytest.mark.filterwarnings("ignore::gradlab.errors.ZeroGradientWarning")


# Parameters


def nested_loss(params, x):
    first, (second, third) = params["layers"]
    return (
        0.5 * ((first["a"] - x.mean()) ** 2).sum()
        + 0.5 * (second - 1.0) ** 2
        + 0.5 * ((third - 2.0) ** 2).sum()
        + 0.5 * (params["scale"] - 3.0) ** 2
    )


def test_parameters_of_any_structure():
    pair = namedtuple("pair", "second third")
    params = {
        "layers": [{"a": np.zeros((2, 3), np.float32)}, pair(np.array(0.0), np.zeros(2))],
        "scale": 0.0,
    }
    trained = fit(nested_loss, params, (np.full(5, 4.0),), learning_rate=0.5, epochs=1).params
    assert type(trained["layers"]) is list
    assert type(trained["layers"][1]) is pair
    assert np.array_equal(trained["layers"][0]["a"], np.full((2, 3), 2.0))
    assert trained["layers"][0]["a"].dtype == np.float32
    assert trained["layers"][1].second == 0.5
    assert trained["layers"][1].second.shape == ()
    assert np.array_equal(trained["layers"][1].third, [1.0, 1.0])
    assert trained["scale"] == 1.5
    assert isinstance(trained["scale"], float)


@pytest.mark.parametrize("start", [3, 3.0, np.int8(3), np.float64(3), np.array(3.0), np.array(3)])
def test_a_bare_number_is_trained_too(start):
    trained = fit(distance_loss, start, (np.array([1.0]),), learning_rate=0.25, epochs=1).params
    assert trained == 2.5
    assert trained.dtype == np.float64
    assert trained.shape == ()
    assert isinstance(trained, np.ndarray) == isinstance(start, np.ndarray)


def test_a_bare_array_is_trained_too():
    start = np.array([[3, 5]])
    trained = fit(distance_loss, start, (np.array([[1, 1]]),), learning_rate=0.5, epochs=1).params
    assert np.array_equal(trained, [[2.5, 4.0]])
    assert start.dtype == np.int64


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
@pytest.mark.parametrize("backend", ["autograd", "central"])
@pytest.mark.parametrize("learning_rate", [0.1, np.float64(0.1), np.float32(0.1)])
def test_the_dtype_is_kept(dtype, backend, learning_rate):
    params = network.init((2, 3, 2), 0, dtype=dtype)
    x, labels = np.ones((4, 2)), np.array([0, 1, 0, 0])
    seen = Recorder()
    trained = fit(
        network.loss,
        params,
        (x, labels),
        backend=backend,
        learning_rate=learning_rate,
        momentum=learning_rate,
        epochs=2,
        callbacks=[seen],
    ).params
    for tree in (trained, seen.steps[-1].grads, seen.steps[-1].params):
        assert {leaf.dtype for leaf in tree.values()} == {np.dtype(dtype)}


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.int8])
def test_integers_are_trained_as_float64(dtype):
    params = {"slope": np.zeros((), dtype), "offset": np.ones((), dtype)}
    trained = fit_line(params=params, epochs=1).params
    as_floats = fit_line(params={"slope": np.zeros(()), "offset": np.ones(())}, epochs=1).params
    assert bits(trained) == bits(as_floats)


@each_backend()
def test_nothing_is_mutated(backend):
    params = network.init((3, 4, 2), 0)
    x, labels = np.random.default_rng(0).normal(size=(6, 3)), np.array([0, 1, 1, 0, 1, 0])
    before = bits([params, x, labels])
    for array in (*params.values(), x, labels):
        array.flags.writeable = False  # writing into it would raise
    seen = Recorder()
    trained = fit(
        network.loss, params, (x, labels), backend=backend, epochs=3, momentum=0.5, callbacks=[seen]
    ).params
    assert bits([params, x, labels]) == before
    assert not any(np.shares_memory(trained[name], params[name]) for name in params)
    # The callbacks' arrays do not change either.
    kept = [bits(step.params) for step in seen.steps]
    assert len({b"".join(leaves) for leaves in kept}) == 3
    assert kept[0] == bits(params)


def test_without_a_step_the_parameters_are_an_equal_copy():
    params = {"a": np.ones(2), "b": np.zeros(0)}
    trained = fit(lambda p, x: p["a"].sum() * 0.0, params, (X,), epochs=1).params
    assert bits(trained) == bits(params)
    assert trained["b"].shape == (0,)
    trained["a"][:] = 5
    assert (params["a"] == 1).all()


# Bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size=0: give an integer from 1"),
        ({"batch_size": -3}, "batch_size=-3: give an integer from 1"),
        ({"batch_size": 2.0}, r"batch_size=2\.0: give an integer from 1"),
        ({"batch_size": "3"}, "batch_size='3': give an integer from 1"),
        ({"batch_size": 21}, "batch_size=21: there are only 20 samples"),
        ({"epochs": 0}, "epochs=0: give an integer from 1"),
        ({"epochs": -1}, "epochs=-1: give an integer from 1"),
        ({"epochs": 1.5}, r"epochs=1\.5: give an integer from 1"),
        ({"iterations": 0}, "iterations=0: give an integer from 1"),
        ({"iterations": 2.5}, r"iterations=2\.5: give an integer from 1"),
        ({"epochs": 2, "iterations": 5}, "epochs and iterations exclude each other"),
        ({"learning_rate": 0}, "learning_rate=0.*: give a positive number"),
        ({"learning_rate": -0.1}, r"learning_rate=-0\.1: give a positive number"),
        ({"learning_rate": np.nan}, "learning_rate=nan: give a positive number"),
        ({"learning_rate": np.inf}, "learning_rate=inf: give a positive number"),
        ({"momentum": 1}, "momentum=1.*: give a number from 0 to below 1"),
        ({"momentum": -0.1}, r"momentum=-0\.1: give a number from 0 to below 1"),
        ({"momentum": np.nan}, "momentum=nan: give a number from 0 to below 1"),
        ({"seed": "abc"}, "seed='abc': give an integer from 0"),
        ({"seed": -1}, "seed=-1: give an integer from 0"),
        ({"seed": None}, "seed=None: give an integer from 0"),
        ({"seed": 1.5}, r"seed=1\.5: give an integer from 0"),
        ({"seed": True}, "seed=True: give an integer from 0"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(OptionError, match=message):
        fit_line(**options)


@pytest.mark.parametrize("name", ["batch_size", "epochs", "iterations"])
def test_counts_may_be_integers_of_numpy(name):
    plain = fit_line(**{name: 7})
    for count in (np.int64(7), np.uint8(7)):
        assert bits(fit_line(**{name: count}).params) == bits(plain.params)


@pytest.mark.parametrize("name", ["batch_size", "epochs", "iterations", "learning_rate"])
def test_a_bool_is_not_a_number(name):
    with pytest.raises(OptionError, match=f"{name}=True"):
        fit_line(**{name: True})


@pytest.mark.parametrize("name", ["learning_rate", "momentum"])
@pytest.mark.parametrize("value", ["0.1", 1j, [0.1]])
def test_a_rate_must_be_a_number(name, value):
    with pytest.raises(OptionError, match=f"{name}="):
        fit_line(**{name: value})


Named = namedtuple("Named", "pixels labels")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((), r"data: give arrays with one row per sample, such as \(x, y\)"),
        ([], "data: give arrays"),
        (X, "data: give arrays"),
        ("xy", "data: give arrays"),
        ({"x": X}, "data: give arrays"),
        (iter((X, Y)), "data: give arrays"),
        ((X[:0], Y[:0]), r"data: x holds no samples \(shape \(0,\)\)"),
        ((3.0, 4.0), r"data: x holds no samples \(shape \(\)\)"),
        ((X, Y[:3]), "data: 20 samples of x, but 3 of y"),
        ((X, Y, Y[:3]), "data: 20 samples of array 0, but 3 of array 2"),
        (Named(X, Y[:3]), "data: 20 samples of pixels, but 3 of labels"),
        ((np.where(X == 1, np.nan, X), Y), r"data: x\[19\] is not finite"),
        ((X, np.where(X == 1, np.inf, Y)), r"data: y\[19\] is not finite"),
        ((np.full((2, 3), np.nan), [1, 2]), r"data: x\[0, 0\] is not finite"),
        ((["a"] * 20, Y), "data: x has dtype <U1; expected numbers"),
        ((X, [None] * 20), "data: y has dtype object; expected numbers"),
    ],
)
def test_invalid_data_are_refused(data, message):
    with pytest.raises(DataError, match=message):
        fit_line(data=data)
    if data is not None:
        with pytest.raises(DataError, match="validation data: "):
            fit_line(validation=data)


def test_rows_of_different_lengths_are_refused():
    with pytest.raises(DataError, match="x"):
        fit_line(data=([[1.0], [1.0, 2.0]], [1.0, 2.0]))


@pytest.mark.parametrize(
    ("backend", "message"),
    [
        ("centrall", "unknown backend 'centrall': did you mean 'central'"),
        ("zzz", "unknown backend 'zzz': choose from autograd"),
        (None, "None is not a backend"),
        (3, "3 is not a backend"),
        (gradlab.Autograd, "is not a backend"),
        (object(), "is not a backend"),
    ],
)
def test_objects_that_are_not_backends_are_refused(backend, message):
    with pytest.raises(BackendError, match=message):
        fit_line(backend=backend)


@pytest.mark.parametrize(
    ("grads", "message"),
    [
        ({"slope": 1.0}, "the gradient lacks offset"),
        (LINE | {"curve": 1.0}, "the gradient has curve, which the parameters lack"),
        ({"slope": np.ones(2), "offset": 1.0}, r"slope has shape \(2,\) in the gradient"),
        ([1.0, 1.0], "the gradient lacks slope, offset"),
        (np.ones(2), "the gradient lacks slope, offset"),
        ({"slope": 1j, "offset": 1.0}, "slope is complex"),
        ({"slope": "up", "offset": 1.0}, "slope is 'up'"),
        (None, "None"),
    ],
)
def test_a_backend_whose_gradient_does_not_fit(grads, message):
    with pytest.raises(ParameterError, match=message):
        fit_line(backend=Constant(1.0, grads))


@pytest.mark.parametrize("value", [None, "low", 1j, np.ones(2)])
def test_a_backend_must_return_a_number_as_loss(value):
    with pytest.raises(LossError, match="the loss returned"):
        fit_line(backend=Constant(value, LINE))


@pytest.mark.parametrize("outcome", [3.0, None, (1.0,), (1.0, LINE, LINE)])
def test_a_backend_must_return_a_pair(outcome):
    class Alone:
        name = "alone"

        def value_and_grad(self, loss):
            return lambda params, *args: outcome

    with pytest.raises(GradlabError, match="alone"):
        fit_line(backend=Alone())


@pytest.mark.parametrize("options", [{"accuracy": 3}, {"callbacks": 3}, {"callbacks": [3]}])
def test_invalid_callbacks_are_refused(options):
    with pytest.raises(OptionError, match=next(iter(options))):
        fit_line(**options)


@pytest.mark.parametrize("answer", [None, "good", np.ones(2), 1j])
def test_an_accuracy_must_be_a_number(answer):
    with pytest.raises(LossError, match="the accuracy returned"):
        fit_line(accuracy=lambda params, x, y: answer)


@pytest.mark.parametrize("loss", [None, 3, "line_loss"])
def test_a_loss_must_be_a_function(loss):
    for use in (fit_line, gradlab.grad, gradlab.value_and_grad, lambda loss: descend(loss, 1.0)):
        with pytest.raises(LossError, match=f"{loss!r} is not a loss: give a function"):
            use(loss)


@each_backend()
def test_a_loss_must_be_a_number(backend):
    with pytest.raises(LossError, match=r"array of shape \(20,\).*return one number"):
        fit_line(lambda params, x, y: (params["slope"] * x - y) ** 2, backend=backend)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"slope": np.nan, "offset": 0.0}, "slope is nan"),
        ({"slope": np.array([0.0, np.inf]), "offset": 0.0}, r"slope\[1\] is inf"),
        ({"slope": "x", "offset": 0.0}, "slope is 'x'"),
        ({"slope": 1j, "offset": 0.0}, "slope is complex"),
        ({"slope": True, "offset": 0.0}, "slope is True"),
        ({"slope": None, "offset": 0.0}, "slope is None"),
        (None, "params is None"),
        ("line", "params is 'line'"),
    ],
)
def test_invalid_parameters_are_refused(params, message):
    with pytest.raises(GradlabError, match=message):
        fit_line(params=params)


def test_labels_of_a_network_are_checked_while_training():
    params = network.init((3, 2), 0)
    with pytest.raises(DataError, match="label 7 is out of range"):
        fit(network.loss, params, (np.zeros((4, 3)), np.array([0, 1, 7, 1])))
