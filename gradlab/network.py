"""The network, written once: pure functions over a dict of parameters.

A network of L layers is the dict ``{"W1": ..., "b1": ..., ..., "WL": ..., "bL": ...}``, where ``W``
is ``(inputs, outputs)`` and ``b`` is ``(outputs,)``; its depth and widths are read off it::

    x  (n, d)  ->  activation(x @ W1 + b1)  ->  ...  ->  logits (n, k)  ->  softmax  ->  (n, k)

Everything is plain NumPy, and none of it knows who differentiates it: the same functions run on
NumPy arrays (real or complex) and on the traced arrays of autograd, JAX and PyTorch, which answer
NumPy's protocols (`gradlab.arrays`). In shapes, n is samples, d inputs, k classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from gradlab import options
from gradlab.arrays.refusals import forgiving
from gradlab.errors import (
    DataError,
    GradlabError,
    OptionError,
    ParameterError,
    UntraceableError,
    unknown,
)
from gradlab.params import Array, numbers
from gradlab.seeding import generator

Params: TypeAlias = Mapping[str, Any]
Activation: TypeAlias = str | Callable[[Any], Any]


# The network


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
        The hidden layers' activation; it decides the default `scale`.
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
    """Return ``[(W1, b1), (W2, b2), ...]``, or say why the dict is not a network.

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
    return _array(leaf, name, ParameterError)


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
    x = _array(x, "x")
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
    """Return the share of samples that are classified right.

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
    return float(np.mean(np.argmax(z, axis=-1) == np.argmax(_targets(z, labels), axis=-1)))


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


# Losses


def cross_entropy(logits: Any, labels: Any) -> Any:
    """Return the mean of −log p(label) over the batch, from logits.

    The logarithm of the softmax is taken as z − max z − log Σ exp(z − max z), which neither
    overflows nor takes the logarithm of zero (Blanchard, Higham & Higham, *Accurately computing
    the log-sum-exp and softmax functions*, 2021).

    Parameters
    ----------
    logits : array, shape (n, k) or (k,)
        A network's last sums, of any size.
    labels : array, shape (n,) or (n, k)
        Classes from 0 to k − 1, or their one-hot encoding (or any distribution over classes).

    Raises
    ------
    DataError
        If the labels do not fit the logits, or one is out of range.

    Examples
    --------
    >>> float(cross_entropy(np.array([[0.0, 1e4]]), np.array([0])))
    10000.0
    """
    return -_mean_over_batch(_pick(log_softmax(logits), labels))


def cross_entropy_from_probabilities(probabilities: Any, labels: Any, guard: float = 1e-7) -> Any:
    """Return the mean of −log(p(label) + guard): the notebook's 교차엔트로피오차.

    Prefer `cross_entropy`, which needs no guard against the logarithm of zero.

    Examples
    --------
    >>> p = np.array([0.1, 0.05, 0.6, 0.0, 0.05, 0.1, 0.0, 0.1, 0.0, 0.0])
    >>> float(cross_entropy_from_probabilities(p, 2).round(12))
    0.510825457099
    """
    return -_mean_over_batch(_pick(np.log(_floats(probabilities) + guard), labels))


def squared_error(predictions: Any, targets: Any) -> Any:
    """Return half the summed squared error, mean over the batch: the notebook's 평균제곱오차.

    Parameters
    ----------
    predictions : array, shape (n, k) or (k,)
        Probabilities, or any outputs.
    targets : array
        Of the shape of the predictions; or classes of shape (n,), which stand for one-hot.

    Examples
    --------
    >>> float(squared_error(np.array([0.6, 0.4]), np.array([1.0, 0.0])).round(12))
    0.16
    """
    y = _floats(predictions)
    t = _targets(y, targets)
    # One-hot targets take the precision of the predictions: float32 stays float32.
    t = t.astype(y.dtype) if t.dtype == bool else _floats(t)
    return _mean_over_batch(0.5 * (y - t) ** 2)


def one_hot(labels: Any, classes: int) -> Array:
    """Encode classes of shape (n,) as rows of zeros and a one, float64 of shape (n, k).

    Examples
    --------
    >>> one_hot([1, 0], 3)
    array([[0., 1., 0.],
           [1., 0., 0.]])
    """
    labels = numbers(labels, "the array of labels")
    classes = options.integer("classes", classes)
    encoded: Array = _targets(np.zeros((*labels.shape, classes)), labels)
    return encoded.astype(np.float64)


def _mean_over_batch(terms: Any) -> Any:
    """Sum over classes, mean over samples, for terms of shape (n, k) or (k,)."""
    n = terms.shape[0] if len(terms.shape) == 2 else 1
    return np.sum(terms) / n


def _pick(terms: Any, labels: Any) -> Any:
    """Weight terms of shape (n, k) with the one-hot encoding of the labels."""
    targets = _targets(terms, labels)
    if targets.dtype == bool:  # not a product: a term that is not wanted may be infinite
        return np.where(targets, terms, 0.0)
    return targets * terms


def _targets(outputs: Any, labels: Any) -> Any:
    """Return labels as one-hot booleans beside outputs (n, k); those that are so already, as is."""
    shape = tuple(outputs.shape)
    k = shape[-1]
    labels = _array(labels, "the array of labels")
    if 0 in shape:
        raise DataError(f"the batch is empty: outputs of shape {shape}")
    if labels.shape == shape:
        return labels
    if labels.shape != shape[:-1]:
        raise DataError(
            f"labels have shape {tuple(labels.shape)}; for outputs of shape {shape} "
            f"they have {shape[:-1]} (classes) or {shape} (one-hot)"
        )
    if labels.dtype.kind not in "iu":
        raise DataError(f"labels have dtype {labels.dtype}; classes are integers")
    targets = labels[..., None] == np.arange(k)
    _require_in_range(targets, labels)
    return targets


def _require_in_range(targets: Any, labels: Any) -> None:
    """Raise an error that names a label which is no class."""
    try:
        with forgiving():
            all_found = bool(np.count_nonzero(targets) == labels.size)
    except UntraceableError:  # while the loss is compiled, there are no numbers to look at
        return
    if not all_found:
        k = targets.shape[-1]
        wrong = labels[(labels < 0) | (labels >= k)].reshape(-1)[0]
        raise DataError(f"label {wrong} is out of range: the classes are 0 to {k - 1}")


# Activations


def sigmoid(x: Any) -> Any:
    """Return 1 / (1 + exp(−x)), to full relative precision, as long as that is 1 / √max or more.

    Below, it stays there: 1 / √max is 7e-155 in float64, 5e-20 in float32, 4e-3 in float16.
    So neither it nor its derivative, exp(−x) / (1 + exp(−x))², overflows for any x.

    Examples
    --------
    >>> sigmoid(np.array([-100.0, 0.0, 1e4]))
    array([3.72007598e-44, 5.00000000e-01, 1.00000000e+00])
    """
    x = _floats(x)
    lowest = -0.5 * math.log(np.finfo(x.dtype).max)
    x = np.where(np.real(x) > lowest, x, lowest)
    return 1.0 / (1.0 + np.exp(-x))


def relu(x: Any) -> Any:
    """Return max(x, 0); its derivative at 0 is taken as 0."""
    x = _floats(x)
    return np.where(np.real(x) > 0, x, 0.0)


def leaky_relu(x: Any, slope: float = 0.01) -> Any:
    """Return x where it is positive, else ``slope * x``."""
    x = _floats(x)
    return np.where(np.real(x) > 0, x, slope * x)


def elu(x: Any) -> Any:
    """Return x where it is positive, else exp(x) − 1 (Clevert et al. 2016)."""
    x = _floats(x)
    positive = np.real(x) > 0
    return np.where(positive, x, np.expm1(np.where(positive, 0.0, x)))


def softplus(x: Any) -> Any:
    """Return log(1 + exp(x)), without overflow."""
    x = _floats(x)
    positive = np.real(x) > 0
    return np.where(positive, x, 0.0) + np.log1p(np.exp(np.where(positive, -x, x)))


def silu(x: Any) -> Any:
    """Return x · sigmoid(x) (Elfwing et al. 2018)."""
    return x * sigmoid(x)


def tanh(x: Any) -> Any:
    """Return the hyperbolic tangent."""
    return np.tanh(_floats(x))


def identity(x: Any) -> Any:
    """Return x: with it, a network is linear."""
    return x


def softmax(x: Any) -> Any:
    """Return exp(x) / Σ exp(x) over the last axis: each sample's probabilities add up to 1.

    Examples
    --------
    >>> softmax(np.array([[0.0, 0.0], [1e4, -1e4]]))
    array([[0.5, 0.5],
           [1. , 0. ]])
    """
    x = _floats(x)
    z = np.exp(x - np.max(np.real(x), axis=-1, keepdims=True))
    return z / np.sum(z, axis=-1, keepdims=True)


def log_softmax(x: Any) -> Any:
    """Return the logarithm of `softmax`, without taking the logarithm of zero."""
    x = _floats(x)
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


# Arrays


def _array(value: Any, what: str, error: type[GradlabError] = DataError) -> Any:
    """Return an array as it is, anything else as NumPy's array of numbers."""
    kind = getattr(getattr(value, "dtype", None), "kind", "O")
    return value if kind in "biufc" else numbers(value, what, error)


def _floats(x: Any) -> Any:
    """Return x in floating point: −x of an unsigned integer wraps."""
    x = _array(x, "the input")
    return x if x.dtype.kind in "fc" else x.astype(np.float64)
