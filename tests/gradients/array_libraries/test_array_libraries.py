"""JAX and PyTorch as backends: types of returned arrays, one-off work, and which code runs."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from types import SimpleNamespace
from typing import Any

import autograd.numpy as anp
import numpy as np
import pytest
from array_api_compat import array_namespace
from counting import calls_of
from installed import every_library, library, line, only_jax, only_torch
from optional import LIBRARIES

import gradlab
from gradlab import network
from gradlab.errors import MissingDependencyError, NonFiniteError, OptionError, ParameterError
from gradlab.gradients import array_libraries

# Arrays


@every_library
@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_native_arrays_come_back_as_native_arrays(backend: str, dtype: Any) -> None:
    there = library(backend)
    params = {"w": there.array(np.array([1, 2], dtype)), "rest": [np.ones(2), 0.5]}

    def loss(p: Any, x: Any) -> Any:
        return line(p["w"], x) + (p["rest"][0] ** 2).sum() + p["rest"][1]

    value, grads = gradlab.value_and_grad(loss, backend)(params, np.array([3.0, 0.5], np.float32))
    assert type(value) is float
    assert value == 12.5
    assert isinstance(grads["w"], there.Array)
    assert there.numpy(grads["w"]).tolist() == [18.0, 1.0]
    assert type(grads["rest"][0]) is np.ndarray  # as it was given
    assert grads["rest"][0].tolist() == [2.0, 2.0]
    assert grads["rest"][1] == 1.0
    if dtype == np.float32:
        assert grads["w"].dtype == params["w"].dtype


@every_library
def test_native_arguments_do_not_change(backend: str) -> None:
    there = library(backend)
    seen = []

    def loss(w: Any, x: Any) -> Any:
        seen.append(x.shape)
        return line(w, x)

    x = there.array(np.array([3.0, 0.5], np.float32))
    grads = gradlab.grad(loss, backend)(np.array([1.0, 2.0], np.float32), x)
    assert grads.dtype == np.float32
    assert grads.tolist() == [18.0, 1.0]


@every_library
@pytest.mark.parametrize(
    ("leaf", "error", "message"),
    [
        (np.array([1.0, np.nan], np.float32), NonFiniteError, r"w\[1\] is nan"),
        (np.array([np.inf], np.float32), NonFiniteError, r"w\[0\] is inf"),
        (np.array([True]), ParameterError, r"w is .*bool; parameters are arrays of real numbers"),
        (np.array([1j], np.complex64), ParameterError, "w is complex"),
    ],
)
def test_unusable_native_parameters_are_named(
    backend: str, leaf: Any, error: Any, message: str
) -> None:
    with pytest.raises(error, match=message):
        gradlab.grad(lambda p: p["w"].sum(), backend)({"w": library(backend).array(leaf)})


@every_library
def test_a_native_gradient_that_is_infinite_is_named(backend: str) -> None:
    def loss(w: Any) -> Any:
        return array_namespace(w).sqrt(w).sum()

    w = library(backend).array(np.array([1.0, 0.0], np.float32))
    with pytest.raises(NonFiniteError, match=r"the gradient is inf at params\[1\]"):
        gradlab.grad(loss, backend)(w)


@every_library
def test_float32_is_computed_in_float32(backend: str) -> None:
    """0.1 as float32 times itself has 24 bits, not 53."""
    w = np.full(3, 0.1, np.float32)
    value, grads = gradlab.value_and_grad(lambda w: (w * w * w)[0], backend)(w)
    assert value == float(w[0] * w[0] * w[0])
    assert grads.dtype == np.float32


@every_library
def test_matrices_of_two_dtypes_are_multiplied_in_numpys(backend: str) -> None:
    params = network.init((3, 2), dtype=np.float32)
    data = np.ones((2, 3)), np.array([0, 1])
    value, grads = gradlab.value_and_grad(network.loss, backend)(params, *data)
    wanted, expected = gradlab.value_and_grad(network.loss)(params, *data)
    assert value == pytest.approx(wanted, rel=1e-14)  # float64, as the data are
    for name, leaf in expected.items():
        assert grads[name].dtype == np.float32
        assert np.allclose(grads[name], leaf, rtol=1e-6, atol=1e-7)


@only_jax
def test_the_users_precision_does_not_change(backend: str) -> None:
    import jax

    seen = []

    def loss(w: Any) -> Any:
        if type(w) is not np.ndarray:
            seen.append(jax.config.jax_enable_x64)
        return (w * 0.1).sum()

    for setting in (False, True):
        with jax.enable_x64(setting):
            assert gradlab.grad(loss, backend)(np.ones(1)).tolist() == [0.1]
            assert jax.config.jax_enable_x64 is setting
            native = jax.numpy.ones(1, np.float32)
            assert gradlab.grad(loss, backend)(native).dtype == np.float32
            with pytest.raises(ZeroDivisionError):
                gradlab.grad(lambda w: w[0] / 0 if 1 / 0 else w, backend)(np.ones(1))
            assert jax.config.jax_enable_x64 is setting
    assert seen == [True, False, True, True]


class ReachedError(Exception):
    """Raised at the end of the part that needs no numbers."""


@only_torch
def test_every_array_is_on_the_device_of_the_parameters(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch's meta device has no numbers: data and new arrays of the loss must be there, too."""
    import torch

    def look(paths: Any, given: Any, value: Any, gradients: Any) -> None:
        raise ReachedError({tensor.device.type for tensor in (value, *gradients)})

    def loss(w: Any, x: Any) -> Any:
        return np.sum(np.tanh(np.dot(x, w) + np.arange(3.0)) * w[0])

    for function in (loss, lambda w, x: torch.tanh(x @ w + torch.arange(3.0)).sum()):
        f = gradlab.value_and_grad(function, backend)
        monkeypatch.setattr(f, "_require_finite", look)
        with pytest.raises(ReachedError, match=r"{'meta'}"):
            f(torch.ones((4, 3), device="meta"), np.ones((5, 4), np.float32))
    assert torch.zeros(()).device.type == "cpu"


