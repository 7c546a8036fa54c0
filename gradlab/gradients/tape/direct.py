"""Calls of machine code without the key of the call.

Computing the key takes as long as a small gradient. If the parameters are a plain dict of arrays or
one array, and all arguments are arrays, the machine code checks types, dtypes and shapes itself.
Then only the names in the dict, and the values that the loss reads beside its arguments, must be
compared. Other calls, and calls that must be compared with eager autograd, use the key.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradlab.gradients.tape.comparing import seen_params, squared_norm
from gradlab.gradients.tape.recorded import Replayable
from gradlab.params import Array
from gradlab.program.cache_key import Surroundings


class DirectCalls:
    """Answers calls like one that machine code has answered; every `verify`-th needs its key."""

    def __init__(self, tape: Replayable, surroundings: Surroundings, verify: int | None) -> None:
        self.tape = tape
        self._surroundings, self._bindings = surroundings, surroundings.key()
        self._verify = verify
        template = tape.structure.template
        self._names = [*template] if isinstance(template, dict) else None
        self._norm: float | None = None  # of the leaves, for as long as they are the same

    @staticmethod
    def is_for(tape: Replayable, params: Any, args: Sequence[Any]) -> bool:
        """Tell whether calls like this one can be answered directly."""
        leaves = params.values() if type(params) is dict else (params,)
        return (
            tape.native is not None
            and tape.has_answered
            and tape.replays > 1
            and all(type(array) is np.ndarray for array in (*leaves, *args))
            and (type(params) is not dict or all(type(name) is str for name in params))
        )

    def answer(self, params: Any, args: tuple[Any, ...]) -> tuple[float, Any] | None:
        """Return the loss and its gradient, or None if the call needs its key."""
        tape = self.tape
        if self._names is None:
            leaves: Sequence[Array] = (params,)
        elif type(params) is dict and [*params] == self._names:
            leaves = (*params.values(),)
        else:
            return None
        due = self._verify is not None and (tape.replays + 1) % self._verify == 0
        if due or tape.native is None or self._surroundings.key() is not self._bindings:
            return None
        outs = tape.results()
        value, norm = tape.run_natively((*leaves, *args, *outs))
        if not math.isfinite(value) or self._is_news(leaves, args, norm):
            return None
        tape.replays += 1
        return value, tape.given(outs)

    def _is_news(self, leaves: Sequence[Array], args: Sequence[Any], norm: float) -> bool:
        """Tell whether these may be the first changed parameters, or the first changed data."""
        tape = self.tape
        if tape.params_seen is not None and norm != self._norm:
            if self._norm is not None or (
                tape.params_seen != seen_params(squared_norm(leaves), leaves)
            ):
                return True
            self._norm = norm
        if tape.data_seen is not None and not tape.data_seen.is_of(args):
            tape.data_seen, tape.is_due = None, True  # found once, among samples
            return True
        return False
