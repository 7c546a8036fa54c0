"""`compare`: several backends on one training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradlab import options
from gradlab.comparison.following import Followed, Follower, distance
from gradlab.comparison.metering import Meter
from gradlab.comparison.results import Comparison, Run
from gradlab.errors import OptionError
from gradlab.gradients import Backend, Loss, find_backend
from gradlab.history import coincide
from gradlab.params import flatten
from gradlab.params import size as count_entries
from gradlab.training import Accuracy, Data, check_data, evaluate, fit

MAX_KEPT_BYTES = 2**27
"""Largest size, in bytes, of the parameters kept during a run. After an interruption, all runs are
compared at their parameters after the same number of steps."""


def compare(
    loss: Loss,
    params: Any,
    data: Data,
    *,
    backends: Sequence[str | Backend] = ("central", "autograd"),
    test: Data,
    accuracy: Accuracy | None = None,
    **training: Any,
) -> Comparison:
    """Train from the same start on the same minibatches with each of several backends.

    Parameters
    ----------
    loss, params, data
        See `gradlab.fit`.
    backends : sequence of str or Backend
        The backends to compare, each by name or as an object with settings.
    test : sequence of array
        The data on which the trained parameters are evaluated.
    accuracy : callable, optional
        ``accuracy(params, *data) -> float``; a regression has none.
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
        Any error of `gradlab.fit`.

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
    if accuracy is not None:
        options.function("accuracy", accuracy, "give a function of (params, *data)")
    advice = "name two different backends or more"
    meters = options.each(
        "backends", backends, lambda _, backend: Meter(find_backend(backend)), advice
    )
    names = [meter.name for meter in meters]
    if len(meters) < 2 or len(set(names)) < len(names):
        raise OptionError(f"cannot compare {', '.join(names)}: {advice}")
    test = check_data(test, "test data")
    exact = [meter for meter in meters if not meter.estimate] or meters
    reference = meters[names.index("autograd")] if "autograd" in names else exact[0]
    room = MAX_KEPT_BYTES // (len(meters) * max(1, sum(leaf.nbytes for leaf in flatten(params)[0])))
    followed: dict[str, Followed] = {}
    # The reference goes first, so that the others can be compared with it even after Ctrl-C.
    for meter in sorted(meters, key=lambda meter: meter is not reference):
        watch = Follower(
            None if meter is reference else reference.backend.value_and_grad(loss), room
        )
        result = fit(loss, params, data, backend=meter, callbacks=[watch], **training)
        if watch.done:
            followed[meter.name] = Followed(meter, watch, result)
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


def _common_steps(followed: dict[str, Followed]) -> int:
    """Return the largest number of steps of which all runs have parameters; drop empty runs.

    All runs took the same number of steps, except one that Ctrl-C ended.
    """
    if not followed:
        return 0
    if common := set.intersection(*(set(run.watch.points) for run in followed.values())):
        return max(common)
    del followed[min(followed, key=lambda name: followed[name].watch.done)]
    return _common_steps(followed)


def _judge(
    loss: Loss,
    accuracy: Accuracy | None,
    test: Data,
    run: Followed,
    reference: Followed,
    steps: int,
) -> Run:
    """Return the results of a run after a number of steps."""
    meter, watch = run.meter, run.watch
    params = watch.points[steps]
    ends = sorted({*(end for end in watch.ends if end < steps), steps})
    pairs = [(watch.points[end], reference.watch.points[end]) for end in ends]
    return Run(
        backend=meter.name,
        fit=run.fit,
        loss=evaluate(loss, params, test, "the loss on the test data"),
        accuracy=None
        if accuracy is None
        else evaluate(accuracy, params, test, "the accuracy on the test data"),
        seconds_per_gradient=float(np.median(meter.seconds)),
        evaluations_per_gradient=float(np.mean(meter.evaluations)),
        equivalent=meter.equivalent,
        seconds_by_plain_loop=meter.seconds_by_plain_loop,
        differences={path: found[:steps] for path, found in watch.differences.items()},
        distances=[distance(*pair) for pair in pairs],
        together=coincide(run.fit.history.losses[:steps], reference.fit.history.losses[:steps]),
        estimate=meter.estimate,
        steps=steps,
    )
