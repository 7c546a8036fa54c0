"""JAX and PyTorch as backends: whose arrays come back, what is done once, and what is refused."""

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
from optional import LIBRARIES, each_backend, is_installed, unless_missing

import gradlab
from gradlab import BACKENDS, network
from gradlab.errors import (
    LossError,
    MissingDependencyError,
    NonFiniteError,
    OptionError,
    ParameterError,
)
from gradlab.gradients import array_libraries

every_library = each_backend(LIBRARIES)
only_jax = each_backend(["jax"])
only_torch = each_backend(["torch"])


def library(backend: str) -> Any:
    """The package, its arrays from NumPy's, and back."""
    if backend == "jax":
        import jax

        return SimpleNamespace(array=jax.numpy.asarray, Array=jax.Array, numpy=np.asarray)
    import torch

    return SimpleNamespace(
        array=torch.tensor, Array=torch.Tensor, numpy=lambda tensor: tensor.numpy()
    )


def line(w: Any, x: Any) -> Any:
    return ((w * x) ** 2).sum()


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
def test_native_arguments_are_left_as_they_are(backend: str) -> None:
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
    """0.1 as float32 times itself: 24 bits, not 53."""
    w = np.full(3, 0.1, np.float32)
    value, grads = gradlab.value_and_grad(lambda w: (w * w * w)[0], backend)(w)
    assert value == float(w[0] * w[0] * w[0])
    assert grads.dtype == np.float32


@only_torch
def test_matrices_of_two_dtypes_are_refused(backend: str) -> None:
    params = network.init((3, 2), dtype=np.float32)
    with pytest.raises(LossError, match="give parameters and data in one dtype"):
        gradlab.grad(network.loss, backend)(params, np.ones((2, 3)), np.array([0, 1]))


@only_jax
def test_the_users_precision_is_left_alone(backend: str) -> None:
    import jax

    seen = []

    def loss(w: Any) -> Any:
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
    """The end of what can be computed without numbers."""


