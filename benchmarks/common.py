"""What every benchmark shares: fair timing, part of a gradient, what to print and write.

Timing. The machines are noisy and their noise comes and goes, so that two figures taken one after
the other cannot be compared. `interleave` lets the contenders take turns, A B C A B C ..., in one
process; contenders of the same round met the same neighbours, and `Ratio` compares them round by
round. Seconds are for orientation, ratios are the result.

Part of a gradient. A numerical gradient of a large network takes half a minute. `restrict` makes
of a loss the function of some entries of its parameters alone, so that the same backend can be
set on a fair sample of them: its answer is checked there, and `timed_evaluations` tells what one
evaluation of the loss costs in its hands.
"""

from __future__ import annotations

import inspect
import json
import math
import os
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from functools import wraps
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeAlias

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gradlab import environment, plotting
from gradlab.bench.scripts import NOT_INSTALLED, require_protocol
from gradlab.command.console import out as out
from gradlab.command.console import show_table as show_table
from gradlab.command.console import show_what_can_be_shown
from gradlab.errors import BackendError, GradlabError, OptionError
from gradlab.gradients import Backend
from gradlab.params import Array, flatten

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class NotInstalledError(GradlabError):
    """A package is not installed without which a benchmark cannot run at all."""


# Options that every script takes

Quick = Annotated[bool, typer.Option("--quick", help="Fewer rounds: under half a minute.")]
Json = Annotated[Path | None, typer.Option("--json", help="Write the numbers to this file.")]
Plot = Annotated[
    list[Path] | None,
    typer.Option("--plot", help="Draw the figure into this file (.png, .pdf, .svg), or several."),
]
Dtype = Annotated[str, typer.Option(help="Of parameters and data: float64 or float32.")]
Batch = Annotated[int, typer.Option(min=1, help="Samples a gradient.")]
Threads = Annotated[
    int, typer.Option(min=1, help="For each library. More than 1 only on an idle machine.")
]
Seed = Annotated[int, typer.Option(min=0, help="Decides parameters, data and samples.")]


# Timing

Runs: TypeAlias = Mapping[str, Callable[[], object]]


MOST_CALLS = 10_000
"""In a turn, of something that takes no time."""


class Laps(list[float]):
    """Seconds of pieces of work of the same size, from a contender that holds the clock itself."""


def interleave(
    contenders: Runs,
    *,
    rounds: int,
    turn: float = 0.03,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Time contenders in turns, A B C A B C ..., after each has been warmed up.

    A turn is as many calls as fill `turn` seconds (at least one), and counts as their median: the
    first calls of a turn find cold caches and the threads of the contender before still spinning.

    Parameters
    ----------
    contenders : mapping of str to callable
        What to time; called without arguments, and done when it returns. One that returns `Laps`
        is timed by these instead of by its calls.
    rounds : int
        How many turns each contender gets.
    turn : float
        Seconds a turn should last.
    clock : callable
        Returns seconds.

    Returns
    -------
    dict of str to list of float
        Seconds a call (or lap), one number a round: the i-th of all contenders are neighbours.

    Examples
    --------
    >>> seconds = interleave({"sum": lambda: sum(range(99)), "pass": lambda: None}, rounds=3)
    >>> {name: len(values) for name, values in seconds.items()}
    {'sum': 3, 'pass': 3}
    """
    calls = {name: _warm_up(run, turn, clock) for name, run in contenders.items()}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            laps: list[float] = []
            for _ in range(calls[name]):
                laps += _timed(run, clock)[1]
            seconds[name].append(float(np.median(laps)))
    return seconds


def _warm_up(run: Callable[[], object], turn: float, clock: Callable[[], float]) -> int:
    """Call `run` for as long as a turn lasts, and return how many calls fill one."""
    calls = [_timed(run, clock)[0]]
    while sum(calls) < turn and len(calls) < MOST_CALLS:
        calls.append(_timed(run, clock)[0])
    return max(1, min(MOST_CALLS, round(turn / max(float(np.median(calls)), 1e-9))))


def _timed(run: Callable[[], object], clock: Callable[[], float]) -> tuple[float, list[float]]:
    """Return the seconds of a call, and what it counts as."""
    started = clock()
    outcome = run()
    call = clock() - started
    return call, outcome if isinstance(outcome, Laps) else [call]


@dataclass(frozen=True)
class Ratio:
    """How many times as long one contender takes as another, from the rounds of `interleave`.

    Attributes
    ----------
    median : float
        Of the ratios of the two turns of each round.
    low, high : float
        The middle half of the rounds lies between these.
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, seconds: Sequence[float], reference: Sequence[float]) -> Ratio:
        """Compare two contenders round by round.

        Examples
        --------
        >>> Ratio.of([2.0, 20.0, 2.0], [1.0, 10.0, 1.0])  # a neighbour came, and hit both
        Ratio(median=2.0, low=2.0, high=2.0)
        """
        ratios = np.divide(seconds, reference)
        return cls(*(float(np.quantile(ratios, q)) for q in (0.5, 0.25, 0.75)))


