"""Gradients by one process and by several."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from shared_losses import PARAMS, X, loss

import gradlab
from gradlab.gradients.workers import gradient as sharing

METHODS = [
    gradlab.ForwardDifference,
    gradlab.CentralDifference,
    gradlab.CentralDifference4,
    gradlab.Richardson,
]
every_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)


def same_bits(found: Any, wanted: Any) -> bool:
    return all(
        np.asarray(found[name]).tobytes() == np.asarray(wanted[name]).tobytes()
        and type(found[name]) is type(wanted[name])
        for name in wanted
    )


def gradient(params: Any = PARAMS, *args: Any, of: Any = loss, **options: Any) -> Any:
    return gradlab.grad(of, gradlab.CentralDifference(**options))(params, *(args or (X,)))


def share_out(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Use chunks of this number of entries, for evaluations of any duration."""
    monkeypatch.setattr(sharing, "chunk_size", lambda *args: size)
