"""A backend that is timed, and whose evaluations of the loss are counted."""

from __future__ import annotations

import time
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from gradlab.gradients import Backend, Loss, ValueAndGrad, is_estimator
from gradlab.gradients.protocol import equivalent_evaluations, name_of
from gradlab.params import size as count_entries


class Meter:
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
        """Return the backend's function, timed; see `Backend`."""
        _METERS[id(self)] = self
        run = self.backend.value_and_grad(partial(_counted, id(self), loss))

        def timed(params: Any, *args: Any) -> tuple[float, Any]:
            self._calls, started = 0, time.perf_counter()
            outcome = run(params, *args)
            self.seconds.append(time.perf_counter() - started)
            self.evaluations.append(
                self._equivalent_evaluations(params, self._calls)
            )  # not if Ctrl-C cut it off
            return outcome

        return timed

    def evaluate(self, loss: Loss, params: Any, args: tuple[Any, ...]) -> Any:
        """Evaluate the loss and count it; time the first evaluation of a gradient."""
        self._calls += 1
        if self._calls > 1:
            return loss(params, *args)
        started = time.perf_counter()
        value = loss(params, *args)
        self._of_first.append(time.perf_counter() - started)
        return value

    @property
    def seconds_by_plain_loop(self) -> float | None:
        """Least time of a gradient by a plain loop over its equivalent number of evaluations."""
        if not self.equivalent:
            return None
        return float(min(self._of_first) * np.mean(self.evaluations))

    def _equivalent_evaluations(self, params: Any, calls: int) -> int:
        """Return the number of evaluations that a gradient with `calls` calls is equivalent to."""
        worth = equivalent_evaluations(self.backend, count_entries(params)) or calls
        self.equivalent = self.equivalent or worth > calls
        return max(worth, calls)


_METERS: WeakValueDictionary[int, Meter] = WeakValueDictionary()
"""Meters by their ids. If a loss referred to its meter directly, it would read a value that changes
at each call. The tape would not replay such a loss, and the comparison would not be
representative."""


def _counted(meter: int, loss: Loss, params: Any, *args: Any) -> Any:
    return _METERS[meter].evaluate(loss, params, args)
