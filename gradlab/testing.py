"""What a test of gradients needs: inputs to draw, and the error that theory allows.

*Strategies* for hypothesis draw whole problems: `networks`, `batches`, `parameters` of any
structure, and `losses` whose gradient is known in closed form. hypothesis draws the sizes, the
options and a seed; the numbers come from a NumPy generator of that seed. So drawing is fast, and
what fails shrinks to few numbers.

*Bounds* say how far a backend's gradient may lie from the true one. `error_bounds` runs the very
loss on arrays that carry, beside each value, its derivatives along one coordinate and a bound on
its rounding error, so that no tolerance has to be picked::

    |quotient - f'|  <=  truncation          + round-off
    forward              h/2   max|f''|        (δ(x+h) + δ(x)) / h
    central              h²/6  max|f'''|       (δ(x+h) + δ(x-h)) / 2h
    central4             h⁴/30 max|f⁽⁵⁾|       at most 5/3 of that
    complex step         0                     of the slopes carried forward
    reverse mode         0                     of the sweep back

where δ bounds the error of one evaluation of the loss.

*Assertions* end a test with what there is to know: `assert_gradients_agree` checks the gradient
that you derived for a loss, `assert_within` holds numbers to bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from math import factorial
from operator import add
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import numpy as np
from numpy.typing import DTypeLike

from gradlab import network
from gradlab.checking import check_gradients
from gradlab.errors import LossError, MissingDependencyError, OptionError
from gradlab.gradients.complex_step import STEP
from gradlab.gradients.finite_differences import steps
from gradlab.gradients.protocol import Backend, Loss
from gradlab.gradients.richardson import MARGIN, ladder
from gradlab.params import Array, entry, flatten, floating, leaves_like
from gradlab.seeding import generator

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

Kind: TypeAlias = Literal["cross_entropy", "squared_error"]
Method: TypeAlias = Literal[
    "central", "central4", "complex-step", "forward", "reverse", "richardson"
]

LAYOUTS = ("plain", "fortran", "strided", "read-only", "broadcast", "number")
"""How the leaves that `parameters` draws lie in memory; a "number" is a plain int or float."""


# Strategies


@dataclass(frozen=True)
class Problem:
    """A network, a batch and a loss: everything that a gradient is taken of.

    Attributes
    ----------
    sizes : tuple of int
        The widths from input to output.
    activation, kind : str
        Of the hidden layers, and of the loss; see `gradlab.network.loss`.
    seed : int
        What the numbers were drawn from.
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
        """What the loss takes beside the parameters."""
        return self.x, self.labels


@dataclass(frozen=True)
class ClosedForm:
    """A loss whose gradient is known.

    Attributes
    ----------
    params : Any
        Where to differentiate.
    seed : int
        What its coefficients were drawn from.
    loss : callable
        ``loss(params) -> scalar``, smooth, written with the Array API.
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
        At most about so many leaves, and so many entries along each of up to three axes. An axis
        may have no entries.

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

    so that every entry has its own curvature, and all hang together through t.

    Parameters
    ----------
    params : strategy, optional
        Where to differentiate; by default `parameters` of any kind.

    Examples
    --------
    >>> import gradlab
    >>> from hypothesis import given
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


@dataclass(frozen=True)
class _Leaf:
    """What kind of leaf to draw."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    layout: str

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


# Bounds


@dataclass(frozen=True)
class ErrorBounds:
    """How far a computed gradient may lie from the true one, entry by entry.

    Attributes
    ----------
    truncation, roundoff : Any
        The two parts of the error, float64 in the structure and shapes of the parameters. An
        entry is infinite where nothing can be said.
    """

    truncation: Any
    roundoff: Any

    @property
    def total(self) -> Any:
        """Their sum."""
        truncation, structure = flatten(self.truncation, _unchecked)
        roundoff, _ = flatten(self.roundoff, _unchecked)
        return structure.unflatten([a + b for a, b in zip(truncation, roundoff, strict=True)])


