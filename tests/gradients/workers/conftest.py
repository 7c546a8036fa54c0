"""A check after each test: workers leave no process and no file behind."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from processes import wait_until


def children() -> set[tuple[str, str]]:
    """Return this process's children and their command lines, except Python's own one."""
    found = set()
    for folder in Path("/proc").iterdir():
        try:
            parent = (folder / "stat").read_text().rsplit(")", 1)[1].split()[1]
            command = (folder / "cmdline").read_text()
        except OSError:
            continue
        if parent == str(os.getpid()) and "resource_tracker" not in command:
            found.add((folder.name, command))
    return found


@pytest.fixture
def tidy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Require that no process and no file is left behind."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    shared = set(Path("/dev/shm").iterdir())
    before = children()
    yield
    assert children() <= before
    assert list(folder.iterdir()) == []
    # Other programs may have files there, which come and go.
    wait_until(lambda: not forsaken(set(Path("/dev/shm").iterdir()) - shared))


def forsaken(files: set[Path]) -> set[Path]:
    """Return gradlab's files that no process has open or mapped."""
    used = ""
    for process in Path("/proc").glob("[0-9]*") if files else ():
        with suppress(OSError):  # it has ended, or belongs to another user
            used += (process / "maps").read_text()
            used += "".join(f"{os.readlink(link)}\n" for link in (process / "fd").iterdir())
    return {path for path in files if str(path) not in used and is_ours(path)}


def is_ours(path: Path) -> bool:
    try:
        return path.stat().st_uid == os.getuid()
    except FileNotFoundError:
        return False
