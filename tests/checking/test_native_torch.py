"""Losses written for PyTorch in `check_gradients`: tensors, modules, autograd functions."""

import sys

import numpy as np
import pytest
from optional import is_installed

import gradlab
from gradlab.checking.native import is_native
from gradlab.errors import GradlabError, LossError, ParameterError

if not is_installed("torch"):
    pytest.skip("PyTorch is not installed", allow_module_level=True)

import torch
from torch import nn
from torch.nn import functional

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def small_net(dtype=torch.float32):
    layers = [nn.Linear(4, 5), nn.Tanh(), nn.BatchNorm1d(5), nn.Linear(5, 3)]
    return nn.Sequential(*layers).to(dtype)


def data(dtype=torch.float32):
    return torch.randn(6, 4, dtype=dtype), torch.randint(0, 3, (6,))


def cross_entropy(net, x, y):
    return functional.cross_entropy(net(x), y)


class Scaled(torch.autograd.Function):
    """sin, with a derivative that is wrong by a factor."""

    @staticmethod
    def forward(ctx, x, factor):
        ctx.save_for_backward(x)
        ctx.factor = factor
        return x.sin()

    @staticmethod
    def backward(ctx, cotangent):
        (x,) = ctx.saved_tensors
        return ctx.factor * cotangent * x.cos(), None


class ScaledInTwoParts(torch.autograd.Function):
    """`Scaled` in the newer style, with setup_context."""

    @staticmethod
    def forward(x, factor):
        return x.sin()

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, ctx.factor = inputs
        ctx.save_for_backward(x)

    backward = Scaled.backward


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_tensors_are_checked_in_float64(dtype):
    params = {"w": torch.randn(3, 2, dtype=dtype), "b": [torch.zeros(2, dtype=dtype)]}
    seen = set()

    def loss(p, x):
        seen.add((p["w"].dtype, x.dtype))
        return (torch.tanh(x @ p["w"] + p["b"][0]) ** 2).mean()

    report = gradlab.check_gradients(loss, params, torch.randn(4, 3, dtype=dtype))
    assert report.ok
    assert report.size == 8
    assert not report.notes
    assert seen == {(torch.float64, torch.float64)}
    assert [leaf.path for leaf in report.leaves] == ["w", "b[0]"]
    assert report.resolution < 1e-8  # of float64


def test_a_module_is_checked_by_the_names_of_its_parameters():
    net, (x, y) = small_net(), data()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    report = gradlab.check_gradients(cross_entropy, net, x, y)
    assert report.ok, report
    assert [leaf.path for leaf in report.leaves] == [name for name, _ in net.named_parameters()]
    after = net.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert all(p.grad is None and p.dtype == torch.float32 for p in net.parameters())


def test_a_module_closed_over_data_of_float32_is_checked_in_float64():
    net, (x, y) = small_net(), data()
    report = gradlab.check_gradients(lambda net: functional.cross_entropy(net(x), y), net)
    assert report.ok
    assert not report.notes
    assert report.resolution < 1e-7


def test_frozen_parameters_of_a_module_are_left_out():
    net, (x, y) = small_net(), data()
    net[0].weight.requires_grad_(False)
    report = gradlab.check_gradients(cross_entropy, net, x, y)
    assert report.ok
    assert "0.weight" not in [leaf.path for leaf in report.leaves]
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(ParameterError, match="no parameter that requires a gradient"):
        gradlab.check_gradients(cross_entropy, net, x, y)


@pytest.mark.parametrize("function", [Scaled, ScaledInTwoParts])
@pytest.mark.parametrize("factor", [1.0, 1.0001])
def test_an_autograd_function_of_torch_is_checked(function, factor):
    w = torch.randn(3)
    report = gradlab.check_gradients(lambda w: function.apply(w, factor).sum(), w)
    assert report.ok is (factor == 1.0)
    if factor != 1:
        ratios = [entry.ratio for entry in report.mismatches]
        assert np.allclose(ratios, factor, rtol=1e-9, atol=0)


def test_a_detached_torch_loss_is_a_mismatch():
    report = gradlab.check_gradients(lambda p: (p["w"].detach() ** 2).sum(), {"w": torch.ones(2)})
    assert report.verdict == "mismatch"
    assert "no gradient for w" in str(report)


def test_an_unused_torch_parameter_is_named_and_right():
    params = {"w": torch.ones(2), "unused": torch.ones(1)}
    report = gradlab.check_gradients(lambda p: (p["w"] ** 3).sum(), params)
    assert report.ok
    assert "no gradient for unused" in str(report)


def test_a_torch_loss_that_ignores_its_argument_is_refused():
    net, (x, y) = small_net(), data()
    with pytest.raises(LossError, match="does not depend on the parameters"):
        gradlab.check_gradients(lambda given: cross_entropy(net, x, y), net)


def test_complex_tensors_follow_the_convention_of_torch():
    def loss(p):
        return (p["z"] * p["z"]).imag.sum() + (p["z"].abs() ** 3).sum()

    params = {"z": torch.randn(3, dtype=torch.complex64)}
    report = gradlab.check_gradients(loss, params)
    assert report.ok, report
    assert [leaf.path for leaf in report.leaves] == ["z.real", "z.imag"]

    def conjugated(p):
        z = p["z"].detach().requires_grad_()
        return {"z": torch.autograd.grad(loss({"z": z}), z)[0].conj()}

    wrong = gradlab.check_gradients(loss, params, gradient=conjugated)
    assert {entry.path for entry in wrong.mismatches} == {"z.imag"}