def error_bounds(
    loss: Loss,
    params: Any,
    *args: Any,
    method: Method = "central",
    step: float | None = None,
    dtype: DTypeLike | None = None,
) -> ErrorBounds:
    r"""Bound the error of a gradient, entry by entry, from the loss's source.

    Parameters
    ----------
    loss : callable
        ``loss(params, *args) -> scalar``, of arithmetic, ``@``, indexing, sums and means,
        maxima, and the elementary functions that `gradlab.network` is written with.
    params, *args
        Where it is differentiated.
    method : {"central", "central4", "complex-step", "forward", "reverse", "richardson"}
        The formula: that of the backend of this name, reverse mode being `Autograd`.
    step : float, optional
        The finite difference's, as for the backend.
    dtype : dtype, optional
        In which the loss is evaluated; by default as the backends do, the parameters' own for
        reverse mode and float64 for all others. Parameters are rounded to it, and the bound is
        for the gradient there.

    Returns
    -------
    ErrorBounds
        Including the rounding of the result to the parameters' dtype. The loss itself is taken
        to be what its source says in exact arithmetic, with `params` and `args` exact.

    Raises
    ------
    LossError
        If the loss calls something whose error is not known here.

    Notes
    -----
    *Truncation.* A formula is a weighted sum Σ c f(x + o) over its points as evaluated. By
    Taylor's theorem its error is Σ_k f⁽ᵏ⁾(x) m_k / k! with the moments m_k = Σ c oᵏ, for k from 2
    to q + 1 where q is the order of the formula. The derivatives are exact, by Taylor arithmetic
    along the coordinate (Griewank & Walther, *Evaluating Derivatives*, 2nd ed., 2008, chapter 13),
    at the centre and at all points. For what the last of them may differ elsewhere, twice its
    spread over the points is weighed with Σ |c| |o|^(q+1) / (q + 1)!. Where a comparison or a
    maximum inside the loss comes out differently at the points, the loss may have a kink there. A
    quotient is the mean of f' over its interval, so the error is then at most the largest
    |f'(ξ) − f'(x)| times the sum of the quotients' weights, |4/3| + |1/3| for the fourth order:
    the difference of f' at the points and the centre, and max|f''| times their distance for what
    lies between.

    *Extrapolation* promises to be within five errors of what its two fine steps say, one of them
    the estimate of the member of its table, which is less. The bound is that, and the bound of
    those two steps by themselves: certain, but it does not tell how much better the method is.

    *Round-off of one evaluation*, δ, is bounded by running error analysis: Higham, *Accuracy and
    Stability of Numerical Algorithms*, 2nd ed., 2002, section 3.3. Every array carries a bound e
    on its absolute error. With the unit round-off u and γ_n = n u / (1 − n u) (section 3.1)::

        x + y      e_x + e_y                          + u |z|
        x y        |x| e_y + |y| e_x + e_x e_y        + u |z|
        X Y        |X| E_Y + E_X |Y| + E_X E_Y        + γ_n (|X| + E_X) (|Y| + E_Y)   section 3.5
        Σ x        Σ e_x                              + γ_(n-1) Σ (|x| + e_x)         section 4.2
        φ(x)       |φ'| e_x + |φ''| e_x²/2 + ...      + 8 u |z|

    for any order of summation; |z| stands for |z| and what it inherits. 8 u is 4 units in the
    last place, which NumPy's elementary functions stay below (its release notes 1.22). Through
    the shifted log-sum-exp these rules give the form of bound of Blanchard, Higham & Higham,
    *Accurately computing the log-sum-exp and softmax functions*, 2021, section 3.

    *Round-off of reverse mode.* The gradient is the sum over all paths through the computation
    of the product of the local derivatives d on them. Each is known to Δ, from the errors e
    above, and each product and sum rounds. If m is the most roundings on a path, the error is at
    most Σ_paths (Π(|d| + Δ) (1 + γ_m) − Π|d|). Σ Π|d| and what Δ adds to it go forward beside e;
    m counts, for each operation, what its rule backwards evaluates and sums, for values that are
    used up to three times each.

    *Round-off of the complex step.* The same, with the roundings of the slopes on their way
    forward, as imaginary parts: a complex product rounds each of its two terms twice, a sum of n
    terms n − 1 times, and a complex elementary function is made of up to four real ones.

    Underflow counts as the smallest normal number, beside a slope that the complex step carries
    scaled down as one of 4e-208; terms beyond the third power of an error are
    left out.

    Examples
    --------
    >>> import gradlab
    >>> x = np.array([0.5, 1.0])
    >>> bounds = error_bounds(lambda x: np.sum(np.exp(x)), x, method="central", step=1e-3)
    >>> found = gradlab.grad(lambda x: np.sum(np.exp(x)), gradlab.CentralDifference(step=1e-3))(x)
    >>> (np.abs(found - np.exp(x)) / bounds.total).round(2)
    array([1., 1.])
    """
    if method not in _FORMULAS:
        raise OptionError(f"method={method!r}: choose {', '.join(sorted(_FORMULAS))}")
    formula = _FORMULAS[method]
    leaves, structure = flatten(params)
    widest = np.float16 if method == "reverse" else np.float64
    points = [
        leaf.astype(dtype or np.result_type(floating(leaf), widest), copy=False) for leaf in leaves
    ]
    # Where leaves of several dtypes meet, some operations may be done in the narrowest.
    inner = min((x.dtype for x in points), key=lambda dtype: -np.finfo(dtype).eps, default=None)
    wide = [x.astype(np.float64) for x in points]
    truncation, roundoff = [], []
    for number, (x, leaf) in enumerate(zip(points, leaves, strict=True)):
        h = ladder(x, step)[1] if formula.guarded else steps(x, step, order=formula.order)
        where = [(x + k * h).astype(np.float64) for k in formula.points]
        parts = [np.zeros((2, 0))]
        for start in range(0, x.size, CHUNK):
            these = np.arange(start, min(start + CHUNK, x.size))
            run = _Run(formula, inner, floating(leaf).dtype, len(these))
            ends = np.array([array.reshape(-1)[these] for array in where])
            rays = [_constant(run, other) for other in wide]
            rays[number] = _along(run, wide[number], these, ends)
            with np.errstate(all="ignore"):
                outcome = loss(structure.unflatten(rays), *args)
                parts.append(_judge(run, outcome, ends))
        both = np.concatenate(parts, axis=1)
        both = np.where(np.isnan(both), np.inf, both).reshape(2, *x.shape)
        if method == "complex-step":  # a slope is there a STEP's part of itself
            both[1] += np.finfo(np.float64).tiny / STEP
        truncation.append(np.asarray(both[0]))
        roundoff.append(np.asarray(both[1]))
    return ErrorBounds(structure.unflatten(truncation), structure.unflatten(roundoff))


