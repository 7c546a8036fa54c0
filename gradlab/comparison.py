"""One network, one start, the same minibatches, and what each backend makes of them.

Every backend trains on its own; one of them, autograd where it takes part, is the *reference*.
An estimator, whose gradients are right only on average, goes a way of its own and is told apart.
At every point that another backend comes through, the reference's gradient is taken there too
(not timed, not counted), so that the difference of two gradients is seen at the same parameters.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from gradlab import html, options
from gradlab.errors import OptionError
from gradlab.gradients import Backend, Loss, ValueAndGrad, find_backend, is_estimator
from gradlab.gradients.protocol import equivalent_evaluations, name_of
from gradlab.history import count, number
from gradlab.params import flatten, leaves_like
from gradlab.params import size as count_entries
from gradlab.training import Accuracy, Data, Fit, Step, check_data, evaluate, fit

KEPT = 2**27
"""Bytes of parameters that are kept on the way: an interrupted run is compared with what the others
had reached after as many steps."""

TOGETHER = 1e-3
"""Loss curves closer than this share of their range cannot be told apart on a plot."""


@dataclass(frozen=True)
class Run:
    """What one backend made of the training.

    Attributes
    ----------
    backend : str
        Its name.
    fit : Fit
        The trained parameters and the history.
    loss, accuracy : float
        Of the trained network, on the test data.
    seconds_per_gradient : float
        The median over the training steps.
    evaluations_per_gradient : float
        How often the loss function was called for a gradient, the mean over the training steps;
        or what the gradient is equivalent to.
    equivalent : bool
        Whether the loss was not really evaluated so often, as by finite differences over a
        recording of it.
    seconds_by_plain_loop : float or None
        What a gradient would take if it were: the number of evaluations times the quickest one.
    differences : dict of str to list of float
        For each leaf and step, the largest difference from the reference's gradient at the same
        parameters, relative to the leaf's largest entry there. Empty for the reference itself.
    distances : list of float
        At the end of each epoch, and of the training, the distance of its parameters from the
        reference's, relative to their norm; none where Ctrl-C came before the first such end.
    together : bool
        Whether its loss curve stayed within `TOGETHER` of the reference's.
    steps : int
        After how many steps all this was measured; the same for all runs. `fit` has more where
        Ctrl-C ended another run earlier.
    estimate : bool
        Whether its gradients are right only on average, so that they cannot stay together.
    """

    backend: str
    fit: Fit = field(repr=False)
    loss: float
    accuracy: float
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


@dataclass(frozen=True, repr=False)
class Comparison:
    """The runs of all backends, in the order in which they were asked for.

    Attributes
    ----------
    runs : tuple of Run
        One a backend; where Ctrl-C ended it early, those that got anywhere, all of them compared
        after as many steps as the last of them took.
    reference : str
        The backend whose gradient the others are held against.
    parameters : int
        How many entries a gradient has.
    interrupted : bool
        Whether Ctrl-C ended it early.
    """

    runs: tuple[Run, ...]
    reference: str
    parameters: int
    interrupted: bool = False

    @property
    def steps(self) -> int:
        """After how many steps the runs are compared; 0 without any."""
        return self.runs[0].steps if self.runs else 0

    def speedup(self, run: Run) -> float:
        """Return how many times faster a run's gradients are than the slowest backend's."""
        return max(r.seconds_per_gradient for r in self.runs) / run.seconds_per_gradient

    def sections(self) -> list[list[list[str]]]:
        """Return the comparison in words: sections of rows, each a name and a cell a run."""

        def row(name: str, show: Callable[[Run], str]) -> list[str]:
            return [name, *map(show, self.runs)]

        def apart(name: str, show: Callable[[Run], str]) -> list[str]:
            return row(
                name, lambda run: "reference" if run.backend == self.reference else show(run)
            )

        def plain(run: Run) -> str:
            loop = run.seconds_by_plain_loop
            return "–" if loop is None else f"~{loop:.3g}"

        cost = [
            row("seconds a gradient", lambda run: f"{run.seconds_per_gradient:.3g}"),
            row("times faster", lambda run: times(self.speedup(run))),
            row("evaluations a gradient", _evaluations),
        ]
        if any(run.equivalent for run in self.runs):
            cost.append(row("seconds by the plain loop", plain))
        return [
            [
                row("test loss", lambda run: number(run.loss)),
                row("test accuracy", lambda run: f"{run.accuracy:.2%}"),
            ],
            cost,
            [
                apart("largest gradient difference", lambda run: f"{run.largest_difference:.1e}"),
                apart(
                    "largest parameter distance",
                    lambda run: "–" if (far := run.largest_distance) is None else f"{far:.1e}",
                ),
                apart(
                    "trainings stayed together",
                    lambda run: "estimate" if run.estimate else "yes" if run.together else "no",
                ),
            ],
        ]

    def __repr__(self) -> str:
        names = " and ".join(run.backend for run in self.runs)
        return f"<Comparison of {names}: {count(self.parameters, 'parameter')}>"

    def _repr_html_(self) -> str:
        """Return the comparison as notebooks show it."""
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


def compare(
    loss: Loss,
    params: Any,
    data: Data,
    *,
    backends: Sequence[str | Backend] = ("central", "autograd"),
    test: Data,
    accuracy: Accuracy,
    **training: Any,
) -> Comparison:
    """Train from the same start on the same minibatches with each of several backends.

    Parameters
    ----------
    loss, params, data
        See `gradlab.fit`.
    backends : sequence of str or Backend
        Whom to compare, each by name or with its settings.
    test : sequence of array
        The data on which the trained parameters are judged.
    accuracy : callable
        ``accuracy(params, *data) -> float``.
    **training
        The other options of `gradlab.fit`: ``learning_rate``, ``iterations``, ``seed``, ...

    Returns
    -------
    Comparison

    Raises
    ------
    OptionError
        If fewer than two backends are named, or one of them twice.
    GradlabError
        Whatever `gradlab.fit` raises.

    Examples
    --------
    >>> x = np.linspace(-1, 1, 20)
    >>> comparison = compare(
    ...     lambda params, x, y: ((params["slope"] * x - y) ** 2).mean(),
    ...     {"slope": 0.0},
    ...     (x, 3 * x),
    ...     test=(x, 3 * x),
    ...     accuracy=lambda params, x, y: float(np.mean(abs(params["slope"] * x - y) < 0.1)),
    ...     iterations=50,
    ... )
    >>> [(run.backend, run.evaluations_per_gradient, run.together) for run in comparison.runs]
    [('central', 3.0, True), ('autograd', 1.0, True)]
    """
    options.function("accuracy", accuracy, "give a function of (params, *data)")
    advice = "name two different backends or more"
    meters = options.each(
        "backends", backends, lambda _, backend: _Meter(find_backend(backend)), advice
    )
    names = [meter.name for meter in meters]
    if len(meters) < 2 or len(set(names)) < len(names):
        raise OptionError(f"cannot compare {', '.join(names)}: {advice}")
    test = check_data(test, "test data")
    exact = [meter for meter in meters if not meter.estimate] or meters
    reference = meters[names.index("autograd")] if "autograd" in names else exact[0]
    room = KEPT // (len(meters) * max(1, sum(leaf.nbytes for leaf in flatten(params)[0])))
    followed: dict[str, _Followed] = {}
    # The reference goes first: should Ctrl-C come, the others have something to be held against.
    for meter in sorted(meters, key=lambda meter: meter is not reference):
        watch = _Watch(None if meter is reference else reference.backend.value_and_grad(loss), room)
        result = fit(loss, params, data, backend=meter, callbacks=[watch], **training)
        if watch.done:
            followed[meter.name] = _Followed(meter, watch, result)
        if result.interrupted:
            break
    steps = _common_steps(followed)
    return Comparison(
        runs=tuple(
            _judge(loss, accuracy, test, followed[name], followed[reference.name], steps)
            for name in names
            if name in followed
        ),
        reference=reference.name,
        parameters=count_entries(params),
        interrupted=result.interrupted,
    )


def _common_steps(followed: dict[str, _Followed]) -> int:
    """Return the most steps of which all runs know the parameters; drop a run without any.

    All runs but one that Ctrl-C ended took the same number.
    """
    if not followed:
        return 0
    if common := set.intersection(*(set(run.watch.points) for run in followed.values())):
        return max(common)
    del followed[min(followed, key=lambda name: followed[name].watch.done)]
    return _common_steps(followed)


def _judge(
    loss: Loss, accuracy: Accuracy, test: Data, run: _Followed, reference: _Followed, steps: int
) -> Run:
    """Say what a run made of so many steps."""
    meter, watch = run.meter, run.watch
    params = watch.points[steps]
    ends = sorted({*(end for end in watch.ends if end < steps), steps})
    pairs = [(watch.points[end], reference.watch.points[end]) for end in ends]
    return Run(
        backend=meter.name,
        fit=run.fit,
        loss=evaluate(loss, params, test, "the loss on the test data"),
        accuracy=evaluate(accuracy, params, test, "the accuracy on the test data"),
        seconds_per_gradient=float(np.median(meter.seconds)),
        evaluations_per_gradient=float(np.mean(meter.evaluations)),
        equivalent=meter.equivalent,
        seconds_by_plain_loop=meter.seconds_by_plain_loop,
        differences={path: found[:steps] for path, found in watch.differences.items()},
        distances=[_distance(*pair) for pair in pairs],
        together=_together(run.fit.history.losses[:steps], reference.fit.history.losses[:steps]),
        estimate=meter.estimate,
        steps=steps,
    )


class _Meter:
    """A backend that is timed, and whose evaluations of the loss are counted."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.name = name_of(backend)
        self.seconds: list[float] = []
        self.evaluations: list[int] = []
        self.equivalent = False
        self._calls = 0
        self._of_first: list[float] = []  # evaluation of each gradient, in seconds
        self.estimate = is_estimator(backend)

    def value_and_grad(self, loss: Loss) -> ValueAndGrad:
        _METERS[id(self)] = self
        run = self.backend.value_and_grad(partial(_counted, id(self), loss))

        def timed(params: Any, *args: Any) -> tuple[float, Any]:
            self._calls, started = 0, time.perf_counter()
            outcome = run(params, *args)
            self.seconds.append(time.perf_counter() - started)
            self.evaluations.append(self._worth(params, self._calls))  # not if Ctrl-C cut it off
            return outcome

        return timed

    def evaluate(self, loss: Loss, params: Any, args: tuple[Any, ...]) -> Any:
        """Evaluate the loss, counted, and timed if it is the first time for a gradient."""
        self._calls += 1
        if self._calls > 1:
            return loss(params, *args)
        started = time.perf_counter()
        value = loss(params, *args)
        self._of_first.append(time.perf_counter() - started)
        return value

    @property
    def seconds_by_plain_loop(self) -> float | None:
        """What a gradient would take, at least, if all evaluations that it is worth were made."""
        if not self.equivalent:
            return None
        return float(min(self._of_first) * np.mean(self.evaluations))

    def _worth(self, params: Any, calls: int) -> int:
        """Return how many evaluations a gradient stands for that took `calls` calls."""
        worth = equivalent_evaluations(self.backend, count_entries(params)) or calls
        self.equivalent = self.equivalent or worth > calls
        return max(worth, calls)


