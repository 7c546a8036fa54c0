"""JAX and PyTorch as backends: losses that depend on numbers are right, or refused."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from installed import every_library, library, line, only_jax, only_torch

import gradlab
from gradlab import network
from gradlab.errors import (
    GradlabError,
    LossError,
    NonFiniteError,
    OptionError,
    ParameterError,
    StatefulLossWarning,
    UntraceableError,
    UntraceableWarning,
)

# What depends on numbers


def branching(w: Any, x: Any) -> Any:
    return w[0] ** 2 if w[0] > 0 else -w[0]


def masking(w: Any, x: Any) -> Any:
    return (w[w > 0] ** 2).sum() / len(w[w > 0])


@only_jax
@pytest.mark.parametrize("loss", [branching, masking])
def test_jax_runs_what_it_cannot_compile(backend: str, loss: Any) -> None:
    f = gradlab.grad(loss, backend)
    with pytest.warns(UntraceableWarning, match=r"cannot compile the loss.*test_array_libraries"):
        first = f(np.array([1.5, -2.0]), np.ones(1))
    assert first.tolist() == [3.0, 0.0]
    expected = [-1.0, 0.0] if loss is branching else [0.0, 2.0]
    x = np.array([-1.0, 1.0])
    assert f(x, np.ones(1)).tolist() == expected  # the other branch, without an error


@only_torch
@pytest.mark.parametrize("loss", [branching, masking])
def test_a_branch_on_numbers_cannot_be_compiled_by_torch(backend: str, loss: Any) -> None:
    with pytest.raises(UntraceableError, match=r"_refusals.py, line \d+.*np.where"):
        gradlab.grad(loss, gradlab.Torch(compile=True))(np.array([1.0]), np.array([2.0]))
    native = gradlab.Torch(compile=True)
    tensor = library("torch").array(np.array([1.0]))
    with pytest.raises(GradlabError, match="the numbers in its"):
        gradlab.grad(loss, native)(tensor, tensor)


class Averaging:
    """A loss that keeps a running mean, detached or not, which it reads or not."""

    def __init__(self, detached: bool, reads: bool) -> None:
        self.detached, self.reads, self.mean = detached, reads, np.zeros(())

    def __call__(self, w: Any, x: Any) -> Any:
        before = self.mean if self.reads else 0.0
        mean = 0.5 * before + 0.5 * np.mean(w * x)
        self.mean = gradlab.detach(mean) if self.detached else mean
        return np.sum(w**2) + (gradlab.detach(mean) if self.detached else 0.0 * mean)


@every_library
@pytest.mark.filterwarnings("ignore::gradlab.errors.UntraceableWarning")
def test_detached_state_is_kept(backend: str) -> None:
    loss, wanted = Averaging(True, True), Averaging(True, True)
    f, g = gradlab.value_and_grad(loss, backend), gradlab.value_and_grad(wanted)
    for k in range(1, 4):
        w, x = np.array([1.0, 2.0]) / k, np.array([3.0, 5.0])
        value, gradient = f(w, x)
        assert value == pytest.approx(g(w, x)[0], rel=1e-15)
        assert gradient.tolist() == (2 * w).tolist()
        assert loss.mean == pytest.approx(wanted.mean, rel=1e-15)


@every_library
def test_a_value_that_is_kept_is_named_and_made_plain(backend: str) -> None:
    loss = Averaging(False, False)
    f = gradlab.grad(loss, backend)
    with pytest.warns(StatefulLossWarning, match="Averaging.mean"):
        assert f(np.array([1.0, 2.0]), np.ones(2)).tolist() == [2.0, 4.0]
    assert isinstance(loss.mean, (np.ndarray, np.generic))
    assert loss.mean == 0.75


@only_jax
def test_a_value_that_is_kept_and_read_again_cannot_be_compiled(backend: str) -> None:
    with pytest.raises(LossError, match=r"keeps a traced value in Averaging.mean.*backend="):
        gradlab.grad(Averaging(False, True), backend)(np.array([1.0, 2.0]), np.ones(2))


# Right, or refused


@every_library
@pytest.mark.filterwarnings("ignore::gradlab.errors.UntraceableWarning")
def test_random_numbers_are_not_frozen(backend: str) -> None:
    rng = np.random.default_rng(0)
    f = gradlab.grad(lambda w: np.sum(w * rng.normal(size=2)), backend)
    assert f(np.ones(2)).tolist() != f(np.ones(2)).tolist()


@every_library
def test_a_value_that_differs_from_numpys_is_refused(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    f = gradlab.value_and_grad(lambda w: np.sum(np.tanh(w)), backend)
    tanh = f._library.find(np.tanh)
    monkeypatch.setitem(f._library.found, np.tanh, lambda x: tanh(x) * (1 + 1e-9))
    with pytest.raises(LossError, match=r"differs in (jax|torch); use backend="):
        f(np.ones(3))


@every_library
def test_a_value_may_differ_by_round_off(backend: str) -> None:
    """Sums that cancel keep hardly a digit, but this is not another function."""
    w = np.random.default_rng(0).normal(size=1000) * 1e8
    w[-1] -= w.sum()
    value, gradient = gradlab.value_and_grad(lambda w: np.mean(w) * 1e3, backend)(w)
    assert abs(value) < 1e-4
    assert np.allclose(gradient, 1.0)


@every_library
def test_an_index_out_of_range_is_an_error(backend: str) -> None:
    """JAX alone would take the nearest entry."""
    f = gradlab.grad(lambda w, y: np.sum(w[y] ** 2), backend)
    assert f(np.ones(3), np.array([0, 1])).tolist() == [2.0, 2.0, 0.0]
    with pytest.raises((IndexError, NonFiniteError)):
        f(np.ones(3), np.array([0, 3]))
    with pytest.raises(IndexError, match="out of bounds"):
        gradlab.grad(lambda w: w[5], backend)(np.ones(3))


@every_library
def test_a_fault_of_the_loss_keeps_its_type(backend: str) -> None:
    with pytest.raises(ValueError, match=r"shape|size|broadcast") as caught:
        gradlab.grad(lambda w: np.sum(w * np.ones(4)), backend)(np.ones(3))
    assert "test_array_libraries_refusals.py" in "".join(caught.value.__notes__)


@only_torch
def test_torch_follows_a_branch(backend: str) -> None:
    gradient = gradlab.grad(lambda w: abs(w[0]) if w[0] > 0 else -3 * w[0], backend)
    assert [float(gradient(np.array([x]))[0]) for x in (1.0, -1.0)] == [1.0, -3.0]


@only_torch
@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")
@pytest.mark.parametrize("compiled", [False, True])
def test_a_number_keeps_its_slope(backend: str, compiled: bool) -> None:
    gradient = gradlab.grad(lambda w: w[0] * float(w[1]), gradlab.Torch(compile=compiled))
    for scale in (1.0, 2.0, 3.0):
        assert gradient(scale * np.array([1.0, 2.0])).tolist() == [2.0 * scale, scale]


@only_torch
@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")
@pytest.mark.parametrize("take", [float, lambda x: x.item(), lambda x: x.tolist()])
def test_a_slope_is_kept_or_reported_as_lost(backend: str, take: Any) -> None:
    for compiled in (False, True):
        gradient = gradlab.grad(lambda w: w[0] * take(w[1]), gradlab.Torch(compile=compiled))
        for scale in (1.0, 2.0, 3.0):
            # Compiled losses may be refused; others are right.
            with suppress(LossError) if compiled else nullcontext():
                assert gradient(scale * np.array([1.0, 2.0])).tolist() == [2.0 * scale, scale]


@only_torch
def test_a_slope_is_not_lost_next_to_an_object(backend: str) -> None:
    gradient = gradlab.grad(lambda w, _: w[0] * float(w[1]), backend)
    assert gradient(np.array([1.0, 2.0]), SimpleNamespace()).tolist() == [2.0, 1.0]


@only_torch
@pytest.mark.parametrize("take", [float, lambda x: x.item(), lambda x: x.tolist()])
def test_a_slope_that_would_be_lost_in_native_code(backend: str, take: Any) -> None:
    import torch

    w = torch.tensor([1.0, 2.0])
    with pytest.raises(LossError, match="whose slope is lost"):
        gradlab.grad(lambda w: torch.tanh(w[0]) * take(w[1]), backend)(w)


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
    with pytest.raises(LossError, match="writes into its parameters"):
        gradlab.grad(loss, backend)(w)
    assert w.tolist() == [1.0, 1.0]


@only_torch
def test_a_dtype_that_torch_lacks(backend: str) -> None:
    if np.dtype(np.longdouble) == np.float64:
        return
    with pytest.raises(ParameterError, match=r"PyTorch has no tensors of dtype float\d+"):
        gradlab.grad(lambda w: w.sum(), backend)(np.ones(2, np.longdouble))


@only_torch
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of PyTorch's compiler
def test_compiled_by_torch(backend: str) -> None:
    """Two shapes get separate kernels; everything else runs over the graph that is compiled."""
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
