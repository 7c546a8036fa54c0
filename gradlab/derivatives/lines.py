"""A function along a line through its parameters, with all its outputs at once.

The line perturbs one entry, several entries that share no output, or all entries along a direction.
Its coordinate t is scaled so that |t| = 1 is as large as the entries themselves (or 1, if they are
smaller); t = 0 is the parameters. Evaluations are cached, so outputs that are measured one by one
share them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from gradlab.derivatives.functions import Function, Outputs, Point, outputs_of
from gradlab.errors import LossError, OptionError, ReadOnlyError
from gradlab.gradients.perturbable import Perturbable, scales_of
from gradlab.gradients.protocol import MAX_REPEAT_CHANGE
from gradlab.params import Array, flatten


class Field(Perturbable):
    """A function of parameters that can be perturbed, evaluated in one floating-point type.

    The function gets read-only arrays. `bounds` are two vectors (p,), the lowest and the highest
    value of each entry.
    """

    centre: Array  # shape (m,): the outputs at the parameters
    epsilon: Array  # shape (m,): the relative error of each output, by its dtype
    scales: Array  # shape (p,): a power of two near max(1, |x|), for each entry
    before: Callable[[], object] = staticmethod(lambda: None)  # called before each evaluation

    def __init__(
        self,
        function: Function,
        at: Point,
        dtype: DTypeLike | None = None,
        bounds: tuple[Array, Array] | None = None,
    ) -> None:
        self.at = at
        super().__init__(function, at.leaves, at.structure, at.args, dtype)
        is_known = all(leaf.dtype == self.dtype for leaf in at.leaves)
        self.outputs = at.outputs if is_known else self.evaluate()
        self.centre = self.outputs.vector
        kinds: list[Any] = [kind if kind.kind == "f" else float for kind in self.outputs.dtypes]
        sizes = [span.stop - span.start for span in self.outputs.spans]
        self.epsilon = np.repeat([float(np.finfo(kind).eps) for kind in kinds], sizes or 0)
        self.scales = np.exp2(np.round(np.log2(np.maximum(1.0, np.abs(self.x.astype(float))))))
        infinite = np.full(self.x.shape, np.inf)
        self.lowest, self.highest = bounds or (-infinite, infinite)
        self._require_inside()
        self.low, self.high = self.lowest - self.x, self.highest - self.x

    def _require_inside(self) -> None:
        outside = ~((self.lowest <= self.x) & (self.x <= self.highest))
        if outside.any():
            j = int(np.argmax(outside))
            raise OptionError(
                f"{self.name(j)} = {self.x[j]} lies outside its bounds "
                f"[{self.lowest[j]}, {self.highest[j]}]"
            )

    @property
    def precision(self) -> float:
        """The largest relative error of an output."""
        return float(max(self.epsilon.max(initial=0.0), np.finfo(self.dtype).eps))

    @cached_property
    def sizes(self) -> Array:
        """A power of two near each entry; for an entry 0, near the median of its leaf, or 1."""
        return np.concatenate([np.zeros(0), *(scales_of(self.x[span]) for span in self.spans)])

    def evaluate(self, place: str = "the given parameters", *, finite: bool = True) -> Outputs:
        """Evaluate the function at the current parameters; see `outputs_of`."""
        self.before()
        return outputs_of(self._call(place), place, finite=finite)

    def moved(self, entries: Any, there: Array, place: str) -> Array:
        """Return the outputs, as a vector (m,), with other values of some entries.

        Outputs that are not finite there, at the edge of a domain, are NaN.
        """
        self._perturbed[entries] = there
        try:
            with np.errstate(all="ignore"):
                found = self.evaluate(place, finite=False)
        finally:
            self._perturbed[:] = self.x
        if found.shapes != self.outputs.shapes:
            raise LossError(
                f"the outputs have the shapes {list(found.shapes)} at {place}, and "
                f"{list(self.outputs.shapes)} at the given parameters"
            )
        return np.where(np.isfinite(found.vector), found.vector, np.nan)

    def require_steady(self) -> None:
        """Raise a LossError if the function differs when it is evaluated again."""
        again = self.evaluate().vector
        apart = np.abs(again - self.centre)
        wrong = apart > np.maximum(MAX_REPEAT_CHANGE, 16 * self.epsilon) * np.abs(self.centre)
        if wrong.any():
            k = int(np.argmax(wrong))
            raise LossError(
                "the function is not deterministic: evaluated twice at the same parameters, "
                f"{self.outputs.name(k)} differs by {apart[k]:.3g} from {self.centre[k]:.6g}; fix "
                "its seed, or pass what it draws (or keeps from one call to the next) as an "
                "argument"
            )

    def raise_epsilon(self, k: int, epsilon: float) -> None:
        """Store that the leaf of output k is evaluated with a larger relative error."""
        span = next(span for span in self.outputs.spans if k < span.stop)
        self.epsilon[span] = np.maximum(self.epsilon[span], epsilon)

    @contextmanager
    def restoring(self) -> Iterator[None]:
        """Restore the caller's arrays: see `restore`."""
        try:
            yield
        finally:
            self.restore()

    # Lines

    def along_entries(self, entries: Array, units: Array) -> Line:
        """Return the line that perturbs some entries in proportion to their units, from (p,)."""
        return self._line(entries, units[entries])

    def along(self, direction: Array, units: Array | None = None) -> tuple[Line, float]:
        """Return the line along a direction (p,), and the number by which its slopes are divided.

        For |t| = 1, no entry moves farther than about its unit, by default its scale.
        """
        units = self.scales if units is None else units
        size = float(np.max(np.abs(direction) / units, initial=0.0))
        unit = float(np.exp2(-np.round(np.log2(size)))) if size else 1.0
        return self._line(slice(None), direction * unit), unit

    def _line(self, entries: Any, step: Array) -> Line:
        moving = step != 0
        bounds = self.low[entries][moving], self.high[entries][moving]
        ends = np.stack(bounds) / step[moving]  # a negative step swaps them
        low = np.max(ends.min(axis=0), initial=-np.inf)
        high = np.min(ends.max(axis=0), initial=np.inf)
        return Line(self, entries, step, float(low), float(high))


