"""`diagnose`: train, and examine the training."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from gradlab import html, optim
from gradlab.checking import GradientReport, check_gradients
from gradlab.diagnosis import findings
from gradlab.diagnosis.findings import Finding
from gradlab.diagnosis.section import Section, section
from gradlab.diagnosis.sweep import Trained, sweep
from gradlab.diagnosis.units import Layer, layer
from gradlab.errors import DivergenceError, GradlabError, OptionError, TrainingWarning, unknown
from gradlab.gradients import Loss, find_backend, value_and_grad
from gradlab.gradients.protocol import is_estimator
from gradlab.optim.schedules import rate_at
from gradlab.params import Array
from gradlab.training import Data, Fit, check_data, evaluate, fit
from gradlab.training.causes import chance

MAX_JUDGED_SAMPLES = 1000
"""Largest number of samples on which losses and units are judged; a mean over them is within a few
hundredths of that over all."""

CHECKED_SAMPLES = 20
"""Number of samples in the batch on which the gradient is checked."""

MAX_SHORT_STEPS = 100
"""Largest number of steps of a short training."""

SAME = ("backend", "batch_size", "seed")
"""Options of the training that short trainings share."""

REFUSED_OPTIONS = {
    "checkpoint": "a diagnosis trains several times; leave it out",
    "resume": "a diagnosis trains several times; leave it out",
    "callbacks": "a diagnosis trains several times; leave it out",
    "has_aux": "a diagnosis takes losses without a state",
    "gradient": "give backend=gradlab.ByHand(gradient)",
}
"""Options of `fit` that a diagnosis does not take, and what to do instead."""


@dataclass(frozen=True, repr=False)
class Diagnosis:
    """The result of `diagnose`.

    Attributes
    ----------
    fit : Fit
        The training. If it diverged, it ends with the last good parameters.
    diverged : str
        Why it ended early, if it diverged; otherwise empty.
    sweep : tuple of Trained
        Short trainings with several learning rates; none if the optimiser's is not known.
    steps : int
        The number of steps of each of them.
    rate : float or None
        The learning rate of the training; with a schedule, the highest one.
    checks : dict of str to GradientReport or str
        The checks of the gradient at the ``"start"`` and at the ``"end"``, or why there is none.
    sections : dict of str to Section
        The loss along a step, at the start and at the end.
    layers : dict of str to tuple of Layer
        The hidden layers, at the start and at the end; empty without `hidden`.
    outputs : dict of str to list of array
        Their outputs.
    findings : tuple of Finding
        The results as sentences.
    """

    fit: Fit
    diverged: str
    sweep: tuple[Trained, ...]
    steps: int
    rate: float | None
    checks: dict[str, GradientReport | str]
    sections: dict[str, Section]
    layers: dict[str, tuple[Layer, ...]]
    outputs: dict[str, list[Array]]
    findings: tuple[Finding, ...]

    @property
    def remedies(self) -> tuple[Finding, ...]:
        """The findings that call for a remedy."""
        return tuple(finding for finding in self.findings if finding.remedy)

    def headline(self) -> str:
        """Return the diagnosis in a line."""
        count = len(self.remedies)
        if not count:
            return "Nothing is wrong with this training, as far as these measurements show."
        call = "calls" if count == 1 else "call"
        return f"{count} of {len(self.findings)} findings {call} for a remedy."

    def summary(self) -> dict[str, Any]:
        """Return all numbers, ready for JSON."""
        return {
            "headline": self.headline(),
            "findings": [vars(finding) for finding in self.findings],
            "diverged": self.diverged,
            "epochs": [vars(epoch) for epoch in self.fit.history.epochs],
            "leaves": self.fit.history.leaves,
            "losses": self.fit.history.losses,
            "learning_rate": self.rate,
            "sweep": {"steps": self.steps, "trainings": [vars(tried) for tried in self.sweep]},
            "checks": {
                where: check if isinstance(check, str) else check.to_dict()
                for where, check in self.checks.items()
            },
            "sections": {where: vars(found) for where, found in self.sections.items()},
            "layers": {where: [vars(v) for v in there] for where, there in self.layers.items()},
        }

    def __str__(self) -> str:
        lines = [
            f"{finding.about}: {finding.text}"
            + (f"\n    -> {finding.remedy}" if finding.remedy else "")
            for finding in self.findings
        ]
        return "\n".join([*lines, self.headline()])

    def __repr__(self) -> str:
        return f"<Diagnosis: {self.headline()}>"

    def _repr_html_(self) -> str:
        """Return the findings as notebooks show them."""
        rows = [[finding.about, finding.text, finding.remedy] for finding in self.findings]
        return html.table(self.headline(), ["", "found", "remedy"], rows)


def diagnose(
    loss: Loss,
    params: Any,
    data: Data | None = None,
    *,
    test: Data | None = None,
    hidden: Callable[..., Sequence[Array]] | None = None,
    **training: Any,
) -> Diagnosis:
    """Train, measure around the training, and say what was wrong and what to do.

    The measurements are: the gradient, checked at the start and at the end; short trainings with
    other learning rates; the loss along a step; dead and saturated units; and what `fit` says.

    Parameters
    ----------
    loss, params, data
        See `gradlab.fit`.
    test : sequence of array, optional
        Data on which the loss is evaluated after each epoch.
    hidden : callable, optional
        ``hidden(params, x)`` returns the outputs of the hidden layers, arrays (samples, ...), for
        the first array of the data.
    **training
        Other options of `gradlab.fit`, such as ``backend``, ``optimizer`` and ``epochs``.

    Returns
    -------
    Diagnosis
        Printed, it is a few sentences.

    Raises
    ------
    DivergenceError
        If the loss is not finite before the first step.
    OptionError, DataError, ParameterError, LossError, BackendError
        See `gradlab.fit`.

    Examples
    --------
    >>> x = np.linspace(-1, 1, 50)
    >>> def loss(params, x, y):
    ...     return np.mean((params["slope"] * x + params["offset"] - y) ** 2)
    >>> found = diagnose(loss, {"slope": 0.0, "offset": 0.0}, (x, 3 * x + 1), learning_rate=1e-4)
    >>> [finding.about for finding in found.remedies]
    ['learning rate']
    """
    known = inspect.signature(fit).parameters
    for option in training:
        if option not in known:
            raise TypeError(unknown("option of diagnose", option, known))
    for option, remedy in REFUSED_OPTIONS.items():
        if training.get(option):
            raise OptionError(f"{option}={training[option]!r}: {remedy}")
    arrays = () if data is None else check_data(data)
    optimiser = _optimiser_of(training)
    result, said, diverged = _train(loss, params, data, validation=test, **training)
    rng = np.random.default_rng(0)
    rows = rng.permutation(len(arrays[0]))[:MAX_JUDGED_SAMPLES] if arrays else None
    sample = tuple(array[rows] for array in arrays)
    measure = partial(_loss_or_inf, loss, sample)
    ends = {"start": params, "end": result.params}
    rate = _highest(optimiser, len(result.history.losses))
    first = measure(params)
    steps = min(MAX_SHORT_STEPS, len(result.history.losses))
    tried: tuple[Trained, ...] = ()
    if rate is not None:
        same = {name: training[name] for name in SAME if name in training}
        length = {"epochs" if optimiser.whole_data else "iterations": steps}
        train = partial(_train, loss, params, data, progress=False, **length, **same)
        tried = sweep(partial(_reached, train, measure, optimiser, rate), rate, first)
    backend = find_backend(training.get("backend", "autograd"))
    batch = tuple(array[:CHECKED_SAMPLES] for array in sample)
    checks = {where: _check(loss, there, batch, backend) for where, there in ends.items()}
    slope = value_and_grad(loss, backend)
    sections = {
        where: section(measure, there, slope(there, *sample)[1], optimiser, rate)
        for where, there in ends.items()
    }
    outputs = {} if hidden is None else {w: list(hidden(p, *sample[:1])) for w, p in ends.items()}
    layers = {where: tuple(map(layer, there)) for where, there in outputs.items()}
    found = [findings.of_gradient(checks)]
    if rate is not None:
        found.append(findings.of_sweep(tried, rate, first, steps, chance(arrays)))
    found.append(findings.of_sections(sections))
    found += findings.of_units(layers) if any(layers.values()) else []
    found += [findings.of_remark(text) for text in [*said, diverged] if text]
    found += findings.of_overfitting(result.history.epochs)
    if not any(finding.remedy for finding in found):
        found += findings.of_length(result.history.epochs)
    return Diagnosis(
        result, diverged, tried, steps, rate, checks, sections, layers, outputs, tuple(found)
    )


def _optimiser_of(training: dict[str, Any]) -> Any:
    """Return the optimiser of a training with these options."""
    given = training.get("optimizer")
    if given is not None:
        return given
    rate, momentum = training.get("learning_rate"), training.get("momentum")
    return optim.sgd(0.1 if rate is None else rate, 0.0 if momentum is None else momentum)


def _highest(optimiser: Any, steps: int) -> float | None:
    """Return the highest learning rate of a training; None if it is not known."""
    if not isinstance(optimiser, optim.Optimiser):
        return None
    return max(optimiser.rate(i) for i in range(max(1, steps)))


def _train(
    loss: Loss, params: Any, data: Data | None, **training: Any
) -> tuple[Fit, list[str], str]:
    """Train; return the result, what `fit` says, and why the training ended if it diverged."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        diverged = ""
        try:
            result = fit(loss, params, data, **training)
        except DivergenceError as error:
            if not error.iteration:
                raise
            result, diverged = Fit(error.params, error.history), str(error)
    if result.interrupted:
        raise KeyboardInterrupt
    said = [str(w.message) for w in caught if issubclass(w.category, TrainingWarning)]
    for warning in caught:
        if not issubclass(warning.category, TrainingWarning):
            warnings.warn(warning.message, stacklevel=3)
    return result, said, diverged


def _reached(
    train: Callable[..., tuple[Fit, list[str], str]],
    measure: Callable[[Any], float],
    optimiser: Any,
    highest: float,
    rate: float,
) -> float:
    """Return the loss after a short training with another rate; infinite if it diverges."""
    given = optimiser.learning_rate

    def scaled(count: int) -> float:
        return rate * (rate_at(given, count) / highest)

    other = replace(optimiser, learning_rate=scaled if callable(given) else rate)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result, _, diverged = train(optimizer=other)
    return math.inf if diverged else measure(result.params)


def _loss_or_inf(loss: Loss, sample: tuple[Array, ...], params: Any) -> float:
    try:
        return evaluate(loss, params, sample)
    except GradlabError:
        return math.inf


def _check(loss: Loss, params: Any, batch: tuple[Array, ...], backend: Any) -> GradientReport | str:
    """Check a backend's gradient; return why this is not possible, if it is not."""
    if is_estimator(backend):
        return f"{backend.name} estimates gradients, which are right only on average"
    try:
        with np.errstate(all="ignore"):
            return check_gradients(loss, params, *batch, gradient=backend)
    except GradlabError as error:
        return str(error)
