"""Checkpoints when disks fail, and when signals arrive at any moment."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from processes import PATIENCE, running
from resumable import crash, fail_with, on_posix, outcome, train

import gradlab
from gradlab import files
from gradlab.errors import CheckpointError, CheckpointWarning

SYSTEM_CALLS = ("open", "write", "fsync", "replace")  # of a writing


# Disks


def test_a_checkpoint_is_synced_before_it_is_moved_into_place(tmp_path, monkeypatch):
    path, calls, names = tmp_path / "file", [], {}
    for name, call in {name: getattr(os, name) for name in SYSTEM_CALLS}.items():

        def called(first, *rest, name=name, call=call):
            result = call(first, *rest)
            if name == "open":
                names[result] = "folder" if Path(first) == tmp_path else "temporary"
            calls.append(
                (name, names.get(result if name == "open" else first, Path(str(first)).name))
            )
            return result

        monkeypatch.setattr(files.os, name, called)
    files.replace(path, [b"old"])
    calls.clear()
    files.replace(path, [b"new"], previous=tmp_path / "previous")
    temporary = calls[-3][1]
    assert calls == [
        ("open", "temporary"),
        ("write", "temporary"),
        ("fsync", "temporary"),
        ("replace", "file"),
        ("replace", temporary),
        ("open", "folder"),
        ("fsync", "folder"),
    ]
    assert temporary.endswith(".tmp")
    assert (path.read_bytes(), (tmp_path / "previous").read_bytes()) == (b"new", b"old")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("call", SYSTEM_CALLS)
def test_a_disk_that_fails_at_the_start_is_an_error(path, monkeypatch, call, number):
    monkeypatch.setattr(files.os, call, fail_with(number))
    with pytest.raises(
        CheckpointError, match=f"checkpoint: cannot be written .{os.strerror(number)}"
    ):
        train(path)
    assert not list(path.parent.iterdir())


@pytest.mark.parametrize("call", SYSTEM_CALLS)
def test_a_disk_that_fails_later_keeps_the_previous_checkpoint(
    path, undisturbed, monkeypatch, call
):
    real = getattr(os, call)

    def full_from_step_seven(step):
        if step.iteration == 7:
            monkeypatch.setattr(files.os, call, fail_with(errno.ENOSPC))

    with pytest.warns(
        CheckpointWarning, match=r"\(No space left on device\): that of step 6 is kept"
    ):
        assert outcome(train(path, callbacks=[full_from_step_seven])) == undisturbed
    monkeypatch.setattr(files.os, call, real)
    seen = []
    result = train(path, resume=True, callbacks=[lambda step: seen.append(step.iteration)])
    assert outcome(result) == undisturbed
    assert seen[0] == 6


def in_a_process(code, *arguments, **options):
    code = "import sys, warnings; from resumable import *\n" + textwrap.dedent(code)
    folders = os.pathsep.join(map(str, Path(__file__).parents[:2]))
    environment = os.environ | {"PYTHONPATH": folders}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return running(command, env=environment, stderr=subprocess.PIPE, **options)


def fill(file):
    with suppress(OSError), file.open("ab", buffering=0) as filling:
        while True:
            filling.write(bytes(512))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may mount")
def test_a_full_disk(tmp_path, undisturbed):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=32k", "none", str(disk)]
    if subprocess.run(mounting, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount")
    try:
        path = disk / "checkpoint"
        crash(path, 8)
        fill(disk / "filling")
        with pytest.raises(CheckpointError, match="No space left on device"):
            train(path, resume=True)
        (disk / "filling").unlink()
        assert outcome(train(path, resume=True)) == undisturbed
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@on_posix
def test_a_limit_on_the_size_of_files(path):
    code = """
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        train(sys.argv[1])
    """
    with in_a_process(code, path) as process:
        _, told = process.communicate(timeout=PATIENCE)
    assert "CheckpointError: " in told
    assert "cannot be written (File too large)" in told
    assert not list(path.parent.iterdir())


@on_posix
def test_a_folder_that_may_only_be_read(sound, undisturbed):
    with TemporaryDirectory() as folder:
        path = Path(folder, "checkpoint")
        path.write_bytes(sound[0])
        path.chmod(0o644)
        path.parent.chmod(0o555)
        is_root = os.geteuid() == 0
        if is_root:  # root may write everywhere
            os.seteuid(65534)
        try:
            with pytest.raises(CheckpointError, match=r"written \(Permission denied\)"):
                train(path, resume=True)
        finally:
            if is_root:
                os.seteuid(0)
            path.parent.chmod(0o755)
        assert path.read_bytes() == sound[0]
        assert outcome(train(path, resume=True)) == undisturbed


# Signals

WAITING = """
    import signal, time
    # Whoever runs the suite in the background may have had the signal ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    def wait(step):
        if step.iteration == 8:
            print("here", flush=True)
            time.sleep(600)
    result = train(sys.argv[1], callbacks=[wait], checkpoint_every=4)
    print("interrupted", result.interrupted)
"""


@on_posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_writes_a_last_checkpoint(path, undisturbed, number):
    with in_a_process(WAITING, path, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == "here\n"
        process.send_signal(number)
        told, complaints = process.communicate(timeout=PATIENCE)
    if number == signal.SIGINT:
        assert (process.returncode, told) == (0, "interrupted True\n")
    else:
        assert (process.returncode, told) == (128 + signal.SIGTERM, "")
    assert complaints == ""
    seen = []
    result = train(path, resume=True, callbacks=[lambda step: seen.append(step.iteration)])
    assert seen[0] == 8  # no multiple of four
    assert outcome(result) == undisturbed


@on_posix
def test_the_programs_signal_handlers_are_restored(path):
    caught = []

    def terminate(step):
        if step.iteration == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, lambda *_: caught.append("mine"))
    try:
        train(path, callbacks=[terminate])
        assert caught == ["mine"]
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with pytest.raises(SystemExit, match="143"):
            train(path.with_name("other"), callbacks=[terminate])
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)


@on_posix
@pytest.mark.parametrize("moment", range(0, 240, 10))
def test_ctrl_c_at_any_line_of_a_step_leaves_a_consistent_state(path, undisturbed, moment):
    """A tracer raises Ctrl-C at a line of the trainer or of the write of a checkpoint."""
    lines = 0
    trainer = Path(gradlab.training.__file__).parent
    watched = {files.__file__, *map(str, trainer.glob("*.py"))}

    def press(frame, event, _):
        nonlocal lines
        if frame.f_code.co_filename not in watched:
            return None
        lines += event == "line" and started
        if lines == moment + 1:
            sys.settrace(None)
            raise KeyboardInterrupt
        return press

    started = False

    def start(step):
        nonlocal started
        started = started or step.iteration == 6

    sys.settrace(press)
    try:
        train(path, checkpoint_every=2, callbacks=[start])
    except KeyboardInterrupt:  # it came while the last checkpoint was written
        pass
    finally:
        sys.settrace(None)
    assert outcome(train(path, resume=True)) == undisturbed
