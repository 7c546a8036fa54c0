"""The folder of a run's results, created before the work."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradlab import environment, files, outputs
from gradlab.command.console import out
from gradlab.errors import GradlabError, OptionError, OutputError
from gradlab.interrupts import allowed, held
from gradlab.outputs import require_writable

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Writings:
    """Files that are written in turn; a failure of one does not stop the others."""

    def __init__(self) -> None:
        self.done: list[Path] = []
        self._failures: list[str] = []

    def attempt(self, path: Path, write: Callable[[Path], None]) -> None:
        """Write a file, or record why it cannot be written."""
        try:
            write(path)
        except OSError as error:
            self._failures.append(f"{path}: cannot be written ({error.strerror or error})")
        except GradlabError as error:
            self._failures.append(str(error))
        else:
            self.done.append(path)

    def require_all(self) -> None:
        """Raise an OutputError that names the files that could not be written."""
        if self._failures:
            raise OutputError("; ".join(self._failures))


class Folder:
    """The folder of a run's results, created before the work, so that errors come early.

    It is a context manager around the work and `write`. If the work fails or is interrupted before
    anything is written, the folder is removed. It is also removed if `write` is interrupted and
    `keeps` is False, that is, if the results can be computed again. The folder must be empty, or
    hold only files that `again` recognises from an earlier attempt at the same training.

    Within the context, Ctrl-C is held back except where it is allowed (see `gradlab.interrupts`),
    so that finished results get written. `spare` are other files of the run, which `json_file` must
    not replace.
    """

    def __init__(
        self,
        output: Path | None,
        json_file: Path | None,
        again: Callable[[Path], bool] = lambda path: False,
        keeps: bool = False,
        spare: Sequence[Path | None] = (),
    ) -> None:
        self.json_file = json_file
        self.path = output or _fresh(Path("gradlab-runs") / f"{datetime.now():%Y%m%d-%H%M%S}")
        self._keeps = keeps
        self._writings = Writings()
        if self.path.is_dir() and any(self.path.iterdir()) and not again(self.path):
            raise OptionError(f"--output {self.path}: the folder is not empty; name a new one")
        require_file("--json", json_file, spare=spare)
        if json_file and _is_in(json_file, self.path) and json_file.suffix != ".json":
            raise OptionError(f"--json {json_file}: give it the ending .json, or another folder")
        self._made = [path for path in (self.path, *self.path.parents) if not path.exists()]
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            files.probe(self.path / "summary.json")
        except OSError as error:
            self._remove()
            reason = "is a file" if self.path.is_file() else error.strerror
            raise OptionError(f"--output {self.path}: {reason}; name another folder") from None
        except BaseException:  # Ctrl-C
            self._remove()
            raise
        self._held = held()

    def __enter__(self) -> Folder:
        self._held.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> None:
        try:
            self._finish(kind)
        finally:
            self._held.__exit__(kind, *error)

    def _finish(self, kind: type[BaseException] | None) -> None:
        written = self._writings.done
        if kind is None:
            return
        if written and (self._keeps or issubclass(kind, Exception)):
            self.tell()
            return
        for path in written:
            if _is_in(path, self.path):
                path.unlink(missing_ok=True)
        self._remove()

    def _remove(self) -> None:
        """Remove the folders that were created, if they are empty."""
        with suppress(OSError):  # another run may have put its folder there
            for path in self._made:
                path.rmdir()

    def write(
        self,
        command: str,
        numbers: dict[str, Any],
        figures: dict[str, Callable[[], Figure]],
        *,
        name: str = "summary.json",
        trained: Callable[[Path], None] | None = None,
        others: Mapping[str, Callable[[Path], None]] | None = None,
    ) -> None:
        """Write the numbers and the trained weights; then copies, figures, and other files.

        Figures are drawn now. `others` has the names of files, and what writes each.

        Raise an OutputError if a file cannot be written; the others are written.
        """
        from gradlab import plotting

        attempt, write_numbers = self._writings.attempt, numbers_writer(command, numbers)
        # The numbers come first: another attempt recognises the folder by them.
        attempt(self._place(name), write_numbers)
        if trained:
            attempt(self._place("weights.npz"), trained)
        with allowed():
            if self.json_file:
                attempt(self.json_file, write_numbers)
            for figure_name, draw in figures.items():
                picture = partial(_picture, plotting.save, draw)
                attempt(self._place(f"{figure_name}.png"), picture)
            for other, write in (others or {}).items():
                attempt(self._place(other), write)
        self._writings.require_all()

    def _place(self, name: str) -> Path:
        """Return the path of a file, after removing what a killed attempt left of it."""
        path = self.path / name
        files.sweep(path)
        return path

    def tell(self) -> None:
        """Print what was written, and where."""
        names = [path.name for path in self._writings.done if path != self.json_file]
        out.print(f"Written to {self.path}: {', '.join(names)}", soft_wrap=True)


def _picture(save: Callable[[Figure, Path], None], draw: Callable[[], Figure], path: Path) -> None:
    save(draw(), path)


def _is_in(path: Path, folder: Path) -> bool:
    return path.resolve().parent == folder.resolve()


def require_file(
    option: str,
    path: Path | None,
    suffixes: tuple[str, ...] = (),
    spare: Sequence[Path | None] = (),
) -> None:
    """Raise an error before the work if a file could not be written, or would replace another."""
    if path is None:
        return
    require_writable(option, path, [other for other in spare if other is not None])
    if suffixes and path.suffix.lower() not in suffixes:
        raise OptionError(f"{option} {path}: name a file that ends in {', '.join(suffixes)}")


def numbers_writer(command: str, numbers: dict[str, Any]) -> Callable[[Path], None]:
    """Return what writes the numbers of a command to a file; those not finite become null."""
    summary = {"command": command, "environment": environment.describe(), **numbers}
    text = json.dumps(_finite(summary), indent=2, allow_nan=False) + "\n"
    return partial(outputs.write, data=text.encode())


def _finite(value: Any) -> Any:
    """Replace NaN and infinities, which JSON lacks, by None.

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
    """Return a path that does not exist yet, also for two runs in one second."""
    candidates = (path.with_name(f"{path.name}-{i}") for i in range(2, sys.maxsize))
    return path if not path.exists() else next(p for p in candidates if not p.exists())
