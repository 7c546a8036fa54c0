"""Strategies for hypothesis: networks, batches, parameters, and losses of known gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import numpy as np
from numpy.typing import DTypeLike

from gradlab import network
from gradlab.errors import MissingDependencyError, OptionError
from gradlab.gradients.protocol import Loss
from gradlab.params import Array, flatten
from gradlab.seeding import generator

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

Kind: TypeAlias = Literal["cross_entropy", "squared_error"]

LAYOUTS = ("plain", "fortran", "strided", "read-only", "broadcast", "number")
"""How the leaves that `parameters` draws lie in memory; a "number" is a plain int or float."""


@dataclass(frozen=True)
class Problem:
    """A network, a batch and a loss to differentiate.

    Attributes
    ----------
    sizes : tuple of int
        The widths from input to output.
    activation, kind : str
        Of the hidden layers, and of the loss; see `gradlab.network.loss`.
    seed : int
        The seed of the numbers.
    params : dict of str to ndarray
        The network.
    x, labels : ndarray
        The batch, shapes (n, d) and (n,) or one-hot (n, k); a single sample is (d,) and ().
    """

    sizes: tuple[int, ...]
    activation: str
    kind: Kind
    seed: int
    params: dict[str, Array] = field(repr=False)
    x: Array = field(repr=False)
    labels: Array = field(repr=False)

    @property
    def loss(self) -> Loss:
        """The function of ``(params, x, labels)`` to differentiate."""
        return partial(network.loss, activation=self.activation, kind=self.kind)

    @property
    def args(self) -> tuple[Array, Array]:
        """The other arguments of the loss."""
        return self.x, self.labels


@dataclass(frozen=True)
class ClosedForm:
    """A loss whose gradient is known.

    Attributes
    ----------
    params : Any
        Where to differentiate.
    seed : int
        The seed of its coefficients.
    loss : callable
        ``loss(params) -> scalar``, smooth, written with NumPy.
    gradient : callable
        ``gradient(params)``, its gradient by the formula, evaluated in float64.
    """

    params: Any
    seed: int
    loss: Loss = field(repr=False)
    gradient: Callable[[Any], Any] = field(repr=False)


def networks(
    *,
    activations: Sequence[str] | None = None,
    kinds: Sequence[Kind] = ("cross_entropy", "squared_error"),
    dtypes: Sequence[DTypeLike] = (np.float64,),
    max_layers: int = 3,
    max_width: int = 5,
    max_samples: int = 4,
) -> SearchStrategy[Problem]:
    """Draw networks with a batch to take the loss of.

    Parameters
    ----------
    activations : sequence of str, optional
        Names to choose from; by default all of `gradlab.network.ACTIVATIONS`.
    kinds, dtypes : sequence
        Losses, and floating-point types of parameters and samples, to choose from.
    max_layers, max_width, max_samples : int
        The largest sizes.

    Returns
    -------
    strategy of Problem
        Weights of the default scale times 2 or less, biases of order 1, samples of order 1.

    Raises
    ------
    MissingDependencyError
        If hypothesis is not installed.

    Examples
    --------
    >>> from hypothesis import given
    >>> @given(networks(activations=["tanh"]))
    ... def test_loss_is_not_negative(problem):
    ...     assert problem.loss(problem.params, *problem.args) >= 0
    >>> test_loss_is_not_negative()
    """
    st = _hypothesis()
    names = sorted(network.ACTIVATIONS) if activations is None else list(activations)

    @st.composite  # type: ignore[untyped-decorator, unused-ignore]
    def build(draw: Callable[[Any], Any]) -> Problem:
        sizes = tuple(
            draw(st.lists(st.integers(1, max_width), min_size=2, max_size=max_layers + 1))
        )
        activation = draw(st.sampled_from(names))
        dtype = np.dtype(draw(st.sampled_from(list(dtypes))))
        scale = draw(st.sampled_from([1.0, 0.25, 2.0]))
        x, labels = draw(batches(sizes[0], sizes[-1], max_samples=max_samples, dtype=dtype))
        seed = draw(_seeds(st))
        kind = draw(st.sampled_from(list(kinds)))
        rng = generator(seed)
        params = {
            name: np.asarray(scale * leaf + (leaf.ndim == 1) * rng.standard_normal(leaf.shape))
            for name, leaf in network.init(sizes, rng, activation=activation).items()
        }
        params = {name: leaf.astype(dtype) for name, leaf in params.items()}
        return Problem(sizes, activation, kind, seed, params, x, labels)

    return cast("SearchStrategy[Problem]", build())


def batches(
    inputs: int = 3, classes: int = 3, *, max_samples: int = 4, dtype: DTypeLike = np.float64
) -> SearchStrategy[tuple[Array, Array]]:
    """Draw batches ``(x, labels)`` for a network of `inputs` and `classes`.

    Returns
    -------
    strategy of (ndarray, ndarray)
        `x` of shape (n, inputs) with entries of order 1, labels of shape (n,) or one-hot
        (n, classes); now and then a single sample, (inputs,) with a label of shape ().

    Examples
    --------
    >>> from hypothesis import given
    >>> @given(batches(inputs=4, classes=2))
    ... def test_labels_are_classes(batch):
    ...     x, labels = batch
    ...     assert x.shape[-1] == 4
    ...     assert labels.max() < 2
    >>> test_labels_are_classes()
    """
    st = _hypothesis()

    def build(n: int, form: str, seed: int) -> tuple[Array, Array]:
        rng = generator(seed)
        x = rng.standard_normal((n, inputs)).astype(dtype)
        labels = rng.integers(classes, size=n)
        if form == "single":
            return x[0], np.asarray(labels[0])
        return x, network.one_hot(labels, classes).astype(dtype) if form == "one-hot" else labels

    forms = st.sampled_from(["classes", "one-hot", "single"])
    return cast(
        "SearchStrategy[tuple[Array, Array]]",
        st.builds(build, st.integers(1, max_samples), forms, _seeds(st)),
    )


def parameters(
    *,
    dtypes: Sequence[DTypeLike] = (np.float64, np.float32, np.int64),
    layouts: Sequence[str] = LAYOUTS,
    max_leaves: int = 5,
    max_side: int = 3,
) -> SearchStrategy[Any]:
    """Draw parameters of any structure: dicts, lists and tuples of arrays and numbers, or bare.

    Parameters
    ----------
    dtypes : sequence of dtype
        Of the leaves, to choose from.
    layouts : sequence of str
        How leaves lie in memory, from `LAYOUTS`.
    max_leaves, max_side : int
        About the largest number of leaves, and the largest length of an axis. A leaf has up to
        three axes, which may have length 0.

    Examples
    --------
    >>> from hypothesis import given
    >>> from gradlab.params import map_leaves, size
    >>> @given(parameters())
    ... def test_map_leaves_keeps_the_size(params):
    ...     assert size(map_leaves(lambda leaf: 2 * leaf, params)) == size(params)
    >>> test_map_leaves_keeps_the_size()
    """
    st = _hypothesis()
    if unknown := set(layouts) - set(LAYOUTS):
        raise OptionError(f"layouts={sorted(unknown)}: choose from {', '.join(LAYOUTS)}")
    leaves = st.builds(
        _Leaf,
        st.lists(st.integers(0, max_side), max_size=3).map(tuple),
        st.sampled_from([np.dtype(dtype) for dtype in dtypes]),
        st.sampled_from(list(layouts)),
    )
    keys = st.sampled_from(["W1", "b1", "W2", "b2", "encoder", "a key", 0])

    def hold(children: Any) -> Any:
        several = st.lists(children, max_size=3)
        return st.dictionaries(keys, children, max_size=3) | several | several.map(tuple)

    def build(skeleton: Any, seed: int) -> Any:
        rng = generator(seed)
        specs, structure = flatten(skeleton, lambda leaf, path: leaf)
        return structure.unflatten([spec.draw(rng) for spec in specs])

    skeletons = st.recursive(leaves, hold, max_leaves=max_leaves)
    return cast("SearchStrategy[Any]", st.builds(build, skeletons, _seeds(st)))


def losses(params: SearchStrategy[Any] | None = None) -> SearchStrategy[ClosedForm]:
    """Draw smooth losses with their gradients, over parameters of any structure.

    With random coefficients a, b, s for every entry w::

        f = Σ (a sin w + b w²/2) + t²/2     t = Σ s w
        ∂f/∂w = a cos w + b w + s t

    so that each entry has its own curvature, and t couples all of them.

    Parameters
    ----------
    params : strategy, optional
        Where to differentiate; by default `parameters` of any kind.

    Examples
    --------
    >>> import gradlab
    >>> from hypothesis import given
    >>> from gradlab.testing import assert_within, error_bounds
    >>> @given(losses())
    ... def test_reverse_mode(case):
    ...     found = gradlab.grad(case.loss)(case.params)
    ...     bounds = error_bounds(case.loss, case.params, method="reverse")
    ...     assert_within(found, case.gradient(case.params), bounds.total)
    >>> test_reverse_mode()
    """
    st = _hypothesis()

    def build(where: Any, seed: int) -> ClosedForm:
        loss, gradient = _closed_form(where, seed)
        return ClosedForm(where, seed, loss, gradient)

    strategy = parameters() if params is None else params
    return cast("SearchStrategy[ClosedForm]", st.builds(build, strategy, _seeds(st)))


def _closed_form(where: Any, seed: int) -> tuple[Loss, Callable[[Any], Any]]:
    rng = generator(seed)
    shapes = [leaf.shape for leaf in flatten(where)[0]]
    coefficients = [rng.standard_normal((3, *shape)) for shape in shapes]

    def rows(params: Any) -> Iterator[tuple[Any, Any, Any, Any]]:
        leaves, _ = flatten(params, lambda leaf, path: leaf)
        for w, (a, b, s) in zip(leaves, coefficients, strict=True):
            yield 1.0 * w, a, b, s  # small integers would take the sine in half precision

    def loss(params: Any) -> Any:
        own = t = 0.0
        for w, *constants in rows(params):
            a, b, s = constants
            own = own + (a * np.sin(w) + 0.5 * b * w * w).sum()
            t = t + (s * w).sum()
        return own + 0.5 * t * t

    def gradient(params: Any) -> Any:
        leaves, structure = flatten(params)
        wide = structure.unflatten([leaf.astype(np.float64) for leaf in leaves])
        t = sum((np.sum(s * w) for w, _, _, s in rows(wide)), 0.0)
        return structure.unflatten([a * np.cos(w) + b * w + s * t for w, a, b, s in rows(wide)])

    return loss, gradient


class _Leaf:
    """What kind of leaf to draw. No dataclass, which would be a container of parameters."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], layout: str) -> None:
        self.shape, self.dtype, self.layout = shape, dtype, layout

    def __repr__(self) -> str:
        return f"_Leaf({self.shape}, {self.dtype}, {self.layout!r})"

    def draw(self, rng: np.random.Generator) -> Any:
        shape = () if self.layout == "number" else self.shape
        if self.dtype.kind == "f":
            numbers: Any = rng.standard_normal(shape)
        else:
            numbers = rng.integers(0 if self.dtype.kind == "u" else -5, 6, shape)
        array = np.asarray(numbers, dtype=self.dtype)
        match self.layout:
            case "number":
                return array.item()
            case "fortran":
                return np.asfortranarray(array).reshape(shape, order="A")
            case "strided" if array.ndim:
                return np.repeat(array, 2, axis=-1)[..., ::2]
            case "read-only":
                array.flags.writeable = False
            case "broadcast" if array.ndim:
                return np.broadcast_to(array[:1].copy(), shape) if shape[0] else array
        return array


def _seeds(st: Any) -> Any:
    return st.integers(0, 2**16)


def _hypothesis() -> Any:
    try:
        import hypothesis.strategies as st
    except ImportError as error:
        raise MissingDependencyError(
            'drawing test cases needs hypothesis: pip install "gradlab[test]"'
        ) from error
    return st