# Part of a gradient

Entries: TypeAlias = NDArray[np.intp]
"""Positions in all leaves laid end to end, each in C order."""


def sample_entries(params: Any, count: int, rng: np.random.Generator) -> Entries:
    """Draw entries of the parameters without repetition: one of every leaf, the rest of all alike.

    Parameters
    ----------
    params : Any
        Parameters with p entries.
    count : int
        How many to draw: at least one a leaf, at most p.

    Examples
    --------
    >>> params = {"W": np.zeros((100, 100)), "b": np.zeros(3)}
    >>> entries = sample_entries(params, 8, np.random.default_rng(0))
    >>> len(entries), bool(entries[-1] >= 100 * 100)
    (8, True)
    """
    sizes = [leaf.size for leaf in flatten(params)[0]]
    starts = np.cumsum([0, *sizes])
    of_each = [int(rng.integers(*ends)) for ends in pairwise(starts)]
    others = rng.permutation(np.setdiff1d(np.arange(starts[-1]), of_each))
    return np.sort([*of_each, *others[: max(count - len(of_each), 0)]]).astype(np.intp)


def restrict(
    loss: Callable[..., Any], params: Any, entries: Entries
) -> tuple[Callable[..., Any], Array]:
    """Make of a loss the function of some entries of its parameters, all others held.

    Only for backends that call the loss with plain arrays; the others' costs do not grow with
    the number of entries anyway. The entries are written into one copy of the parameters, which
    costs a microsecond or two an evaluation, where the loss itself takes a hundred and more.

    Returns
    -------
    restricted : callable
        ``restricted(values, *args)``, the loss where the entries have these values. It evaluates
        in the dtype of `values`, as a backend that is given the whole parameters would.
    values : ndarray, shape (m,)
        The entries as they are.

    Examples
    --------
    >>> params = {"w": np.array([1.0, 2.0, 3.0]), "b": np.array([4.0])}
    >>> loss, values = restrict(lambda p: np.sum(p["w"] ** 2) + p["b"][0], params, [1, 3])
    >>> values, float(loss(values)), float(loss(np.array([0.0, 5.0])))
    (array([2., 4.]), 18.0, 15.0)
    """
    leaves, structure = flatten(params)
    whole = flat(leaves)
    copies: dict[Any, tuple[Array, Any]] = {}

    def restricted(values: Array, *args: Any) -> Any:
        if values.dtype not in copies:
            copy = whole.astype(values.dtype)
            ends = np.cumsum([leaf.size for leaf in leaves])
            parts = np.split(copy, ends[:-1])  # views
            shaped = [part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)]
            copies[values.dtype] = copy, structure.unflatten(shaped)
        copy, view = copies[values.dtype]
        copy[entries] = values
        return loss(view, *args)

    return restricted, whole[entries]


def timed_evaluations(
    backend: Backend,
    loss: Callable[..., Any],
    params: Any,
    *args: Any,
    clock: Callable[[], float] = time.perf_counter,
) -> Callable[[], Laps]:
    """Make a contender for `interleave`: what an evaluation of the loss costs a numerical backend.

    A lap lasts from one call of the loss to the next, so that it holds all that the backend does
    for an evaluation. Left out is what it does once for the whole gradient, which is nothing
    beside thousands of evaluations. A lap is about as long as a whole gradient in reverse mode, so
    that a passing neighbour hits the medians of both alike; it hits every call that takes seconds.

    Examples
    --------
    >>> from gradlab import CentralDifference
    >>> run = timed_evaluations(CentralDifference(), lambda x: np.sum(x**2), np.ones(5))
    >>> len(run())  # between 2 * 5 + 1 evaluations
    10
    """
    started: list[float] = []

    def stamped(*args: Any) -> Any:
        started.append(clock())
        return loss(*args)

    take = backend.value_and_grad(stamped)

    def run() -> Laps:
        started.clear()
        take(params, *args)
        return Laps(np.diff(started).tolist())

    return run


