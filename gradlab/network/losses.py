"""Losses: from a network's outputs and labels to one number, the mean over the batch."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradlab import options
from gradlab.arrays.refusals import forgiving
from gradlab.errors import DataError, UntraceableError
from gradlab.network.activations import log_softmax
from gradlab.network.numbers import as_floats, as_numbers
from gradlab.params import Array, numbers


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
    return -_mean_over_batch(_pick(np.log(as_floats(probabilities) + guard), labels))


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
    y = as_floats(predictions)
    t = targets_of(y, targets)
    # One-hot targets take the precision of the predictions: float32 stays float32.
    t = t.astype(y.dtype) if t.dtype == bool else as_floats(t)
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
    encoded: Array = targets_of(np.zeros((*labels.shape, classes)), labels)
    return encoded.astype(np.float64)


def _mean_over_batch(terms: Any) -> Any:
    """Sum over classes, mean over samples, for terms of shape (n, k) or (k,)."""
    n = terms.shape[0] if len(terms.shape) == 2 else 1
    return np.sum(terms) / n


def _pick(terms: Any, labels: Any) -> Any:
    """Weight terms of shape (n, k) with the one-hot encoding of the labels."""
    targets = targets_of(terms, labels)
    if targets.dtype == bool:  # not a product: the other terms may be infinite
        return np.where(targets, terms, 0.0)
    return targets * terms


def targets_of(outputs: Any, labels: Any) -> Any:
    """Return labels as one-hot booleans for outputs (n, k); one-hot labels as they are."""
    shape = tuple(outputs.shape)
    k = shape[-1]
    labels = as_numbers(labels, "the array of labels")
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
    """Raise an error that names a label that is not a class."""
    try:
        with forgiving():
            all_found = bool(np.count_nonzero(targets) == labels.size)
    except UntraceableError:  # while the loss is compiled, there are no numbers to check
        return
    if not all_found:
        k = targets.shape[-1]
        wrong = labels[(labels < 0) | (labels >= k)].reshape(-1)[0]
        raise DataError(f"label {wrong} is out of range: the classes are 0 to {k - 1}")
