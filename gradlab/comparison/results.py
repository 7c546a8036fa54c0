"""The results of a comparison, as numbers and text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from gradlab import html
from gradlab.history import count, number, percent, times
from gradlab.training import Fit


@dataclass(frozen=True)
class Run:
    """The training by one backend.

    Attributes
    ----------
    backend : str
        Its name.
    fit : Fit
        The trained parameters and the history.
    loss : float
        The loss of the trained parameters on the test data.
    accuracy : float or None
        Their accuracy, or None if not requested.
    seconds_per_gradient : float
        The median over the training steps.
    evaluations_per_gradient : float
        Number of calls of the loss per gradient, the mean over the training steps; or the number
        of evaluations that the gradient is equivalent to.
    equivalent : bool
        Whether that number is an equivalent, as for finite differences over a recording, and not
        a number of calls.
    seconds_by_plain_loop : float or None
        Time of a gradient by plain evaluations: their number times the time of the fastest one.
    differences : dict of str to list of float
        For each leaf and step, the largest difference from the reference's gradient at the same
        parameters, relative to the leaf's largest entry there. Empty for the reference itself.
    distances : list of float
        At the end of each epoch, and of the training, the distance of its parameters from the
        reference's, relative to their norm; empty if Ctrl-C came before the first such end.
    together : bool
        Whether its loss curve coincides with the reference's.
    steps : int
        The number of steps after which these results were measured, the same for all runs. `fit`
        has more steps if Ctrl-C ended another run earlier.
    estimate : bool
        Whether its gradients are right only on average, so that the curves differ.
    """

    backend: str
    fit: Fit = field(repr=False)
    loss: float
    accuracy: float | None
    seconds_per_gradient: float
    evaluations_per_gradient: float
    equivalent: bool = False
    seconds_by_plain_loop: float | None = None
    differences: dict[str, list[float]] = field(default_factory=dict, repr=False)
    distances: list[float] = field(default_factory=list, repr=False)
    together: bool = True
    estimate: bool = False
    steps: int = 0

    @property
    def largest_difference(self) -> float:
        """The largest relative difference from the reference's gradient, over steps and leaves."""
        return max((max(steps) for steps in self.differences.values() if steps), default=0.0)

    @property
    def largest_distance(self) -> float | None:
        """The largest relative distance from the reference's parameters; None without any."""
        return max(self.distances, default=None)


Rows: TypeAlias = dict[str, Callable[[Run], str]]
"""Rows of a table: the name of each, and its text for a run."""


@dataclass(frozen=True, repr=False)
class Comparison:
    """The runs of all backends, in the given order.

    Attributes
    ----------
    runs : tuple of Run
        One per backend. If Ctrl-C ended the comparison early: those with at least one step, all
        compared after the number of steps of the last one.
    reference : str
        The backend whose gradient the others are compared with.
    parameters : int
        The number of entries of a gradient.
    interrupted : bool
        Whether Ctrl-C ended it early.
    """

    runs: tuple[Run, ...]
    reference: str
    parameters: int
    interrupted: bool = False

    @property
    def steps(self) -> int:
        """The number of steps after which the runs are compared; 0 without runs."""
        return self.runs[0].steps if self.runs else 0

    def speedup(self, run: Run) -> float:
        """Return how many times faster a run's gradients are than the slowest backend's."""
        return max(r.seconds_per_gradient for r in self.runs) / run.seconds_per_gradient

    def sections(self) -> list[list[list[str]]]:
        """Return the comparison as text: sections of rows, with a name and one cell per run."""
        quality: Rows = {"test loss": lambda run: number(run.loss)}
        if any(run.accuracy is not None for run in self.runs):
            quality["test accuracy"] = lambda run: percent(run.accuracy)
        cost: Rows = {
            "seconds per gradient": lambda run: f"{run.seconds_per_gradient:.3g}",
            "times faster": lambda run: times(self.speedup(run)),
            "evaluations per gradient": _evaluations,
        }
        if any(run.equivalent for run in self.runs):
            cost["seconds by the plain loop"] = lambda run: _known(
                run.seconds_by_plain_loop, "~{:.3g}"
            )
        agreement: Rows = {
            "largest gradient difference": lambda run: f"{run.largest_difference:.1e}",
            "largest parameter distance": lambda run: _known(run.largest_distance, "{:.1e}"),
            "trainings stayed together": lambda run: (
                "estimate" if run.estimate else "yes" if run.together else "no"
            ),
        }
        others = [run if run.backend != self.reference else None for run in self.runs]
        return [
            [[name, *map(show, self.runs)] for name, show in quality.items()],
            [[name, *map(show, self.runs)] for name, show in cost.items()],
            [
                [name, *(show(run) if run else "reference" for run in others)]
                for name, show in agreement.items()
            ],
        ]

    def __repr__(self) -> str:
        names = " and ".join(run.backend for run in self.runs)
        return f"<Comparison of {names}: {count(self.parameters, 'parameter')}>"

    def _repr_html_(self) -> str:
        """Return the comparison as HTML for notebooks."""
        header = ["", *(run.backend for run in self.runs)]
        caption = f"{count(self.parameters, 'parameter')}, the same start and minibatches"
        if self.interrupted:
            caption += f", interrupted: all after {count(self.steps, 'step')}"
        return html.table(caption, header, [row for rows in self.sections() for row in rows])

    def summary(self) -> dict[str, Any]:
        """Return the numbers of the comparison, ready for JSON."""
        return {
            "reference": self.reference,
            "parameters": self.parameters,
            "interrupted": self.interrupted,
            "compared_after_steps": self.steps,
            "runs": [
                {
                    "backend": run.backend,
                    "iterations": len(run.fit.history.losses),
                    "loss": run.loss,
                    "accuracy": run.accuracy,
                    "seconds_per_gradient": run.seconds_per_gradient,
                    "speedup": self.speedup(run),
                    "evaluations_per_gradient": run.evaluations_per_gradient,
                    "evaluations_are_equivalent": run.equivalent,
                    "seconds_by_plain_loop": run.seconds_by_plain_loop,
                    "largest_gradient_difference": run.largest_difference,
                    "largest_parameter_distance": run.largest_distance,
                    "together": run.together,
                    "is_estimate": run.estimate,
                    "losses": run.fit.history.losses,
                    "gradient_differences": run.differences,
                    "parameter_distances": run.distances,
                }
                for run in self.runs
            ],
        }


def _known(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)


def _evaluations(run: Run) -> str:
    """Format the number of evaluations of the loss, or their equivalent."""
    calls = run.evaluations_per_gradient
    return f"{'equiv. ' * run.equivalent}{f'{calls:,.0f}' if calls >= 1 else f'{calls:.2g}'}"
