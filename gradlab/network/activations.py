"""Activations: functions of an array, plain or traced, real or complex."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from gradlab.errors import OptionError, unknown
from gradlab.network.numbers import as_floats

Activation: TypeAlias = str | Callable[[Any], Any]


def sigmoid(x: Any) -> Any:
    """Return 1 / (1 + exp(−x)), to full relative precision, but at least 1 / √max.

    1 / √max is 7e-155 in float64, 5e-20 in float32 and 4e-3 in float16. With this lower bound,
    neither the value nor its derivative, exp(−x) / (1 + exp(−x))², overflows for any x.

    Examples
    --------
    >>> sigmoid(np.array([-100.0, 0.0, 1e4]))
    array([3.72007598e-44, 5.00000000e-01, 1.00000000e+00])
    """
    x = as_floats(x)
    lowest = -0.5 * math.log(np.finfo(x.dtype).max)
    x = np.where(np.real(x) > lowest, x, lowest)
    return 1.0 / (1.0 + np.exp(-x))


def relu(x: Any) -> Any:
    """Return max(x, 0); its derivative at 0 is taken as 0."""
    x = as_floats(x)
    return np.where(np.real(x) > 0, x, 0.0)


def leaky_relu(x: Any, slope: float = 0.01) -> Any:
    """Return x where it is positive, else ``slope * x``."""
    x = as_floats(x)
    return np.where(np.real(x) > 0, x, slope * x)


def elu(x: Any) -> Any:
    """Return x where it is positive, else exp(x) − 1 (Clevert et al. 2016)."""
    x = as_floats(x)
    positive = np.real(x) > 0
    return np.where(positive, x, np.expm1(np.where(positive, 0.0, x)))


def softplus(x: Any) -> Any:
    """Return log(1 + exp(x)), without overflow."""
    x = as_floats(x)
    positive = np.real(x) > 0
    return np.where(positive, x, 0.0) + np.log1p(np.exp(np.where(positive, -x, x)))


def silu(x: Any) -> Any:
    """Return x · sigmoid(x) (Elfwing et al. 2018)."""
    return x * sigmoid(x)


def tanh(x: Any) -> Any:
    """Return the hyperbolic tangent."""
    return np.tanh(as_floats(x))


def identity(x: Any) -> Any:
    """Return x; a network with this activation is linear."""
    return x


def softmax(x: Any) -> Any:
    """Return exp(x) / Σ exp(x) over the last axis: each sample's probabilities add up to 1.

    Examples
    --------
    >>> softmax(np.array([[0.0, 0.0], [1e4, -1e4]]))
    array([[0.5, 0.5],
           [1. , 0. ]])
    """
    x = as_floats(x)
    z = np.exp(x - np.max(np.real(x), axis=-1, keepdims=True))
    return z / np.sum(z, axis=-1, keepdims=True)


def log_softmax(x: Any) -> Any:
    """Return the logarithm of `softmax`, without taking the logarithm of zero."""
    x = as_floats(x)
    shifted = x - np.max(np.real(x), axis=-1, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis=-1, keepdims=True))


ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "sigmoid": sigmoid,
    "relu": relu,
    "tanh": tanh,
    "softmax": softmax,
    "identity": identity,
    "leaky_relu": leaky_relu,
    "elu": elu,
    "softplus": softplus,
    "silu": silu,
}

RELU_FAMILY = ("relu", "leaky_relu", "elu", "softplus", "silu")


def find_activation(activation: Activation) -> Callable[[Any], Any]:
    """Return the activation of that name, or the callable itself."""
    if callable(activation):
        return activation
    if isinstance(activation, str) and activation in ACTIVATIONS:
        return ACTIVATIONS[activation]
    raise OptionError(unknown("activation", activation, ACTIVATIONS))
