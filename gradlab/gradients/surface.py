"""A loss as a surface over its parameters, to be walked along an entry or any direction.

All leaves lie one behind the other in one vector x of float64, so that a direction is a vector
too. Where the loss raises, or is not finite, the surface has *no value* (NaN): at the edge of a
domain that is nothing unusual. Only at the parameters themselves it is an error.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from gradlab.errors import ReadOnlyError
from gradlab.gradients.perturbable import Perturbable, scales_of
from gradlab.gradients.probing import size_of
from gradlab.gradients.protocol import Loss, real_scalar
from gradlab.gradients.slopes import BITS, Line, Slope, slope
from gradlab.params import Array, flatten


class Surface(Perturbable):
    """The loss of parameters that can be perturbed, with what is known of its precision.

    Parameters
    ----------
    loss : callable
        ``loss(params, *args) -> scalar``. It sees read-only arrays.
    params, args
        Where it is looked at.
    dtype : dtype, optional
        In which the loss is evaluated; by default float64.

    Attributes
    ----------
    value : float
        The loss at the parameters.
    bits : int
        The precision in which the loss is returned: 52 for float64.
    unsteadiness : float
        By how much the loss differed when it was evaluated again.
    rounding : float
        The noise of numbers that are rounded inside of the loss, as far as it has been seen.
    constant : bool
        Whether the loss has had the same value at all points so far.
    known : dict or None
        The slopes along entries that have been measured, where they are asked for again: several
        claims about one loss need them only once.

    Raises
    ------
    ParameterError, LossError, NonFiniteError
        As for every backend; and if the loss depends on more than its arguments.
    """

    def __init__(
        self, loss: Loss, params: Any, args: tuple[Any, ...] = (), dtype: DTypeLike | None = None
    ) -> None:
        super().__init__(loss, *flatten(params), args, dtype)
        self.known: dict[tuple[Any, ...], Slope] | None = None
        first = self._evaluate()
        self.value = float(first)
        self.bits = int(np.finfo(first.dtype).nmant) if first.dtype.kind == "f" else 52
        self.rounding = 0.0
        self.constant = True
        self.bits = min(self.bits, self._bits_of_values())
        self.unsteadiness = 0.0
        self.look_again()
        self.scales = np.concatenate([np.empty(0), *map(scales_of, self.leaves)])
        self._typical = [
            float(np.median(self.scales[s])) if s.stop > s.start else 1.0 for s in self.spans
        ]
        self.widths = np.concatenate([np.empty(0), *map(_widths, self.leaves)])

    def _bits_of_values(self) -> int:
        """Return the precision that values have even where they are returned as wider numbers.

        Values at the parameters and on both sides, all with no more than the bits of float32, are
        numbers of that type: others would have them by chance once in 2^87 times.
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
        if whole:  # counts are whole numbers in any type
            return BITS
        return next((int(np.finfo(narrow).nmant) for narrow in fits if fits[narrow]), BITS)

    def ignores_parameters(self) -> bool:
        """Tell whether the loss, evaluated once more, never looks at an entry it is given."""
        seen: list[bool] = []
        watched = [watch(view, seen) for view in self._views]
        self.evaluations += 1
        try:
            self._function(self._bare.unflatten(watched), *self._args)
        except Exception:
            return False
        return not seen

    def look_again(self) -> None:
        """Evaluate the loss at the parameters once more, and keep by how much it differs."""
        apart = abs(float(self._evaluate()) - self.value)
        self.unsteadiness = max(self.unsteadiness, apart)

    def place(self, i: int) -> tuple[str, tuple[int, ...]]:
        """Return the path of the leaf of entry `i`, and its index there."""
        number, index = self.layout.place(i)
        return self.structure.paths[number], index

    def hang(self, values: Array) -> Any:
        """Return a vector (p,) in the structure of the parameters."""
        return self.layout.hang(values)

    def along_entry(self, i: int) -> Line:
        """Return the loss as a function of how far entry `i` is moved."""
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
        """Return the loss as a function of t, with ``x[entries]`` moved by ``t * direction``.

        Parameters
        ----------
        entries : ndarray of int or slice
        direction : ndarray
            What t is multiplied by, of the same number of entries.
        start : ndarray, shape (p,), optional
            Another point than the parameters to start from.
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
        """Return the slope along a line, with what is known of the loss's precision."""
        noise = max(noise, self.unsteadiness)
        found = slope(line, bits=self.bits, noise=noise, rounding=self.rounding, **options)
        self.rounding = max(self.rounding, found.rounding)
        return found

    def finest(self, i: int) -> float:
        """Return the smallest step that entry `i` can take and still be told from rounding."""
        return 8 * float(np.spacing(np.abs(self.x[i]))) if self.x[i] else 0.0

    def reach(self, i: int) -> float:
        """Return how far entry `i` may go where smaller steps tell nothing.

        That is the size of its leaf, or 1 for a leaf that is tiny as a whole.
        """
        return float(max(self._typical[self.layout.place(i)[0]], self.scales[i], 1.0))

    def _value_or_nan(self) -> float:
        try:
            value = float(self._evaluate())
        except ReadOnlyError:
            raise
        except Exception:
            return np.nan
        self.constant = self.constant and value == self.value
        return value if np.isfinite(value) else np.nan

    def _evaluate(self) -> Any:
        return np.asarray(real_scalar(self._call("the parameters")))


def _fits(value: float, narrow: type[np.floating[Any]]) -> bool:
    """Tell whether a number is one of a narrower type."""
    with np.errstate(over="ignore"):
        return bool(np.isfinite(value) and float(narrow(value)) == value)


def watch(array: Array, seen: list[bool]) -> Array:
    """Return an array that notes in a list whether anything is done with it."""

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
    """Return how far each entry may go along a direction: its own size, if not too small a one.

    An entry that happens to lie near 0 would hide its slope if it were moved by its own size.
    """
    scales = scales_of(leaf)
    return np.maximum(scales, np.median(scales) / 32) if scales.size else scales
