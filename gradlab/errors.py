"""What can go wrong, in one place.

Everything that a user can do wrong raises a subclass of `GradlabError`, whose message names the
parameter, file or option at fault and says what to do about it. Each class is also the built-in
exception that it specialises, so that ``except ValueError`` keeps working.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradlab.history import History


class GradlabError(Exception):
    """The base of every error that gradlab raises on purpose."""


class OptionError(GradlabError, ValueError):
    """An option has a value outside its range, or two options exclude each other."""


class ParameterError(GradlabError, ValueError):
    """Parameters of the wrong structure, shape or dtype."""


class LossError(GradlabError, TypeError):
    """A loss that does not return one real number."""


class ReadOnlyError(LossError, ValueError):
    """A loss that writes into its parameters or arguments, which it sees read-only."""


class NonFiniteError(GradlabError, ArithmeticError):
    """A NaN or an infinity in parameters, a loss or a gradient; the message says where."""


class BackendError(GradlabError, LookupError):
    """A gradient backend that is not known, or an object that is none."""


class WorkerError(GradlabError, RuntimeError):
    """A worker that died or gave no answer; the message says at which entry of the parameters."""


class GradientMismatchError(GradlabError, AssertionError):
    """A gradient is not that of its loss.

    Attributes
    ----------
    report : gradlab.checking.GradientReport
        Which entries are wrong, and by how much.
    """

    def __init__(self, message: str, *, report: Any) -> None:
        super().__init__(message)
        self.report = report


class UntraceableError(GradlabError, TypeError):
    """A loss that cannot be traced or recorded; the message says what it does, and where."""


class UntraceableWarning(UserWarning):
    """A loss that cannot be recorded or reversed is evaluated in a slower way, for this reason."""


class StatefulLossWarning(UserWarning):
    """A loss keeps something from one call for the next; the message says where."""


class ZeroGradientWarning(UserWarning):
    """The whole gradient is zero where a training starts, so that no step changes anything."""


class TrainingWarning(UserWarning):
    """A training goes wrong in a way that its losses and gradients show; the message says how."""


class DataError(GradlabError, ValueError):
    """Data or labels that cannot be used: shapes, lengths, range, NaN, a malformed file."""


class DownloadError(GradlabError, OSError):
    """No mirror served the file that was asked for."""


class WeightsError(GradlabError, ValueError):
    """A file of parameters that cannot be read or written safely."""


class OutputError(GradlabError, OSError):
    """A file that cannot be written; the message names it."""


class CheckpointError(GradlabError, ValueError):
    """A checkpoint that cannot be read or written, or that belongs to another training."""


class CheckpointWarning(UserWarning):
    """A checkpoint that was damaged or could not be written; the message says which one counts."""


class MissingDependencyError(GradlabError, ImportError):
    """An optional package is not installed; the message names the extra that brings it."""


class DivergenceError(GradlabError, ArithmeticError):
    """The loss turned NaN or infinite while training.

    Attributes
    ----------
    iteration : int
        The training step (from 0) at which it happened.
    params : Any
        The last parameters at which the loss was finite (those that it started or went on from if
        there are none).
    history : History
        What had been recorded until then.
    """

    def __init__(self, message: str, *, iteration: int, params: Any, history: History) -> None:
        super().__init__(message)
        self.iteration = iteration
        self.params = params
        self.history = history


def reason_of(error: Exception) -> str:
    r"""Say in part of a line what an error says, which may repeat a file's content at length.

    Examples
    --------
    >>> reason_of(ValueError("bad\n  magic")), reason_of(EOFError())
    ('bad magic', 'EOFError')
    """
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:200]}..."


def unknown(kind: str, name: object, known: Iterable[str]) -> str:
    """Say that nothing has that name, and what the user may have meant.

    Examples
    --------
    >>> unknown("backend", "centrall", ["autograd", "central"])
    "unknown backend 'centrall': did you mean 'central'?"
    >>> unknown("backend", "magic", ["autograd", "central"])
    "unknown backend 'magic': choose from autograd, central"
    """
    known = list(known)
    close = difflib.get_close_matches(str(name), known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"choose from {', '.join(known)}"
    return f"unknown {kind} {name!r}: {hint}"