def flat(leaves: Sequence[Any]) -> Array:
    """Lay leaves (of any library) end to end as one NumPy array, shape (p,)."""
    return np.concatenate([np.asarray(leaf).ravel() for leaf in leaves])


def worst_difference(
    found: Array, reference: Sequence[Array], entries: Entries | None = None
) -> float:
    """Return the largest difference of gradients, relative to the largest entry of its leaf.

    Parameters
    ----------
    found : ndarray, shape (m,)
        Entries of a gradient, its leaves laid end to end.
    reference : sequence of ndarray
        All leaves of the gradient that it is held against.
    entries : ndarray of int, shape (m,), optional
        Which entries they are; by default all.

    Examples
    --------
    >>> reference = [np.array([[1.0, 4.0]]), np.array([0.5])]
    >>> worst_difference(np.array([2.0, 0.5]), reference, [0, 2])
    0.25
    """
    largest = [float(np.max(np.abs(leaf))) or 1.0 for leaf in reference]
    scale = np.repeat(largest, [leaf.size for leaf in reference])
    wanted = flat(reference)
    if entries is not None:
        wanted, scale = wanted[entries], scale[entries]
    return float(np.max(np.abs(found - wanted) / scale))


# What stands beside the figures


def limit_threads(count: int) -> None:
    """Give each numerical library so many threads; call it before PyTorch and JAX are imported.

    NumPy's BLAS, which is loaded already, can be told so through threadpoolctl alone; where that
    is not installed, `threads` has nothing to say about it.
    """
    os.environ["OMP_NUM_THREADS"] = str(count)  # PyTorch
    os.environ["NPROC"] = str(count)  # XLA
    if pools := _threadpoolctl():
        pools.threadpool_limits(count)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(count)


def clock_for(count: int) -> tuple[Callable[[], float], str]:
    """Return the clock for libraries with so many threads, and what it measures.

    CPU time leaves out what other processes do; with several threads it would add up all of them.

    Examples
    --------
    >>> clock_for(1)[1], clock_for(2)[1]
    ('CPU time', 'wall time')
    """
    return (time.process_time, "CPU time") if count == 1 else (time.perf_counter, "wall time")


def threads() -> dict[str, int]:
    """Return how many threads each numerical library may use, as far as can be known.

    Call it after the libraries were used: a pool that is not loaded yet is not seen.
    """
    counts: dict[str, int] = {}
    if pools := _threadpoolctl():
        for pool in pools.threadpool_info():
            name = pool["internal_api"]
            counts[name] = max(counts.get(name, 0), pool["num_threads"])
    if torch := sys.modules.get("torch"):
        counts["torch"] = torch.get_num_threads()
    if "jax" in sys.modules and os.environ.get("NPROC"):
        counts["jax"] = int(os.environ["NPROC"])
    return counts


def _threadpoolctl() -> Any:
    try:
        return import_module("threadpoolctl")
    except ImportError:
        return None


def jax_in_float64() -> Any:
    """Let JAX compute in float64 for a while, which it does not by default."""
    import jax

    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    from jax.experimental import enable_x64

    return enable_x64()


def is_installed(module: str) -> bool:
    """Tell whether a module can be imported."""
    try:
        import_module(module)
    except ImportError:
        return False
    return True


def missing(modules: Mapping[str, str]) -> dict[str, str]:
    """Return which peers cannot take part, and how to install each.

    Parameters
    ----------
    modules : mapping of str to str
        By the names of the peers, the module that each needs.

    Examples
    --------
    >>> missing({"NumPy": "numpy", "Magic": "magic"})
    {'Magic': 'pip install magic'}
    """
    return {
        name: f"pip install {INSTALLED_BY.get(module, module)}"
        for name, module in modules.items()
        if not is_installed(module)
    }


