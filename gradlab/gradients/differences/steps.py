"""The steps of finite differences: the default for each entry, smaller ones, and given ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from gradlab import options
from gradlab.errors import OptionError, ParameterError
from gradlab.params import Array, flatten

STEP_REDUCTION = 16.0
"""Factor by which the step shrinks each time an entry is measured again."""

MAX_STEP_REDUCTIONS = 16
"""Largest number of reductions of the step: down to 2^-64 of the first step."""


def steps(x: Array, step: Any, order: int, precision: float = 0.0) -> Array:
    """Return the step of each entry of a leaf: the given one, or the default.

    The default balances the truncation error h^q, of order q, with the round-off ε/h:
    ε^(1/(q+1)) max(1, |x|), rounded to a power of two. ε is that of the leaf's dtype, or the
    precision of an evaluation if that is larger.

    Examples
    --------
    >>> np.log2(steps(np.array([0.0, 1.0, 300.0]), None, order=2))
    array([-17., -17.,  -9.])
    """
    if step is not None:
        return np.full(x.shape, step, x.dtype)
    epsilon = max(float(np.finfo(x.dtype).eps), precision)
    exponent = np.log2(epsilon) / (order + 1) + np.log2(np.maximum(1, np.abs(x)))
    scaled: Array = np.exp2(np.round(exponent))
    return scaled.astype(x.dtype, copy=False)


def check_step(step: Any) -> None:
    """Refuse a step that is neither a positive number nor a structure of such numbers."""
    advice = "give a positive number, a structure of them like the parameters, or None"
    if not isinstance(step, dict | list | tuple | np.ndarray):
        options.number("step", step, advice)
        return
    try:
        leaves, _ = flatten(step)
    except (ParameterError, ArithmeticError):
        raise options.refusal("step", step, advice) from None
    if not all((leaf > 0).all() for leaf in leaves):
        raise options.refusal("step", step, advice)


def given_steps(step: Any, params: Any, leaves: Sequence[Array]) -> list[Array]:
    """Return the given step of each entry, leaf by leaf, in the dtype of the evaluation.

    An OptionError is raised if the structure of steps does not match that of the parameters.

    Examples
    --------
    >>> params = {"w": np.ones(2), "b": 0.5}
    >>> given_steps({"w": 1e-3, "b": 1e-4}, params, [np.ones(2), np.ones(())])
    [array([0.001, 0.001]), array(0.0001)]
    """
    if not isinstance(step, dict | list | tuple | np.ndarray):
        return [np.full(leaf.shape, step, leaf.dtype) for leaf in leaves]
    found, structure = flatten(step)
    by_path = dict(zip(structure.paths, found, strict=True))
    paths = flatten(params)[1].paths
    if set(by_path) != set(paths):
        raise OptionError(
            f"step has {', '.join(by_path)}; the parameters have {', '.join(paths)}: give a "
            "number for each leaf, or for each entry"
        )
    given = []
    for path, leaf in zip(paths, leaves, strict=True):
        if by_path[path].shape not in ((), leaf.shape):
            raise OptionError(
                f"step of {path} has shape {by_path[path].shape}; expected {leaf.shape}, or a "
                "number"
            )
        given.append(np.array(np.broadcast_to(by_path[path], leaf.shape), leaf.dtype))
    return given


def finer_steps(x: Any, h: Any) -> Iterator[Any]:
    """Yield smaller steps for an entry, as long as adding them changes the entry.

    Examples
    --------
    >>> steps = list(finer_steps(1e-300, 2.0**-17))
    >>> len(steps), bool(steps[0] == 2.0**-21), bool(1e-306 < steps[-2] < 1e-304)
    (18, True, True)
    """
    for _ in range(MAX_STEP_REDUCTIONS):
        h = h / STEP_REDUCTION
        if not x - h < x < x + h:
            return
        yield h
    scaled = np.asarray(h).dtype.type(np.exp2(np.floor(np.log2(abs(x))) - 17)) if x else h
    if scaled < h:
        yield scaled
        yield scaled / STEP_REDUCTION
