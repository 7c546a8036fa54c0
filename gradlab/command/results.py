"""Where results go: one folder a run, made before the work."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradlab import files
from gradlab.command.console import out
from gradlab.errors import OptionError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Folder:
    """The folder of a run's results: made before the work, so that it does not fail after it.

    It is the context of the work, and of `write`. If the work fails or is interrupted before it has
    written anything, the folder goes again; so it does if `write` is interrupted and `keeps` is
    False, as where all that is written can be had again. It may hold nothing but what an attempt
    `again` of a training with the same options left there.
    """

    def __init__(
        self,
        output: Path | None,
        json_file: Path | None,
        again: Callable[[Path], bool] = lambda path: False,
        keeps: bool = False,
    ) -> None:
        self.json_file = json_file
        self.path = output or _fresh(Path("gradlab-runs") / f"{datetime.now():%Y%m%d-%H%M%S}")
        self._keeps = keeps
        self._written: list[Path] = []
        if self.path.is_dir() and any(self.path.iterdir()) and not again(self.path):
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
        if kind is None:
            return
        if self._keeps and self._written:
            self.tell()
            return
        for path in self._written:
            path.unlink(missing_ok=True)
        with suppress(OSError):  # another run may have put its folder beside it
            for path in self._made:
                path.rmdir()

    def write(
        self,
        summary: dict[str, Any],
        figures: dict[str, Callable[[], Figure]],
        *,
        name: str = "summary.json",
        trained: Callable[[Path], None] | None = None,
    ) -> None:
        """Write the numbers, what was trained, and the figures, which are drawn now."""
        from gradlab import plotting

        # The numbers come first: by them another attempt knows the folder.
        self._write(name, partial(write_json, summary=summary))
        if self.json_file:
            write_json(self.json_file, summary)
        if trained:
            self._write("weights.npz", trained)
        for figure_name, draw in figures.items():
            self._write(f"{figure_name}.png", partial(_picture, plotting.save, draw))

    def _write(self, name: str, write: Callable[[Path], None]) -> None:
        path = self.path / name
        self._written.append(path)
        write(path)

    def tell(self) -> None:
        """Say what was written, and where."""
        names = ", ".join(path.name for path in self._written)
        out.print(f"Written to {self.path}: {names}", soft_wrap=True)


def _picture(save: Callable[[Figure, Path], None], draw: Callable[[], Figure], path: Path) -> None:
    """Draw a figure into a file that is there whole or not at all."""
    begun = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        save(draw(), begun)
        begun.replace(path)
    finally:
        begun.unlink(missing_ok=True)


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
    """Write numbers into a file, whole or not at all; what is not finite becomes null."""
    text = json.dumps(_finite(summary), indent=2, allow_nan=False) + "\n"
    files.replace(path, [text.encode()])


def _finite(value: Any) -> Any:
    """Return null for NaN and infinities, which JSON does not have.

    Examples
    --------
    >>> _finite({"losses": [1.0, float("inf")]})
    {'losses': [1.0, None]}
    """
    if isinstance(value, dict):
        return {key: _finite(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(child) for child in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _fresh(path: Path) -> Path:
    """Return a path that does not exist yet, for two runs in one second."""
    candidates = (path.with_name(f"{path.name}-{i}") for i in range(2, sys.maxsize))
    return path if not path.exists() else next(p for p in candidates if not p.exists())