def assert_gradients_agree(
    loss: Loss,
    params: Any,
    *args: Any,
    gradient: str | Backend | Callable[..., Any] | Any,
    mode: Literal["auto", "entries", "directional"] = "auto",
    seed: int | np.random.Generator = 0,
    dtype: DTypeLike | None = None,
    allow_inconclusive: bool = False,
) -> None:
    """Assert that a gradient is that of its loss, as `gradlab.check_gradients` finds it.

    There is no tolerance to choose. A valid choice at a kink of the loss is right, too.

    Parameters
    ----------
    loss, params, *args, mode, seed, dtype
        See `gradlab.check_gradients`.
    gradient : str, Backend, callable or structure of arrays
        What is checked: a function ``gradient(params, *args)``, a backend, or the numbers.
    allow_inconclusive : bool
        Whether a test passes where the loss cannot resolve its own slope, so that nothing was
        tested.

    Raises
    ------
    GradientMismatchError
        If the gradient is wrong: an AssertionError with the report as its message and in its
        attribute ``report``.
    AssertionError
        If the check was inconclusive, unless that is allowed.
    ParameterError, LossError, NonFiniteError, BackendError, OptionError
        See `gradlab.check_gradients`.

    Examples
    --------
    A test of a gradient by hand, at points that hypothesis draws, to be run by pytest:

    >>> from hypothesis import given
    >>> from hypothesis import strategies as st
    >>> def loss(w, x):
    ...     return np.log1p(np.exp(x @ w)).mean()
    >>> def gradient(w, x):
    ...     return x.T @ (1 / (1 + np.exp(-x @ w))) / len(x)
    >>> @given(n=st.integers(1, 5), seed=st.integers(0, 2**32 - 1))
    ... def test_gradient(n, seed):
    ...     rng = np.random.default_rng(seed)
    ...     w, x = rng.standard_normal(3), rng.standard_normal((n, 3))
    ...     assert_gradients_agree(loss, w, x, gradient=gradient)
    >>> test_gradient()

    The error says what is wrong, and often why:

    >>> w, x = np.array([0.5, -0.25, 1.0]), np.array([[1.0, 2.0, 0.0], [0.0, 1.0, 3.0]])
    >>> assert_gradients_agree(loss, w, x, gradient=lambda w, x: len(x) * gradient(w, x))
    Traceback (most recent call last):
    gradlab.errors.GradientMismatchError: mismatch: all 3 entries of the gradient are wrong
      params: 2 times too large: a sum for a mean?
    ...
    """
    __tracebackhide__ = True  # pytest shows the test's own line
    report = check_gradients(
        loss, params, *args, gradient=gradient, mode=mode, seed=seed, dtype=dtype
    )
    report.raise_for_mismatch()
    if report.verdict == "inconclusive" and not allow_inconclusive:
        raise AssertionError(
            f"{report}\nNothing was tested; allow_inconclusive=True lets such a test pass."
        )


def assert_within(found: Any, wanted: Any, bound: Any) -> None:
    """Assert |found − wanted| <= bound for every entry of structures of arrays.

    Parameters
    ----------
    found, wanted, bound : Any
        Structures of the same paths and shapes; the entries of `bound` may be infinite.

    Raises
    ------
    AssertionError
        Naming the entry that is furthest out.

    Examples
    --------
    >>> assert_within({"w": np.ones(2)}, {"w": np.array([1.0, 1.1])}, {"w": np.full(2, 0.01)})
    Traceback (most recent call last):
    AssertionError: w[1] is 1.0; expected 1.1 ± 0.01 (the difference is 10 times the bound)
    """
    wanted_leaves, structure = flatten(wanted)
    found_leaves = leaves_like(wanted, found, "what was found")
    bounds, bound_structure = flatten(bound, _unchecked)
    if sorted(structure.paths) != sorted(bound_structure.paths):
        raise OptionError(f"the bound has {bound_structure.paths}; expected {structure.paths}")
    by_path = dict(zip(bound_structure.paths, bounds, strict=True))
    worst, message = 1.0, ""
    for path, a, b in zip(structure.paths, found_leaves, wanted_leaves, strict=True):
        limit = np.broadcast_to(by_path[path], a.shape)
        apart = np.abs(a.astype(np.float64) - b.astype(np.float64))
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            ratio = np.where(apart == 0, 0.0, apart / limit)
        if ratio.size and ratio.max() > worst:
            worst = float(ratio.max())
            index = tuple(map(int, np.unravel_index(int(ratio.argmax()), ratio.shape)))
            message = (
                f"{entry(path, index)} is {a[index]}; expected {b[index]} ± {limit[index]:.3g} "
                f"(the difference is {worst:.3g} times the bound)"
            )
    if message:
        raise AssertionError(message)


