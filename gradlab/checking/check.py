"""Do a loss and a gradient agree? The verdict follows from error bars, and nothing is tuned.

The numerical side is the slope of the loss with its error bar (`gradlab.gradients.slopes`), the
analytic side has the round-off of its dtype (`analytic`). An entry whose two values lie further
apart than both allow is a mismatch. Small sets of parameters are looked at entry by entry
(`entries`), large ones along random directions, which are traced to the entries where they fail
(`directions`). Where the loss is not smooth, the gradient may be any that Clarke's definition
admits (`kinks`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike

from gradlab import options
from gradlab.checking.analytic import analytic_side
from gradlab.checking.causes import guess, lengths_of, repeated_in
from gradlab.checking.directions import Outcome, check_directions
from gradlab.checking.entries import check_entries, leaves_of, overall, resolution_of
from gradlab.checking.report import GradientReport
from gradlab.errors import OptionError
from gradlab.gradients.protocol import Backend, Loss, require_same_value
from gradlab.gradients.slopes import BITS
from gradlab.gradients.surface import Surface
from gradlab.seeding import generator

LARGE = 1000
"""With more entries than that, "auto" walks directions instead of every entry."""


def check_gradients(
    loss: Loss,
    params: Any,
    *args: Any,
    gradient: str | Backend | Callable[..., Any] | Any = "autograd",
    mode: Literal["auto", "entries", "directional"] = "auto",
    seed: int | np.random.Generator = 0,
    dtype: DTypeLike | None = None,
) -> GradientReport:
    """Check a gradient against the loss that it is claimed to belong to.

    Parameters
    ----------
    loss : callable
        ``loss(params, *args) -> scalar``, deterministic.
    params, *args
        Where to check; see `gradlab.value_and_grad`.
    gradient : str, Backend, callable or structure of arrays
        What is checked: a backend (by name or as an object), a function
        ``gradient(params, *args)``, or an already computed gradient in the structure of `params`.
    mode : {"auto", "entries", "directional"}
        Look at every entry; or walk random directions, find the entries at fault by bisection,
        and look at a sample. "auto" looks at every entry of up to 1,000.
    seed : int or Generator
        Draws the directions and the sample.
    dtype : dtype, optional
        In which the parameters are given to the loss; by default float64.

    Returns
    -------
    GradientReport
        It has ``ok``, and for every entry that was looked at a verdict:

        - *agree*: both values lie within the error bars of each other;
        - *mismatch*: they do not;
        - *kink*: the loss is not smooth here, and the value is a valid choice (else a mismatch);
        - *inconclusive*: the loss cannot resolve the slope. This is never taken for agreement.

        Where the loss had one value at all points, it does not depend on its parameters, and the
        report says so. A gradient other than zero is then a mismatch. Zero is right, but
        inconclusive where the loss never looks at the parameters that it is given.

    Raises
    ------
    ParameterError, LossError, NonFiniteError, BackendError, OptionError
        If the parameters, the loss or the gradient cannot be used: a missing or misshapen leaf, a
        loss that is NaN, no scalar, writes into its parameters, or is another one each time.

    Notes
    -----
    About 14 evaluations an entry where the loss is smooth, up to some 200 where it is not, and some
    hundreds for one that is wrong; along directions about 1,000 for a network of 30,000 entries,
    and as many again to find one that is wrong.

    Examples
    --------
    >>> def loss(p):
    ...     return np.sum(np.sin(p["w"]) * p["b"])
    >>> def gradient(p):
    ...     return {"w": np.cos(p["w"]) * p["b"], "b": np.sum(np.cos(p["w"]))}
    >>> report = check_gradients(loss, {"w": np.array([0.5, 1.0]), "b": 2.0}, gradient=gradient)
    >>> report.ok, report.verdict
    (False, 'mismatch')
    >>> [entry.name for entry in report.mismatches]
    ['b']
    """
    started = time.perf_counter()
    if mode not in ("auto", "entries", "directional"):
        raise OptionError(f"mode={mode!r}: choose auto, entries or directional")
    options.function("loss", loss)
    rng = generator(seed)
    surface = Surface(loss, params, args, dtype)
    try:
        _require_steady(surface)
        analytic = analytic_side(gradient, loss, params, args, surface)
        directional = mode == "directional" or (mode == "auto" and surface.size > LARGE)
        if directional:
            found = check_directions(surface, analytic, rng)
        else:
            entries = check_entries(surface, analytic, range(surface.size), rng)
            found = Outcome(
                overall(surface, entries),
                entries,
                leaves_of(surface, entries),
                resolution_of(entries),
                [],
            )
        surface.look_again()
        _require_steady(surface)
    finally:
        surface.restore()
    constant = bool(surface.size) and surface.constant
    values = dict(zip(surface.structure.paths, surface.leaves, strict=True))
    causes: dict[str, str] = {}
    if not constant:
        with np.errstate(all="ignore"):  # a guess at numbers beside overflow may fail
            lengths, repeated = lengths_of(args), repeated_in(args)
            causes = guess(found.entries, found.leaves, values, lengths, repeated)
    ignored = constant and surface.ignores_parameters()
    constant = ignored or (constant and found.verdict != "inconclusive")
    unresolved = found.verdict == "agree" and (ignored or not surface.size)
    return GradientReport(
        verdict="inconclusive" if unresolved else found.verdict,
        entries=tuple(found.entries),
        leaves=tuple(replace(leaf, cause=causes.get(leaf.path, "")) for leaf in found.leaves),
        mode="directional" if directional else "entries",
        resolution=found.resolution,
        size=surface.size,
        evaluations=surface.evaluations,
        seconds=time.perf_counter() - started,
        notes=tuple(found.notes),
        constant=constant,
    )


def _require_steady(surface: Surface) -> None:
    again = surface.value + surface.unsteadiness
    require_same_value(surface.value, again, 2.0**-surface.bits if surface.bits < BITS else 0.0)
