"""Convert weights with other programs' names, order and shapes into gradlab's form.

A network has a matrix and a bias for each layer. Their roles and order follow from the shapes: a
bias has as many entries as its matrix has outputs, and these are the inputs of the next layer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from gradlab.errors import WeightsError
from gradlab.params import Array

Pairs: TypeAlias = list[tuple[str, str]]


def as_network(params: Mapping[str, Array]) -> dict[str, Array]:
    """Return weights under the names and in the shapes of `gradlab.network`.

    Parameters
    ----------
    params : mapping of str to ndarray
        Matrices and biases under any names: layer by layer, or all matrices and then all biases.
        Biases have shape ``(k,)``, ``(1, k)`` or ``(k, 1)``; matrices ``(inputs, outputs)``, or all
        of them ``(outputs, inputs)``, as PyTorch and "Neural Networks and Deep Learning" have them.

    Returns
    -------
    dict of str to ndarray
        ``W1``, ``b1``, ``W2``, ... `params` unchanged if the shapes fit no network.

    Raises
    ------
    WeightsError
        If the shapes fit several networks, for example when all layers have the same width.

    Examples
    --------
    >>> torch = {"0.bias": np.ones(3), "0.weight": np.ones((3, 2))}
    >>> {name: array.shape for name, array in as_network(torch).items()}
    {'W1': (2, 3), 'b1': (3,)}
    """
    own = [f"{kind}{layer}" for layer in range(1, len(params) // 2 + 1) for kind in "Wb"]
    is_own = set(own) == set(params)
    pairings = [list(zip(own[::2], own[1::2], strict=True))] if is_own else _pairings(list(params))
    ways = [
        (pairs, turn) for pairs in pairings for turn in (False, True) if _chain(params, pairs, turn)
    ]
    if not ways:
        return dict(params)
    # For a square matrix, gradlab's own names say which side the inputs are on.
    if len(ways) > 1 and not is_own:
        raise WeightsError(
            "the shapes do not tell in which order the layers come, or on which side of a matrix "
            "the inputs are; name the arrays W1, b1, W2, b2, ..., each matrix (inputs, outputs)"
        )
    pairs, turn = ways[0]
    found = {}
    for layer, (matrix, bias) in enumerate(pairs, start=1):
        W = params[matrix]
        found[f"W{layer}"] = np.ascontiguousarray(W.T) if turn else W
        found[f"b{layer}"] = params[bias].reshape(-1)
    return found


def _pairings(names: Sequence[str]) -> Iterator[Pairs]:
    """Yield each possible pairing of matrices and biases once."""
    seen: list[Pairs] = []
    half = len(names) // 2
    # A format may not keep the order; then the numbers in the names give it.
    for order in (names, sorted(names, key=_natural)):
        for first, second in ((order[::2], order[1::2]), (order[:half], order[half:])):
            for matrices, biases in ((first, second), (second, first)):
                pairs = list(zip(matrices, biases, strict=False))
                if 2 * len(pairs) == len(names) and pairs not in seen:
                    seen.append(pairs)
                    yield pairs


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts ``layer10`` after ``layer9``."""
    return [(int(part) if part.isdecimal() else -1, part) for part in re.split(r"(\d+)", name)]


def _chain(params: Mapping[str, Array], pairs: Pairs, turn: bool) -> bool:
    """Tell whether each matrix has as many inputs as the one before it has outputs."""
    width = None
    for matrix, bias in pairs:
        W, b = params[matrix], params[bias]
        if W.ndim != 2 or not W.size:
            return False
        inputs, outputs = reversed(W.shape) if turn else W.shape
        if width not in (None, inputs) or b.shape not in ((outputs,), (1, outputs), (outputs, 1)):
            return False
        width = outputs
    return bool(pairs)
