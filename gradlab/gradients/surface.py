"""A loss as a surface over its parameters, to be walked along an entry or any direction.

All leaves lie one behind the other in one vector x of float64, so that a direction is a vector
too. Where the loss raises, or is not finite, the surface has *no value* (NaN): at the edge of a
domain that is nothing unusual. Only at the parameters themselves it is an error.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from gradlab.arrays.read_only import read_only
from gradlab.errors import ReadOnlyError
from gradlab.gradients.probing import restore, size_of
from gradlab.gradients.protocol import Loss, raised_by_the_loss, real_scalar
from gradlab.gradients.slopes import BITS, Line, Slope, slope
from gradlab.params import Array, entry, flatten


class Surface:
    """The loss of parameters that can be moved.

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
    x : ndarray, shape (p,)
        All entries, leaf by leaf, in C order.
    spans : list of slice
        Where each leaf lies in it.
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
    evaluations : int
        How often the loss has been called.
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
        self._loss, self._args = loss, read_only(args)
        self._given, self.structure = flatten(params)
        self.leaves = [np.array(leaf) for leaf in self._given]
        self._bare = replace(self.structure, scalars=frozenset())
        self.dtype: np.dtype[Any] = np.dtype(dtype or np.result_type(np.float64, *self.leaves))
        ends = np.cumsum([0, *(leaf.size for leaf in self.leaves)])
        self.spans = [slice(int(a), int(b)) for a, b in pairwise(ends)]
        self.x = np.concatenate([np.empty(0), *map(np.ravel, self.leaves)]).astype(self.dtype)
        self._moved = self.x.copy()
        self.x.flags.writeable = False
        self._views = [
            self._read_only(self._moved[span].reshape(leaf.shape))
            for span, leaf in zip(self.spans, self.leaves, strict=True)
        ]
        self.evaluations = 0
        self.known: dict[tuple[Any, ...], Slope] | None = None
        first = self._evaluate()
        self.value = float(first)
        self.bits = int(np.finfo(first.dtype).nmant) if first.dtype.kind == "f" else 52
        self.rounding = 0.0
        self.constant = True
        self.bits = min(self.bits, self._bits_of_values())
        self.unsteadiness = 0.0
        self.look_again()
        self.scales = np.concatenate([np.empty(0), *map(_scales, self.leaves)])
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
                self._moved += sign * way
                value = self._value_or_nan()
                self._moved[:] = self.x
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
            self._loss(self._bare.unflatten(watched), *self._args)
        except Exception:
            return False
        return not seen

    def restore(self) -> None:
        """Leave the caller's arrays as they were, also where the loss holds and writes into them.

        A network that keeps its parameters, and copies what it is given into them, is such a loss.
        """
        restore(self._given, self.leaves)

    def look_again(self) -> None:
        """Evaluate the loss at the parameters once more, and keep by how much it differs."""
        apart = abs(float(self._evaluate()) - self.value)
        self.unsteadiness = max(self.unsteadiness, apart)

    @staticmethod
    def _read_only(view: Array) -> Array:
        view.flags.writeable = False
        return view

    @property
    def size(self) -> int:
        """How many entries there are, p."""
        return int(self.x.size)

    def place(self, i: int) -> tuple[str, tuple[int, ...]]:
        """Return the path of the leaf of entry `i`, and its index there."""
        number = self._leaf(i)
        index = np.unravel_index(i - self.spans[number].start, self.leaves[number].shape)
        return self.structure.paths[number], tuple(map(int, index))

    def name(self, i: int) -> str:
        """Name entry `i`, for errors and reports."""
        return entry(*self.place(i))

    def hang(self, values: Array) -> Any:
        """Return a vector (p,) in the structure of the parameters."""
        return self.structure.unflatten(
            [
                values[span].reshape(leaf.shape)
                for span, leaf in zip(self.spans, self.leaves, strict=True)
            ]
        )

    def along_entry(self, i: int) -> Line:
        """Return the loss as a function of how far entry `i` is moved."""
        held = self.x[i]

        def line(t: float) -> tuple[float, float]:
            there = held + np.asarray(t, self.dtype)
            self._moved[i] = there
            try:
                return float(there - held), self._value_or_nan()
            finally:
                self._moved[i] = held

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
                self._moved[:] = start
            self._moved[entries] = held + np.asarray(t, self.dtype) * direction
            try:
                return t, self._value_or_nan()
            finally:
                if start is None:
                    self._moved[entries] = home
                else:
                    self._moved[:] = self.x

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
        return float(max(self._typical[self._leaf(i)], self.scales[i], 1.0))

    def _leaf(self, i: int) -> int:
        return next(k for k, span in enumerate(self.spans) if i < span.stop)

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
        self.evaluations += 1
        try:
            value = self._loss(self._bare.unflatten(self._views), *self._args)
        except Exception as error:
            told = raised_by_the_loss(error, "the parameters")
            if told is error:
                raise
            raise told from error
        return np.asarray(real_scalar(value))


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


def _scales(leaf: Array) -> Array:
    """Return the size of each entry, as a power of two; of an entry that is 0, the leaf's.

    A denormal number, beside which there are no small steps, counts as 0.
    """
    sizes = np.abs(leaf.astype(np.float64)).ravel()
    has_size = sizes >= np.finfo(np.float64).tiny
    typical = float(np.median(sizes[has_size])) if has_size.any() else 1.0
    scales: Array = np.exp2(np.floor(np.log2(np.where(has_size, sizes, typical))))
    return scales


def _widths(leaf: Array) -> Array:
    """Return how far each entry may go along a direction: its own size, if not too small a one.

    An entry that happens to lie near 0 would hide its slope if it were moved by its own size.
    """
    scales = _scales(leaf)
    return np.maximum(scales, np.median(scales) / 32) if scales.size else scales