# Once for all calls of a form


@only_jax
def test_jax_compiles_once_for_a_shape(backend: str) -> None:
    def loss(w: Any, x: Any, options: Any = None) -> Any:
        return line(w, x)

    f = gradlab.value_and_grad(loss, backend)

    def note(arguments: Any) -> Any:
        return type(arguments["w"]) is not np.ndarray, arguments["options"]

    with calls_of(loss, note) as calls:

        def options() -> list[Any]:  # each value is compared with NumPy's once
            return [options for is_traced, options in calls if is_traced]

        for k in range(3):
            for n in (2, 3):
                assert f(np.ones(n), np.full(n, float(k)))[0] == n * k**2
                assert f(np.ones(n), np.full(n, float(k)), {"an": ["option", 1]})[0] == n * k**2
        assert options() == [None, {"an": ["option", 1]}] * 2
        f(np.ones(2), np.ones(2), {"an": ["option", 2]})  # another value of the option
        assert options()[4:] == [{"an": ["option", 2]}]
        f(np.ones(2, np.float32), np.ones(2))  # another dtype
        assert len(options()) == 6


@every_library
def test_a_variable_that_is_bound_again_is_detected(backend: str) -> None:
    factor = 2.0
    gradient = gradlab.grad(lambda w: (factor * w).sum(), backend)
    assert gradient(np.ones(1)).tolist() == [2.0]
    factor = 3.0
    assert gradient(np.ones(1)).tolist() == [3.0]


@every_library
def test_an_argument_that_may_change_is_read_each_time(backend: str) -> None:
    """An object whose contents change is still the same object, so nothing is cached."""
    settings = SimpleNamespace(factor=2.0)
    gradient = gradlab.grad(lambda w, settings: (settings.factor * w).sum(), backend)
    assert gradient(np.ones(1), settings).tolist() == [2.0]
    settings.factor = 3.0
    assert gradient(np.ones(1), settings).tolist() == [3.0]


