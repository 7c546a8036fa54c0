"""The drop-ins for PyTorch's gradcheck and gradgradcheck."""

import inspect

import pytest
from optional import is_installed

from gradlab.errors import GradlabError, ParameterError

if not is_installed("torch"):
    pytest.skip("PyTorch is not installed", allow_module_level=True)

import torch

from gradlab.interop.torch import GradcheckError, gradcheck, gradgradcheck

torch.set_num_threads(1)
pytestmark = [
    # Of PyTorch's own, at its first forward mode, and at its first sparse tensor.
    pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning"),
]
MODES = {"check_forward_ad": True, "check_batched_grad": True}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def numbers(*shape, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, requires_grad=True)


class TwoOutputs(torch.autograd.Function):
    """sin(x) and x², with a factor on the derivative of the first."""

    @staticmethod
    def forward(ctx, x, factor):
        ctx.save_for_backward(x)
        ctx.factor = factor
        return x.sin(), x**2

    @staticmethod
    def backward(ctx, first, second):
        (x,) = ctx.saved_tensors
        return first * x.cos() * ctx.factor + 2 * x * second, None


class Careless(TwoOutputs):
    """`TwoOutputs`, but it fails if an output has no cotangent."""

    @staticmethod
    def forward(ctx, x, factor):
        ctx.set_materialize_grads(False)
        return TwoOutputs.forward(ctx, x, factor)


@pytest.mark.parametrize("name", ["gradcheck", "gradgradcheck"])
def test_signatures_are_those_of_torch(name):
    original = inspect.signature(getattr(torch.autograd, name))
    own = inspect.signature({"gradcheck": gradcheck, "gradgradcheck": gradgradcheck}[name])
    assert list(own.parameters) == list(original.parameters)
    for parameter in own.parameters.values():
        assert parameter.kind == original.parameters[parameter.name].kind


def test_right_derivatives_pass_in_torch():
    x, w = numbers(1, 2), numbers(2, 1)
    everything = {"check_batched_forward_grad": True, "check_grad_dtypes": True}
    assert gradcheck(torch.mm, (x, w), **MODES, **everything)
    assert gradcheck(lambda x, n: (x**n, torch.argmax(x), x.detach()), (x, 3), **MODES)
    assert gradcheck(torch.nn.Linear(2, 1), numbers(1, 2, dtype=torch.float32))
    assert gradcheck(torch.relu, torch.zeros(2, requires_grad=True))
    assert gradcheck(torch.mm, (x, w), fast_mode=True)


def test_right_second_derivatives_pass_in_torch():
    x, w = numbers(1, 2), numbers(2, 1)
    assert gradgradcheck(torch.mm, (x, w), check_fwd_over_rev=True)
    assert gradgradcheck(torch.mm, (x, w), torch.ones(1, 1, dtype=torch.float64))
    assert gradgradcheck(lambda x: (x**3, x.sin()), x, gen_non_contig_grad_outputs=True)


@pytest.mark.slow
def test_right_derivatives_of_matrices_pass_in_torch():
    x, w = numbers(3, 4), numbers(4, 2)
    assert gradcheck(torch.mm, (x, w), **MODES, check_batched_forward_grad=True)
    assert gradcheck(torch.nn.Linear(4, 2), numbers(3, 4, dtype=torch.float32))
    assert gradgradcheck(torch.mm, (x, w), check_fwd_over_rev=True)


def test_complex_functions_of_torch():
    z = numbers(2, dtype=torch.complex128)
    assert gradcheck(torch.fft.fft, z, **MODES)
    assert gradcheck(lambda z: (z.abs(), z * z.conj() * z), z, **MODES)
    assert gradgradcheck(lambda z: z * z.conj() * z, z)

    class Conjugated(torch.autograd.Function):
        @staticmethod
        def forward(ctx, z):
            ctx.save_for_backward(z)
            return z * z

        @staticmethod
        def backward(ctx, cotangent):
            return 2 * ctx.saved_tensors[0] * cotangent  # the conjugate is missing

    assert not gradcheck(Conjugated.apply, z, raise_exception=False)


@pytest.mark.parametrize("fast_mode", [False, True])
def test_a_wrong_derivative_of_torch_is_found(fast_mode):
    x = numbers(1)
    assert gradcheck(TwoOutputs.apply, (x, 1.0), fast_mode=fast_mode)
    with pytest.raises(GradcheckError, match=r"output\[0\]") as caught:
        gradcheck(TwoOutputs.apply, (x, 1.0 + 1e-6), fast_mode=fast_mode)
    assert isinstance(caught.value, GradlabError)
    assert isinstance(caught.value, torch.autograd.gradcheck.__globals__["GradcheckError"])
    assert caught.value.report.verdict == "mismatch"
    wrong = {"raise_exception": False, "fast_mode": fast_mode}
    assert not gradcheck(TwoOutputs.apply, (x, 1.0 + 1e-6), **wrong)
    assert torch.autograd.gradcheck(TwoOutputs.apply, (x, 1.0 + 1e-6))  # PyTorch lets it pass


def test_a_relative_tolerance_of_torch_is_an_allowance():
    x = numbers(1)
    assert gradcheck(TwoOutputs.apply, (x, 1.0001), rtol=1e-3)
    with pytest.raises(GradcheckError, match=r"relative error of 0\.001 is accepted"):
        gradcheck(TwoOutputs.apply, (x, 1.01), rtol=1e-3)
    with pytest.raises(GradcheckError):
        gradcheck(TwoOutputs.apply, (x, 1.0001), atol=1.0)


def test_a_wrong_second_derivative_of_torch_is_found():
    class Sine(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.sin()

        @staticmethod
        def backward(ctx, cotangent):
            return cotangent * ctx.saved_tensors[0].detach().cos()

    assert gradcheck(Sine.apply, numbers(1))
    assert not gradgradcheck(Sine.apply, numbers(1), raise_exception=False)


def test_missing_cotangents_are_tried_with_torch():
    x = numbers(1)
    assert gradcheck(Careless.apply, (x, 1.0), check_undefined_grad=False)
    with pytest.raises(TypeError, match="NoneType"):
        gradcheck(Careless.apply, (x, 1.0))


def test_unusable_calls_of_torch_are_refused():
    with pytest.raises(ParameterError, match="no input requires a gradient"):
        gradcheck(torch.sin, torch.ones(2))
    with pytest.raises(ParameterError, match="are both False"):
        gradcheck(torch.sin, numbers(2), check_backward_ad=False)
    with pytest.raises(GradcheckError, match="not deterministic"):
        gradcheck(lambda x: x * torch.rand(()), numbers(2))


def test_inputs_that_are_not_finite_are_left_to_torch():
    x = torch.tensor([0.5, -torch.inf, 1.0], dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x: torch.softmax(x, 0), x)


def test_sparse_inputs_are_left_to_torch():
    x = torch.eye(2, dtype=torch.float64).to_sparse().requires_grad_()
    assert gradcheck(lambda x: x.to_dense() ** 2, x, masked=False)
    x = x.detach().requires_grad_()
    cubed = {"masked": False, "raise_exception": False}
    assert not gradcheck(lambda x: x.to_dense() * x.detach().to_dense() ** 2, x, **cubed)
