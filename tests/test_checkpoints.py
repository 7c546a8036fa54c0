"""Checkpoints: whatever ends a training, it goes on and ends as if undisturbed, to the last bit."""

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import tracemalloc
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from processes import PATIENCE, running
from stored import forged

import gradlab
from gradlab import checkpoints, files, fit, network, stores
from gradlab.errors import CheckpointError, CheckpointWarning, GradlabError, OptionError

X = np.random.default_rng(0).normal(size=(40, 3))
LABELS = np.random.default_rng(1).integers(2, size=40)
START = network.init((3, 4, 2), 0)
STEPS = 18  # three passes over forty samples in batches of seven

SYSTEM_CALLS = ("open", "write", "fsync", "replace")  # of a writing

on_posix = pytest.mark.skipif(os.name != "posix", reason="forks and signals of POSIX")


def train(path=None, *, resume=False, **changed):
    options = {
        "loss": network.loss,
        "params": START,
        "data": (X, LABELS),
        "momentum": 0.5,
        "batch_size": 7,
        "epochs": 3,
        "accuracy": network.accuracy,
    } | changed
    return fit(**options, checkpoint=path, resume=resume)


def outcome(result):
    epochs = [(e.epoch, e.loss, e.validation_loss, e.accuracy) for e in result.history.epochs]
    bits = {name: leaf.tobytes() for name, leaf in result.params.items()}
    return bits, result.history.losses, epochs


class CrashError(Exception):
    pass


def crash_at(count):
    def callback(step):
        if step.iteration == count:
            raise CrashError

    return callback


def crash(path, count, **options):
    with pytest.raises(CrashError):
        train(path, callbacks=[crash_at(count)], **options)


@pytest.fixture(scope="module")
def undisturbed():
    return outcome(train())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoint"


# Killed, and gone on


def killed(*arguments):
    """Run `killed.py`, and return how many trainings it killed."""
    script = Path(__file__).with_name("killed.py")
    command = [sys.executable, str(script), *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)["kills"]


@on_posix
def test_killed_at_each_system_call_of_a_write_it_ends_in_the_same_bits():
    assert killed("each", 3, 12, 22) == 11


@on_posix
def test_killed_at_random_moments_it_ends_in_the_same_bits():
    assert killed("random", 0, 12) >= 12


@on_posix
@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
def test_killed_at_every_system_call_it_ends_in_the_same_bits(seed):
    assert killed("each", seed, 1, 10_000) > 50


@on_posix
@pytest.mark.slow
def test_killed_hundreds_of_times_it_ends_in_the_same_bits():
    assert killed("random", 1000, 300) >= 300


@pytest.mark.parametrize("every", [None, 1, 4, 1000])
@pytest.mark.parametrize("count", [0, 4, 5, 6, STEPS - 1])
def test_an_error_at_any_step_loses_nothing(path, undisturbed, count, every):
    crash(path, count, checkpoint_every=every)
    seen = []
    result = train(path, resume=True, callbacks=[lambda step: seen.append(step.iteration)])
    assert outcome(result) == undisturbed
    assert seen == list(range(count, STEPS))  # the step in which it crashed is taken again


@pytest.mark.parametrize("backend", ["autograd", "tape", "central"])
def test_resumed_again_and_again_with_draws_with_replacement(path, backend):
    options = {"epochs": None, "iterations": 20, "backend": backend}
    wanted = outcome(train(path.with_name("undisturbed"), **options))
    for count in (3, 7, 8, 15):
        crash(path, count, resume=True, **options)
    assert outcome(train(path, resume=True, **options)) == wanted


def test_arrays_keep_their_layout(path):
    """In rows of columns, linear algebra rounds otherwise than in columns of rows."""
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(60, 64)), rng.integers(10, size=60)
    start = {name: np.asfortranarray(leaf) for name, leaf in network.init((64, 50, 10), 0).items()}
    options = {"params": start, "data": (x, labels), "batch_size": 20, "seed": 3}
    wanted = outcome(train(**options))
    crash(path, 4, **options)
    result = train(path, resume=True, **options)
    assert outcome(result) == wanted
    assert result.params["W1"].flags.f_contiguous


@pytest.mark.parametrize("kind", [np.random.MT19937, np.random.Philox, np.random.SFC64])
def test_a_generator_goes_on_where_it_was(path, kind):
    undisturbed, again = (np.random.Generator(kind(5)) for _ in range(2))
    wanted = outcome(train(seed=undisturbed))
    crash(path, 8, seed=np.random.Generator(kind(5)), checkpoint_every=4)
    assert outcome(train(path, resume=True, seed=again)) == wanted
    assert again.integers(2**60) == undisturbed.integers(2**60)