@every_library
def test_the_number_of_kept_forms_is_limited(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(array_libraries.gradient, "MAX_COMPILED_FORMS", 2)
    f = gradlab.value_and_grad(lambda w, k: (w * k).sum(), backend)
    assert [f(np.ones(1), k)[0] for k in (1, 2, 3, 1)] == [1.0, 2.0, 3.0, 1.0]
    assert len(f._prepared) == 2


# out=


@every_library
def test_the_gradient_is_written_to_out(backend: str) -> None:
    f = gradlab.value_and_grad(lambda p, x: line(p["w"], x) + p["b"], backend)
    params, x = {"w": np.array([1.0, 2.0]), "b": 0.5}, np.array([3.0, 0.5])
    out = {"w": np.empty(2), "b": np.empty(())}
    value, grads = f(params, x, out=out)
    assert grads is out
    assert (value, out["w"].tolist(), float(out["b"])) == (10.5, [18.0, 1.0], 1.0)
    with pytest.raises(ParameterError, match=r"out: w is \(3,\)"):
        f(params, x, out={"w": np.empty(3), "b": np.empty(())})
    with pytest.raises(ParameterError, match="out: w shares memory"):
        f(params, x, out={"w": params["w"], "b": np.empty(())})
    with pytest.raises(OptionError, match="out="):
        f({"w": library(backend).array(np.ones(2)), "b": 0.5}, x, out=out)


@every_library
def test_an_infinite_gradient_is_not_written_in_silence(backend: str) -> None:
    f = gradlab.value_and_grad(lambda w, x: (w * x).sum(), backend)
    w = np.array([0.0, 1.0], np.float32)
    with pytest.raises(NonFiniteError, match=r"gradient is inf at params\[0\]"):
        f(w, np.array([1e39, 1.0]), out=np.empty(2, np.float32))


@every_library
def test_training_follows_that_of_autograd(backend: str) -> None:
    rng = np.random.default_rng(0)
    data = rng.normal(size=(30, 4)), rng.integers(3, size=30)
    start = network.init((4, 5, 3), 0)
    fit = partial(gradlab.fit, network.loss, start, data, epochs=3, batch_size=8)
    found, wanted = fit(backend=backend).params, fit(backend="autograd").params
    for name, leaf in wanted.items():
        assert np.allclose(found[name], leaf, rtol=0, atol=1e-13)


# Whose code it is


def in_numpy(w: Any, x: Any) -> Any:
    return np.sum(np.tanh(np.dot(x, w)) ** 2)


def in_autograds_numpy(w: Any, x: Any) -> Any:
    return anp.sum(anp.tanh(anp.dot(x, w)) ** 2)


def in_the_array_api(w: Any, x: Any) -> Any:
    xp = array_namespace(w)
    return xp.sum(xp.tanh(x @ w) ** 2)


def in_the_library(backend: str) -> Any:
    if backend == "jax":
        import jax.numpy as jnp

        return lambda w, x: jnp.sum(jnp.tanh(jnp.dot(x, w)) ** 2)
    import torch

    return lambda w, x: torch.sum(torch.tanh(torch.matmul(x, w)) ** 2)


@every_library
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("given", ["NumPy's", "native"])
@pytest.mark.parametrize("style", [in_numpy, in_autograds_numpy, in_the_array_api, in_the_library])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of PyTorch's compiler
def test_every_style_runs(backend: str, compiled: bool, given: str, style: Any) -> None:
    if compiled and (backend == "jax" or given == "native"):
        return  # JAX compiles always
    loss = style(backend) if style is in_the_library else style
    w, x = np.array([0.5, -1.0, 0.25]), np.array([[1.0, 2.0, 0.5], [0.1, -0.3, 2.0]])
    leaf = w if given == "NumPy's" else library(backend).array(w.astype(np.float32))
    data = x if given == "NumPy's" else library(backend).array(x.astype(np.float32))
    f = gradlab.value_and_grad(loss, gradlab.Torch(compile=True) if compiled else backend)
    t = np.tanh(x @ w)
    for _ in range(2):
        value, gradient = f(leaf, data)
        assert isinstance(gradient, np.ndarray) == (given == "NumPy's")
        off = 1e-14 if given == "NumPy's" else 1e-6
        assert value == pytest.approx(np.sum(t**2), rel=off)
        assert np.allclose(np.asarray(gradient), x.T @ (2 * t * (1 - t**2)), rtol=0, atol=10 * off)


@every_library
def test_the_readmes_loss_runs(backend: str) -> None:
    def loss(p: Any, x: Any, y: Any) -> Any:
        return ((np.tanh(x @ p["w"] + p["b"]) - y) ** 2).mean()

    params = {"w": np.array([0.5, -0.25]), "b": 0.1}
    data = np.array([[0.0, 1.0], [1.0, 1.0], [2.0, -1.0]]), np.array([1.0, 0.0, -1.0])
    value, grads = gradlab.value_and_grad(loss, backend)(params, *data)
    wanted, expected = gradlab.value_and_grad(loss)(params, *data)
    assert value == pytest.approx(wanted, rel=1e-14)
    assert np.allclose(grads["w"], expected["w"], rtol=0, atol=1e-14)
    assert abs(grads["b"] - expected["b"]) <= 1e-14


# Packages that are missing


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_missing_package_names_its_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(array_libraries.library, "find_spec", lambda package: None)
    message = rf'the backend {name} needs {LIBRARIES[name]}: pip install "gradlab\[{name}\]"'
    with pytest.raises(MissingDependencyError, match=message):
        gradlab.grad(lambda w: w.sum(), name)


def test_importing_gradlab_imports_neither() -> None:
    code = "import gradlab.command.main, sys; print({'jax', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


# What PyTorch replays

SCALE = 2.0


def scaled(w: Any, x: Any) -> Any:
    return np.sum(np.tanh(SCALE * np.dot(x, w)))


def counted(f: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the runs of a loss on traced arrays."""
    runs: list[int] = []
    call = f.call
    monkeypatch.setattr(f, "call", lambda *args: runs.append(1) or call(*args))
    return runs


@only_torch
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_torch_replays_a_closed_loss(
    backend: str, dtype: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradlab.gradients.torch.EAGER_CALLS", 2)
    rng = np.random.default_rng(0)
    for loss in (scaled, lambda w, x: np.mean((x @ w) ** 2 * [1.0, 0.5, 2.0]) + w[1] / 1):
        f, eager = gradlab.value_and_grad(loss, backend), gradlab.value_and_grad(loss)
        runs = counted(f, monkeypatch)
        for k in range(6):
            w, x = rng.normal(size=4).astype(dtype), rng.normal(size=(3, 4)).astype(dtype)
            value, gradient = f(w, x)
            assert len(runs) == (3 if k else 1)  # the third is the recording
            wanted, expected = eager(w, x)
            assert gradient.dtype == dtype
            eps = float(np.finfo(dtype).eps)
            assert value == pytest.approx(wanted, rel=100 * eps)
            assert np.allclose(gradient, expected, rtol=100 * eps, atol=100 * eps)


@only_torch
def test_torch_sees_a_variable_of_a_function_that_the_loss_calls(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradlab.gradients.torch.EAGER_CALLS", 2)
    f = gradlab.grad(lambda w, x: scaled(w, x), backend)
    w, x = np.array([0.1, 0.2]), np.eye(2)
    names = scaled.__globals__
    try:
        for scale in (2.0, 2.0, 2.0, 2.0, 3.0, 3.0):
            names["SCALE"] = scale
            assert np.allclose(f(w, x), scale * (1 - np.tanh(scale * w) ** 2))
    finally:
        names["SCALE"] = 2.0


@only_torch
@pytest.mark.parametrize("kind", ["array", "list", "object", "branch", "random"])
def test_torch_does_not_replay_what_may_change(
    backend: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradlab.gradients.torch.EAGER_CALLS", 2)
    data: Any = {"array": np.ones(2), "list": [1.0], "object": SimpleNamespace(x=1.0)}.get(kind)
    rng = np.random.default_rng(0)
    loss = {
        "array": lambda w: np.sum(w * data),
        "list": lambda w: np.sum(w * data[0]),
        "object": lambda w: np.sum(w * data.x),
        "branch": lambda w: np.sum(w) if w[0] > 0 else -np.sum(w),
        "random": lambda w: np.sum(w * rng.normal(size=2)),
    }[kind]
    f = gradlab.grad(loss, backend)
    for _ in range(4):
        before = f(np.ones(2))
    if kind == "object":
        data.x = 5.0
    elif data is not None:
        data[0] = 5.0
    after = f(-np.ones(2))
    assert after[0] == {"branch": -1.0, "random": after[0]}.get(kind, 5.0)
    assert after.tolist() != before.tolist()