@dataclass(frozen=True)
class _Formula:
    """What the error of a method follows from.

    Attributes
    ----------
    points : tuple of int
        Where it evaluates the loss, in steps from x; the centre comes first.
    quotients : tuple of (float, int, int)
        Their weights, and the places in `points` of their upper and lower ends.
    order : int
        The order q of the truncation error, h^q; 0 if it has none.
    guarded : bool
        Whether it is extrapolation, held to this formula by its error estimate.
    forward : bool
        Whether the slopes are carried forward, as imaginary parts.
    """

    points: tuple[int, ...] = (0,)
    quotients: tuple[tuple[float, int, int], ...] = ()
    order: int = 0
    guarded: bool = False
    forward: bool = False

    @property
    def terms(self) -> int:
        """The Taylor coefficients that are needed: up to the derivative of order q + 1."""
        return self.order + 2


_FOURTH = _Formula((0, 1, -1, 2, -2), ((4 / 3, 1, 2), (-1 / 3, 3, 4)), order=4)

_FORMULAS: dict[str, _Formula] = {
    "forward": _Formula((0, 1), ((1.0, 1, 0),), order=1),
    "central": _Formula((0, 1, -1), ((1.0, 1, 2),), order=2),
    "central4": _FOURTH,
    "richardson": replace(_FOURTH, guarded=True),
    "complex-step": _Formula(forward=True),
    "reverse": _Formula(),
}


def _judge(run: _Run, outcome: Any, ends: Array) -> Array:
    """Return truncation and round-off, shape (2, p), from the loss at the points, (points, p)."""
    if not isinstance(outcome, _Ray):  # it does not depend on its parameters
        return np.zeros((2, run.p))
    if outcome.shape:
        raise LossError(f"the loss returned an array of shape {outcome.shape}; return one number")
    if run.formula.quotients:
        truncation, roundoff = _error_of_quotients(run, outcome, ends)
    else:
        truncation = np.zeros(run.p)
        paths, slack = run.at_points(outcome.paths)[0], run.at_points(outcome.slack)[0]
        roundoff = slack + run.rounding(paths + slack, outcome.roundings)
    result = np.abs(run.at_points(outcome.taylor)[1, 0]) + truncation + roundoff
    return np.stack([truncation, roundoff + run.cast(result)])


def _error_of_quotients(run: _Run, outcome: _Ray, ends: Array) -> tuple[Array, Array]:
    formula, q = run.formula, run.formula.order
    factorials = np.array([factorial(k) for k in range(formula.terms)])[:, None, None]
    f = run.at_points(outcome.taylor) * factorials  # derivatives, shape (terms, points, p)
    δ = run.at_points(outcome.error)
    o = ends - ends[0]
    # How far f' moves from the centre, and with it each of the quotients.
    moved = np.abs(f[1] - f[1, 0]).max(axis=0) + np.abs(o).max(axis=0) * _largest(f[2])

    def errors(c: Array, first: int, quotients: float) -> tuple[Array, Array]:
        """Bound truncation and round-off of Σ c f(x + o), where its moments begin to count."""
        known = np.zeros(run.p)
        for k in range(first, q + 2):
            known = known + f[k, 0] * (c * o**k).sum(axis=0) / factorial(k)
        spread = (np.abs(c) * np.abs(o) ** (q + 1)).sum(axis=0) / factorial(q + 1)
        smooth = np.abs(known) + 2 * np.ptp(f[q + 1], axis=0) * spread
        return np.where(run.kinked, quotients * moved, smooth), (np.abs(c) * δ).sum(axis=0)

    rows = [_row(ends, i, j) for _, i, j in formula.quotients]
    weights = [w for w, _, _ in formula.quotients]
    total = sum(map(abs, weights))
    c = reduce(add, [w * row for w, row in zip(weights, rows, strict=True)])
    truncation, roundoff = errors(c, 2, total)
    # The difference, the distance of the points and the division round once each.
    size = total * (np.abs(f[1, 0]) + moved + roundoff)
    roundoff = roundoff + run.rounding(size, 3 * len(rows))
    if formula.guarded:
        bends = [np.abs(row) for row in rows]
        for bend in bends:
            bend[0] = -bend.sum(axis=0)
        apart = [errors(rows[0] - rows[1], 1, 2), errors(2 * bends[0] - bends[1], 1, 3)]
        values = (np.abs(f[0]) + δ).max(axis=0)
        noise = run.epsilon * 2 * values * np.abs(rows[0]).max(axis=0)
        noise = noise + sum(errors[1] for errors in apart)
        bar = sum(errors[0] for errors in apart)
        truncation = truncation + (MARGIN + 1) * bar
        roundoff = roundoff + (MARGIN + 1) * (noise + run.rounding(size + bar + noise, 12))
    return truncation, roundoff


def _row(ends: Array, i: int, j: int) -> Array:
    """Return the weight of each point's value in the quotient between two of them."""
    row = np.zeros_like(ends)
    row[i], row[j] = 1 / (ends[i] - ends[j]), -1 / (ends[i] - ends[j])
    return row


def _largest(values: Array) -> Array:
    """Bound |values| between the points at which they are known, shape (points, p)."""
    return cast("Array", np.abs(values).max(axis=0) + np.ptp(values, axis=0))


CHUNK = 256
"""So many coordinates go through the loss together: memory for speed."""

ELEMENTARY = 8
"""Round-offs u in an elementary function: 4 units in the last place."""

COMPLEX = 4
"""Real elementary functions, at most, that a complex one is made of."""