def test_a_training_that_is_over_is_not_taken_up(path, undisturbed):
    train(path)

    def fail(params, x, labels):
        raise AssertionError("evaluated")

    fail.__qualname__ = "loss"
    assert outcome(train(path, resume=True, loss=fail)) == undisturbed


def test_without_a_file_it_starts_afresh(path, undisturbed):
    assert outcome(train(path, resume=True)) == undisturbed


def test_a_callback_that_ends_it_is_a_pause(path, undisturbed):
    train(path, callbacks=[lambda step: step.iteration == 7])
    assert outcome(train(path, resume=True)) == undisturbed


def test_a_divergence_is_found_again(path):
    options = {"params": {"w": 1.0}, "loss": lambda p, x, y: p["w"] ** 4, "accuracy": None}
    errors = []
    for resume in (False, True):
        with pytest.raises(gradlab.errors.DivergenceError) as caught:
            train(path, resume=resume, learning_rate=10.0, **options)
        errors.append(caught.value)
    assert errors[0].iteration == errors[1].iteration > 0
    assert errors[0].history.losses == errors[1].history.losses


def test_the_last_two_are_kept_and_nothing_else(path):
    train(path, checkpoint_every=4)
    assert {file.name for file in path.parent.iterdir()} == {"checkpoint", "checkpoint.previous"}
    path.unlink()
    assert len(train(path, resume=True, callbacks=[lambda step: True]).history.losses) == 17


def test_what_a_killed_writing_left_is_swept_away(path):
    crash(path, 5)
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patched:
        patched.setattr(Path, "unlink", lambda self: None)
        patched.setattr(os, "fsync", fail_with(errno.EIO))
        with pytest.raises(CheckpointError):
            train(path, resume=True)
    assert len(list(path.parent.iterdir())) == 3
    train(path, resume=True)
    assert {file.name for file in path.parent.iterdir()} == {"checkpoint", "checkpoint.previous"}


def test_a_link_stays_a_link(path, undisturbed):
    (path.parent / "elsewhere").mkdir()
    path.symlink_to(path.parent / "elsewhere" / "file")
    crash(path, 7)
    assert path.is_symlink()
    assert outcome(train(str(path), resume=True)) == undisturbed


def test_two_threads_train_at_once(path, undisturbed):
    found = {}

    def run(name):
        found[name] = outcome(train(path.with_name(name), checkpoint_every=1))

    threads = [threading.Thread(target=run, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {"a": undisturbed, "b": undisturbed}


# Other options


DIFFERENT = {
    "learning_rate was 0.1 and is 0.2": {"learning_rate": 0.2},
    "momentum was 0.5 and is 0.0": {"momentum": 0.0},
    "batch_size was 7 and is 8": {"batch_size": 8},
    "epochs was 3 and is 2": {"epochs": 2},
    "iterations was None and is 5": {"iterations": 5, "epochs": None},
    "seed was 0 and is 1": {"seed": 1},
    "seed was 0 and is ": {"seed": np.random.default_rng(0)},
    "backend was autograd and is central": {"backend": "central"},
    r"backend was autograd and is central\(step=0.001\)": {
        "backend": gradlab.CentralDifference(step=1e-3)
    },
    r"loss was loss and is loss\(activation='relu'\)": {
        "loss": partial(network.loss, activation="relu")
    },
    "accuracy was accuracy and is None": {"accuracy": None},
    "params was .* and is ": {"params": network.init((3, 4, 2), 1)},
    r"params was \(3, 4\), .* and is \(3, 5\)": {"params": network.init((3, 5, 2), 0)},
    "data was .* and is ": {"data": (2 * X, LABELS)},
    r"data was \(40, 3\).* and is \(39, 3\)": {"data": (X[1:], LABELS[1:])},
    "validation was .* and is ": {"validation": (X, LABELS)},
}


@pytest.mark.parametrize("message", DIFFERENT)
def test_other_options_are_named(path, undisturbed, message):
    crash(path, 7)
    with pytest.raises(OptionError, match=f"another training .*{message}"):
        train(path, resume=True, **DIFFERENT[message])
    assert outcome(train(path, resume=True)) == undisturbed


def test_a_shorter_training_is_told_from_a_damaged_one(path, monkeypatch):
    train(path, epochs=100, checkpoint_every=1000)
    monkeypatch.setattr(stores, "HEADER", 1000)  # so that the file is longer than it may be
    with pytest.raises(OptionError, match="epochs was 100 and is 3"):
        train(path, resume=True)
    path.write_bytes(path.read_bytes() + bytes(10_000))
    checkpoints.previous(path).unlink()
    with pytest.raises(CheckpointError, match="longer than one of this training can be"):
        train(path, resume=True, epochs=100)


def test_a_file_that_is_far_too_long_is_not_read_to_its_end(path):
    train(path)
    checkpoints.previous(path).unlink()
    with path.open("r+b") as stream:
        stream.truncate(2**28)
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match="longer than one of this training can be"):
            train(path, resume=True)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 2**26


def test_workers_may_be_others(path, undisturbed):
    options = {"backend": "central"}
    wanted = outcome(train(**options))
    crash(path, 7, **options)
    backend = gradlab.CentralDifference(workers=map)
    assert outcome(train(path, resume=True, backend=backend)) == wanted


def test_another_backend_goes_on_if_asked_to(path, undisturbed):
    crash(path, 7, backend="central")
    bits, losses, _ = outcome(train(path, resume="another backend"))
    assert bits != undisturbed[0]
    np.testing.assert_allclose(losses, undisturbed[1], rtol=1e-6)  # a central difference's error
    with pytest.raises(OptionError, match="backend was autograd and is tape"):
        train(path, resume=True, backend="tape")


def test_there_is_one_already(path):
    train(path)
    with pytest.raises(OptionError, match=r"checkpoint='.*': there is one already; go on"):
        train(path)
    path.unlink()  # the one before it counts, too
    with pytest.raises(OptionError, match="there is one already"):
        train(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"checkpoint": 3}, "checkpoint=3: give the path of a file"),
        ({"checkpoint": "c", "checkpoint_every": 0}, "checkpoint_every=0: give an integer from 1"),
        ({"checkpoint": "c", "resume": "yes"}, "resume='yes': give True, False"),
        ({"checkpoint_every": 5}, "checkpoint_every=5: name the file, too"),
        ({"resume": True}, "resume=True: name the file, too"),
        ({"checkpoint": "."}, "checkpoint='.': is a folder; name a file"),
    ],
)
def test_options_that_make_no_sense(options, message):
    with pytest.raises(OptionError, match=message):
        fit(network.loss, START, (X, LABELS), **options)


