"""From the command line to a verb, and from an error to one line and an exit code."""

from __future__ import annotations

import re
import warnings
from typing import Any, NoReturn

import typer

from gradlab.command import bench, check, compare, demo, diagnose, evaluate, train
from gradlab.command.application import Verb, app
from gradlab.command.console import fail, print_to_stderr, show_what_can_be_shown
from gradlab.errors import BackendError, GradlabError, OptionError, reason_of

# In the order in which the help lists them.
app.command(epilog=compare.EXAMPLE, cls=Verb)(compare.compare)
app.command(epilog=train.EXAMPLE, cls=Verb)(train.train)
app.command(epilog=diagnose.EXAMPLE, cls=Verb)(diagnose.diagnose)
app.command(epilog=evaluate.EXAMPLE, cls=Verb)(evaluate.evaluate)
app.command(epilog=bench.EXAMPLE, cls=Verb)(bench.bench)
app.command(epilog=demo.EXAMPLE, cls=Verb)(demo.demo)
app.command(epilog=check.EXAMPLE, cls=Verb)(check.check)


COMMAND_WORDINGS = {
    ", or a numpy.random.Generator": "",
    ", or a schedule": "",
    "continue from it with resume=True": "continue from it with --resume",
}
"""Wordings of the library, and those of the command."""


def _as_typed(message: str) -> str:
    """Rename an option of the library in a message to the command's option.

    Examples
    --------
    >>> _as_typed("batch_size=0: give an integer from 1")
    '--batch-size 0: give an integer from 1'
    """
    message = re.sub(r"^(\w+)=", lambda option: f"--{option[1].replace('_', '-')} ", message)
    for said, typed in COMMAND_WORDINGS.items():
        message = message.replace(said, typed)
    return message


INTERRUPTED_EXIT_CODE = 130
"""The exit code after Ctrl-C: 128 plus the number of SIGINT, as in shells."""

_USAGE_ERROR: Any = typer.BadParameter.__mro__[1]  # click's UsageError, wherever typer keeps it


def main() -> NoReturn:
    """Run the command; each foreseeable error or warning is one line."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: print_to_stderr(message)
        _run()


def _run() -> NoReturn:
    try:
        show_what_can_be_shown()
        code = app(prog_name="gradlab", standalone_mode=False)
        if code == INTERRUPTED_EXIT_CODE:  # typer catches Ctrl-C and prints nothing
            fail("interrupted", code)
    except _USAGE_ERROR as error:
        verb = error.ctx.command_path if error.ctx else "gradlab"
        fail(f"{error.format_message()} (see {verb} --help)", code=2)
    except (OptionError, BackendError) as error:
        fail(_as_typed(str(error)), code=2)
    except GradlabError as error:
        fail(str(error), code=1)
    except (KeyboardInterrupt, typer.Abort):
        fail("interrupted", code=INTERRUPTED_EXIT_CODE)
    except OSError as error:
        fail(f"{error.filename or 'file'}: {error.strerror or error}", code=1)
    except MemoryError as error:
        fail(f"there is not enough memory ({reason_of(error)})", code=1)
    raise SystemExit(code if isinstance(code, int) else 0)