FAN_OUT = 2
"""Additions where the shares of a value that is used three times come together."""


class _Run:
    """What all rays of one evaluation have in common."""

    def __init__(
        self, formula: _Formula, inner: np.dtype[Any] | None, result: np.dtype[Any], p: int
    ) -> None:
        self.formula, self.terms, self.forward = formula, formula.terms, formula.forward
        self._inner, self._result = np.finfo(inner or result), np.finfo(result)
        self.epsilon = float(self._inner.eps)
        self.p = p
        self.kinked = np.zeros(p, dtype=bool)

    def at_points(self, values: Array) -> Array:
        """Split the hidden axis of a scalar ray's (..., q) into (..., points, p)."""
        points = len(self.formula.points)
        whole = np.broadcast_to(values, (*values.shape[:-1], points * self.p))
        return whole.reshape(*values.shape[:-1], points, self.p)

    def gamma(self, n: int) -> float:
        """γ_n, infinite where it means nothing."""
        nu = n * self.epsilon / 2
        return nu / (1 - nu) if nu < 1 else np.inf

    def rounding(self, size: Array, n: int) -> Array:
        """Bound the error of n roundings of something of that size."""
        return self.gamma(n) * size + float(self._inner.smallest_normal)

    def cast(self, size: Array) -> Array:
        """Bound the error of rounding the result to the parameters' dtype."""
        if self._result.eps <= self._inner.eps:
            return np.zeros_like(size)
        return size * float(self._result.eps) / 2 + float(self._result.smallest_normal)

    def observe(self, outcome: Array, uncertain: Array) -> None:
        """Note the coordinates along which a decision changes, or could by rounding."""
        doubt = uncertain.reshape(len(uncertain), -1).any(axis=1)
        if len(outcome) > 1:
            points = len(self.formula.points)
            each = outcome.reshape(points, self.p, -1)
            doubts = doubt.reshape(points, -1).any(axis=0)
            self.kinked |= (each != each[0]).any(axis=(0, 2)) | doubts
        else:
            self.kinked |= doubt