INSTALLED_BY = {"torch": "'gradlab[torch]'", "jax": "'gradlab[jax]'", "sklearn": "scikit-learn"}


def missing_notes(absent: Mapping[str, str]) -> str:
    """Write a line for each peer that cannot take part."""
    return "".join(f"{name} is not installed: {remedy}\n" for name, remedy in absent.items())


def describe() -> dict[str, Any]:
    """Return versions, system, cores and threads, for the JSON file and `environment_line`."""
    return {**environment.describe(), "threads": threads()}


def environment_line(described: Mapping[str, Any]) -> str:
    """Write an environment in one line.

    Examples
    --------
    >>> environment_line({"python": "3.12.1", "system": "Linux", "machine": "x86_64", "cores": 2,
    ...                   "numpy": "2.4.6", "threads": {"openblas": 2}})
    'numpy 2.4.6; Python 3.12.1, Linux x86_64, 2 cores; threads: openblas 2'
    """
    aside = ("python", "system", "machine", "cores", "threads")
    packages = ", ".join(f"{k} {v}" for k, v in described.items() if k not in aside)
    pools = described["threads"]
    counts = ", ".join(f"{name} {count}" for name, count in sorted(pools.items()))
    if "openblas" not in pools and "mkl" not in pools:
        counts += f"{', ' if counts else ''}BLAS not known (pip install threadpoolctl)"
    return (
        f"{packages}; Python {described['python']}, {described['system']} {described['machine']}, "
        f"{described['cores']} cores; threads: {counts}"
    )


def duration(seconds: float, significant: int = 3) -> str:
    """Write seconds to so many digits, with a unit that suits them.

    Examples
    --------
    >>> duration(42.51), duration(0.0123), duration(4.2e-5), duration(1e-3, 1)
    ('42.5 s', '12.3 ms', '42.0 µs', '1 ms')
    """
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if seconds * factor >= 0.9995:  # what rounds to 1000 of the next unit
            return f"{digits(seconds * factor, significant)} {unit}"
    return f"{digits(seconds * 1e6, significant)} µs"


def digits(number: float, significant: int = 3) -> str:
    """Write a positive number to so many significant digits, without an exponent.

    Examples
    --------
    >>> digits(18432.7), digits(4.0), digits(0.4321, 2), digits(0.9996)
    ('18,400', '4.00', '0.43', '1.00')
    """
    if number <= 0:
        return f"{number:g}"
    rounded = float(f"{number:.{significant - 1}e}")
    decimals = significant - 1 - math.floor(math.log10(rounded))
    return f"{rounded:,.{max(decimals, 0)}f}"


# Options in, results out


def parse_dtype(dtype: str) -> np.dtype[Any]:
    """Return the dtype of that name, or say which there are."""
    if dtype not in ("float64", "float32"):
        raise OptionError(f"--dtype {dtype}: choose float64 or float32")
    return np.dtype(dtype)


def parse_widths(text: str) -> tuple[int, ...]:
    """Return a network's widths.

    Examples
    --------
    >>> parse_widths("784-50-10")
    (784, 50, 10)
    """
    widths = text.split("-")
    if len(widths) < 2 or not all(width.isdecimal() and int(width) for width in widths):
        raise OptionError(f"--network {text}: give the widths, such as 784-50-10")
    return tuple(map(int, widths))


def require_known(option: str, given: Sequence[str] | None, known: Collection[str]) -> None:
    """Refuse a value of an option that is not among the known ones.

    Examples
    --------
    >>> require_known("--loss", ["waits", "sleeps"], ["waits", "computes"])
    Traceback (most recent call last):
    gradlab.errors.OptionError: --loss sleeps: choose from waits, computes
    """
    if unknown := [value for value in given or () if value not in known]:
        raise OptionError(f"{option} {unknown[0]}: choose from {', '.join(known)}")


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a benchmark measured, and how to show it.

    Attributes
    ----------
    options : mapping of str to Any
        What the figures depend on.
    table : callable
        ``table(environment) -> Table``: the main table; `environment` is the line about versions,
        machine and threads that belongs into its caption.
    results : sequence of dataclass instances or mappings
        The numbers behind the table, for the JSON file.
    headline : str
        The answer in one line.
    figure : callable
        Draws the figure; called only if somebody asks for it.
    more : mapping of str to Any
        Further entries of the JSON file.
    below : sequence of Table or Text
        What is shown between the table and the headline.
    """

    options: Mapping[str, Any]
    table: Callable[[str], Table]
    results: Sequence[Any]
    headline: str
    figure: Callable[[], Figure]
    more: Mapping[str, Any] = field(default_factory=dict)
    below: Sequence[Table | Text] = ()


def main(name: str) -> Callable[[Callable[..., Findings]], Callable[..., None]]:
    """Make the command of a benchmark from the function that measures.

    The command takes the function's options, and ``--json`` and ``--plot`` besides. It checks
    before the work that these files can be written; then it measures, shows the table and the
    headline, and writes the files.

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

        # typer reads both.
        command.__signature__ = signature  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
        return command

    return decorate


