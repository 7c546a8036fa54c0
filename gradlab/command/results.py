"""Where results go: one folder a run, made before the work."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradlab import files
from gradlab.command.console import out
from gradlab.errors import OptionError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Folder:
    """The folder of a run's results: made before the work, so that it does not fail after it.

    Where it is the context of the work, it goes again if the work fails. It may hold nothing but
    what an attempt `again` of a training with the same options left there.
    """

    def __init__(
        self, output: Path | None, json_file: Path | None, again: dict[str, Any] | None = None
    ) -> None:
        self.json_file = json_file
        self.path = output or _fresh(Path("gradlab-runs") / f"{datetime.now():%Y%m%d-%H%M%S}")
        if self.path.is_dir() and any(self.path.iterdir()) and not _is_of(self.path, again):
            raise OptionError(f"--output {self.path}: the folder is not empty; name a new one")
        require_file("--json", json_file)
        self._made = [path for path in (self.path, *self.path.parents) if not path.exists()]
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OptionError(f"--output {self.path}: {error.strerror}") from None

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            with suppress(OSError):  # another run may have put its folder beside it
                for path in self._made:
                    path.rmdir()

    def write(
        self,
        summary: dict[str, Any],
        figures: dict[str, Figure],
        *,
        name: str = "summary.json",
        trained: Callable[[Path], None] | None = None,
    ) -> None:
        """Write the numbers, what was trained and the figures, and say where."""
        from gradlab import plotting

        written = []
        # The numbers come first: by them another attempt knows the folder.
        for path in filter(None, [self.path / name, self.json_file]):
            write_json(path, summary)
        if trained:
            trained(self.path / "weights.npz")
            written.append("weights.npz")
        for figure_name, figure in figures.items():
            plotting.save(figure, self.path / f"{figure_name}.png")
        written += [name, *(f"{figure}.png" for figure in figures)]
        out.print(f"Written to {self.path}: {', '.join(written)}", soft_wrap=True)


def _is_of(folder: Path, options: dict[str, Any] | None) -> bool:
    """Tell whether a folder holds only what a training of these options has written, or begun."""
    names = {path.name for path in folder.iterdir() if path.suffix != ".tmp"}
    if options is None or not names <= {"history.json", "weights.npz", "curves.png"}:
        return False
    try:
        there = json.loads((folder / "history.json").read_text(encoding="utf-8"))
        return bool(there["options"] == options)
    except Exception:  # it is missing, or not what a training writes
        return not names


def require_file(option: str, path: Path | None, suffixes: tuple[str, ...] = ()) -> None:
    """Raise, before the work, if a file of that name cannot be written after it."""
    if path is None:
        return
    if path.is_dir():
        raise OptionError(f"{option} {path}: is a folder; name a file")
    if not path.parent.is_dir():
        raise OptionError(f"{option} {path}: there is no folder {path.parent}")
    if suffixes and path.suffix.lower() not in suffixes:
        raise OptionError(f"{option} {path}: name a file that ends in {', '.join(suffixes)}")


def write_json(path: Path, summary: dict[str, Any]) -> None:
    """Write numbers into a file, whole or not at all."""
    text = json.dumps(summary, indent=2, allow_nan=False) + "\n"
    files.replace(path, [text.encode()])


def _fresh(path: Path) -> Path:
    """Return a path that does not exist yet, for two runs in one second."""
    candidates = (path.with_name(f"{path.name}-{i}") for i in range(2, sys.maxsize))
    return path if not path.exists() else next(p for p in candidates if not p.exists())
