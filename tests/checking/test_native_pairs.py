"""Losses of PyTorch and JAX that return their gradient together with their value."""

from __future__ import annotations

import numpy as np
import pytest
from optional import is_installed

import gradlab

X = np.random.default_rng(0).normal(size=(5, 3))
W = np.random.default_rng(1).normal(size=(3, 2))

needs_torch = pytest.mark.skipif(not is_installed("torch"), reason="PyTorch is not installed")
needs_jax = pytest.mark.skipif(not is_installed("jax"), reason="JAX is not installed")


def by_hand(torch, by=1.0):
    def loss(params, x):
        y = torch.tanh(x @ params["w"])
        return (y**2).mean(), {"w": by * x.T @ (2 * y * (1 - y**2)) / y.numel()}

    return loss


@needs_torch
def test_the_gradient_that_a_loss_of_torch_returns_is_checked():
    import torch

    params, x = {"w": torch.tensor(W, dtype=torch.float32)}, torch.tensor(X, dtype=torch.float32)
    assert gradlab.check_gradients(by_hand(torch), params, x).verdict == "agree"
    assert gradlab.check_gradients(by_hand(torch, 1.0001), params, x).verdict == "mismatch"
    other = gradlab.check_gradients(by_hand(torch, 1.0001), params, x, gradient="torch")
    assert other.verdict == "agree"  # what PyTorch gives for the value


@needs_torch
def test_a_loss_of_torch_may_have_used_up_its_graph():
    import torch

    def loss(params, x):
        w = params["w"].detach().clone().requires_grad_()
        value = (torch.tanh(x @ w) ** 2).mean()
        value.backward()
        return value, {"w": w.grad}

    report = gradlab.check_gradients(loss, {"w": torch.tensor(W)}, torch.tensor(X))
    assert report.verdict == "agree"


@pytest.mark.slow
@needs_jax
def test_the_gradient_that_a_loss_of_jax_returns_is_checked():
    import jax

    jnp = jax.numpy
    loss = jax.value_and_grad(lambda params, x: jnp.mean(jnp.tanh(x @ params["w"]) ** 2))
    params, x = {"w": jnp.asarray(W)}, jnp.asarray(X)
    assert gradlab.check_gradients(loss, params, x).verdict == "agree"

    def wrong(params, x):
        value, gradient = loss(params, x)
        return value, {"w": 1.01 * gradient["w"]}

    assert gradlab.check_gradients(wrong, params, x).verdict == "mismatch"
