"""A benchmark as a command: its options, its findings, and how they are shown."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from common.files import check_outputs, record, write_outputs
from common.machine import describe, environment_line
from gradlab.bench.scripts import NOT_INSTALLED
from gradlab.command.console import out, show_table, show_what_can_be_shown
from gradlab.errors import BackendError, GradlabError, OptionError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class NotInstalledError(GradlabError):
    """A package is missing that a benchmark needs in order to run."""


# Options that every script takes

Quick = Annotated[bool, typer.Option("--quick", help="Fewer rounds: under half a minute.")]
Json = Annotated[Path | None, typer.Option("--json", help="Write the numbers to this file.")]
Plot = Annotated[
    list[Path] | None,
    typer.Option("--plot", help="Draw the figure into this file (.png, .pdf, .svg); repeatable."),
]
Dtype = Annotated[str, typer.Option(help="The dtype of parameters and data: float64 or float32.")]
Batch = Annotated[int, typer.Option(min=1, help="Samples per gradient.")]
Threads = Annotated[
    int,
    typer.Option(min=1, help="Threads of each library; more than 1 only on an idle machine."),
]
Seed = Annotated[int, typer.Option(min=0, help="The seed for parameters, data and samples.")]


@dataclass(frozen=True, kw_only=True)
class Findings:
    """The results of a benchmark, and how to show them.

    Attributes
    ----------
    options : mapping of str to Any
        The options with which the results were measured.
    table : callable
        ``table(environment) -> Table``, the main table. `environment` is a line about versions,
        machine and threads for its caption.
    results : sequence of dataclass instances or mappings
        The numbers behind the table, for the JSON file.
    headline : str
        The answer in one line.
    figure : callable
        Draws the figure; it is called only for `--plot`.
    more : mapping of str to Any
        Further entries of the JSON file.
    below : sequence of Table or Text
        Output between the table and the headline.
    """

    options: Mapping[str, Any]
    table: Callable[[str], Table]
    results: Sequence[Any]
    headline: str
    figure: Callable[[], Figure]
    more: Mapping[str, Any] = field(default_factory=dict)
    below: Sequence[Table | Text] = ()


def main(name: str) -> Callable[[Callable[..., Findings]], Callable[..., None]]:
    """Turn the function that measures into the command of a benchmark.

    The command takes the function's options, ``--json`` and ``--plot``. It first checks that these
    files can be written; then it measures, shows the table and the headline, and writes the files.

    Parameters
    ----------
    name : str
        The script's name without suffix, for the JSON file.

    Examples
    --------
    >>> @main("counting")
    ... def command(quick: Quick = False) -> Findings:
    ...     return Findings(options={"quick": quick}, table=lambda environment: Table("n"),
    ...                     results=[], headline="One is less than two.", figure=lambda: None)
    >>> list(inspect.signature(command).parameters)
    ['quick', 'json_file', 'plot_file']
    """

    def decorate(measured: Callable[..., Findings]) -> Callable[..., None]:
        signature = _with_files(inspect.signature(measured, eval_str=True))

        @wraps(measured)
        def command(*args: Any, **keywords: Any) -> None:
            given = signature.bind(*args, **keywords).arguments
            json_file, plot_files = given.pop("json_file", None), given.pop("plot_file", None)
            check_outputs(json_file, plot_files)
            _finish(name, measured(**given), json_file, plot_files)

        # typer reads both attributes.
        command.__signature__ = signature  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
        return command

    return decorate


def _with_files(signature: inspect.Signature) -> inspect.Signature:
    """Add the options for the files that every benchmark writes."""
    files = [
        inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None, annotation=a)
        for name, a in (("json_file", Json), ("plot_file", Plot))
    ]
    return signature.replace(parameters=[*signature.parameters.values(), *files])


def _finish(
    name: str, found: Findings, json_file: Path | None, plot_files: Sequence[Path] | None
) -> None:
    """Show the findings, and write the requested files."""
    described = describe()
    table = found.table(environment_line(described))
    show_table(table)
    for each in found.below:
        show_table(each) if isinstance(each, Table) else out.print(each)
    numbers = {
        "benchmark": name,
        "environment": described,
        "options": dict(found.options),
        "table": record(table),
        "results": [asdict(one) if is_dataclass(one) else one for one in found.results],
        **found.more,
        "headline": found.headline,
    }
    write_outputs(numbers, found.figure, json_file, plot_files)
    out.print(found.headline, soft_wrap=True)


def say(message: str) -> None:
    """Show progress on a terminal, or to `gradlab bench`."""
    if sys.stderr.isatty():
        Console(stderr=True, highlight=False).print(message, style="dim")
    elif os.environ.get("GRADLAB_PROGRESS"):  # set by `gradlab bench`
        print(message, file=sys.stderr, flush=True)


_USAGE_ERROR: Any = typer.BadParameter.__mro__[1]  # click's UsageError, wherever typer keeps it


def run(script: Callable[..., None]) -> NoReturn:
    """Run a benchmark's function as a command; every foreseeable error is one line."""
    app = typer.Typer(
        add_completion=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
    )
    app.command()(script)
    try:
        show_what_can_be_shown()
        code = app(standalone_mode=False)
        if code == 130:  # typer catches Ctrl-C without a message
            _fail("interrupted", code)
    except _USAGE_ERROR as error:
        _fail(f"{error.format_message()} (see --help)", code=2)
    except (OptionError, BackendError) as error:
        _fail(str(error), code=2)
    except NotInstalledError as error:
        _fail(str(error), code=NOT_INSTALLED)
    except GradlabError as error:
        _fail(str(error), code=1)
    except (KeyboardInterrupt, typer.Abort):
        _fail("interrupted", code=130)
    except OSError as error:
        _fail(f"{error.filename or 'file'}: {error.strerror or error}", code=1)
    raise SystemExit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int) -> NoReturn:
    console = Console(stderr=True, highlight=False, markup=False)
    console.print(f"{Path(sys.argv[0]).name}: {message}", soft_wrap=True)
    raise SystemExit(code)
