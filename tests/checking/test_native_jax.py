"""Losses written for JAX in `check_gradients`: arrays, pytrees, custom derivatives."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from optional import is_installed

import gradlab
from gradlab.errors import LossError, ParameterError

if not is_installed("jax"):
    pytest.skip("JAX is not installed", allow_module_level=True)

import jax
import jax.numpy as jnp


def array(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


@jax.custom_vjp
def scaled(x, factor):
    return jnp.sin(x)


scaled.defvjp(
    lambda x, factor: (jnp.sin(x), (x, factor)),
    lambda kept, g: (kept[1] * g * jnp.cos(kept[0]), jnp.zeros_like(kept[1])),
)


@jax.custom_jvp
def scaled_forward(x, factor):
    return jnp.sin(x)


@scaled_forward.defjvp
def _(primals, tangents):
    x, factor = primals
    return jnp.sin(x), factor * jnp.cos(x) * tangents[0]


def test_jax_arrays_are_checked_in_float64():
    seen = set()

    def loss(p, x):
        seen.add((p["w"].dtype, x.dtype))
        return jnp.mean(jnp.tanh(x @ p["w"] + p["b"][0]) ** 2)

    report = gradlab.check_gradients(loss, {"w": array(3, 2), "b": [jnp.zeros(2)]}, array(4, 3))
    assert report.ok
    assert report.size == 8
    assert not report.notes
    assert seen == {(np.dtype("float64"), np.dtype("float64"))}
    assert {leaf.path for leaf in report.leaves} == {"w", "b[0]"}
    assert report.resolution < 1e-8
    assert jnp.ones(1).dtype == jnp.float32  # the user's setting


@pytest.mark.parametrize("function", [scaled, scaled_forward])
@pytest.mark.parametrize("factor", [1.0, 1.0001])
def test_custom_derivatives_of_jax_are_checked(function, factor):
    report = gradlab.check_gradients(lambda w: jnp.sum(function(w, factor)), array(3))
    assert report.ok is (factor == 1.0)
    if factor != 1:
        ratios = [entry.ratio for entry in report.mismatches]
        assert np.allclose(ratios, factor, rtol=1e-9, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("gradient", ["jax", gradlab.Jax()])
def test_jax_differentiates_a_jax_loss(gradient):
    def loss(w, x):
        return jnp.sum(jnp.sin(w * x))

    assert gradlab.check_gradients(loss, array(3), array(3, seed=1), gradient=gradient).ok


def test_any_pytree_of_jax_holds_parameters():
    @jax.tree_util.register_pytree_with_keys_class
    @dataclass
    class Layer:
        w: Any
        b: Any

        def tree_flatten_with_keys(self):
            key = jax.tree_util.GetAttrKey
            return ((key("w"), self.w), (key("b"), self.b)), None

        @classmethod
        def tree_unflatten(cls, _, children):
            return cls(*children)

    def loss(layers, x):
        for layer in layers:
            x = x @ layer.w * layer.b
        return jnp.sum(x)

    layers = [Layer(array(2, 1), array(1)), Layer(array(1, 1), array(1))]
    report = gradlab.check_gradients(loss, layers, array(1, 2))
    assert report.ok
    assert [leaf.path for leaf in report.leaves] == ["[0].w", "[0].b", "[1].w", "[1].b"]


def test_complex_arrays_follow_the_convention_of_jax():
    def loss(z):
        return jnp.sum((z * z * jnp.conj(z)).imag)

    z = array(2) + 1j * array(2, seed=1)
    assert gradlab.check_gradients(loss, z).ok
    wrong = gradlab.check_gradients(loss, z, gradient=lambda z: jax.grad(loss)(z).conj())
    assert {entry.path for entry in wrong.mismatches} == {"params.imag"}


def test_a_scan_in_jax_that_needs_float32_says_so():
    def loss(w):
        start = jnp.float32(1)
        return jax.lax.scan(lambda c, _: (jnp.sin(c * w[0]), None), start, None, length=3)[0]

    report = gradlab.check_gradients(loss, jnp.array([0.7], jnp.float32))
    assert report.ok
    assert "in its own precision" in str(report)


def test_user_gradients_of_a_jax_loss():
    w, x = array(3), array(3, seed=1)

    def loss(w, x):
        return jnp.sum(jnp.sin(w * x))

    def by_hand(w, x):
        return x * jnp.cos(w * x)

    for gradient in (by_hand, by_hand(w, x), "autograd"):
        assert gradlab.check_gradients(loss, w, x, gradient=gradient).ok
    assert not gradlab.check_gradients(loss, w, x, gradient=1.001 * by_hand(w, x)).ok


def test_a_jax_loss_that_is_random_or_no_scalar_is_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(LossError, match="not deterministic"):
        gradlab.check_gradients(lambda w: jnp.sum(w) * rng.uniform(), array(3))
    with pytest.raises(LossError, match="shape"):
        gradlab.check_gradients(lambda w: w, array(3))
    with pytest.raises(ParameterError, match="dtype int32"):
        gradlab.check_gradients(jnp.sum, jnp.arange(3))


def test_a_jax_loss_that_looks_at_its_numbers_is_not_compiled():
    def loss(w):
        return jnp.sum(w**2) if w[0] > 0 else jnp.sum(w**3)

    assert gradlab.check_gradients(loss, jnp.array([0.5, -2.0], jnp.float32)).ok


def test_plain_numpy_on_jax_arrays_is_checked_by_its_backend():
    assert gradlab.check_gradients(lambda w: np.sum(np.tanh(w)), array(3)).ok


def test_a_derivative_that_jax_refuses_is_an_error_of_jax():
    """The function computes plain NumPy, too, but the gradient under test is JAX's."""
    product = jax.custom_vjp(lambda x, y: x * y)
    product.defvjp(lambda x, y: (x * y, y), lambda y, g: (g * y,))  # one gradient for two
    with pytest.raises(TypeError, match="bwd"):
        gradlab.check_gradients(lambda p: product(*p), (jnp.array(1.0), jnp.array(2.0)))


def test_a_dict_that_is_not_a_pytree_is_plain_numpy():
    params = {1: np.ones(2), "a": np.ones(2)}
    report = gradlab.check_gradients(lambda p: np.sum(p[1] ** 2 + p["a"]), params)
    assert report.verdict == "agree"
