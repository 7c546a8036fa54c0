"""The common part of all numerical backends: steps, dtype, and the evaluation of the loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import Any, ClassVar, TypeVar

from numpy.typing import DTypeLike

from gradlab import options
from gradlab.errors import OptionError
from gradlab.gradients.differences.steps import check_step, given_steps
from gradlab.gradients.keywords import passing_keywords
from gradlab.gradients.perturb import Recorded
from gradlab.gradients.probing import (
    CoarseLoss,
    Evaluation,
    Loop,
    Probe,
    ProbeOfTerms,
)
from gradlab.gradients.protocol import Loss, ValueAndGrad
from gradlab.gradients.terms import SumOfTerms
from gradlab.gradients.workers import Workers
from gradlab.params import Array

Self = TypeVar("Self", bound="Numerical")


@dataclass(frozen=True)
class Numerical:
    """A gradient from values of the loss only; each backend defines `slopes`.

    Parameters
    ----------
    step : float or structure, optional
        The same absolute step for every entry; or a structure like that of the parameters, with a
        number for each leaf or for each entry. The default is scaled to each entry.
    dtype : dtype, optional
        The floating-point type in which the loss is evaluated; by default float64, or the
        parameters' own where that is wider.
    evaluation : Evaluation, optional
        How the loss is evaluated: `Loop`, `Recorded` or `Workers`, or an object of your own with
        their method `of`. The keywords below are a short way to write the usual ones; give either
        these or `evaluation`.
    workers, timeout, resume : optional
        Short for ``evaluation=Workers(workers, timeout, resume)``.

    Notes
    -----
    Finite differences take ``incremental=`` and ``threads=`` as well. Their default is
    ``evaluation=Recorded(threads)``; ``incremental=False`` is short for ``evaluation=Loop()``.
    """

    step: Any = None
    dtype: DTypeLike | None = None
    evaluation: Evaluation | None = field(default=None, kw_only=True)
    workers: Any = field(default=None, kw_only=True)
    timeout: float | None = field(default=None, kw_only=True, repr=False)
    resume: str | PathLike[str] | None = field(default=None, kw_only=True)
    name: ClassVar[str]

    def __post_init__(self) -> None:
        if self.step is not None:
            check_step(self.step)
        if self.dtype is not None:
            options.floating("dtype", self.dtype, "a loss is evaluated in a floating-point type")
        self.evaluated_by()

    def evaluated_by(self) -> Evaluation:
        """Return the evaluation of the loss: the given one, or the one of the keywords.

        An OptionError is raised if both were given, or one of them is invalid.
        """
        by_keywords = self._by_keywords()
        if self.evaluation is None:
            return by_keywords
        for name in ("workers", "timeout", "resume", "incremental", "threads"):
            value = getattr(self, name, None)
            if value is not None and value is not True:
                raise OptionError(f"evaluation= and {name}= exclude each other: give one of them")
        if isinstance(self.evaluation, type) or not isinstance(self.evaluation, Evaluation):
            advice = "give Loop(), Recorded(), Workers(), or an object with a method of(loss)"
            raise options.refusal("evaluation", self.evaluation, advice)
        return self.evaluation

    def _by_keywords(self) -> Evaluation:
        """Return the evaluation that the keywords describe."""
        given = self.workers, self.timeout, self.resume
        return Loop() if all(value is None for value in given) else Workers(*given)

    @property
    def usual(self: Self) -> Self:
        """The same backend without an `evaluation` that keywords can express.

        Those of workers and threads are left out, since they do not affect the results.
        """
        has_keywords = isinstance(self.evaluation, Loop | Recorded | Workers)
        return replace(self, evaluation=None) if has_keywords else self

    def plain(self: Self) -> Self:
        """Return the same backend without the options that select the evaluation."""
        return replace(self, evaluation=None, workers=None, timeout=None, resume=None)

    def probe(self, loss: Loss, params: Any, args: tuple[Any, ...]) -> Probe:
        """Return the loss at its parameters, with the steps given to this backend."""
        kind: Callable[..., Probe] = ProbeOfTerms if isinstance(loss, SumOfTerms) else Probe
        probe = kind(loss, params, args, self.dtype)
        if self.step is not None:
            probe.given_steps = given_steps(self.step, params, probe.leaves)
        return probe

    @passing_keywords
    def value_and_grad(self, loss: Loss) -> ValueAndGrad:
        """Return ``f(params, *args) -> (value, grads)``; see `Backend`."""
        slopes = self.evaluated_by().of(loss)

        def value_and_grad(params: Any, *args: Any) -> tuple[float, Any]:
            probe = self.probe(loss, params, args)
            value = float(probe.value)

            def gradients() -> list[Array]:
                found = slopes(self, probe)
                self.confirm(probe, found)
                return found

            with probe.restoring():
                while True:  # twice, or three times: see `CoarseLoss`
                    try:
                        return value, probe.finish(gradients())
                    except CoarseLoss as found:
                        probe.precision, probe.closely = found.precision, found.closely

        return value_and_grad

    def slopes(self, probe: Probe, leaf: int) -> Array:
        """Return the derivative with respect to each entry of a leaf, in the leaf's shape."""
        raise NotImplementedError

    def confirm(self, probe: Probe, gradients: Sequence[Array]) -> None:
        """Compare the gradient with further values of the loss, if necessary."""
