"""Trainings that end in an error of a callback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class CrashError(Exception):
    """The exception that ends the training."""


def crash_at(count: int) -> Callable[[Any], None]:
    """Return a callback that ends a training after this many steps."""

    def callback(step: Any) -> None:
        if step.iteration == count:
            raise CrashError

    return callback