def test_user_gradients_of_a_torch_loss():
    w = torch.tensor([0.5, -1.0], dtype=torch.float64)

    def loss(w, x):
        return torch.sin(w * x).sum()

    def by_hand(w, x):
        return x * torch.cos(w * x)

    x = torch.tensor([2.0, 3.0], dtype=torch.float64)
    given = by_hand(w, x)
    for gradient in (by_hand, given, given.numpy(), "torch", gradlab.Torch(), "autograd"):
        assert gradlab.check_gradients(loss, w, x, gradient=gradient).ok
    assert not gradlab.check_gradients(loss, w, x, gradient=1.001 * given).ok
    with pytest.raises(ParameterError, match="lacks params"):
        gradlab.check_gradients(loss, w, x, gradient={"w": given})


def test_a_torch_loss_that_needs_its_own_precision_says_so():
    def loss(w):
        if w.dtype != torch.float32:
            raise TypeError("float32 alone")
        return (w**2).sum()

    report = gradlab.check_gradients(loss, torch.tensor([0.5, 2.0]))
    assert report.ok
    assert "in its own precision" in str(report)
    assert "float32 alone" in str(report)
    assert report.resolution > 1e-7  # of float32

    def narrowed(w):
        return (w.float() ** 2).sum()

    report = gradlab.check_gradients(narrowed, torch.tensor([0.1, 0.7], dtype=torch.float64))
    assert report.ok
    assert "returns float32" in str(report)


def test_the_requested_dtype_is_used_with_torch():
    seen = set()

    def loss(w):
        seen.add(w.dtype)
        return (w**2).sum()

    assert gradlab.check_gradients(loss, torch.tensor([0.5, 2.0]), dtype=np.float32).ok
    assert seen == {torch.float32}


def test_a_random_torch_loss_is_refused():
    net = nn.Sequential(nn.Linear(4, 5), nn.Dropout(0.5), nn.Linear(5, 3))
    with pytest.raises(LossError, match="not deterministic"):
        gradlab.check_gradients(cross_entropy, net, *data())


def test_arguments_in_torch_are_not_written_into():
    x = torch.ones(2)

    def loss(w, x):
        x += 1
        return (w * x).sum()

    with pytest.raises(LossError, match="not deterministic"):
        gradlab.check_gradients(loss, torch.ones(2), x)
    assert torch.equal(x, torch.ones(2))


def test_errors_of_a_torch_loss_keep_their_type():
    with pytest.raises(KeyError) as caught:
        gradlab.check_gradients(lambda p: p["v"].sum(), {"w": torch.ones(2)})
    assert "differentiated by PyTorch" in "".join(caught.value.__notes__)
    with pytest.raises(LossError, match="shape"):
        gradlab.check_gradients(lambda p: p["w"], {"w": torch.ones(2)})
    with pytest.raises(ParameterError, match="w has dtype int64"):
        gradlab.check_gradients(lambda p: p["w"].sum(), {"w": torch.arange(2)})


def test_plain_numpy_on_tensors_is_checked_by_its_backend():
    report = gradlab.check_gradients(
        lambda w: np.sum(np.tanh(w)), torch.tensor([0.5, 2.0]), gradient="torch"
    )
    assert report.ok


def test_a_sparse_gradient_of_torch_becomes_dense():
    table = nn.Embedding(5, 2, sparse=True)
    rows = torch.tensor([1, 1, 3])
    report = gradlab.check_gradients(lambda table: (table(rows) ** 2).sum(), table)
    assert report.ok
    assert report.size == 10


def test_a_kink_in_torch_is_known():
    report = gradlab.check_gradients(lambda w: functional.relu(w).sum(), torch.tensor([0.0, 1.0]))
    assert report.verdict == "kink"


def test_a_module_of_50_000_parameters_takes_few_evaluations():
    # Its time is in benchmarks; here, the number of evaluations bounds it.
    net = nn.Sequential(nn.Linear(100, 400), nn.Tanh(), nn.Linear(400, 24))
    x, y = torch.randn(8, 100), torch.randint(0, 24, (8,))
    report = gradlab.check_gradients(cross_entropy, net, x, y)
    assert report.ok
    assert report.mode == "directional"
    assert report.size == 50_024
    assert report.evaluations < 2000


def test_a_derivative_that_torch_refuses_is_an_error_of_torch():
    """The function computes plain NumPy, too, but the gradient under test is PyTorch's."""

    class Product(torch.autograd.Function):
        @staticmethod
        def forward(ctx, a, b):
            return a * b

        @staticmethod
        def backward(ctx, g):
            return g  # one gradient for two

    with pytest.raises(RuntimeError, match="incorrect number of gradients"):
        gradlab.check_gradients(lambda p: Product.apply(*p).sum(), [torch.ones(2), torch.ones(2)])


def test_a_function_of_tensors_is_distinguished_from_one_of_arrays():
    with pytest.raises(TypeError) as caught:
        gradlab.check_derivatives(torch.sin, torch.ones(2), jvp=lambda x, v: v * torch.cos(x))
    assert any("gradlab.interop.torch.gradcheck" in note for note in caught.value.__notes__)


def test_parameters_of_a_module_as_a_list():
    # This is unusual, but must not count as a check.
    net, (x, y) = small_net(), data()
    with pytest.raises(GradlabError):
        gradlab.check_gradients(lambda _: cross_entropy(net.eval(), x, y), list(net.parameters()))


def test_torch_is_not_imported_for_plain_numpy(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert not is_native({"w": np.ones(2)})