@dataclass
class Line:
    """A function of t; see the module."""

    where: Field
    entries: Any  # the perturbed entries
    step: Array  # the perturbation of each of them for t = 1
    # The range of t.
    low: float
    high: float
    known: dict[float, tuple[Array, Array]] = field(default_factory=dict)

    def __call__(self, t: float) -> tuple[Array, Array]:
        """Return the rounded perturbation of each entry, in units of t, and the outputs there."""
        if t not in self.known:
            home = self.where.x[self.entries]
            there = home + np.asarray(t * self.step, home.dtype)
            ends = self.where.lowest[self.entries], self.where.highest[self.entries]
            there = np.clip(there, *ends).astype(home.dtype, copy=False)
            with np.errstate(divide="ignore", invalid="ignore"):
                gone = np.asarray((there - home) / self.step, float)
            values = self.where.moved(self.entries, there, self._place(t))
            self.known[t] = gone, values
        return self.known[t]

    @property
    def is_direction(self) -> bool:
        """Whether the line perturbs all entries, along a direction."""
        return isinstance(self.entries, slice)

    def distance(self, t: float, i: int = 0) -> float:
        """Return the actual perturbation of the i-th perturbed entry for t, in units of t."""
        return t if self.is_direction else float(self(t)[0][i])

    def _place(self, t: float) -> str:
        if self.is_direction:
            return f"the parameters moved by {t:.3g} along the direction"
        return f"{self.name} moved by {t * self.step[0]:.3g}"

    @cached_property
    def name(self) -> str:
        """The name of the perturbed entries, for errors."""
        if self.is_direction:
            return "the direction"
        names = [self.where.name(int(j)) for j in self.entries[:3]]
        return ", ".join(names) + (", ..." if len(self.entries) > 3 else "")

    def output(self, k: int, i: int = 0) -> Any:
        """Return output k as a function for `slopes.slope`: NaN if it has no value.

        The output depends only on the i-th perturbed entry, unless the line is a direction.
        """

        def line(t: float) -> tuple[float, float]:
            if t == 0:
                return 0.0, float(self.where.centre[k])
            if not self.low <= t <= self.high:
                return t, np.nan
            try:
                values = self(t)[1]
            except ReadOnlyError:
                raise
            except Exception:  # at the edge of its domain
                return t, np.nan
            return self.distance(t, i), float(values[k])

        return line

    @cached_property
    def finest(self) -> float:
        """The smallest |t| that is larger than the rounding of the parameters."""
        x = np.abs(self.where.x[self.entries])
        moving = self.step != 0
        if not moving.any():
            return 0.0
        gaps = np.where(x > 0, np.spacing(x), 0.0)[moving] / np.abs(self.step[moving])
        return 8 * float(np.max(gaps, initial=0.0))


# Bounds


def bounds_of(bounds: Any, at: Point) -> tuple[Array, Array] | None:
    """Return bounds as two vectors (p,); see `gradlab.jacobian`."""
    if bounds is None:
        return None
    if not isinstance(bounds, tuple | list) or len(bounds) != 2:
        raise OptionError("bounds: give a pair, the lowest and the highest values")
    low, high = (spread(part, at, "bounds") for part in bounds)
    return low, high


def spread(value: Any, at: Point, option: str) -> Array:
    """Return a number, or a structure like the parameters, as a vector (p,).

    Raise an OptionError if a structure does not match that of the parameters.
    """
    if np.ndim(value) == 0 and not isinstance(value, dict | list | tuple):
        return np.full(at.size, _numbers(value, option))
    found, structure = flatten(value, lambda leaf, path: _numbers(leaf, f"{option} of {path}"))
    by_path = dict(zip(structure.paths, found, strict=True))
    if set(by_path) != set(at.structure.paths):
        raise OptionError(
            f"{option} has {', '.join(by_path)}; the parameters have "
            f"{', '.join(at.structure.paths)}: give a number for each leaf, or for each entry"
        )
    parts = []
    for path, leaf in zip(at.structure.paths, at.leaves, strict=True):
        if by_path[path].shape not in ((), leaf.shape):
            raise OptionError(
                f"{option} of {path} has shape {by_path[path].shape}; expected {leaf.shape}, or a "
                "number"
            )
        parts.append(np.broadcast_to(by_path[path], leaf.shape).ravel())
    return np.concatenate([np.zeros(0), *parts])


def _numbers(value: Any, name: str) -> Array:
    try:
        array = np.asarray(value, float)
    except (TypeError, ValueError):
        array = np.array(np.nan)
    if np.isnan(array).any():
        what = "an array of numbers" if np.ndim(value) else "a number"
        raise OptionError(f"{name}: {value!r} is not {what}")
    return array