class _Ray:
    """An array as a function of one coordinate of the parameters, for q coordinates and points.

    ``taylor`` (terms, q, ...) holds its Taylor coefficients, ``error`` (q, ...) bounds the error
    of its evaluation, ``paths`` and ``slack`` are Σ Π|d| and what Δ adds to it, and
    ``roundings`` is m, all as in `error_bounds`. The axis q is hidden: the shape and the indices
    are those of the array. Where nothing depends on the coordinate, q is 1.
    """

    dtype = np.dtype(np.float64)

    def __init__(
        self, run: _Run, taylor: Array, error: Array, paths: Array, slack: Array, roundings: int
    ) -> None:
        self.run, self.taylor, self.error = run, taylor, error
        self.paths, self.slack, self.roundings = paths, slack, roundings

    @property
    def shape(self) -> tuple[int, ...]:
        return self.taylor.shape[2:]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    @property
    def value(self) -> Array:
        return self.taylor[0]  # type: ignore[no-any-return, unused-ignore]

    def reach(self) -> Array:
        """|value| and its error."""
        return np.abs(self.value) + self.error  # type: ignore[no-any-return, unused-ignore]

    def each(self, change: Callable[[Array], Array], roundings: int = FAN_OUT) -> _Ray:
        """Rearrange the array; `change` is given (q, ...) and must leave q alone."""
        return _Ray(
            self.run,
            np.stack([change(term) for term in self.taylor]),
            change(self.error),
            change(self.paths),
            change(self.slack),
            self.roundings + roundings,
        )

    def expanded(self, ndim: int) -> _Ray:
        """Prepend axes of length 1, behind the hidden one."""
        ones = (1,) * (ndim - self.ndim)
        return self.each(lambda a: a.reshape(len(a), *ones, *a.shape[1:]), 0) if ones else self

    # The Array API, as far as losses use it

    def __array_namespace__(self, api_version: str | None = None) -> Any:
        return _NAMESPACE

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        function = getattr(_NAMESPACE, ufunc.__name__, None)
        if method != "__call__" or options or function is None:
            raise LossError(f"the error of {ufunc.__name__} is not known: bound it by hand")
        return function(*inputs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        own = getattr(_NAMESPACE, function.__name__, None)
        if own is None:
            raise LossError(f"the error of {function.__name__} is not known: bound it by hand")
        return own(*args, **kwargs)

    def astype(self, dtype: Any) -> _Ray:
        """Return itself: a ray is computed in double precision, whatever it stands for."""
        return self

    def __neg__(self) -> _Ray:
        return _Ray(
            self.run, -self.taylor, self.error, self.paths, self.slack, self.roundings + FAN_OUT
        )

    def __add__(self, other: Any) -> _Ray:
        return _sum_of(self, other)

    def __sub__(self, other: Any) -> _Ray:
        return _sum_of(self, -_ray(self.run, other))

    def __rsub__(self, other: Any) -> _Ray:
        return _sum_of(-self, other)

    def __mul__(self, other: Any) -> _Ray:
        return _product(self, other, np.multiply)

    def __truediv__(self, other: Any) -> _Ray:
        return _quotient(self, other)

    def __rtruediv__(self, other: Any) -> _Ray:
        return _quotient(_ray(self.run, other), self)

    def __matmul__(self, other: Any) -> _Ray:
        return _matrix_product(self, other)

    def __rmatmul__(self, other: Any) -> _Ray:
        return _matrix_product(other, self)

    def __pow__(self, exponent: float) -> _Ray:
        if not isinstance(exponent, (int, float)):
            raise LossError(f"the error of x ** {type(exponent).__name__} is not known: use exp")
        exact = exponent in (1, 2)
        extra = 0 if exact or not self.run.forward else _complex_power(self.value, exponent)
        roundings = (1 if exact else ELEMENTARY) + extra
        return _elementary(self, partial(_power, p=exponent), roundings, extra)

    __radd__ = __add__
    __rmul__ = __mul__

    def __ge__(self, other: Any) -> _Mask:
        return _compare(self, other, np.greater_equal)

    def __gt__(self, other: Any) -> _Mask:
        return _compare(self, other, np.greater)

    def __le__(self, other: Any) -> _Mask:
        return _compare(self, other, np.less_equal)

    def __lt__(self, other: Any) -> _Mask:
        return _compare(self, other, np.less)

    def __getitem__(self, key: Any) -> _Ray:
        key = key if isinstance(key, tuple) else (key,)
        return self.each(lambda a: a[(slice(None), *key)])

    def sum(self, axis: Any = None, keepdims: bool = False, **_: Any) -> _Ray:
        """Add up; the order is free."""
        axes = self._axes(axis)
        terms = int(np.prod([self.shape[i - 1] for i in axes]))
        result = self.each(lambda a: a.sum(axis=axes, keepdims=keepdims))
        size = self.reach().sum(axis=axes, keepdims=keepdims)
        result.error = result.error + self.run.rounding(size, max(terms - 1, 0))
        result.roundings += terms if self.run.forward else 0
        return result

    def mean(self, axis: Any = None, keepdims: bool = False, **_: Any) -> _Ray:
        """Add up and divide."""
        total = self.sum(axis, keepdims)
        return _quotient(total, self.size / max(total.size, 1))

    def max(self, axis: Any = None, keepdims: bool = False, **_: Any) -> _Ray:
        """Take the largest along one axis."""
        (axis,) = self._axes(axis)
        where = np.expand_dims(self.value.argmax(axis=axis), axis)
        top = np.take_along_axis(self.value, where, axis)
        close = (self.value + self.error >= top - np.take_along_axis(self.error, where, axis)) & (
            np.arange(self.value.shape[axis]).reshape([-1] + [1] * (self.value.ndim - axis - 1))
            != where
        )
        self.run.observe(where, close & (self.error > 0))
        # The sweep back may share a tie among its winners.
        win = (self.value == top) | close
        result = self.each(lambda a: np.take_along_axis(a, where, axis), FAN_OUT + 3)
        result.error = self.error.max(axis=axis, keepdims=True)
        result.paths = np.where(win, self.paths, 0).max(axis=axis, keepdims=True)
        result.slack = np.where(win, self.slack, 0).max(axis=axis, keepdims=True)
        return result if keepdims else result.each(lambda a: a.squeeze(axis), 0)

    def _axes(self, axis: Any) -> tuple[int, ...]:
        if axis is None:
            return tuple(range(1, self.ndim + 1))
        return tuple(i % self.ndim + 1 for i in (axis if isinstance(axis, tuple) else (axis,)))


@dataclass(frozen=True)
class _Mask:
    """The outcome of a comparison, with the rays' hidden axis."""

    data: Array
    dtype = np.dtype(bool)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape[1:]

    def __array_namespace__(self, api_version: str | None = None) -> Any:
        return _NAMESPACE

    __array_function__ = _Ray.__array_function__


def _constant(run: _Run, value: Any) -> _Ray:
    value = np.asarray(value, dtype=np.float64)[None]
    taylor = np.concatenate([value[None], np.zeros((run.terms - 1, *value.shape))])
    nothing = np.zeros_like(value)
    return _Ray(run, taylor, nothing, nothing, nothing, 0)


def _along(run: _Run, x: Array, these: Array, ends: Array) -> _Ray:
    """Return a leaf as a function of `these` of its entries, at each of the ends."""
    taylor = np.zeros((run.terms, len(ends), run.p, x.size))
    taylor[0] = x.reshape(-1)
    rays = np.arange(run.p)
    for point, end in enumerate(ends):
        taylor[0, point, rays, these] = end
        taylor[1, point, rays, these] = 1.0
    taylor = taylor.reshape(run.terms, len(ends) * run.p, *x.shape)
    nothing = np.zeros_like(taylor[0])
    return _Ray(run, taylor, nothing, taylor[1].copy(), nothing, 0)


def _ray(run: _Run, value: Any) -> _Ray:
    return value if isinstance(value, _Ray) else _constant(run, value)


def _pair(a: Any, b: Any) -> tuple[_Ray, _Ray]:
    run = a.run if isinstance(a, _Ray) else b.run
    a, b = _ray(run, a), _ray(run, b)
    ndim = max(a.ndim, b.ndim)
    return a.expanded(ndim), b.expanded(ndim)


def _shared(z: Array, *inputs: _Ray) -> int:
    """Count the additions by which the sweep back undoes a broadcast."""
    entries = z[0].size
    return max((entries // x.size if x.size else 0) for x in inputs) + FAN_OUT


def _sum_of(x: Any, y: Any) -> _Ray:
    x, y = _pair(x, y)
    taylor = x.taylor + y.taylor
    inherited = x.error + y.error
    error = inherited + x.run.rounding(np.abs(taylor[0]) + inherited, 1)
    m = max(x.roundings, y.roundings) + _shared(taylor[0], x, y)
    return _Ray(x.run, taylor, error, x.paths + y.paths, x.slack + y.slack, m)


def _product(x: Any, y: Any, product: Any, exact: bool = False) -> _Ray:
    """Multiply, by entries or as matrices."""
    x, y = _pair(x, y)
    run = x.run
    taylor = np.stack(
        [
            reduce(add, [product(x.taylor[i], y.taylor[k - i]) for i in range(k + 1)])
            for k in range(run.terms)
        ]
    )
    X, Y = np.abs(x.value), np.abs(y.value)
    error = product(X, y.error) + product(x.error, Y) + product(x.error, y.error)
    matrices = product is np.matmul
    if not exact:
        d = x.shape[-1] if matrices else 1
        error = error + run.rounding(product(x.reach(), y.reach()), d)
    if matrices:
        m = max(*x.shape, *y.shape) * (2 if run.forward else 1) + FAN_OUT
    else:
        m = 1 + _shared(taylor[0], x, y)
    paths = product(X, y.paths) + product(x.paths, Y)
    slack = (
        product(X, y.slack)
        + product(x.error, y.paths + y.slack)
        + product(x.slack, Y)
        + product(x.paths + x.slack, y.error)
    )
    return _Ray(run, taylor, error, paths, slack, max(x.roundings, y.roundings) + m)


def _matrix_product(x: Any, y: Any) -> _Ray:
    """Multiply as matrices; a vector on the left is a row, one on the right a column."""
    run = x.run if isinstance(x, _Ray) else y.run
    x, y = _ray(run, x), _ray(run, y)
    row, column = x.ndim == 1, y.ndim == 1
    x = x.each(lambda a: a[:, None, :], 0) if row else x
    y = y.each(lambda a: a[:, :, None], 0) if column else y
    z = _product(x, y, np.matmul)
    z = z.each(lambda a: a[..., 0], 0) if column else z
    return z.each(lambda a: a[:, 0], 0) if row else z


def _quotient(x: Any, y: Any) -> _Ray:
    x, y = _pair(x, y)
    inverse = _elementary(y, partial(_power, p=-1), roundings=0)
    result = _product(x, inverse, np.multiply, exact=True)
    result.taylor[0] = x.value / y.value  # rounded once, not twice
    result.error = result.error + x.run.rounding(result.reach(), 4 if x.run.forward else 1)
    result.roundings += 4
    return result


def _elementary(
    x: _Ray,
    series: Callable[[Array, int], list[Array]],
    roundings: int = ELEMENTARY,
    further: int = 0,
) -> _Ray:
    """Apply a function φ of which ``series(x, n)`` gives n Taylor coefficients at x.

    `roundings` are those of its value, `further` those that its slope has beyond the usual.
    """
    run = x.run
    functions = COMPLEX if run.forward else 1
    local = series(x.value, max(run.terms, 4))
    e, (c1, c2, c3) = x.error, map(np.abs, local[1:4])
    inherited = c1 * e + c2 * e**2 + c3 * e**3
    error = inherited
    if roundings:
        error = error + run.rounding(np.abs(local[0]) + inherited, functions * roundings)
    slack = c1 * x.slack + (2 * c2 * e + 3 * c3 * e**2) * (x.paths + x.slack)
    # Backwards: at most two elementary functions, a square, a quotient and a product.
    m = x.roundings + max(functions, 2) * ELEMENTARY + further + 3 + FAN_OUT
    return _Ray(run, np.stack(_compose(local, x.taylor)), error, c1 * x.paths, slack, m)


def _compose(local: Sequence[Array], u: Array) -> list[Array]:
    """Return the Taylor coefficients of φ(u) = Σ_i φ_i (u − u₀)^i, from those of φ at u₀ and u."""
    terms = len(u)
    result = [local[0], *(local[1] * u[k] for k in range(1, terms))]
    power = dict(enumerate(u))  # of (u − u₀)^i, whose coefficients begin with the i-th
    for i in range(2, terms):
        power = {
            k: reduce(add, [power[j] * u[k - j] for j in range(i - 1, k)]) for k in range(i, terms)
        }
        for k in power:
            result[k] = result[k] + local[i] * power[k]
    return result


def _compare(x: _Ray, other: Any, relation: Any) -> _Mask:
    x, y = _pair(x, other)
    outcome = relation(x.value, y.value)
    x.run.observe(outcome, np.abs(x.value - y.value) < x.error + y.error)
    return _Mask(outcome)


def _where(condition: Any, x: Any, y: Any) -> Any:
    rays = [value for value in (x, y) if isinstance(value, _Ray)]
    data = condition.data if isinstance(condition, _Mask) else np.asarray(condition)[None]
    if not rays:
        raise LossError("where() between two constants: the loss has a step, not a gradient")
    x, y = _ray(rays[0].run, x), _ray(rays[0].run, y)
    ndim = max(x.ndim, y.ndim, data.ndim - 1)
    x, y = x.expanded(ndim), y.expanded(ndim)
    data = data.reshape(len(data), *(1,) * (ndim + 1 - data.ndim), *data.shape[1:])
    taylor = np.where(data, x.taylor, y.taylor)
    error, paths = np.where(data, x.error, y.error), np.where(data, x.paths, y.paths)
    slack = np.where(data, x.slack, y.slack)
    m = max(x.roundings, y.roundings) + _shared(taylor[0], x, y)
    return _Ray(x.run, taylor, error, paths, slack, m)


def _function(series: Callable[[Array, int], list[Array]]) -> Callable[[_Ray], _Ray]:
    return lambda x: _elementary(x, series)


# Taylor coefficients at x: each function by its differential equation


def _solution(start: Array, slope: Callable[[list[Array]], Array], n: int) -> list[Array]:
    """Return v of n terms, where slope(v_0, ..., v_k) is the k-th coefficient of v'."""
    v = [start]
    while len(v) < n:
        v.append(slope(v) / len(v))
    return v


def _exp(x: Array, n: int) -> list[Array]:
    return _solution(np.exp(x), lambda v: v[-1], n)


def _expm1(x: Array, n: int) -> list[Array]:
    return [np.expm1(x), *_exp(x, n)[1:]]


def _tanh(x: Array, n: int) -> list[Array]:
    def slope(v: list[Array]) -> Array:  # 1 − v², the first without cancellation
        square = reduce(add, [a * b for a, b in zip(v, reversed(v), strict=True)])
        return 1 / np.cosh(x) ** 2 if len(v) == 1 else -square

    return _solution(np.tanh(x), slope, n)


def _sin(x: Array, n: int) -> list[Array]:
    s, c = np.sin(x), np.cos(x)
    return [(s, c, -s, -c)[k % 4] / factorial(k) for k in range(n)]


def _cos(x: Array, n: int) -> list[Array]:
    s, c = np.sin(x), np.cos(x)
    return [(c, -s, -c, s)[k % 4] / factorial(k) for k in range(n)]


def _log(x: Array, n: int) -> list[Array]:
    reciprocal = _power(x, n, -1)
    return _solution(np.log(x), lambda v: reciprocal[len(v) - 1], n)


def _log1p(x: Array, n: int) -> list[Array]:
    return [np.log1p(x), *_log(1 + x, n)[1:]]


def _sqrt(x: Array, n: int) -> list[Array]:
    return [np.sqrt(x), *_power(x, n, 0.5)[1:]]


def _power(x: Array, n: int, p: float) -> list[Array]:
    binomials = [1.0]
    for k in range(1, n):
        binomials.append(binomials[-1] * (p - k + 1) / k)
    # Not 0 * x**-1, which is a NaN at 0.
    return [c * x ** (p - k) if c else np.zeros_like(x) for k, c in enumerate(binomials)]


def _complex_power(x: Array, p: float) -> int:
    """Count what a complex power rounds more: by repeated products, or as exp(p log x)."""
    exponent = np.abs(p * np.log(np.abs(x[x != 0]))).max(initial=0.0)
    return int(np.ceil(2 * abs(p) + COMPLEX * min(exponent, 1e6)))


def _reduction(name: str) -> Callable[..., Any]:
    def reduction(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return getattr(x, name)(axis=axis, keepdims=keepdims)

    return reduction


_NAMESPACE: Any = ModuleType("rays")
vars(_NAMESPACE).update(
    float64=np.float64,
    bool=np.bool_,
    isdtype=np.isdtype,
    arange=np.arange,
    asarray=lambda x, **_: x if isinstance(x, _Ray) else np.asarray(x),
    astype=lambda x, dtype, **_: x,
    real=lambda x: x,
    iscomplexobj=lambda x: False,
    where=_where,
    sum=_reduction("sum"),
    mean=_reduction("mean"),
    max=_reduction("max"),
    add=_sum_of,
    subtract=lambda x, y: _sum_of(x, -y if isinstance(y, _Ray) else -np.asarray(y)),
    multiply=partial(_product, product=np.multiply),
    matmul=_matrix_product,
    divide=_quotient,
    negative=lambda x: -x,
    square=lambda x: x**2,
    power=lambda x, p: x**p,
    greater=lambda x, y: y < x if not isinstance(x, _Ray) else x > y,
    greater_equal=lambda x, y: y <= x if not isinstance(x, _Ray) else x >= y,
    less=lambda x, y: y > x if not isinstance(x, _Ray) else x < y,
    less_equal=lambda x, y: y >= x if not isinstance(x, _Ray) else x <= y,
    exp=_function(_exp),
    expm1=_function(_expm1),
    log=_function(_log),
    # NumPy's complex log1p adds the 1 and takes the logarithm.
    log1p=lambda x: _elementary(1 + x, _log) if x.run.forward else _elementary(x, _log1p),
    tanh=_function(_tanh),
    sin=_function(_sin),
    cos=_function(_cos),
    sqrt=_function(_sqrt),
)


def _unchecked(leaf: Any, path: str) -> Array:
    return np.asarray(leaf)  # bounds may be infinite
