"""The results of an examination, as sentences with remedies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gradlab.checking import GradientReport
from gradlab.diagnosis.section import Section
from gradlab.diagnosis.sweep import Trained, best
from gradlab.diagnosis.units import Layer
from gradlab.history import Epoch, number

MIN_GOOD_RATE_SHARE = 0.5
"""Decrease of the loss, relative to that of the best rate, above which a learning rate is good
enough. The sweep finds the best rate within a factor of about 2, and a decrease is at most
proportional to the rate."""

MIN_LEARNED_DECREASE = 0.01
"""Decrease of the loss, relative to its start, below which a short training learned nothing. It is
a few times the error of a mean over a thousand samples whose losses vary by a tenth."""

MAX_DEAD_SHARE = 0.6
"""Share of dead units in a layer above which they need a remedy. Random weights without biases
leave up to half of a layer of relu dead: those with a negative sum, where all inputs are alike."""

MAX_SATURATED_SHARE = 0.5
"""Share of saturated outputs in a layer above which they need a remedy: most units learn slowly."""

STILL_FALLING_DECREASE = 0.05
"""Decrease of the loss in the last epoch, relative to the loss, above which more epochs help."""

OVERTRAINED_RATIO = 1.1
"""Test loss at the end, relative to its lowest value, above which the training was too long. The
mean of a few hundred test samples has an error of about a tenth."""


NO_RATE_ADVICE = "look at the data, the labels, the starting values or the layers: no rate helps"


@dataclass(frozen=True)
class Finding:
    """One sentence of a diagnosis.

    Attributes
    ----------
    about : str
        What it is about: ``"gradient"``, ``"learning rate"``, ...
    text : str
        What was found.
    remedy : str
        What to do; empty if nothing is wrong.
    """

    about: str
    text: str
    remedy: str = ""


def of_gradient(checks: Mapping[str, GradientReport | str]) -> Finding:
    """Judge the checks of the gradient; a text says why there is none."""
    told, wrong = {}, False
    resolved = [report.resolution for report in checks.values() if not isinstance(report, str)]
    for where, report in checks.items():
        if isinstance(report, str):
            told[where] = f"not checked: {report}"
        elif report.ok:
            told[where] = "right"
        else:
            told[where] = {"mismatch": "wrong"}.get(report.verdict, report.verdict)
            wrong |= report.verdict == "mismatch"
    if len(set(told.values())) == 1:
        text = f"{next(iter(told.values()))} at the {' and at the '.join(told)}"
    else:
        text = ", ".join(f"{verdict} at the {where}" for where, verdict in told.items())
    if resolved:
        text += f"; relative errors above {max(resolved):.0e} would show"
    remedy = "derive it again; gradlab.check_gradients names the wrong entries" if wrong else ""
    return Finding("gradient", text, remedy)


def of_sweep(
    found: Sequence[Trained],
    rate: float,
    start: float,
    steps: int,
    guess: tuple[float, float, int] | None,
) -> Finding:
    """Judge a learning rate by short trainings with others.

    `guess` has the losses of guessing, from `gradlab.training.causes.chance`.
    """
    top, own = best(found), min(found, key=lambda trained: abs(trained.rate - rate))
    after, about = f"after {steps} step{'s' * (steps != 1)}", "learning rate"
    rates = f"no rate from {found[0].rate:.2g} to {found[-1].rate:.2g}"
    if start - top.loss < MIN_LEARNED_DECREASE * abs(start):
        return Finding(
            about,
            f"{after}, {rates} has lowered the loss, {number(start)}, by a hundredth",
            NO_RATE_ADVICE,
        )
    if guess and start > guess[0] and top.loss > (1 - MIN_LEARNED_DECREASE) * guess[0]:
        return Finding(
            about,
            f"{after}, {rates} has brought the loss from {number(start)} below that of guessing "
            f"among {guess[2]} classes, {number(guess[0])}",
            NO_RATE_ADVICE,
        )
    others = f"the best of {len(found)} rates is {top.rate:.2g}, with {number(top.loss)}"
    if not own.loss < start:
        rise = f"has risen from {number(start)} to {number(own.loss)}"
        ended = "diverges" if own.loss == float("inf") else rise
        return Finding(
            about,
            f"{after} with {rate:g}, the loss {ended}; {others}",
            f"lower the learning rate to about {top.rate:.2g}",
        )
    fall = f"has fallen from {number(start)} to {number(own.loss)}"
    text = f"{after} with {rate:g}, the loss {fall}; {others}"
    if start - own.loss >= MIN_GOOD_RATE_SHARE * (start - top.loss):
        return Finding(about, text)
    change = "raise" if top.rate > rate else "lower"
    return Finding(about, text, f"{change} the learning rate to about {top.rate:.2g}")


def of_sections(sections: Mapping[str, Section]) -> Finding:
    """Judge the step at the start and at the end."""
    told, remedy = [], ""
    for where, s in sections.items():
        fall = s.loss - s.after
        if fall <= 0 < s.promise:
            told.append(
                f"at the {where}, it raises the loss from {number(s.loss)} to {number(s.after)}"
            )
            remedy = "lower the learning rate: the step leads beyond the minimum along its way"
        else:
            share = f", {fall / s.promise:.0%} of what the gradient promises" * (s.promise > 0)
            told.append(f"at the {where}, it lowers the loss by {fall:.2g}{share}")
    return Finding("one step", "; ".join(told), remedy)


def of_units(layers: Mapping[str, Sequence[Layer]]) -> list[Finding]:
    """Judge the hidden layers at the start and at the end."""
    return [*_dead(layers), *_saturated(layers)]


def _dead(layers: Mapping[str, Sequence[Layer]]) -> list[Finding]:
    found = {
        where: {i: layer for i, layer in enumerate(there, start=1) if layer.dead}
        for where, there in layers.items()
    }
    if not any(found.values()):
        return [Finding("dead units", "none")]
    told = [
        f"at the {where}, "
        + (", ".join(f"{v.dead} of {v.units} in layer {i}" for i, v in dead.items()) or "none")
        for where, dead in found.items()
    ]
    many = {
        where: any(layer.dead > MAX_DEAD_SHARE * layer.units for layer in dead.values())
        for where, dead in found.items()
    }
    first, *_ = many.values()
    remedy = ""
    if first:
        remedy = "start with other weights (network.init), or scale the inputs"
    elif any(many.values()):
        remedy = "lower the learning rate, or take leaky_relu: the training made them so"
    return [Finding("dead units", "; ".join(told), remedy)]


def _saturated(layers: Mapping[str, Sequence[Layer]]) -> list[Finding]:
    for i, (where, there) in enumerate(layers.items()):
        worst = max(range(len(there)), key=lambda i: there[i].saturated, default=None)
        if worst is None or there[worst].saturated < MAX_SATURATED_SHARE:
            continue
        share = f"{there[worst].saturated:.0%} of the outputs of layer {worst + 1}"
        return [
            Finding(
                "saturation",
                f"at the {where}, {share} are at the bounds of the activation, where its slope is "
                "about 0",
                ""
                if i
                else "start with smaller weights (network.init), scale the inputs, or take relu",
            )
        ]
    return []


def of_remark(text: str) -> Finding:
    """Return what `fit` said, divided into what was found and the remedy.

    Examples
    --------
    >>> of_remark("the loss grows, from 1.0 to 5.0: lower the learning rate (0.1)").remedy
    'lower the learning rate (0.1)'
    """
    found, _, remedy = text.rpartition("; " if "; " in text else ": ")
    return Finding("fit says", found, remedy)


def of_overfitting(epochs: Sequence[Epoch]) -> list[Finding]:
    """Judge whether the test loss rose while the training went on."""
    tests = [epoch.validation_loss for epoch in epochs if epoch.validation_loss is not None]
    if not tests or not 0 < OVERTRAINED_RATIO * min(tests) < tests[-1]:
        return []
    lowest = min(tests)
    return [
        Finding(
            "overfitting",
            f"the test loss was lowest after epoch {tests.index(lowest) + 1}, {number(lowest)}, "
            f"and has risen to {number(tests[-1])} since",
            "keep the best epoch (keep_best), or take weight decay, dropout or more data",
        )
    ]


def of_length(epochs: Sequence[Epoch]) -> list[Finding]:
    """Judge whether a training that went well ended early."""
    if len(epochs) < 2:
        return []
    before, last = epochs[-2].loss, epochs[-1].loss
    if not last < before - STILL_FALLING_DECREASE * abs(before):
        return []
    text = f"the loss still falls, from {number(before)} to {number(last)} in the last epoch"
    return [Finding("length", text, "train for more epochs")]
