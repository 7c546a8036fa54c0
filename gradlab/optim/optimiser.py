"""The common parts of all optimisers: optax's protocol, and the same step in place.

An optimiser has the two methods of a transformation of optax::

    state = optimiser.init(params)
    updates, state = optimiser.update(grads, state, params)
    params = params + updates                                   # leaf by leaf

Both are pure. The state is a dict: ``count``, the number of steps so far, and a structure like the
parameters for each of the optimiser's `slots`, such as the velocity.

The trainer calls `write` instead, which `update` is based on. It works on lists of arrays, and
writes into arrays that the trainer owns, so that a step allocates none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np

from gradlab import options
from gradlab.errors import NonFiniteError
from gradlab.optim.schedules import Rate, checked, rate_at
from gradlab.params import Array, flatten, floating, leaves_like

Arrays: TypeAlias = Sequence[Array]
"""The leaves of parameters, or blocks that hold them."""


@dataclass(frozen=True)
class Optimiser:
    """An optimiser: how a gradient changes the parameters.

    A step with parameters p, gradient g and learning rate η is::

        g  <-  g · min(1, clip / ‖g‖)        if there is a bound on the norm
        p  <-  p - η (direction(g) + λ p)

    The norm is that of all leaves together (Pascanu et al., *On the difficulty of training
    recurrent neural networks*, 2013). λ is the weight decay, which does not pass through the
    direction: it is decoupled (Loshchilov and Hutter, *Decoupled Weight Decay Regularization*,
    2019). Each subclass defines the direction.

    Attributes
    ----------
    learning_rate : float or callable
        η > 0, or a schedule: the rate as a function of the number of steps before.
    weight_decay : float
        λ, from 0.
    clip : float or None
        The largest norm of a gradient.

    Raises
    ------
    OptionError
        If an option of any optimiser is out of range.
    """

    learning_rate: Rate
    _: KW_ONLY
    weight_decay: float = 0.0
    clip: float | None = None

    whole_data: ClassVar[bool] = False
    initial = 0.0  # the value of all entries of the slots before the first step

    def __post_init__(self) -> None:
        object.__setattr__(self, "learning_rate", checked(self.learning_rate))
        from_0("weight_decay", self.weight_decay)
        if self.clip is not None:
            options.number("clip", self.clip)

    @property
    def slots(self) -> tuple[str, ...]:
        """The names of the structures in the state."""
        return ()

    @property
    def needs_spare(self) -> bool:
        """Whether a step needs arrays for intermediate results."""
        return bool(self.weight_decay) or self.clip is not None

    def rate(self, count: int) -> float:
        """Return the learning rate of the step that has `count` steps before it."""
        return rate_at(self.learning_rate, count)

    def init(self, params: Any) -> dict[str, Any]:
        """Return the state before the first step.

        Raises
        ------
        ParameterError
            If the parameters are not a structure of arrays of real numbers.
        """
        leaves, structure = flatten(params)
        state: dict[str, Any] = {"count": 0}
        for name in self.slots:
            filled = [np.full_like(floating(leaf), self.initial) for leaf in leaves]
            state[name] = structure.unflatten(filled)
        return state

    def update(self, grads: Any, state: Any, params: Any) -> tuple[Any, dict[str, Any]]:
        """Return what to add to the parameters, and the state after the step.

        Parameters
        ----------
        grads : Any
            The gradient, a structure like the parameters.
        state : dict
            The state before the step. It is not changed.
        params : Any
            The parameters before the step. They are not changed.

        Returns
        -------
        updates : Any
            A structure like the parameters.
        state : dict

        Raises
        ------
        ParameterError, NonFiniteError
            If a structure does not fit the parameters, or holds a number that is not finite.
        """
        leaves, structure = flatten(params)
        leaves = [floating(leaf) for leaf in leaves]
        gradient = [
            np.asarray(slope, dtype=leaf.dtype)
            for slope, leaf in zip(leaves_like(params, grads, "the gradient"), leaves, strict=True)
        ]
        old = [leaves_like(params, state[name], f"the state's {name}") for name in self.slots]
        new = [[np.empty_like(leaf) for leaf in leaves] for _ in self.slots]
        updates = [np.empty_like(leaf) for leaf in leaves]
        count = int(state["count"])
        self.write(count, leaves, gradient, old, new, updates, [None] * len(leaves))
        after = {
            name: structure.unflatten(slot) for name, slot in zip(self.slots, new, strict=True)
        }
        return structure.unflatten(updates), {"count": count + 1, **after}

    def write(
        self,
        count: int,
        params: Arrays,
        grads: Arrays,
        old: Sequence[Arrays],
        new: Sequence[Arrays],
        updates: Arrays,
        spare: Sequence[Array | None],
    ) -> None:
        """Write the updates and the state of a step, after `count` others, into arrays.

        `old` and `new` are the slots before and after the step, which may be the same arrays. The
        values of `updates` on entry are not used. `spare` has arrays for intermediate results;
        NumPy allocates one for each None.
        """
        rate, factor = self.rate(count), self._clipping(grads)
        n = len(self.slots)
        for p, g, update, room, *state in zip(
            params, grads, updates, spare, *old, *new, strict=True
        ):
            slope = g if factor == 1.0 else np.multiply(g, factor, out=room)
            self.direct(count, rate, slope, state[:n], state[n:], update)
            if self.weight_decay:
                np.add(update, np.multiply(p, -rate * self.weight_decay, out=room), out=update)

    def direct(
        self, count: int, rate: float, g: Array, old: Arrays, new: Arrays, update: Array
    ) -> None:
        """Write ``-rate * direction`` of one array into `update`, and its slots into `new`."""
        raise NotImplementedError

    def _clipping(self, grads: Arrays) -> float:
        """Return the factor that reduces the norm of the gradient to the bound."""
        if self.clip is None:
            return 1.0
        length = norm(grads)
        return 1.0 if length <= self.clip else self.clip / length


def norm(arrays: Arrays) -> float:
    """Return the Euclidean norm of all entries of all arrays, which may be very large or small.

    Examples
    --------
    >>> norm([np.array([3.0]), np.array([4.0])]), norm([np.array([3e300, 4e300])]) / 1e300
    (5.0, 5.0)
    """
    with np.errstate(all="ignore"):
        squares = sum(float(np.vdot(array, array)) for array in arrays)
        if math.isfinite(squares) and squares > MIN_SAFE_SQUARES:
            return math.sqrt(squares)
        largest = max((float(np.abs(array).max(initial=0.0)) for array in arrays), default=0.0)
        if largest == 0.0 or not math.isfinite(largest):
            return largest
        shares = (array.astype(np.float64) / largest for array in arrays)
        return largest * math.sqrt(sum(float(np.vdot(share, share)) for share in shares))


MIN_SAFE_SQUARES = 1e-30
"""Sum of squares below which squares in float32 may have underflowed, so that `norm` scales
first."""


def squared(g: Array, out: Array) -> Array:
    """Return the squares of a gradient, for an adaptive step.

    Raise a NonFiniteError if a square overflows: the step would silently be 0.
    """
    with np.errstate(over="raise"):
        try:
            return np.multiply(g, g, out=out)
        except FloatingPointError:
            raise NonFiniteError(
                f"the square of the gradient overflows {g.dtype}, at entries up to "
                f"{float(np.abs(g).max()):.3g}: scale the loss, or clip the gradient"
            ) from None


def from_0(name: str, value: Any) -> float:
    """Return an option that is a number from 0."""
    return options.number(name, value, "give 0 or a positive number", fits=lambda x: x >= 0)


def below_1(name: str, value: Any) -> float:
    """Return an option that is a number from 0 to below 1."""
    return options.number(name, value, "give a number from 0 to below 1", fits=lambda x: 0 <= x < 1)
