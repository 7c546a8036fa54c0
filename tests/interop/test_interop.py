"""The drop-ins for autograd's check_grads and SciPy's check_grad."""

import inspect
import pickle
from importlib.util import find_spec

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from autograd.builtins import tuple as autograd_tuple
from autograd.extend import defjvp, defvjp, primitive

import gradlab
from gradlab.errors import GradientMismatchError, OptionError, ParameterError
from gradlab.interop.autograd import check_grads, combo_check
from gradlab.interop.scipy import check_grad
from gradlab.interop.shared import InconclusiveError, require_right

X = np.array([0.5, 2.0])


@primitive
def exponential(x):
    return np.exp(x)


defvjp(exponential, lambda ans, x: lambda u: 1.000001 * u * ans)
defjvp(exponential, lambda v, ans, x: v * ans)


def test_the_public_module_is_there():
    assert gradlab.interop.__name__ == "gradlab.interop"


@pytest.mark.parametrize(
    ("f", "argnum", "args"),
    [
        (anp.sin, 0, (X,)),
        (anp.dot, (0, 1), (np.array([[1.0, 2.0], [3.0, 4.0]]), X)),
        (lambda z: z * anp.conj(z) * z, 0, (X + 1j,)),
        (lambda x: anp.sum(x["a"] ** 2 * x["b"]), 0, ({"a": X, "b": 3.0},)),
        (lambda x: x**2 + 1j * x, 0, (0.5,)),
    ],
)
def test_right_derivatives_pass_in_autograd(f, argnum, args):
    check_grads(f, argnum)(*args)


def test_a_second_derivative_of_only_round_off_passes_in_autograd():
    check_grads(autograd.grad(abs))(2.1)


def test_several_outputs_and_combinations_in_autograd():
    check_grads(lambda x: autograd_tuple((x, anp.sin(x))), modes=["rev"])(X)
    calls = []

    def power(x, n):
        calls.append(n)
        return x**n

    combo_check(power, [0], order=1)([X], n=[2, 3])
    assert set(calls) == {2, 3}


def test_a_wrong_rule_of_autograd_is_found():
    check_grads(exponential, modes=["fwd"], order=1)(X)
    with pytest.raises(GradientMismatchError, match="output by x"):
        check_grads(exponential, modes=["rev"], order=1)(X)
    check_grads(exponential, modes=["rev"], order=1, allow=1e-4)(X)
    with pytest.raises(OptionError, match="mode 'backward'"):
        check_grads(exponential, modes=["backward"])


def test_a_wrong_second_derivative_of_autograd_is_found():
    @primitive
    def square(x):
        return x**2

    defvjp(square, lambda ans, x: lambda u: u * 2 * np.asarray(getattr(x, "_value", x)))
    check_grads(square, modes=["rev"], order=1)(X)
    with pytest.raises(GradientMismatchError):
        check_grads(square, modes=["rev"], order=2)(X)


@pytest.mark.filterwarnings("ignore:Output seems independent of input")
def test_a_constant_function_passes_where_its_derivative_is_zero():
    check_grads(anp.sign)(1.1)
    with pytest.raises(GradientMismatchError):
        require_right(gradlab.check_derivatives(np.sign, 1.1, vjp=lambda x, u: u))


def test_inconclusive_checks_do_not_pass():
    def noisy(x):
        return anp.sin(x) + 1e-3 * np.sin(1e12 * np.asarray(getattr(x, "_value", x)))

    with pytest.raises((InconclusiveError, GradientMismatchError)):
        check_grads(noisy, modes=["rev"], order=1)(X)


def rosenbrock(x):
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def rosenbrock_gradient(x):
    gradient = np.zeros(len(x))
    gradient[:-1] = -400 * x[:-1] * (x[1:] - x[:-1] ** 2) - 2 * (1 - x[:-1])
    gradient[1:] += 200 * (x[1:] - x[:-1] ** 2)
    return gradient


def test_check_grad_measures_the_norm_of_the_error():
    x = [1.3, 0.7, 0.8, 1.9]
    error = np.array([0.0, 3e-3, 0.0, 4e-3])
    assert check_grad(rosenbrock, rosenbrock_gradient, x) < 1e-8
    assert np.isclose(
        check_grad(rosenbrock, lambda x: rosenbrock_gradient(x) + error, x), 5e-3, rtol=1e-5
    )
    for options in ({}, {"rng": 1}, {"seed": np.random.default_rng(2)}):
        assert check_grad(rosenbrock, rosenbrock_gradient, x, direction="random", **options) < 1e-8
    wrong = check_grad(
        rosenbrock, lambda x: rosenbrock_gradient(x) + error, x, direction="random", rng=1
    )
    assert np.isclose(wrong, abs(error @ np.random.default_rng(1).standard_normal(4)), rtol=1e-4)


def test_check_grad_of_vectors_kinks_and_noise():
    def f(x, scale):
        return scale * np.array([x[0] * x[1], x[0] ** 2, x[1]])

    def jacobian(x, scale):
        return scale * np.array([[x[1], x[0]], [2 * x[0], 0], [0, 1]])

    assert check_grad(f, jacobian, X, 3.0) < 1e-10
    assert np.isclose(check_grad(f, lambda x, s: 1.5 * jacobian(x, s), X, 1.0), 1.25, rtol=1e-8)
    assert check_grad(lambda x: np.abs(x).sum(), np.sign, [0.0, 1.0]) < 1e-10
    assert check_grad(lambda x: np.sqrt(np.abs(x)).sum(), np.sign, [0.0]) == np.inf


def test_unusable_calls_of_check_grad_are_refused():
    with pytest.raises(OptionError, match="direction='some'"):
        check_grad(rosenbrock, rosenbrock_gradient, X, direction="some")
    with pytest.raises(ParameterError, match="shape"):
        check_grad(rosenbrock, lambda x: np.eye(2), X, direction="random")


@pytest.mark.skipif(find_spec("scipy") is None, reason="SciPy is not installed")
def test_check_grad_takes_scipys_arguments():
    from scipy import optimize

    original = inspect.signature(optimize.check_grad).parameters
    own = inspect.signature(check_grad).parameters
    assert set(original) <= set(own) | {"kwargs"}
    for name in ("epsilon", "direction"):
        assert own[name].kind == original[name].kind
    x = np.array([1.3, 0.7, 0.8, 1.9])
    assert check_grad(optimize.rosen, optimize.rosen_der, x, epsilon=1e-7) < 1e-8


def test_a_wrong_gradient_shows_its_report_in_scipy():
    found = check_grad(lambda x: np.sum(x**2), lambda x: x, X)
    assert repr(found).endswith(" (mismatch: all 2 entries of the gradient are wrong)")
    assert str(found) == repr(float(found))
    assert "2 times too small" in str(found.report)
    again = pickle.loads(pickle.dumps(found))
    assert (again, str(again.report)) == (found, str(found.report))
    right = check_grad(lambda x: np.sum(x**2), lambda x: 2 * x, X)
    assert repr(right) == repr(float(right))


def test_pytest_shows_the_line_of_the_test_and_the_report():
    with pytest.raises(GradientMismatchError, match="mismatch: 2 of 4 entries") as info:
        check_grads(exponential, modes=["rev"])(X)
    shown = [str(entry.path) for entry in info.traceback.filter(info)]
    assert not any("gradlab/" in path.replace("\\", "/") for path in shown if "tests" not in path)
