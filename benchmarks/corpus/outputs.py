"""Right and wrong derivatives of functions with many outputs.

`corpus.vectors.CASES` has all of them. Each is a `VectorCase`: a function, its parameters, a
claimed VJP, JVP, Jacobian or Hessian, and whether the claim is right. Every true derivative was
derived by hand; ``tests/benchmarks/test_corpus_outputs.py`` verifies it by complex steps or
extrapolated differences.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np

from corpus.case import Fault, changed

Form: TypeAlias = Literal["vjp", "jvp", "jacobian", "hessian", "hvp", "gradient"]


@dataclass(frozen=True)
class VectorCase:
    """A derivative for a checker to judge.

    Attributes
    ----------
    kind, name : str
        The kind and the name of the function.
    f : callable
        ``f(params, *args) -> outputs``; for `hessian`, `hvp` and `gradient`, a loss.
    params, args
        The arguments of the function.
    form : str
        What is claimed: an option of the checker, such as ``vjp``.
    truth : callable
        The right claim, in this form.
    claim : callable or None
        The wrong claim; None to claim the truth.
    fault : str
        What is wrong with the claim.
    convention : str or None
        The convention of complex gradients.
    reference : str
        How the tests verify the truth: ``"complex step"``, or ``"differences"`` if the function
        does not take complex numbers.
    accepted : tuple of str
        The correct verdicts.
    gradient : callable or None
        For `hessian` and `hvp`, the gradient of the loss.
    """

    kind: str
    name: str
    f: Callable[..., Any]
    params: Any
    args: tuple[Any, ...]
    form: Form
    truth: Callable[..., Any]
    claim: Callable[..., Any] | None = None
    fault: str = ""
    convention: Literal["jax", "torch"] | None = None
    reference: str = "complex step"
    accepted: tuple[str, ...] = ("agree",)
    gradient: Callable[..., Any] | None = None
    resolvable: ClassVar[bool] = True

    @property
    def right(self) -> bool:
        """Whether the claim is the truth."""
        return self.claim is None

    @property
    def title(self) -> str:
        """Kind, form, name and fault in one line, unique among the cases."""
        return f"{self.kind}: {self.form} of {self.name}" + (
            f" ({self.fault})" if self.fault else ""
        )

    def check(self, check: Callable[..., Any], **options: Any) -> Any:
        """Return the result of a checker with the signature of `gradlab.check_derivatives`."""
        claimed = {self.form: self.claim or self.truth}
        if self.form == "gradient":  # the Jacobian of a real loss has the same numbers
            claimed = {"jacobian": claimed["gradient"]}
        if self.convention:
            options["convention"] = self.convention
        if self.gradient:
            options["gradient"] = self.gradient
        return check(self.f, self.params, *self.args, **claimed, **options)


def family(
    kind: str,
    name: str,
    f: Callable[..., Any],
    params: Any,
    form: Form,
    truth: Callable[..., Any],
    *faults: Fault,
    args: tuple[Any, ...] = (),
    **more: Any,
) -> list[VectorCase]:
    """Return a right case, and the same case with each of the faults."""
    right = VectorCase(kind, name, f, params, args, form, truth, **more)
    return [
        right,
        *(
            replace(right, claim=fault.plant(truth), fault=fault.name, accepted=("mismatch",))
            for fault in faults
        ),
    ]


def edited(name: str, edit: Callable[[Any], Any]) -> Fault:
    """Return a fault that changes what a claim returns."""

    def plant(truth: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args: edit(truth(*args))

    return Fault(name, plant)


def of_leaf(leaf: str, name: str, edit: Callable[[Any], Any]) -> Fault:
    """Return a fault that replaces one leaf of what a claim returns."""

    def change(leaves: dict[str, Any]) -> None:
        leaves[leaf] = np.asarray(edit(leaves[leaf]))

    return changed(f"{leaf}: {name}", change)


def of_direction(name: str, edit: Callable[[Any], Any]) -> Fault:
    """Return a fault that changes the cotangent or tangent before its use."""

    def plant(truth: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args: truth(*args[:-1], edit(args[-1]))

    return Fault(name, plant)
