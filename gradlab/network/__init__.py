"""The network, written once: pure functions over a dict of parameters.

A network of L layers is the dict ``{"W1": ..., "b1": ..., ..., "WL": ..., "bL": ...}``, where ``W``
is ``(inputs, outputs)`` and ``b`` is ``(outputs,)``. The dict determines depth and widths::

    x  (n, d)  ->  activation(x @ W1 + b1)  ->  ...  ->  logits (n, k)  ->  softmax  ->  (n, k)

Everything is plain NumPy and independent of the backend: the same functions run on NumPy arrays
(real or complex) and on the traced arrays of autograd, JAX and PyTorch, which implement NumPy's
protocols (`gradlab.arrays`). In shapes, n is samples, d inputs, k classes.

The network itself is in this file, its parts in `activations.py` and `losses.py`. `numbers.py`
converts their inputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from gradlab import options
from gradlab.errors import DataError, OptionError, ParameterError
from gradlab.network.activations import (
    ACTIVATIONS,
    RELU_FAMILY,
    Activation,
    elu,
    find_activation,
    identity,
    leaky_relu,
    log_softmax,
    relu,
    sigmoid,
    silu,
    softmax,
    softplus,
    tanh,
)
from gradlab.network.losses import (
    cross_entropy,
    cross_entropy_from_probabilities,
    one_hot,
    squared_error,
    targets_of,
)
from gradlab.network.numbers import as_numbers
from gradlab.params import Array
from gradlab.seeding import generator

__all__ = [
    "ACTIVATIONS",
    "RELU_FAMILY",
    "Activation",
    "Params",
    "accuracy",
    "cross_entropy",
    "cross_entropy_from_probabilities",
    "elu",
    "find_activation",
    "identity",
    "init",
    "layers",
    "leaky_relu",
    "log_softmax",
    "logits",
    "loss",
    "one_hot",
    "predict",
    "probabilities",
    "relu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "squared_error",
    "tanh",
]

Params: TypeAlias = Mapping[str, Any]


def init(
    sizes: Sequence[int],
    seed: int | np.random.Generator = 0,
    *,
    activation: Activation = "sigmoid",
    scale: Literal["xavier", "he", "normal"] | float | None = None,
    dtype: DTypeLike = np.float64,
) -> dict[str, Array]:
    """Draw the parameters of a network.

    Parameters
    ----------
    sizes : sequence of int
        The widths from input to output: ``(784, 50, 100, 10)`` is the notebook's network.
    seed : int or Generator
        The same seed gives the same bits.
    activation : str or callable
        The hidden layers' activation; it determines the default `scale`.
    scale : {"xavier", "he", "normal"} or float, optional
        The standard deviation of the weights. ``"xavier"``: √(2 / (inputs + outputs)), Glorot &
        Bengio 2010; ``"he"``: √(2 / inputs), He et al. 2015; both with biases of zero.
        ``"normal"``: 1 for weights and biases, as in the notebook. A number: itself, with biases
        of zero. By default He where the layer's activation is of the relu family, else Xavier.
    dtype : dtype
        A floating-point type.

    Returns
    -------
    dict of str to ndarray
        ``W1, b1, W2, b2, ...``

    Raises
    ------
    OptionError
        If a width is not a positive integer, or an option is unknown.

    Examples
    --------
    >>> {name: leaf.shape for name, leaf in init((784, 50, 10), seed=0).items()}
    {'W1': (784, 50), 'b1': (50,), 'W2': (50, 10), 'b2': (10,)}
    """
    advice = "give the widths from input to output, such as 64, 32, 10"
    widths = options.each("sizes", sizes, options.integer, advice, fewest=2)
    dtype = options.floating("dtype", dtype, "parameters are drawn in a floating-point type")
    find_activation(activation)
    rng = generator(seed)
    params: dict[str, Array] = {}
    for layer, (inputs, outputs) in enumerate(pairwise(widths), start=1):
        is_hidden = layer < len(widths) - 1
        deviation = _deviation(scale, activation if is_hidden else "softmax", inputs, outputs)
        weights = deviation * rng.standard_normal((inputs, outputs))
        biases = rng.standard_normal(outputs) if scale == "normal" else np.zeros(outputs)
        params[f"W{layer}"] = weights.astype(dtype)
        params[f"b{layer}"] = biases.astype(dtype)
    return params


def _deviation(scale: str | float | None, activation: Activation, d: int, k: int) -> float:
    if scale is None:
        scale = "he" if activation in RELU_FAMILY else "xavier"
    match scale:
        case "xavier":
            return float(np.sqrt(2 / (d + k)))
        case "he":
            return float(np.sqrt(2 / d))
        case "normal":
            return 1.0
    return options.number("scale", scale, "choose xavier, he, normal or a positive number")


def layers(params: Params) -> list[tuple[Any, Any]]:
    """Return ``[(W1, b1), (W2, b2), ...]``, or raise an error if the dict is not a network.

    Raises
    ------
    ParameterError
        If a key is missing or left over, or the shapes do not chain; the message names it.
    """
    if not isinstance(params, Mapping):
        raise ParameterError(
            f"a network is a dict W1, b1, W2, b2, ...; not {type(params).__name__}"
        )
    depth = max(len(params) + 1, 2) // 2
    names = [(f"W{layer}", f"b{layer}") for layer in range(1, depth + 1)]
    wanted = [name for pair in names for name in pair]
    if extra := [str(key) for key in params if key not in wanted]:
        raise ParameterError(
            f"{', '.join(extra)}: not a parameter of a network; "
            f"expected {wanted[0]} to {wanted[-1]}"
        )
    if missing := [name for name in wanted if name not in params]:
        raise ParameterError(f"the network lacks {', '.join(missing)}")
    result = [(_leaf(params, W), _leaf(params, b)) for W, b in names]
    width = None
    for (W_name, b_name), (W, b) in zip(names, result, strict=True):
        W_shape, b_shape = tuple(W.shape), tuple(b.shape)
        if len(W_shape) != 2 or 0 in W_shape:
            raise ParameterError(
                f"{W_name} has shape {W_shape}; expected (inputs, outputs), none of them 0"
            )
        if width is not None and W_shape[0] != width:
            raise ParameterError(
                f"{W_name} has shape {W_shape}, but the layer before it has {width} outputs"
            )
        width = W_shape[1]
        if b_shape != (width,):
            raise ParameterError(
                f"{b_name} has shape {b_shape}; expected ({width},), the outputs of {W_name}"
            )
    return result


def _leaf(params: Params, name: str) -> Any:
    leaf = params[name]
    if isinstance(leaf, (list, tuple)):
        raise ParameterError(f"{name} is a {type(leaf).__name__}; expected an array")
    return as_numbers(leaf, name, ParameterError)


def logits(params: Params, x: Any, *, activation: Activation = "sigmoid") -> Any:
    """Run the network up to its last layer's sums.

    Parameters
    ----------
    params : dict of str to array
        The network.
    x : array, shape (n, d) or (d,)
        Samples, or a single one.
    activation : str or callable
        Of the hidden layers: a name from `ACTIVATIONS`, or a function of an array.

    Returns
    -------
    array, shape (n, k) or (k,)

    Raises
    ------
    ParameterError, DataError
        If `params` is not a network, or `x` does not fit it.

    Examples
    --------
    >>> logits({"W1": np.eye(2), "b1": np.array([0.0, 1.0])}, np.array([[3.0, 4.0]]))
    array([[3., 5.]])
    """
    activate = find_activation(activation)
    *hidden, (W_last, b_last) = layers(params)
    x = as_numbers(x, "x")
    d = (hidden[0][0] if hidden else W_last).shape[0]
    if len(x.shape) not in (1, 2) or x.shape[-1] != d:
        raise DataError(f"x has shape {tuple(x.shape)}; the network expects (samples, {d})")
    for W, b in hidden:
        x = activate(x @ W + b)
    return x @ W_last + b_last


def probabilities(params: Params, x: Any, *, activation: Activation = "sigmoid") -> Any:
    """Return the class probabilities, shape (n, k): the softmax of the logits, per sample."""
    return softmax(logits(params, x, activation=activation))


def predict(params: Params, x: Any, *, activation: Activation = "sigmoid") -> Any:
    """Return the most probable class of each sample, integers of shape (n,)."""
    return np.argmax(logits(params, x, activation=activation), axis=-1)


def accuracy(params: Params, x: Any, labels: Any, *, activation: Activation = "sigmoid") -> float:
    """Return the share of samples that are classified correctly.

    Parameters
    ----------
    params, x, activation
        See `logits`.
    labels : array
        Classes of shape (n,), or one-hot of shape (n, k).

    Examples
    --------
    >>> params = {"W1": np.eye(2), "b1": np.zeros(2)}
    >>> accuracy(params, np.array([[2.0, 1.0], [0.0, 3.0]]), np.array([0, 0]))
    0.5
    """
    z = logits(params, x, activation=activation)
    return float(np.mean(np.argmax(z, axis=-1) == np.argmax(targets_of(z, labels), axis=-1)))


def loss(
    params: Params,
    x: Any,
    labels: Any,
    *,
    activation: Activation = "sigmoid",
    kind: Literal["cross_entropy", "squared_error"] = "cross_entropy",
) -> Any:
    """Return the loss of a classifying network: a scalar, the mean over the batch.

    Parameters
    ----------
    params, x, activation
        See `logits`; fix the options with `functools.partial` to get a function of
        ``(params, x, labels)`` that can be differentiated and trained.
    labels : array
        Classes of shape (n,), or one-hot of shape (n, k).
    kind : {"cross_entropy", "squared_error"}
        What to compute: `cross_entropy` of the logits, or `squared_error` of the probabilities.

    Examples
    --------
    >>> params = {"W1": np.zeros((4, 10)), "b1": np.zeros(10)}
    >>> float(loss(params, np.ones((3, 4)), np.array([0, 5, 9])).round(6))  # log 10
    2.302585
    """
    z = logits(params, x, activation=activation)
    if kind == "cross_entropy":
        return cross_entropy(z, labels)
    if kind == "squared_error":
        return squared_error(softmax(z), labels)
    raise OptionError(f"kind={kind!r}: choose cross_entropy or squared_error")
