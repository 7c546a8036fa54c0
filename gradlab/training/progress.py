"""The progress bar of a training."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gradlab.history import History
from gradlab.training.schedule import Schedule


@contextmanager
def progress_bar(schedule: Schedule, wanted: bool | None) -> Iterator[Callable[[History], None]]:
    """Show epoch, loss, accuracy and the time left; by default, if stderr is a terminal."""
    if not (sys.stderr.isatty() if wanted is None else wanted):
        yield lambda history: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
        BarColumn(),
        TextColumn("loss {task.fields[loss]:.4f}{task.fields[accuracy]}"),
        TimeRemainingColumn(compact=True),
    )
    console = Console(stderr=True)
    # If stderr is not a terminal, rich shows the bar once, at its end, if it is not transient.
    with Progress(*columns, console=console, transient=console.is_interactive) as bar:
        epochs = schedule.epochs
        task = bar.add_task(
            "", total=schedule.steps, epoch=1, epochs=epochs, loss=float("nan"), accuracy=""
        )

        def show(history: History) -> None:
            known = history.epochs[-1].accuracy if history.epochs else None
            bar.update(
                task,
                completed=len(history.losses),
                epoch=min(len(history.epochs) + 1, epochs),
                loss=history.losses[-1],
                accuracy="" if known is None else f"  accuracy {known:.2%}",
            )

        yield show
