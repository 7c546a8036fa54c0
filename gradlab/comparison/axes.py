"""`compare_trainings`: one training with several values of one option, and several seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from gradlab import interrupts, options
from gradlab.comparison.trials import Trial, Trials
from gradlab.errors import DivergenceError, NonFiniteError, OptionError
from gradlab.gradients import Loss
from gradlab.training import Accuracy, Data, Fit, check_data, evaluate, fit
from gradlab.training.stateful import evaluated_by

REFUSED_OPTIONS = {
    "seed": "give seeds= instead",
    "checkpoint": "a checkpoint belongs to one training; leave it out",
    "resume": "a checkpoint belongs to one training; leave it out",
}
"""Options of `fit` that several trainings cannot share, and what to do instead."""


def compare_trainings(
    loss: Loss,
    params: Any,
    data: Data | None = None,
    *,
    values: Mapping[str, Mapping[str, Any]],
    over: str = "value",
    seeds: int | Sequence[int] = 3,
    test: Data | None = None,
    accuracy: Accuracy | None = None,
    **training: Any,
) -> Trials:
    """Train with each of several values of an option, and with each of several seeds.

    The values may be optimisers, learning rates, activations, initialisations, backends, or
    anything else that an argument of `gradlab.fit` expresses. Trainings with the same seed see the
    same minibatches, and start at the same parameters unless these are compared.

    Parameters
    ----------
    loss, data
        See `gradlab.fit`.
    params : Any
        The starting values; or a function of the seed that returns them, such as
        ``lambda seed: gradlab.network.init([64, 32, 10], seed)``.
    values : mapping of str to mapping of str to Any
        For each value, its name and the arguments that differ: those of `gradlab.fit`, or `loss`,
        `params`, `data`, `test` and `accuracy`.
    over : str
        The name of the compared option, for tables and figures.
    seeds : int or sequence of int
        The seeds, or their number: 3 stands for 0, 1, 2.
    test : sequence of array, optional
        The data on which the trained parameters are evaluated; by default, the training data.
    accuracy : callable, optional
        ``accuracy(params, *data) -> float``, evaluated at the end of each training.
    **training
        The other options of `gradlab.fit`: ``backend``, ``optimizer``, ``iterations``, ...

    Returns
    -------
    Trials
        A training that diverges counts as a result. After Ctrl-C, it has the completed trainings.

    Raises
    ------
    OptionError
        If fewer than two values are given, a seed is not valid or is given twice, or several
        trainings cannot share an option.
    GradlabError
        Any other error of `gradlab.fit`.

    Examples
    --------
    >>> from gradlab import optim
    >>> trials = compare_trainings(
    ...     lambda p: p[0] ** 2 / 20 + p[1] ** 2,
    ...     [-7.0, 2.0],
    ...     values={
    ...         "momentum": {"optimizer": optim.sgd(0.1, momentum=0.9)},
    ...         "adam": {"optimizer": optim.adam(0.3)},
    ...     },
    ...     over="optimizer",
    ...     seeds=1,
    ...     iterations=30,
    ... )
    >>> trials.headline()
    'momentum has the lowest loss, 0.04794.'
    """
    common = {"loss": loss, "params": params, "data": data, "test": test, "accuracy": accuracy}
    each = _options_of_each({**common, **training}, values)
    chosen = _seeds(seeds)
    trials: list[Trial] = []
    interrupted = False
    with interrupts.held():
        # The seed varies last, so that an interrupted comparison has whole rounds of values.
        for seed in chosen:
            for value, given in each.items():
                trial, interrupted = _run(value, seed, dict(given))
                if interrupted:
                    break
                trials.append(trial)
            if interrupted:
                break
        interrupted = interrupts.forget() or interrupted
    judged_on = "" if data is None else "training" if test is None else "test"
    return Trials(tuple(trials), over, tuple(each), judged_on, interrupted)


def _options_of_each(common: dict[str, Any], values: Any) -> dict[str, dict[str, Any]]:
    """Return all options of each value's training, or raise an error."""
    advice = "give {name: {option: value}, ...}, two names or more"
    if not isinstance(values, Mapping):
        raise options.refusal("values", values, advice)
    if len(values) < 2 or not all(isinstance(name, str) for name in values):
        raise OptionError(
            f"values: cannot compare {', '.join(map(str, values)) or 'nothing'}; {advice}"
        )
    for name, given in values.items():
        if not isinstance(given, Mapping):
            raise OptionError(
                f"values: {name} is a {type(given).__name__}; give its options in a dict, such as "
                f"{{{name!r}: {{'learning_rate': 0.1}}}}"
            )
    each = {name: {**common, **given} for name, given in values.items()}
    for given in each.values():
        for option, remedy in REFUSED_OPTIONS.items():
            if option in given:
                raise OptionError(f"{option}={given[option]!r}: {remedy}")
        for what in ("data", "test"):
            if given[what] is not None:
                given[what] = check_data(given[what], what if what == "data" else "test data")
        if given["accuracy"] is not None:
            options.function("accuracy", given["accuracy"], "give a function of (params, *data)")
    return each


def _seeds(seeds: Any) -> list[int]:
    if isinstance(seeds, Sequence) and not isinstance(seeds, str):
        advice = "give different integers from 0, one or more"
        chosen = options.each("seeds", seeds, partial(options.integer, least=0), advice, fewest=1)
        if len(set(chosen)) < len(chosen):
            raise options.refusal("seeds", seeds, advice)
        return chosen
    return list(range(options.integer("seeds", seeds, "give a number from 1, or a list of seeds")))


def _run(value: str, seed: int, given: dict[str, Any]) -> tuple[Trial, bool]:
    """Train once and evaluate the result; also tell whether Ctrl-C ended the training."""
    loss, params, data = (given.pop(name) for name in ("loss", "params", "data"))
    test, accuracy = given.pop("test"), given.pop("accuracy")
    try:
        start = params(seed) if callable(params) else params
        result = fit(loss, start, data, seed=seed, **given)
    except DivergenceError as error:
        return Trial(
            value, seed, Fit(error.params, error.history), math.inf, diverged=str(error)
        ), False
    test = test or data or ()
    if given.get("has_aux"):
        loss = evaluated_by(loss, result.state)
        accuracy = accuracy and partial(accuracy, state=result.state)
    try:
        reached = evaluate(loss, result.params, test, "the loss of the trained parameters")
    except NonFiniteError as error:  # the last step diverged
        return Trial(value, seed, result, math.inf, diverged=str(error)), result.interrupted
    share = accuracy and evaluate(accuracy, result.params, test, "the accuracy")
    return Trial(value, seed, result, reached, share), result.interrupted
