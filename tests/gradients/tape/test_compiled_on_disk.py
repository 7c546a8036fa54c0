"""Machine code on disk is used again if it is valid and belongs to the user, and else ignored."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import autograd.numpy as anp
import numpy as np
import pytest
from processes import PATIENCE

from gradlab import Tape, network
from gradlab.gradients.tape.compiled import disk, is_missing

NAME, OTHER = disk.name_of("a"), disk.name_of("b")

needs_llvmlite = pytest.mark.skipif(is_missing(), reason="llvmlite is not installed")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRADLAB_CACHE", str(tmp_path / "new" / "cache"))
    return tmp_path / "new" / "cache" / "compiled"


def file_of(folder: Path, name: str = NAME) -> Path:
    return folder / f"{name}.code"


def test_stored_code_is_found(folder: Path) -> None:
    assert disk.stored(NAME) is None
    assert not folder.parent.exists()  # reading creates no folder
    disk.store(NAME, b"code")
    assert disk.stored(NAME) == b"code"
    assert disk.stored(OTHER) is None
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [(file.name, file.stat().st_mode & 0o777) for file in folder.iterdir()] == [
        (f"{NAME}.code", 0o600)
    ]


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def empty(file: Path) -> None:
    file.write_bytes(b"")


def rename(file: Path) -> None:
    """Give this name to valid code of another program."""
    disk.store(OTHER, b"other")
    file_of(file.parent, OTHER).replace(file)


def link(file: Path) -> None:
    file.rename(file.with_name("elsewhere"))
    file.symlink_to(file.with_name("elsewhere"))


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


def link_folder(file: Path) -> None:
    elsewhere = file.parent.with_name("elsewhere")
    file.parent.rename(elsewhere)
    file.parent.symlink_to(elsewhere)


SPOILED: dict[str, Any] = {
    "truncated": truncate,
    "damaged": flip,
    "empty": empty,
    "another program's": rename,
    "a link": link,
    "a named pipe": pipe,
    "a directory": directory,
    "in a folder that is a link": link_folder,
    "writable by the group": lambda file: file.chmod(0o620),
    "writable by others": lambda file: file.chmod(0o602),
    "in a folder open to the group": lambda file: file.parent.chmod(0o750),
    "in a folder open to others": lambda file: file.parent.chmod(0o705),
    "in a folder for others to write": lambda file: file.parent.chmod(0o702),
}


@pytest.mark.parametrize("how", SPOILED)
def test_invalid_files_are_ignored(how: str, folder: Path) -> None:
    disk.store(NAME, b"code")
    SPOILED[how](file_of(folder))
    assert disk.stored(NAME) is None
    disk.store(NAME, b"new")  # no error
    assert disk.stored(NAME) in (None, b"new")


@pytest.mark.parametrize("foreign", ["folder", "file"])
def test_files_of_another_user_are_ignored(
    foreign: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk.store(NAME, b"code")
    real = os.fstat

    def owned_by_another(descriptor: int) -> os.stat_result:
        status = real(descriptor)
        is_folder = os.path.samestat(status, folder.stat())
        if is_folder == (foreign == "folder"):
            return os.stat_result((*status[:4], status.st_uid + 1, *status[5:]))
        return status

    monkeypatch.setattr(os, "fstat", owned_by_another)
    assert disk.stored(NAME) is None
    monkeypatch.undo()


def test_too_large_a_file_is_neither_stored_nor_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk.store(NAME, bytes(100))
    monkeypatch.setattr(disk, "MAX_FILE_BYTES", 131)
    assert disk.stored(NAME) is None
    disk.store(OTHER, bytes(100))
    assert not file_of(folder, OTHER).exists()
    monkeypatch.setattr(disk, "MAX_FILE_BYTES", 132)
    assert disk.stored(NAME) == bytes(100)


@pytest.mark.parametrize("call", ["open", "replace", "mkdir", "write"])
def test_a_folder_that_cannot_be_written_is_ignored(
    call: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        disk.store(NAME, b"code")
        assert disk.stored(NAME) is None
    assert not folder.exists() or not [*folder.iterdir()]  # nothing half written is left


def test_a_cache_that_is_a_file_is_ignored(folder: Path) -> None:
    folder.parent.parent.mkdir()
    folder.parent.write_bytes(b"")
    disk.store(NAME, b"code")
    assert disk.stored(NAME) is None


def test_without_descriptors_of_folders_nothing_is_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "supports_dir_fd", set())
    disk.store(NAME, b"code")
    assert disk.stored(NAME) is None
    assert not folder.exists()


def test_files_unused_for_the_longest_time_make_room(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "MAX_FOLDER_BYTES", 3 * 132)
    names = [disk.name_of(str(number)) for number in range(5)]
    for age, name in enumerate(names[:3]):
        disk.store(name, bytes(100))
        os.utime(file_of(folder, name), (age, age))
    (folder / "mine.txt").write_bytes(bytes(1000))  # not the cache's: neither counted nor removed
    assert disk.stored(names[0]) is not None  # in use: now the newest
    disk.store(names[3], bytes(100))
    assert [disk.stored(name) is not None for name in names] == [True, False, True, True, False]
    (folder / f"{OTHER}.0123.tmp").write_bytes(bytes(100))
    os.utime(folder / f"{OTHER}.0123.tmp", (0, 0))  # of a process that was killed
    disk.store(names[4], bytes(100))
    assert not [*folder.glob("*.tmp")]
    assert sum(file.stat().st_size for file in folder.glob("*.code")) <= disk.MAX_FOLDER_BYTES
    assert (folder / "mine.txt").exists()


def test_many_write_and_read_at_once() -> None:
    """A reader finds either nothing or the whole file."""
    codes = [bytes([k]) * 100_000 for k in range(8)]

    def work(code: bytes) -> bool:
        for _ in range(20):
            disk.store(NAME, code)
            found = disk.stored(NAME)
            if found is not None and found not in codes:
                return False
        return True

    with ThreadPoolExecutor(8) as executor:
        assert all(executor.map(work, codes))
    assert disk.stored(NAME) in codes


# The compiler and its cache


def loss(params: Any, x: Any, labels: Any) -> Any:
    """Compute a network with a function that is an inner loop of NumPy's."""
    return network.loss(params, x, labels) + anp.tanh(params["b1"]).sum()