_METERS: WeakValueDictionary[int, _Meter] = WeakValueDictionary()
"""By their ids. A loss that refers to its meter itself would read what changes in each call: then
the tape would not replay it, and what is compared would not be what the backend does elsewhere."""


def _counted(meter: int, loss: Loss, params: Any, *args: Any) -> Any:
    return _METERS[meter].evaluate(loss, params, args)


class _Watch:
    """A callback that follows a training: the parameters it reached, the gradients' differences.

    Attributes
    ----------
    points : dict of int to Any
        The parameters after so many steps: the last ones, those at the end of each epoch, and up to
        `room` others at equal intervals.
    ends : set of int
        After how many steps an epoch ended.
    done : int
        How many steps it has followed.
    """

    def __init__(self, reference: ValueAndGrad | None, room: int) -> None:
        self.points: dict[int, Any] = {}
        self.ends: set[int] = set()
        self.done = 0
        self.differences: dict[str, list[float]] = {}
        self._reference = reference
        self._room = room
        self._every = 1

    def __call__(self, step: Step) -> None:
        if self._reference is not None:
            _, wanted = self._reference(step.params, *step.batch)
            for path, difference in relative_differences(step.grads, wanted).items():
                self.differences.setdefault(path, []).append(difference)
        last, self.done = self.done, step.iteration + 1
        self.points[self.done] = step.updated
        if last and not self._stays(last):
            del self.points[last]
        if step.epoch is not None:
            self.ends.add(self.done)
        elif len(self.points) - len(self.ends) > self._room:
            self._every *= 2
            self.points = {n: p for n, p in self.points.items() if self._stays(n)}
            self.points[self.done] = step.updated

    def _stays(self, steps: int) -> bool:
        return steps % self._every == 0 or steps in self.ends


