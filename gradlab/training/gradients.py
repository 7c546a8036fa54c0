"""A backend's gradient as a function of the parameters, with the backend's contract checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from gradlab.errors import BackendError
from gradlab.gradients import Backend, Loss, find_backend, value_and_grad
from gradlab.gradients.protocol import name_of, real_scalar, writes_out
from gradlab.params import Structure, leaves_like, named_leaves
from gradlab.training.vectors import Vector

GradientAt: TypeAlias = Callable[..., tuple[float, Vector]]
"""``gradient_at(params, *batch) -> (loss, gradient)``."""


@dataclass(frozen=True)
class WrittenGradient:
    """A gradient that a backend writes into the same arrays each time."""

    run: Any  # the backend's function
    out: Any  # the arrays, in the structure of the parameters
    gradient: Vector  # the same arrays

    def __call__(self, params: Any, *args: Any) -> tuple[float, Vector]:
        """Return the loss and its gradient."""
        return self.run(params, *args, out=self.out)[0], self.gradient


def gradients(
    loss: Loss, backend: str | Backend, like: tuple[Vector, Structure] | None = None
) -> GradientAt:
    """Return the loss and its gradient as a function.

    Given parameters that it is `like`, a backend that can writes each gradient into the same
    arrays. The function raises an error if the backend breaks its contract.
    """
    run = value_and_grad(loss, backend)
    if like and writes_out(run):
        gradient = like[0].another()
        out = replace(like[1], scalars=frozenset()).unflatten(gradient.leaves)
        return WrittenGradient(run, out, gradient)

    def gradient_at(params: Any, *args: Any) -> tuple[float, Vector]:
        outcome = run(params, *args)
        if not (isinstance(outcome, tuple) and len(outcome) == 2):
            name = name_of(find_backend(backend))
            raise BackendError(f"the backend {name} did not return a pair (value, gradient)")
        value, grads = outcome
        leaves = [
            gradient.astype(leaf.dtype, copy=False)
            for gradient, (_, leaf) in zip(
                leaves_like(params, grads, "the gradient"), named_leaves(params), strict=True
            )
        ]
        return float(real_scalar(value)), Vector(leaves, leaves)

    return gradient_at
