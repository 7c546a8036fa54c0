"""Why a loss could not be recorded, in the user's terms: file, line, no internal classes."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from functools import partial
from typing import Any

from gradlab.arrays.places import describe_place, innermost
from gradlab.errors import GradlabError


def definition_of(loss: Any) -> str:
    """Write where a loss is defined."""
    while isinstance(loss, partial):
        loss = loss.func
    code = getattr(inspect.unwrap(getattr(loss, "__func__", loss)), "__code__", None)
    if code is None:
        return f"the loss is a {type(loss).__name__}"
    return f"the loss is defined in {code.co_filename}, line {code.co_firstlineno}"


def refusal_of(error: BaseException) -> str:
    """Describe in one line why a loss could not be recorded, and where in the user's code.

    Examples
    --------
    >>> refusal_of(AttributeError("'NumpyBox' object has no attribute 'tobytes'"))
    "AttributeError while it was recorded: 'traced array' object has no attribute 'tobytes'"
    """
    text = " ".join(str(error).split())
    if not isinstance(error, GradlabError):
        text = re.sub(r"\b(?:\w+\.)*\w*Box\b", "traced array", text)
        text = f"{type(error).__name__} while it was recorded: {text}"
    place = describe_place(innermost(error.__traceback__))
    return text if not place or place in text else f"{text} ({place})"


def reason_of_state(kept: Sequence[str], detached: Sequence[str] = ()) -> str:
    """Describe why a loss that keeps values from one call to the next is not replayed.

    It keeps them in the places `kept`, or takes plain numbers from a value in the lines `detached`.
    """
    if kept:
        return (
            f"it keeps a value of each call in {', '.join(kept)} (gradlab.detach(value) is its "
            "plain number)"
        )
    return (
        f"it takes plain numbers out of the trace with gradlab.detach ({detached[0]}), and may "
        "keep them for its next call"
        if detached
        else ""
    )