GIVEN = network.init([4, 3, 2], 0), np.arange(12.0).reshape(3, 4) / 8, np.array([0, 1, 1])


def gradient() -> tuple[float, Any]:
    f = Tape(compile=True).value_and_grad(loss)
    f(*GIVEN)
    assert "\ncompiled: " in f.explain()
    value, grads = f(*GIVEN)
    return value, [leaf.tolist() for leaf in grads.values()]


@needs_llvmlite
def test_code_from_the_disk_is_linked_and_not_compiled(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gradlab.gradients.tape.compiled import native

    first = gradient()
    assert len([*folder.iterdir()]) == 1
    monkeypatch.setattr(native, "compiled", None)
    assert gradient() == first
    flip(next(folder.iterdir()))
    monkeypatch.undo()
    monkeypatch.setenv("GRADLAB_CACHE", str(folder.parent))
    assert gradient() == first


@needs_llvmlite
@pytest.mark.parametrize("what", ["features", "get_host_cpu_name", "llvm_version_info"])
def test_code_of_another_processor_or_compiler_is_not_used(
    what: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import llvmlite.binding as llvm

    from gradlab.gradients.tape.compiled import native

    gradient()
    native._settings.cache_clear()
    before = native._settings()
    native._settings.cache_clear()
    real = native.features() if what == "features" else getattr(llvm, what)
    owner = native if what == "features" else llvm
    with monkeypatch.context() as patch:
        patch.setattr(owner, what, real[:-1] if what == "llvm_version_info" else lambda: "other")
        assert native._settings() != before
    native._settings.cache_clear()
    assert native._settings() == before


@needs_llvmlite
def test_another_process_uses_the_code(folder: Path) -> None:
    """Another process has different addresses, and a different order of sets."""
    first = gradient()
    program = (
        "from gradlab.gradients.tape.compiled import native; native.compiled = None; "
        "import test_compiled_on_disk as tests; print(tests.gradient())"
    )
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    found = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert found.stdout.strip() == str(first)
    assert len([*folder.iterdir()]) == 1
