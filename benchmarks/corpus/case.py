"""A case: a loss, a gradient that is claimed for it, and whether the claim is right.

A right case claims the gradient that was derived by hand (`Case.truth`). A wrong one is the same
loss with a `Fault` planted into that gradient::

    case = Case("steep", "exp(50 x)", loss, params, truth)     right
    case.with_fault(factor(1.5))                               wrong

A case stores functions and parameters only, so it can be moved to other parameters (`Case.moved`),
where truth and claim are computed again.

Some losses approximate the function that they stand for: they round to float32, add in an unlucky
order, or stop a solver early. Their truth is the derivative of the exact function, `Case.meant`.
The difference between the two functions is noise for a checker.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

import numpy as np

from gradlab.params import Array, flatten, map_leaves

Loss: TypeAlias = Callable[..., Any]
Gradient: TypeAlias = Callable[..., Any]
"""``gradient(params, *args)``, in the structure of the parameters."""
Move: TypeAlias = Callable[[Any, np.random.Generator, float], Any]
"""``move(params, rng, by)`` returns other parameters nearby."""
Method: TypeAlias = Literal["high precision", "complex step", "nearby gradients"]

AGREE: tuple[str, ...] = ("agree",)
KINK = ("agree", "kink")
MISMATCH = ("mismatch",)
INCONCLUSIVE = ("inconclusive",)
UNSEEN = ("agree", "inconclusive")


# Moves


def scaled(params: Any, rng: np.random.Generator, by: float) -> Any:
    """Multiply each entry by up to 1 ± `by`, which keeps signs and zeros."""

    def move(x: Array) -> Array:
        return (x * (1 + rng.uniform(-by, by, x.shape))).astype(x.dtype)

    return map_leaves(move, params)


def together(params: Any, rng: np.random.Generator, by: float) -> Any:
    """Multiply all entries by the same factor, up to 1 ± `by`; equal entries stay equal."""
    factor = 1 + rng.uniform(-by, by)
    return map_leaves(lambda x: x * x.dtype.type(factor), params)


def about(centre: Any) -> Move:
    """Return a move that scales the distance of each entry from a centre."""

    def move(params: Any, rng: np.random.Generator, by: float) -> Any:
        return centre + (params - centre) * (1 + rng.uniform(-by, by, np.shape(params)))

    return move


# Cases


@dataclass(frozen=True)
class Case:
    """A gradient for a checker to judge.

    Attributes
    ----------
    kind, name : str
        Why the case is hard, and a description.
    loss : callable
        ``loss(params, *args) -> scalar``, in plain NumPy.
    params : Any
        The parameters: arrays in any structure.
    truth : callable
        ``truth(params, *args)``, the gradient of `meant`, derived by hand. At a kink, it is one of
        the limits of nearby gradients.
    args : tuple
        The other arguments of the loss.
    claim : callable or None
        ``claim(params, *args)``, the claimed gradient; None to claim the truth.
    right : bool
        Whether the claim is right: at a kink, whether it is a subgradient (Clarke's: in the convex
        hull of the limits of nearby gradients).
    accepted : tuple of str
        The verdicts that are correct. At a kink, ``kink`` is correct for any claim; whether the
        report accepts the claim must agree with `right`.
    fault : str
        What is wrong with the claim.
    meant : callable or None
        The exact function that the loss approximates; None if it is the loss.
    verified_by : str
        How the tests verify the truth: ``high precision`` (central differences of `meant` in 100
        digits), ``complex step``, or ``nearby gradients`` (at kinks).
    resolvable : bool
        Whether the values of the loss suffice to judge the claim.
    move : callable
        The move to other parameters that keeps the difficulty.
    """

    kind: str
    name: str
    loss: Loss
    params: Any
    truth: Gradient
    args: tuple[Any, ...] = ()
    claim: Gradient | None = None
    right: bool = True
    accepted: tuple[str, ...] = AGREE
    fault: str = ""
    meant: Loss | None = None
    verified_by: Method = "high precision"
    resolvable: bool = True
    move: Move = scaled

    @property
    def title(self) -> str:
        """Kind, name and fault in one line, unique among the cases."""
        return f"{self.kind}: {self.name}" + (f" ({self.fault})" if self.fault else "")

    @property
    def gradient(self) -> Gradient:
        """``gradient(params, *args)``, the claimed gradient."""
        return self.claim or self.truth

    @property
    def true_loss(self) -> Loss:
        """The function whose gradient is the truth."""
        return self.meant or self.loss

    @property
    def point(self) -> tuple[Any, ...]:
        """The arguments of the loss and of the gradients."""
        return (self.params, *self.args)

    @property
    def size(self) -> float:
        """The largest relative error of an entry: 0 for a right gradient, at most 2."""
        return relative_difference(self.gradient(*self.point), self.truth(*self.point))

    def with_fault(self, fault: Fault, **changes: Any) -> Case:
        """Return the case with a fault in its claim."""
        wrong: dict[str, Any] = {"right": False, "accepted": MISMATCH, "fault": fault.name}
        return replace(self, claim=fault.plant(self.truth), **wrong | changes)

    def moved(self, seed: int, by: float = 0.03) -> Case:
        """Return the case at other parameters, changed at random by a relative amount up to `by`.

        Examples
        --------
        >>> case = Case("smooth", "x²", lambda x: x**2, np.array(3.0), lambda x: 2 * x)
        >>> there = case.moved(seed=1)
        >>> bool(there.gradient(there.params) == 2 * there.params != 6.0)
        True
        """
        return replace(self, params=self.move(self.params, np.random.default_rng(seed), by))


def relative_difference(found: Any, wanted: Any) -> float:
    """Return the largest |a − b| / max(|a|, |b|) over all entries; 2 for opposite numbers.

    Examples
    --------
    >>> relative_difference(np.array([1.0, 0.0, 3.0]), np.array([1.0, 0.0, 4.0]))
    0.25
    """
    a, b = (_flat(gradient) for gradient in (found, wanted))
    larger = np.maximum(np.abs(a), np.abs(b))
    difference = np.abs(a - b)
    parts = np.divide(difference, larger, out=np.zeros_like(difference), where=larger > 0)
    return float(parts.max(initial=0.0))


def _flat(gradient: Any) -> Array:
    return np.concatenate([np.ravel(leaf).astype(np.float64) for leaf in flatten(gradient)[0]])


def outcome(case: Any, ok: bool | None) -> Literal["right", "false alarm", "miss", "inconclusive"]:
    """Classify a checker's answer to a `Case` or `VectorCase`; `ok` is None for no verdict.

    Examples
    --------
    >>> case = Case("smooth", "x²", lambda x: x**2, np.array(3.0), lambda x: 2 * x)
    >>> outcome(case, False), outcome(case.with_fault(factor(-1)), True)
    ('false alarm', 'miss')
    """
    if ok is None:
        return "inconclusive"
    if case.right and not ok:
        return "false alarm"
    return "miss" if ok and not case.right and case.resolvable else "right"


def pair(case: Case, *faults: Fault) -> list[Case]:
    """Return a right case, and the same case with each of the faults."""
    return [case, *(case.with_fault(fault) for fault in faults)]


# Faults


@dataclass(frozen=True)
class Fault:
    """A fault in a gradient.

    Attributes
    ----------
    name : str
        What is wrong.
    plant : callable
        Turns the right gradient into the wrong one.
    """

    name: str
    plant: Callable[[Gradient], Gradient]


def changed(name: str, change: Callable[[dict[str, Array]], None]) -> Fault:
    """Return a fault that edits the leaves of the gradient, a dict by path, in place."""

    def plant(truth: Gradient) -> Gradient:
        def gradient(params: Any, *args: Any) -> Any:
            found, structure = flatten(truth(params, *args))
            leaves = {path: np.array(g) for path, g in zip(structure.paths, found, strict=True)}
            change(leaves)
            return structure.unflatten(list(leaves.values()))

        return gradient

    return Fault(name, plant)


def instead(name: str, gradient: Gradient) -> Fault:
    """Return the fault of using another formula."""
    return Fault(name, lambda truth: gradient)


def factor(by: float, leaf: str | None = None, *entries: Any) -> Fault:
    """Multiply the gradient, one leaf of it, or some entries of a leaf."""

    def change(leaves: dict[str, Array]) -> None:
        for path in leaves if leaf is None else [leaf]:
            for index in entries or [...]:
                leaves[path][index] *= by

    where = "" if leaf is None else f" in {leaf}" + (f" at {_words(entries)}" if entries else "")
    name = {-1: "wrong sign", 0: "never updated"}.get(by, f"factor {by!r}")
    return changed(name + where, change)


def plus(by: float, leaf: str, index: Any) -> Fault:
    """Add to one entry."""

    def change(leaves: dict[str, Array]) -> None:
        leaves[leaf][index] += by

    return changed(f"{by:+g} in {leaf} at {_words([index])}", change)


def _words(entries: Sequence[Any]) -> str:
    first = ", ".join(map(str, entries[:2]))
    return f"{first} and {len(entries) - 2} more" if len(entries) > 2 else first


def transposed(leaf: str) -> Fault:
    """Transpose the gradient of a square matrix."""

    def change(leaves: dict[str, Array]) -> None:
        leaves[leaf] = leaves[leaf].T

    return changed(f"{leaf} transposed", change)


def swapped(a: str, b: str) -> Fault:
    """Swap the gradients of two leaves of one shape."""

    def change(leaves: dict[str, Array]) -> None:
        leaves[a], leaves[b] = leaves[b], leaves[a]

    return changed(f"{a} and {b} swapped", change)


def rolled(leaf: str, axis: int = 0) -> Fault:
    """Shift the gradient of a leaf by one entry: an index that is off by one."""

    def change(leaves: dict[str, Array]) -> None:
        leaves[leaf] = np.roll(leaves[leaf], 1, axis)

    return changed(f"{leaf} off by one along axis {axis}", change)


def averaged(leaf: str, axis: int) -> Fault:
    """Replace all entries along an axis by their mean, as an unintended broadcast does."""

    def change(leaves: dict[str, Array]) -> None:
        g = leaves[leaf]
        leaves[leaf] = np.broadcast_to(g.mean(axis, keepdims=True), g.shape).copy()

    return changed(f"{leaf} broadcast along axis {axis}", change)


def stale(by: float) -> Fault:
    """Return the gradient at the parameters before an update of this relative size."""

    def plant(truth: Gradient) -> Gradient:
        return lambda params, *args: truth(map_leaves(lambda x: x * (1 + by), params), *args)

    return Fault(f"stale by {by:g}", plant)


def partly(fault: Fault, part: float) -> Fault:
    """Make a fault smaller: this part of the wrong gradient, and the rest of the right one."""

    def plant(truth: Gradient) -> Gradient:
        wrong = fault.plant(truth)
        return lambda *point: map_leaves(
            lambda right, other: right + part * (other - right), truth(*point), wrong(*point)
        )

    return Fault(f"{fault.name}, {part:g} of it", plant)


# Losses that approximate a function


def evaluated_in(loss: Loss, dtype: Any) -> Loss:
    """Evaluate a loss in another floating-point type: parameters and data are cast to it."""

    def cast(x: Any) -> Any:
        x = np.asarray(x)
        return x.astype(dtype) if x.dtype.kind == "f" else x

    def rounded(params: Any, *args: Any) -> float:
        return float(loss(map_leaves(cast, params), *map(cast, args)))

    return rounded


def noisy(loss: Loss, relative: float) -> Loss:
    """Add noise to a loss, such as from an unlucky order of additions: a hash of its parameters.

    The noise is uniform in ± `relative` of the value, the same at each call, and independent at
    neighbouring floats.
    """

    def disturbed(params: Any, *args: Any) -> float:
        bits = b"".join(np.asarray(leaf, np.float64).tobytes() for leaf in flatten(params)[0])
        # A checksum alone is linear in the bits, and linear noise would be a slope.
        mixed = zlib.crc32(str(zlib.crc32(bits)).encode()) / 0xFFFFFFFF
        return float(loss(params, *args)) * (1 + relative * (2 * mixed - 1))

    return disturbed


def on_grid(loss: Loss, spacing: float) -> Loss:
    """Round the parameters of a loss to multiples of a spacing."""

    def quantised(params: Any, *args: Any) -> Any:
        return loss(map_leaves(lambda x: np.rint(x / spacing) * spacing, params), *args)

    return quantised


def in_decimals(loss: Loss, decimals: int) -> Loss:
    """Round the value of a loss to decimals, as printing and reading it does."""
    return lambda params, *args: float(np.round(loss(params, *args), decimals))


def draw(seed: int, *shape: int, scale: float = 1.0) -> Array:
    """Draw normal numbers."""
    return scale * np.random.default_rng(seed).normal(size=shape)


def a(*numbers: float) -> Array:
    """Return an array of these numbers."""
    return np.array(numbers, dtype=np.float64)


class Titled(Protocol):
    """A case of any kind."""

    @property
    def title(self) -> str:
        """A line that is unique among the cases."""


AnyCase = TypeVar("AnyCase", bound=Titled)


def unique(cases: Sequence[AnyCase]) -> tuple[AnyCase, ...]:
    """Return the cases; raise a ValueError if two have the same title."""
    titles = [case.title for case in cases]
    if twice := {title for title in titles if titles.count(title) > 1}:
        raise ValueError(f"two cases are called {', '.join(sorted(twice))}")
    return tuple(cases)