# Damaged


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Return the bytes of a checkpoint of step 12, and of the one before it."""
    path = tmp_path_factory.mktemp("sound") / "checkpoint"
    crash(path, 12)
    return path.read_bytes(), checkpoints.previous(path).read_bytes()


@given(st.data())
def test_a_damaged_checkpoint_gives_way_to_the_one_before(sound, undisturbed, data):
    last, before = sound
    where = data.draw(st.integers(0, len(last) - 1))
    kind = data.draw(st.sampled_from(["flip", "cut", "append"]))
    if kind == "flip":
        bit = 1 << data.draw(st.integers(0, 7))
        damaged = last[:where] + bytes([last[where] ^ bit]) + last[where + 1 :]
    else:
        damaged = last[:where] if kind == "cut" else last + last[:where] + b"x"
    with TemporaryDirectory() as folder:
        path = Path(folder, "checkpoint")
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=str(path)):
            train(path, resume=True)
        assert path.read_bytes() == damaged
        checkpoints.previous(path).write_bytes(before)
        if b"checkpoint 1\n" not in damaged and b"\n" in damaged[:22]:
            return  # the version, too, may be damaged: an error
        with pytest.warns(CheckpointWarning, match="going on from the one before it, of step 6"):
            assert outcome(train(path, resume=True)) == undisturbed


def test_a_damaged_one_never_takes_the_place_of_a_sound_one(path, sound):
    last, before = sound
    path.write_bytes(last[:-1])
    checkpoints.previous(path).write_bytes(before)
    with pytest.warns(CheckpointWarning):
        crash(path, 6, resume=True)
    for file in (path, checkpoints.previous(path)):
        assert file.read_bytes() == before


def test_both_damaged_are_named(path, sound):
    path.write_bytes(sound[0][:100])
    checkpoints.previous(path).write_bytes(sound[1][:-5])
    with pytest.raises(CheckpointError, match=r"checkpoint: .*; .*checkpoint.previous: .*; remove"):
        train(path, resume=True)


def test_another_version_is_no_damage(path, sound):
    path.write_bytes(sound[0].replace(b"checkpoint 1\n", b"checkpoint 2\n"))
    checkpoints.previous(path).write_bytes(sound[1])
    with pytest.raises(CheckpointError, match="has the format 2, of another version"):
        train(path, resume=True)


def test_another_file_is_no_checkpoint(path):
    path.write_bytes(b"x,y\n1,2\n")
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        train(path, resume=True)
    assert path.read_bytes() == b"x,y\n1,2\n"


FORGERIES = {
    "steps beyond the end": lambda h, a: (h | {"steps": 19}, a + bytes(56)),
    "negative steps": lambda h, a: (h | {"steps": -1}, a),
    "true steps": lambda h, a: (h | {"steps": True}, a),
    "steps of the size of memory": lambda h, a: (h | {"steps": 10**15}, a),
    "an integer without end": lambda h, a: (b'{"steps": ' + b"9" * 9000 + b"}", a),
    "nesting without end": lambda h, a: (b"[" * 9000, a),
    "a list": lambda h, a: ([], a),
    "no options": lambda h, a: (h | {"options": None}, a),
    "arrays of objects": lambda h, a: (h | {"arrays": [["|O", [1]]]}, a),
    "arrays of terabytes": lambda h, a: (h | {"arrays": [["<f8", [2**40]]]}, a),
    "missing bytes": lambda h, a: (h, a[:-8]),
    "bytes left over": lambda h, a: (h, a + bytes(8)),
    "NaN in the parameters": lambda h, a: (h, np.array(np.nan).tobytes() + a[8:]),
    "NaN in the seconds": lambda h, a: (h | {"seconds": float("nan")}, a),
    "too many epochs": lambda h, a: (h | {"epochs": 4}, a + bytes(64)),
    "fewer epochs": lambda h, a: (h | {"epochs": 1}, a),
    "an epoch without a loss": lambda h, a: (h, a[:-32] + np.array(np.nan).tobytes() + a[-24:]),
    "a generator of another kind": lambda h, a: (
        h | {"generator": h["generator"] | {"bit_generator": "MT19937"}},
        a,
    ),
    "a generator of nothing": lambda h, a: (h | {"generator": {}}, a),
    "a generator beyond its bits": lambda h, a: (
        h | {"generator": h["generator"] | {"state": {"state": 2**200, "inc": -1}}},
        a,
    ),
    "a generator of objects": lambda h, a: (
        h | {"generator": {"dtype": "object", "array": [1]}},
        a,
    ),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_checkpoint_is_refused(path, sound, forgery):
    path.write_bytes(forged(sound[0], FORGERIES[forgery]))
    with pytest.raises(CheckpointError, match="checkpoint: not a checkpoint that gradlab wrote"):
        train(path, resume=True)


def test_a_forgery_that_changes_nothing_is_taken(path, sound, undisturbed):
    path.write_bytes(forged(sound[0], lambda header, arrays: (header, arrays)))
    assert outcome(train(path, resume=True)) == undisturbed


@given(st.binary(max_size=200))
@example(checkpoints.CHECKPOINT.line)
@example(b"gradlab checkpoint ")
@example(b"")
def test_anything_else_ends_in_an_error_of_ours(data):
    with TemporaryDirectory() as folder:
        path = Path(folder, "checkpoint")
        path.write_bytes(data)
        with pytest.raises(CheckpointError):
            train(path, resume=True)


# Disks


def test_it_is_on_the_disk_before_it_takes_its_place(tmp_path, monkeypatch):
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


def fail_with(number):
    def fail(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    return fail


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
def test_a_disk_that_fails_later_keeps_the_one_before(path, undisturbed, monkeypatch, call):
    real = getattr(os, call)

    def full_from_step_seven(step):
        if step.iteration == 7:
            monkeypatch.setattr(files.os, call, fail_with(errno.ENOSPC))

    with pytest.warns(
        CheckpointWarning, match=r"\(No space left on device\): that of step 6 stays"
    ):
        assert outcome(train(path, callbacks=[full_from_step_seven])) == undisturbed
    monkeypatch.setattr(files.os, call, real)
    seen = []
    result = train(path, resume=True, callbacks=[lambda step: seen.append(step.iteration)])
    assert outcome(result) == undisturbed
    assert seen[0] == 6


def in_a_process(code, *arguments, **options):
    code = "import sys, warnings; from test_checkpoints import *\n" + textwrap.dedent(code)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return running(command, env=environment, stderr=subprocess.PIPE, **options)


def fill(file):
    with suppress(OSError), file.open("ab", buffering=0) as filling:
        while True:
            filling.write(bytes(512))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may mount")
def test_a_disk_that_is_really_full(tmp_path, undisturbed):
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
        if is_root:  # who may write everywhere
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
def test_the_handlers_of_others_are_left_alone(path):
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
def test_ctrl_c_at_any_line_of_a_step_leaves_a_whole_state(path, undisturbed, moment):
    """A tracer presses Ctrl-C at a line of the trainer, the write of a checkpoint included."""
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


def test_every_error_is_one_of_ours():
    assert issubclass(CheckpointError, GradlabError)
    assert issubclass(CheckpointError, ValueError)