@dataclass(frozen=True)
class _Followed:
    """A training that was followed to its end, or to Ctrl-C."""

    meter: _Meter
    watch: _Watch
    fit: Fit


def relative_differences(grads: Any, reference: Any) -> dict[str, float]:
    """Return each leaf's largest difference, relative to its largest entry in the reference.

    Where that is zero, the difference itself.

    Examples
    --------
    >>> relative_differences({"w": np.array([1.0, 4.0])}, {"w": np.array([2.0, 4.0])})
    {'w': 0.25}
    """
    wanted, structure = flatten(reference)
    found = leaves_like(reference, grads)
    return {
        path: _largest(a - b) / (_largest(b) or 1.0)
        for path, a, b in zip(structure.paths, found, wanted, strict=True)
    }


def _largest(array: Any) -> float:
    return float(np.max(np.abs(array), initial=0.0))


def _distance(params: Any, reference: Any) -> float:
    """Return the distance of two sets of parameters, relative to the norm of the second."""
    b, _ = flatten(reference)
    a = leaves_like(reference, params)
    scale = max(map(_largest, (*a, *b)), default=0.0) or 1.0  # so that no square overflows
    apart = np.sqrt(
        sum(float(np.sum(((x / scale) - (y / scale)) ** 2)) for x, y in zip(a, b, strict=True))
    )
    norm = np.sqrt(sum(float(np.sum((y / scale) ** 2)) for y in b))
    return float(apart / (norm or 1.0))


def _together(losses: list[float], reference: list[float]) -> bool:
    """Tell whether two loss curves look like one on a plot that shows the whole of them."""
    a, b = np.array(losses), np.array(reference)
    with np.errstate(over="ignore"):  # a range beyond floating point is wider than all differences
        return bool(np.max(np.abs(a - b)) <= TOGETHER * (np.ptp(b) or np.max(np.abs(b))))


def times(factor: float) -> str:
    """Write a factor with two digits or more.

    Examples
    --------
    >>> times(2.52), times(1234.5)
    ('2.5', '1,234')
    """
    return f"{factor:,.1f}" if factor < 10 else f"{factor:,.0f}"


def _evaluations(run: Run) -> str:
    """Write how often the loss was evaluated; or to how many evaluations that is equivalent."""
    calls = run.evaluations_per_gradient
    return f"{'equiv. ' * run.equivalent}{f'{calls:,.0f}' if calls >= 1 else f'{calls:.2g}'}"