@only_torch
def test_everything_stays_on_the_device_of_the_parameters(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On PyTorch's device without numbers: data go there, and what the loss makes lies there."""
    import torch

    def look(paths: Any, given: Any, value: Any, gradients: Any) -> None:
        raise ReachedError({tensor.device.type for tensor in (value, *gradients)})

    f = gradlab.value_and_grad(network.loss, backend)
    monkeypatch.setattr(f, "_require_finite", look)
    params = {
        name: torch.tensor(leaf, device="meta") for name, leaf in network.init((4, 3, 2)).items()
    }
    with pytest.raises(ReachedError, match=r"{'meta'}"):
        f(params, np.ones((5, 4)), np.zeros(5, int))
    assert torch.zeros(()).device.type == "cpu"


# Once for all calls of a form


@only_jax
def test_jax_compiles_once_for_a_shape(backend: str) -> None:
    calls = []

    def loss(w: Any, x: Any, options: Any = None) -> Any:
        calls.append(options)
        return line(w, x)

    f = gradlab.value_and_grad(loss, backend)
    for k in range(3):
        for n in (2, 3):
            assert f(np.ones(n), np.full(n, float(k)))[0] == n * k**2
            assert f(np.ones(n), np.full(n, float(k)), {"an": ["option", 1]})[0] == n * k**2
    assert calls == [None, {"an": ["option", 1]}] * 2
    f(np.ones(2), np.ones(2), {"an": ["option", 2]})  # another value of what is no array
    assert calls[4:] == [{"an": ["option", 2]}]
    f(np.ones(2, np.float32), np.ones(2))  # another dtype
    assert len(calls) == 6


@every_library
def test_a_variable_that_is_bound_anew_is_seen(backend: str) -> None:
    factor = 2.0
    gradient = gradlab.grad(lambda w: (factor * w).sum(), backend)
    assert gradient(np.ones(1)).tolist() == [2.0]
    factor = 3.0
    assert gradient(np.ones(1)).tolist() == [3.0]


@every_library
def test_an_argument_that_may_change_is_looked_at_each_time(backend: str) -> None:
    """An object is not told from itself with other contents: nothing is kept then."""
    settings = SimpleNamespace(factor=2.0)
    gradient = gradlab.grad(lambda w, settings: (settings.factor * w).sum(), backend)
    assert gradient(np.ones(1), settings).tolist() == [2.0]
    settings.factor = 3.0
    assert gradient(np.ones(1), settings).tolist() == [3.0]


@every_library
def test_only_so_many_forms_are_kept(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(array_libraries, "KEPT", 2)
    f = gradlab.value_and_grad(lambda w, k: (w * k).sum(), backend)
    assert [f(np.ones(1), k)[0] for k in (1, 2, 3, 1)] == [1.0, 2.0, 3.0, 1.0]
    assert len(f._prepared) == 2


# out=


@every_library
def test_the_gradient_is_written_where_it_is_wanted(backend: str) -> None:
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
def test_training_goes_the_way_of_autograd(backend: str) -> None:
    rng = np.random.default_rng(0)
    data = rng.normal(size=(30, 4)), rng.integers(3, size=30)
    start = network.init((4, 5, 3), 0)
    fit = partial(gradlab.fit, network.loss, start, data, epochs=3, batch_size=8)
    found, wanted = fit(backend=backend).params, fit(backend="autograd").params
    for name, leaf in wanted.items():
        assert np.allclose(found[name], leaf, rtol=0, atol=1e-13)


# What cannot run on other libraries' arrays

NUMPYS = {
    "numpy": lambda w: np.tanh(w).sum(),
    "autograd.numpy": lambda w: anp.tanh(w).sum(),
    "asarray": lambda w: (w * np.asarray(w)).sum(),
    "where": lambda w: np.where(w > 0, w, 0.0).sum(),
}


@every_library
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of PyTorch's __array__
@pytest.mark.parametrize("loss", NUMPYS.values(), ids=NUMPYS)
def test_numpys_functions_are_named(backend: str, loss: Any) -> None:
    message = rf"{backend} cannot run the loss: it uses .* as NumPy's.*array_namespace\(x\)"
    with pytest.raises(LossError, match=message):
        gradlab.grad(loss, backend)(np.array([1.0, 2.0]))


@only_torch
@pytest.mark.parametrize(
    "loss",
    [lambda w: (np.ones(2) * w).sum(), lambda w: (w + np.ones(2)).sum(), lambda w: np.mean(w)],
)
def test_numpys_arrays_in_the_loss_are_named(backend: str, loss: Any) -> None:
    with pytest.raises(LossError, match=r"as NumPy's arrays .*pass it its data as arguments"):
        gradlab.grad(loss, backend)(np.array([1.0, 2.0]))


@pytest.mark.parametrize("name", ["jax", "torch"])
def test_the_readmes_loss_says_why_it_cannot(name: str) -> None:
    if not is_installed(name):
        pytest.skip(f"{LIBRARIES[name]} is not installed")
    params = {"w": np.array([0.5, -0.25]), "b": 0.1}
    with pytest.raises(LossError, match="or use the backend autograd"):
        gradlab.grad(lambda p, x: np.tanh(x @ p["w"] + p["b"]).sum(), name)(params, np.ones((3, 2)))


@pytest.mark.parametrize(
    "backend",
    [
        unless_missing("jax"),
        unless_missing("torch", partial(BACKENDS["torch"], compile=True), "torch compiled"),
    ],
)
def test_a_branch_on_numbers_cannot_be_compiled(backend: Any) -> None:
    backend = backend if isinstance(backend, str) else backend()
    for loss in (
        lambda w, x: w[0] if w[0] > 0 else -w[0],
        lambda w, x: w[0] * float(w[0] > 0),
        lambda w, x: w[0] * x.tolist()[0],
    ):
        with pytest.raises(LossError, match=r"the numbers in its (arrays|tensors).*xp.where"):
            gradlab.grad(loss, backend)(np.array([1.0]), np.array([2.0]))


@only_torch
def test_torch_follows_a_branch(backend: str) -> None:
    gradient = gradlab.grad(lambda w: abs(w[0]) if w[0] > 0 else -3 * w[0], backend)
    assert [float(gradient(np.array([x]))[0]) for x in (1.0, -1.0)] == [1.0, -3.0]


@only_torch
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("take", [float, lambda x: x.item(), lambda x: x.tolist()])
def test_a_slope_that_would_be_lost_is_an_error(backend: str, take: Any, compiled: bool) -> None:
    gradient = gradlab.grad(lambda w: w[0] * take(w[1]), gradlab.Torch(compile=compiled))
    for _ in range(2):
        with pytest.raises(LossError, match="whose slope is lost"):
            gradient(np.array([1.0, 2.0]))


@only_torch
def test_a_slope_is_not_lost_beside_an_object_either(backend: str) -> None:
    with pytest.raises(LossError, match="whose slope is lost"):
        gradlab.grad(lambda w, _: w[0] * float(w[1]), backend)(np.ones(2), SimpleNamespace())


@only_torch
def test_a_number_without_a_slope_may_be_taken(backend: str) -> None:
    grads = gradlab.grad(lambda w, x: w[0] * float(x[1]), backend)(np.ones(1), np.array([1.0, 2.0]))
    assert grads.tolist() == [2.0]


@only_torch
def test_a_loss_that_writes_into_its_parameters(backend: str) -> None:
    def loss(w: Any) -> Any:
        w += 1.0
        return w.sum()

    w = np.ones(2)
    with pytest.raises(LossError, match="it writes into its parameters"):
        gradlab.grad(loss, backend)(w)
    assert w.tolist() == [1.0, 1.0]


@only_torch
def test_a_dtype_that_torch_has_not(backend: str) -> None:
    if np.dtype(np.longdouble) == np.float64:
        return
    with pytest.raises(ParameterError, match=r"PyTorch has no tensors of dtype float\d+"):
        gradlab.grad(lambda w: w.sum(), backend)(np.ones(2, np.longdouble))


@only_torch
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of PyTorch's compiler
def test_compiled_by_torch(backend: str) -> None:
    """Kernels of its own for two shapes; everything else runs over the graph that is compiled."""
    f = gradlab.value_and_grad(network.loss, gradlab.Torch(compile=True))
    params = network.init((4, 3, 2), 0)
    for n in (5, 1, 5):
        x, labels = np.random.default_rng(n).normal(size=(n, 4)), np.arange(n) % 2
        value, grads = f(params, x, labels)
        wanted, expected = gradlab.value_and_grad(network.loss)(params, x, labels)
        assert value == pytest.approx(wanted, rel=1e-14)
        for name, leaf in expected.items():
            assert np.allclose(grads[name], leaf, rtol=0, atol=1e-15)


@pytest.mark.parametrize("value", [1, None, "yes"])
def test_useless_options_are_refused(value: Any) -> None:
    with pytest.raises(OptionError, match="compile="):
        gradlab.Torch(compile=value)


@every_library
def test_a_gradient_that_autograd_differentiates_is_refused(backend: str) -> None:
    inner = gradlab.grad(line, backend)
    with pytest.raises(LossError, match=f"{backend}: its gradient is being differentiated"):
        gradlab.grad(lambda x: inner(np.ones(2), x).sum())(np.ones(2))


# Packages that are missing


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_missing_package_names_its_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(array_libraries, "find_spec", lambda package: None)
    message = rf'the backend {name} needs {LIBRARIES[name]}: pip install "gradlab\[{name}\]"'
    with pytest.raises(MissingDependencyError, match=message):
        gradlab.grad(lambda w: w.sum(), name)


def test_importing_gradlab_imports_neither() -> None:
    code = "import gradlab.cli, sys; print({'jax', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
