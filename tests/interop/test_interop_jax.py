"""The drop-in for JAX's check_grads."""

import inspect

import numpy as np
import pytest
from optional import is_installed

from gradlab.errors import GradientMismatchError, OptionError

if not is_installed("jax"):
    pytest.skip("JAX is not installed", allow_module_level=True)

import jax
import jax.numpy as jnp
from jax.test_util import check_grads as original

from gradlab.interop.jax import check_grads

X = np.array([0.5, 2.0], np.float32)


@jax.custom_jvp
def sine(x):
    return jnp.sin(x)


@sine.defjvp
def _(primals, tangents):
    (x,), (v,) = primals, tangents
    return sine(x), jax.lax.stop_gradient(jnp.cos(x)) * v


@jax.custom_vjp
def scaled(x):
    return jnp.sin(x)


scaled.defvjp(lambda x: (jnp.sin(x), x), lambda x, u: (1.000001 * u * jnp.cos(x),))


def test_the_signature_is_that_of_jax():
    assert list(inspect.signature(check_grads).parameters) == list(
        inspect.signature(original).parameters
    )


def test_right_derivatives_pass_in_jax():
    check_grads(lambda x, n, y: {"a": x * y["b"], "n": n}, (X, 3, {"b": X + 1}), 1)
    check_grads(lambda z: z * jnp.conj(z), (X[:1] + 1j,), 1, modes=["rev"])
    assert jnp.ones(1).dtype == jnp.float32


@pytest.mark.slow
def test_every_mode_and_order_passes_in_jax():
    check_grads(lambda x: jnp.sum(x**3), (X,), 2, modes=["rev"])
    check_grads(lambda z: z * jnp.conj(z) * z, (X + 1j,), 1, modes=("fwd", "rev", "lin"))


def test_a_wrong_vjp_of_jax_is_found():
    with pytest.raises(GradientMismatchError, match=r"output by args\[0\]"):
        check_grads(scaled, (X,), 1, modes=["rev"])
    check_grads(scaled, (X,), 1, modes=["rev"], rtol=1e-4)


def test_a_wrong_second_derivative_of_jax_is_found():
    check_grads(sine, (X,), 1)
    with pytest.raises(AssertionError, match="of the JVP"):
        check_grads(sine, (X,), 2, modes="fwd")


def test_unusable_calls_of_jax_are_refused():
    with pytest.raises(OptionError, match="mode 'backward'"):
        check_grads(jnp.sin, (X,), 1, modes=["backward"])
    with pytest.raises(OptionError, match="nothing to check"):
        check_grads(jnp.sin, (3,), 1)
