"""The command itself: its help, its version, and what to do next."""

from __future__ import annotations

from typing import Annotated, Any

import typer
import typer.core
from rich.table import Table
from rich.text import Text

from gradlab import __version__
from gradlab.command.console import out

app = typer.Typer(
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="A laboratory for derivatives: one loss, many ways to differentiate it, one trainer.",
    epilog="Start with `gradlab compare`: it takes no arguments and less than a minute.",
)
NEXT_STEPS = {
    "compare": "one network, trained by two gradients",
    "demo": "losses, derivatives, descent, in pictures",
    "train": "train a network on digits, and save it",
    "train --dataset mnist": "the same on MNIST",
    "diagnose": "the problems of a training, and remedies",
    "evaluate WEIGHTS": "the accuracy and mistakes of a network",
    "check losses.py:loss": "whether your gradient is right",
    "bench --quick": "the cost of each way to differentiate",
}
"""The next steps, for beginners."""


class Verb(typer.core.TyperCommand):
    """A verb, the help of which shows no type behind a flag: it takes no value."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters; newer versions of typer would write ``<bool>`` behind a flag."""
        found = super().get_params(ctx)
        for option in found:
            if getattr(option, "is_flag", False):
                vars(option)["display_type_rich"] = lambda ctx: None
        return found


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    show_version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True)
    ] = False,
) -> None:
    """Options of the command itself."""
    if show_version:
        out.print(f"gradlab {__version__}")
    elif context.invoked_subcommand is None:
        _show_what_next()


def _show_what_next() -> None:
    out.print(Text.assemble((f"gradlab {__version__}", "bold"), ": a laboratory for derivatives\n"))
    steps = Table.grid(padding=(0, 2))
    for command, what in NEXT_STEPS.items():
        steps.add_row(Text(f"  gradlab {command}", "bold"), what)
    out.print(steps)
    out.print(
        Text.assemble(
            "\nStart with ",
            ("gradlab compare", "bold"),
            ": it takes no arguments and less than a minute.\n"
            "gradlab --help lists all verbs, gradlab compare --help the options of one.\n"
            "gradlab --install-completion lets the tab key complete them.",
        ),
        soft_wrap=True,
    )
