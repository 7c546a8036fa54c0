"""Derivatives of functions with many outputs, right ones and wrong ones, whose truth is known.

`CASES` has them all; each is a `VectorCase`: a function, a point, a VJP, JVP, Jacobian or Hessian
that is claimed for it, and whether the claim is right. Every truth was derived by hand;
``tests/benchmarks/test_corpus_outputs.py`` holds it to complex steps or extrapolated differences.
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
    """A derivative to be judged.

    Attributes
    ----------
    kind, name : str
        What it is of; together with form and fault they are unique.
    f : callable
        ``f(params, *args) -> outputs``; for `hessian`, `hvp` and `gradient` a loss.
    params, args
        Where.
    form : str
        What is claimed, the option of the checker.
    truth : callable
        The right claim, in that form.
    claim : callable or None
        What is claimed, where it is wrong.
    fault : str
        What is wrong with it.
    convention : str or None
        That of complex gradients.
    reference : str
        How tests prove the truth: ``"complex step"``, or ``"differences"`` where the function does
        not take complex numbers.
    accepted : tuple of str
        The right verdicts.
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
        """All that tells it from the others, in one line."""
        return f"{self.kind}: {self.form} of {self.name}" + (
            f" ({self.fault})" if self.fault else ""
        )

    def check(self, check: Callable[..., Any], **options: Any) -> Any:
        """Return what a checker with the signature of `gradlab.check_derivatives` finds."""
        claimed = {self.form: self.claim or self.truth}
        if self.form == "gradient":  # of a real loss: its Jacobian has the same numbers
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
    """Return a right case, and it again with each of the faults."""
    right = VectorCase(kind, name, f, params, args, form, truth, **more)
    return [
        right,
        *(
            replace(right, claim=fault.plant(truth), fault=fault.name, accepted=("mismatch",))
            for fault in faults
        ),
    ]


def edited(name: str, edit: Callable[[Any], Any]) -> Fault:
    """Return the fault that changes what a claim returns."""

    def plant(truth: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args: edit(truth(*args))

    return Fault(name, plant)


def of_leaf(leaf: str, name: str, edit: Callable[[Any], Any]) -> Fault:
    """Return the fault that replaces one leaf of what a claim returns."""

    def change(leaves: dict[str, Any]) -> None:
        leaves[leaf] = np.asarray(edit(leaves[leaf]))

    return changed(f"{leaf}: {name}", change)


def of_direction(name: str, edit: Callable[[Any], Any]) -> Fault:
    """Return the fault that changes the cotangent or tangent before it is used."""

    def plant(truth: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args: truth(*args[:-1], edit(args[-1]))

    return Fault(name, plant)


def unique(cases: list[VectorCase]) -> tuple[VectorCase, ...]:
    """Return the cases, or say which two have one title."""
    titles = [case.title for case in cases]
    if twice := {title for title in titles if titles.count(title) > 1}:
        raise ValueError(f"two cases are called {', '.join(sorted(twice))}")
    return tuple(cases)
