"""Outputs are checked before the work; devices and pipes are written to, not replaced."""

import json
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from processes import PATIENCE, running, wait_until

import gradlab
from gradlab import network, outputs, plotting, story, weights
from gradlab.checkpoints import Keeper
from gradlab.command import check
from gradlab.command.main import main
from gradlab.errors import OptionError
from gradlab.locks import locked

on_posix = pytest.mark.skipif(os.name != "posix", reason="named pipes and devices of POSIX")
TRAIN = ("train", "--layers", "2", "--subset", "40", "--epochs", "1")
COMPARE = ("compare", "--layers", "2", "--subset", "20", "--iterations", "1", "--batch-size", "5")


@pytest.fixture
def gradlab_(monkeypatch, capsys, tmp_path):
    """Run the command in a separate folder; return exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    # Pictures take longer than everything else.
    monkeypatch.setattr(plotting, "save", lambda figure, path: outputs.write(Path(path), b"p"))

    def run(*args):
        monkeypatch.setattr(sys, "argv", ["gradlab", *map(str, args)])
        with pytest.raises(SystemExit) as stop:
            main()
        return stop.value.code, *capsys.readouterr()

    return run


@pytest.fixture
def unworked(monkeypatch):
    """Fail if a verb begins its work."""

    def work(*args, **kwargs):
        raise AssertionError("the work began")

    for place in (
        (gradlab.command.train, "fit"),
        (gradlab.command.compare, "compare_backends"),
        (gradlab.bench, "bench"),
        (story, "compute"),
        (check, "check_gradients"),
    ):
        monkeypatch.setattr(*place, work)


# Found before the work


VERBS = ["train", "compare", "evaluate", "bench", "demo", "check"]


def words(verb, folder):
    if verb == "evaluate":
        weights.save(folder / "w.npz", network.init([64, 2, 10], seed=0))
        return ["evaluate", folder / "w.npz"]
    return [verb, *(["--network", "64,2,10"] if verb == "check" else [])]


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("path", ["no/numbers.json", ".", "full/numbers.json", "kept.json"])
def test_a_file_that_cannot_be_written_is_found_before_the_work(
    verb, path, gradlab_, unworked, tmp_path, monkeypatch
):
    (tmp_path / "full").mkdir()
    (tmp_path / "kept.json").write_text("kept")

    def probe(path):
        if path.resolve().parent == tmp_path / "full":
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(outputs.files, "probe", probe)
    # Root may write all files.
    monkeypatch.setattr(
        os, "access", lambda path, mode, **_: mode != os.W_OK or "kept" not in str(path)
    )
    code, _, err = gradlab_(*words(verb, tmp_path), "--json", path)
    assert code == 2
    assert err.startswith(f"gradlab: --json {path}: ")
    assert err.count("\n") == 1
    assert (tmp_path / "kept.json").read_text() == "kept"
    assert not (tmp_path / "gradlab-runs").exists()


@pytest.mark.parametrize("verb", VERBS[:-1])
def test_a_folder_without_room_is_found_before_the_work(
    verb, gradlab_, unworked, tmp_path, monkeypatch
):
    def probe(path):
        raise OSError(28, "No space left on device")

    words_ = words(verb, tmp_path)
    monkeypatch.setattr(outputs.files, "probe", probe)
    code, _, err = gradlab_(*words_, "--output", "new")
    assert (code, err) == (
        2,
        "gradlab: --output new: No space left on device; name another folder\n",
    )
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("args", "other"),
    [
        (["train", "--checkpoint", "x.json", "--json", "x.json"], "x.json"),
        (["train", "--dataset", "d.npz", "--json", "d.npz"], "d.npz"),
        (["evaluate", "w.npz", "--json", "./w.npz"], "w.npz"),
        (["evaluate", "w.npz", "--json", "link"], "w.npz"),
        (["check", "losses.py:loss", "--json", "losses.py"], "losses.py"),
        (["check", "losses.py:loss", "--json", "p.png", "--plot", "p.png"], "p.png"),
        (["check", "losses.py:loss", "--json", "p-map.png", "--plot", "p.png"], "p-map.png"),
    ],
)
def test_an_output_does_not_replace_what_the_run_needs(args, other, gradlab_, unworked, tmp_path):
    weights.save(tmp_path / "w.npz", network.init([64, 2, 10], seed=0))
    np.savez(tmp_path / "d.npz", x=np.ones((20, 3)), y=np.arange(20) % 2)
    (tmp_path / "link").symlink_to("w.npz")
    (tmp_path / "losses.py").write_text("loss = None")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    code, _, err = gradlab_(*args)
    assert code == 2
    assert f"would replace {other}; name another file" in err
    assert before == {path: path.read_bytes() for path in tmp_path.iterdir()}


def test_an_output_does_not_replace_the_weights_beside_it(gradlab_, unworked, tmp_path):
    (tmp_path / "run").mkdir()
    code, _, err = gradlab_("train", "--output", "run", "--json", "run/weights.npz")
    assert code == 2
    assert "--json run/weights.npz: give it the ending .json" in err


# Results are written even if copies fail


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="devices of Linux")
@pytest.mark.parametrize("verb", [TRAIN, COMPARE])
def test_a_copy_that_fails_loses_nothing(verb, gradlab_, tmp_path):
    """The device is always full, which shows at the first write."""
    code, out, err = gradlab_(*verb, "--output", "D", "--json", "/dev/full")
    assert code == 1
    assert err == "gradlab: /dev/full: cannot be written (No space left on device)\n"
    names = {path.name for path in (tmp_path / "D").iterdir()}
    assert names >= (
        {"weights.npz", "history.json", "curves.png"}
        if verb is TRAIN
        else {"summary.json", "losses.png", "cost.png"}
    )
    assert "Written to D: " in out
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


def test_results_that_can_be_written_are_written(gradlab_, tmp_path, monkeypatch):
    replace = outputs.files.replace

    def full(path, parts, **options):
        if path.name in ("history.json", "curves.png"):
            raise OSError(28, "No space left on device")
        replace(path, parts, **options)

    monkeypatch.setattr(outputs.files, "replace", full)
    code, out, err = gradlab_(*TRAIN, "--output", "D", "--json", "copy.json")
    assert code == 1
    assert err.count("No space left on device") == 2
    assert "Written to D: weights.npz" in out
    there = {path.name for path in tmp_path.rglob("*")}
    assert there == {"D", "weights.npz", "norms.png", "copy.json"}


def test_ctrl_c_while_results_are_written_waits(gradlab_, tmp_path, monkeypatch):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    save = weights.save

    def pressed(*args, **options):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        save(*args, **options)

    monkeypatch.setattr(weights, "save", pressed)
    code, _, err = gradlab_(*TRAIN, "--output", "D")
    assert (code, err) == (130, "gradlab: interrupted\n")
    names = {path.name for path in (tmp_path / "D").iterdir()}
    assert names >= {"weights.npz", "history.json"}


# What is no regular file


@on_posix
def test_a_named_pipe_is_written_to(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    outputs.require_writable("--json", pipe)
    with pytest.raises(OSError, match="no process reads from it"):
        outputs.write(pipe, b"lost")
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()

    def written():
        try:
            outputs.write(pipe, bytes(200_000))  # more than it holds at once
        except OSError:  # the thread has not reached this point
            return False
        return True

    wait_until(written)
    reader.join(PATIENCE)
    assert read == [bytes(200_000)]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@on_posix
def test_a_device_is_written_to(tmp_path):
    link = tmp_path / "link"
    link.symlink_to(os.devnull)
    for path in (link, Path(os.devnull)):
        outputs.require_writable("--json", path)
        outputs.write(path, b"x")
    assert link.is_symlink()
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


@on_posix
@pytest.mark.parametrize("goes_to", [pytest.param("a pipe", marks=pytest.mark.slow), "a file"])
def test_the_standard_output_gets_the_numbers_too(goes_to, tmp_path):
    """A file that the shell redirects to is already open, and must not be replaced."""
    command = [sys.executable, "-m", "gradlab", *TRAIN, "--output", "D", "--json", "/dev/stdout"]
    with (tmp_path / "printed").open("w+") as file:
        to = subprocess.PIPE if goes_to == "a pipe" else file
        done = subprocess.run(
            command, cwd=tmp_path, stdout=to, text=True, check=True, timeout=PATIENCE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MPLBACKEND": "Agg"},
        )  # fmt: skip
        file.seek(0)
        printed = done.stdout or file.read()
    assert "Test accuracy" in printed
    text = printed[printed.index("{\n") : printed.rindex("\n}") + 2]
    assert json.loads(text)["command"] == "train"
    assert (tmp_path / "D" / "weights.npz").exists()


# One writer a file


HOLDS = """
import sys
from pathlib import Path
from gradlab.locks import locked
with locked("checkpoint", Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_a_file_has_one_writer(tmp_path):
    path = tmp_path / "state"
    with (
        locked("checkpoint", path),
        pytest.raises(OptionError, match=f"process {os.getpid()} is writing it"),
        locked("checkpoint", tmp_path / "." / "state"),
    ):
        pass
    with locked("checkpoint", path), locked("checkpoint", tmp_path / "other"):
        pass
    with locked("checkpoint", path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_another_process_is_named_and_its_lock_ends_with_it(tmp_path):
    path = tmp_path / "state"
    with running(
        [sys.executable, "-c", HOLDS, path], stdout=subprocess.PIPE, stdin=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == "locked\n"
        with (
            pytest.raises(OptionError, match=f"process {process.pid} is writing it; wait"),
            locked("checkpoint", path),
        ):
            pass
        process.kill()
        process.wait()
        assert len(list(tmp_path.iterdir())) == 1  # the file remains, but not its lock
        with locked("checkpoint", path):
            pass
    assert list(tmp_path.iterdir()) == []


def test_two_trainings_do_not_write_one_checkpoint(tmp_path, monkeypatch):
    data = np.ones(20), np.zeros(20)
    options = {"checkpoint": tmp_path / "state", "batch_size": 10}

    def loss(w, x, y):
        return np.mean((w * x - y) ** 2)

    def again(step):
        if step.iteration == 3:
            with pytest.raises(OptionError, match=r"checkpoint=.*is writing it") as caught:
                gradlab.fit(loss, 1.0, data, resume=True, **options)
            refused.append(caught.value)

    refused = []
    whole = gradlab.fit(loss, 1.0, data, callbacks=[again], **options)
    assert len(refused) == 1
    assert gradlab.fit(loss, 1.0, data, resume=True, **options).params == whole.params
    assert {path.name for path in tmp_path.iterdir()} == {"state", "state.previous"}

    def fails(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr(Keeper, "__enter__", fails)
    for _ in range(2):  # a failure releases the lock
        with pytest.raises(MemoryError):
            gradlab.fit(loss, 1.0, data, resume=True, **options)


def test_a_folder_without_support_for_locks_is_written_without_one(tmp_path, monkeypatch):
    import gradlab.locks

    def unknown(file):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(gradlab.locks, "_lock", unknown)
    with locked("checkpoint", tmp_path / "state"):
        pass
