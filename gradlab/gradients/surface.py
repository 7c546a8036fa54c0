"""A loss as a surface over its parameters, which can be evaluated along any direction.

All leaves are concatenated to one vector x of float64, so that a direction is a vector as well.
Where the loss raises or is not finite, the surface has *no value* (NaN), as is common at the edge
of a domain. It is an error only at the parameters themselves.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from gradlab.errors import ReadOnlyError, reason_of
from gradlab.gradients.perturbable import Perturbable, scales_of
from gradlab.gradients.probing import size_of
from gradlab.gradients.protocol import Loss, real_scalar
from gradlab.gradients.slopes import FLOAT64_BITS, Line, Slope, slope
from gradlab.params import Array, flatten


class Surface(Perturbable):
    """A loss with perturbable parameters, and the known precision of its values."""

    def __init__(
        self, loss: Loss, params: Any, args: tuple[Any, ...] = (), dtype: DTypeLike | None = None
    ) -> None:
        super().__init__(loss, *flatten(params), args, dtype)
        # The slopes along entries, for several claims about one loss; None without a cache.
        self.known: dict[tuple[Any, ...], Slope] | None = None
        self.refusal = ""  # the first error that the loss raised at another point
        first = self._evaluate()
        self.value = float(first)
        # The precision of the values: 52 for float64.
        self.bits = int(np.finfo(first.dtype).nmant) if first.dtype.kind == "f" else 52
        self.rounding = 0.0  # the observed noise of numbers that are rounded inside the loss
        self.constant = True  # whether the loss has had the same value at all points so far
        self.bits = min(self.bits, self._bits_of_values())
        # The largest difference between repeated evaluations at the parameters.
        self.unsteadiness = 0.0
        self.look_again()
        self.scales = np.concatenate([np.empty(0), *map(scales_of, self.leaves)])
        self._typical = [
            float(np.median(self.scales[s])) if s.stop > s.start else 1.0 for s in self.spans
        ]
        self.widths = np.concatenate([np.empty(0), *map(_widths, self.leaves)])

    def _bits_of_values(self) -> int:
        """Return the precision of the values, which may be lower than that of their dtype.

        If the values at the parameters and at two points beside them all fit into float32, the
        loss computes in float32. The probability of a coincidence is 2^-87.
        """
        rng = np.random.default_rng(0)
        sizes = np.concatenate([np.empty(0), *(size_of(leaf).ravel() for leaf in self.leaves)])
        way = 2.0**-6 * sizes * rng.uniform(-1, 1, self.size)
        fits = {narrow: _fits(self.value, narrow) for narrow in (np.float16, np.float32)}
        whole = self.value.is_integer()
        for sign in (1, -1):
            if any(fits.values()):
                self._perturbed += sign * way
                value = self._value_or_nan()
                self._perturbed[:] = self.x
                whole = whole and value.is_integer()
                for narrow in fits:
                    fits[narrow] &= value not in (0.0, self.value) and _fits(value, narrow)
        if whole:  # integers, such as counts, fit into any dtype
            return FLOAT64_BITS
        return next((int(np.finfo(narrow).nmant) for narrow in fits if fits[narrow]), FLOAT64_BITS)

    def ignores_parameters(self) -> bool:
        """Evaluate the loss once more; tell whether it never reads its parameters."""
        seen: list[bool] = []
        watched = [watch(view, seen) for view in self._views]
        self.evaluations += 1
        try:
            self._function(self._bare.unflatten(watched), *self._args)
        except Exception:
            return False
        return not seen

    def look_again(self) -> None:
        """Evaluate the loss at the parameters once more, and update `unsteadiness`."""
        apart = abs(float(self._evaluate()) - self.value)
        self.unsteadiness = max(self.unsteadiness, apart)

    def place(self, i: int) -> tuple[str, tuple[int, ...]]:
        """Return the path of the leaf that contains entry `i`, and the index in the leaf."""
        number, index = self.layout.place(i)
        return self.structure.paths[number], index

    def unravel(self, values: Array) -> Any:
        """Return a vector (p,) in the structure of the parameters."""
        return self.layout.unravel(values)

    def along_entry(self, i: int) -> Line:
        """Return the loss as a function of the perturbation t of entry `i`."""
        held = self.x[i]

        def line(t: float) -> tuple[float, float]:
            there = held + np.asarray(t, self.dtype)
            self._perturbed[i] = there
            try:
                return float(there - held), self._value_or_nan()
            finally:
                self._perturbed[i] = held

        return line

    def along(self, entries: Any, direction: Array, start: Array | None = None) -> Line:
        """Return the loss as a function of t, with ``x[entries]`` perturbed by ``t * direction``.

        The entries are indices or a slice. The point at t = 0 is `start`, shape (p,), by default
        the parameters.
        """
        home = self.x[entries]
        held = home if start is None else start[entries]

        def line(t: float) -> tuple[float, float]:
            if start is not None:
                self._perturbed[:] = start
            self._perturbed[entries] = held + np.asarray(t, self.dtype) * direction
            try:
                return t, self._value_or_nan()
            finally:
                if start is None:
                    self._perturbed[entries] = home
                else:
                    self._perturbed[:] = self.x

        return line

    def slope(self, line: Line, *, noise: float = 0.0, **options: Any) -> Slope:
        """Return the slope along a line, given the known precision and noise of the loss."""
        noise = max(noise, self.unsteadiness)
        found = slope(line, bits=self.bits, noise=noise, rounding=self.rounding, **options)
        self.rounding = max(self.rounding, found.rounding)
        return found

    def finest(self, i: int) -> float:
        """Return the smallest step of entry `i` that is accurate despite the rounding of x."""
        return 8 * float(np.spacing(np.abs(self.x[i]))) if self.x[i] else 0.0

    def reach(self, i: int) -> float:
        """Return the limit of steps of entry `i` if smaller steps do not resolve its slope.

        That is its own size, the median size of its leaf, or 1, whichever is largest.
        """
        return float(max(self._typical[self.layout.place(i)[0]], self.scales[i], 1.0))

    def _value_or_nan(self) -> float:
        try:
            value = float(self._evaluate())
        except ReadOnlyError:
            raise
        except Exception as error:
            self.refusal = self.refusal or f"{type(error).__name__}: {reason_of(error)}"
            return np.nan
        self.constant = self.constant and value == self.value
        return value if np.isfinite(value) else np.nan

    def _evaluate(self) -> Any:
        return np.asarray(real_scalar(self._call("the parameters")))


def _fits(value: float, narrow: type[np.floating[Any]]) -> bool:
    """Tell whether a number is exactly representable in a narrower type."""
    with np.errstate(over="ignore"):
        return bool(np.isfinite(value) and float(narrow(value)) == value)


def watch(array: Array, seen: list[bool]) -> Array:
    """Return a view of an array that appends to `seen` at each use."""

    class Watched(np.ndarray):
        def __getattribute__(self, name: str) -> Any:
            seen.append(True)
            return super().__getattribute__(name)

        def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
            seen.append(True)
            plain = [np.asarray(x) if isinstance(x, Watched) else x for x in inputs]
            return getattr(ufunc, method)(*plain, **options)

        def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
            seen.append(True)
            return super().__array_function__(function, types, args, kwargs)

        def __getitem__(self, key: Any) -> Any:
            seen.append(True)
            return np.asarray(self)[key]

        def __float__(self) -> float:
            seen.append(True)
            return float(np.asarray(self)[()])

    watched: Array = array.view(Watched)
    seen.clear()
    return watched


def _widths(leaf: Array) -> Array:
    """Return the perturbation of each entry along a direction: its size, or 1/32 of the median.

    The larger of both counts. A perturbation as small as an entry near 0 would hide its slope.
    """
    scales = scales_of(leaf)
    return np.maximum(scales, np.median(scales) / 32) if scales.size else scales
