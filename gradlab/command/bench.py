"""``gradlab bench``: the benchmarks, and one report of them."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from gradlab import bench as benchmarks
from gradlab import outputs
from gradlab.command.arguments import Json, Output, one_of
from gradlab.command.console import fail, out, show_table, spinner
from gradlab.command.results import Folder, Writings

DURATION_NOTE = (
    "All benchmarks take over half an hour (--quick: three minutes). Ctrl-C keeps what is done."
)
EXAMPLE = "Example: `gradlab bench accuracy scaling --quick`"


def bench(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAMES]...",
            help="Names of benchmarks [default: all].",
            autocompletion=lambda incomplete: one_of(s.name for s in benchmarks.find(()))(
                incomplete
            ),
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="Fewer rounds and wider errors: three minutes instead of over half an hour.",
        ),
    ] = False,
    show_list: Annotated[
        bool, typer.Option("--list", help="List the benchmarks, and exit.")
    ] = False,
    output: Output = None,
    json_file: Json = None,
) -> None:
    """Run the benchmarks, and write a report.

    The folder gets a report.html, the tables as Markdown and CSV, the figures as PNG and SVG, and
    the raw numbers as JSON. The folder is complete after each benchmark, so Ctrl-C keeps the
    finished ones. A benchmark that fails, or a missing peer, has a row with the reason.
    """
    scripts = benchmarks.find(names or ())
    if show_list:
        table = Table("name", "question", box=None)
        for script in scripts:
            table.add_row(script.name, script.question)
        show_table(table)
        return
    if not (quick or names):
        out.print(DURATION_NOTE, soft_wrap=True)
    outcomes: list[benchmarks.ScriptResult] = []
    with Folder(output, json_file) as folder, out.status("", spinner=spinner()) as status:

        def watch(name: str, message: str) -> None:
            place = f"{len(outcomes) + 1} of {len(scripts)}"
            status.update(Text(f"{name} ({place}): {message}"))

        for outcome in benchmarks.bench(scripts, folder.path, quick=quick, watch=watch):
            outcomes.append(outcome)
            told = f"{outcome.name}, {outcome.seconds:.0f} s: {outcome.headline}"
            style = "" if outcome.state == "done" else "red"
            out.print(Text(told, style), soft_wrap=True)
    out.print(f"Written to {folder.path}: report.html, tables, figures, raw", soft_wrap=True)
    if json_file:
        copied = Writings()
        copied.attempt(
            json_file, partial(outputs.write, data=(folder.path / "summary.json").read_bytes())
        )
        copied.require_all()
    if any(outcome.state == "interrupted" for outcome in outcomes):
        fail("interrupted: the report has what was done", code=130)
    if failed := [outcome.name for outcome in outcomes if outcome.state == "failed"]:
        fail(f"{', '.join(failed)} failed; the report says why", code=1)
