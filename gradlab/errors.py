"""All errors and warnings.

Every user error raises a subclass of `GradlabError`. Its message names the parameter, file or
option, and says what to do. Each class also derives from the built-in exception that it
specialises, so ``except ValueError`` works.
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
    """A loss that writes into its parameters or arguments, which are read-only."""


class NonFiniteError(GradlabError, ArithmeticError):
    """A NaN or an infinity in parameters, a loss or a gradient; the message says where."""


class BackendError(GradlabError, LookupError):
    """An unknown backend, or an object that is not a backend."""


class WorkerError(GradlabError, RuntimeError):
    """A worker that died or gave no answer; the message says at which entry of the parameters."""


class GradientMismatchError(GradlabError, AssertionError):
    """A gradient is not that of its loss.

    Attributes
    ----------
    report : gradlab.checking.GradientReport
        The wrong entries, and their errors.
    """

    def __init__(self, message: str, *, report: Any) -> None:
        super().__init__(message)
        self.report = report


class UntraceableError(GradlabError, TypeError):
    """A loss that cannot be traced or recorded; the message says what it does, and where."""


class UntraceableWarning(UserWarning):
    """A loss cannot be recorded or reversed, and is evaluated more slowly; the message says why."""


class StatefulLossWarning(UserWarning):
    """A loss keeps a value from one call for the next; the message says where."""


class ZeroGradientWarning(UserWarning):
    """The whole gradient is zero at the start of a training, so no step changes the parameters."""


class TrainingWarning(UserWarning):
    """The losses and gradients of a training show a problem; the message names it."""


class DataError(GradlabError, ValueError):
    """Data or labels that cannot be used: shapes, lengths, range, NaN, a malformed file."""


class DownloadError(GradlabError, OSError):
    """No mirror served the requested file."""


class WeightsError(GradlabError, ValueError):
    """A file of parameters that cannot be read or written safely."""


class OutputError(GradlabError, OSError):
    """A file that cannot be written; the message names it."""


class CheckpointError(GradlabError, ValueError):
    """A checkpoint that cannot be read or written, or that belongs to another training."""


class CheckpointWarning(UserWarning):
    """A checkpoint was damaged or could not be written; the message says which one is used."""


class MissingDependencyError(GradlabError, ImportError):
    """An optional package is not installed; the message names the extra that installs it."""


class DivergenceError(GradlabError, ArithmeticError):
    """The loss turned NaN or infinite while training.

    Attributes
    ----------
    iteration : int
        The training step (from 0) at which it happened.
    params : Any
        The last parameters at which the loss was finite (if there are none, those at which the
        training started or resumed).
    history : History
        The record until then.
    """

    def __init__(self, message: str, *, iteration: int, params: Any, history: History) -> None:
        super().__init__(message)
        self.iteration = iteration
        self.params = params
        self.history = history


def reason_of(error: Exception) -> str:
    r"""Return the message of an error, shortened: it may quote long file contents.

    Examples
    --------
    >>> reason_of(ValueError("bad\n  magic")), reason_of(EOFError())
    ('bad magic', 'EOFError')
    """
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:200]}..."


def unknown(kind: str, name: object, known: Iterable[str]) -> str:
    """Return the message for an unknown name, with a suggestion.

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