def _with_files(signature: inspect.Signature) -> inspect.Signature:
    """Add the options of the files that every benchmark writes."""
    files = [
        inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None, annotation=a)
        for name, a in (("json_file", Json), ("plot_file", Plot))
    ]
    return signature.replace(parameters=[*signature.parameters.values(), *files])


def _finish(
    name: str, found: Findings, json_file: Path | None, plot_files: Sequence[Path] | None
) -> None:
    """Show what was found, and write the files that were asked for."""
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


def check_outputs(json_file: Path | None, plot_files: Sequence[Path] | None) -> None:
    """Fail before the work, not after it, where a file could not be written."""
    plots = [("--plot", path) for path in plot_files or ()]
    for option, path in ([("--json", json_file)] if json_file else []) + plots:
        if not path.parent.is_dir():
            raise OptionError(f"{option} {path}: there is no folder {path.parent}")
        if path.is_dir():
            raise OptionError(f"{option} {path}: is a folder; name a file")
    for _, path in plots:
        if path.suffix not in (".png", ".pdf", ".svg"):
            raise OptionError(f"--plot {path}: name a file that ends in .png, .pdf or .svg")


def write_outputs(
    numbers: Mapping[str, Any],
    draw: Callable[[], Figure],
    json_file: Path | None,
    plot_files: Sequence[Path] | None,
) -> None:
    """Write the numbers and the figure to the files that were asked for."""
    require_protocol(numbers)
    if json_file:
        text = json.dumps(numbers, indent=2, allow_nan=False)
        json_file.write_text(f"{text}\n", encoding="utf-8")
    if plot_files:
        drawn = draw()
        for path in plot_files:
            plotting.save(drawn, path)


def record(table: Table) -> dict[str, Any]:
    """Return what a table shows, for the JSON file: `gradlab bench` shows it again elsewhere.

    Returns
    -------
    dict
        ``title`` and ``notes`` (str), ``columns`` (their headings), ``right`` (whether each is
        aligned to the right), and ``rows`` (lists of str).

    Examples
    --------
    >>> table = Table("", title="Seconds", caption="of one call")
    >>> table.add_column(Text("tape", style="bold"), justify="right")
    >>> table.add_row("median", "1")
    >>> shown = record(table)
    >>> shown["title"], shown["columns"], shown["right"], shown["rows"], shown["notes"]
    ('Seconds', ['', 'tape'], [False, True], [['median', '1']], 'of one call')
    """
    cells = [[_plain(cell) for cell in column.cells] for column in table.columns]
    return {
        "title": _plain(table.title),
        "columns": [_unbroken(_plain(column.header)) for column in table.columns],
        "right": [column.justify == "right" for column in table.columns],
        "rows": [list(row) for row in zip(*cells, strict=True)],
        "notes": _plain(table.caption),
    }


def _unbroken(heading: str) -> str:
    """Join what a narrow column breaks: a word at a hyphen, or two words."""
    return heading.replace("-\n", "").replace("\n", " ")


def _plain(text: Any) -> str:
    return text.plain if isinstance(text, Text) else str(text or "")


def say(message: str) -> None:
    """Tell somebody who is watching how far the work is."""
    if sys.stderr.isatty():
        Console(stderr=True, highlight=False).print(message, style="dim")
    elif os.environ.get("GRADLAB_PROGRESS"):  # `gradlab bench` watches
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
        if code == 130:  # typer has caught Ctrl-C, and says nothing
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
