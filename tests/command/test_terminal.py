"""The command in any terminal, writing to files, and interrupted: no output cut or lost."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.box import SIMPLE_HEAD
from rich.table import Table

import gradlab_command
from gradlab import checkpoints, files, network, plotting, story, weights
from gradlab.command import check, console, results
from gradlab.command.main import main

ROOT = Path(gradlab_command.__file__).parent
TRAIN = ("train", "--layers", "4", "--subset", "40", "--epochs", "3")
EIGHT = "central,autograd,tape,forward,central4,complex-step,spsa,forward-gradient"


@pytest.fixture
def command(monkeypatch, tmp_path):
    """Run the command with a standard output of that encoding that is not a terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)

    def run(*args, encoding="utf-8"):
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding) for _ in range(2))
        with monkeypatch.context() as patched:
            patched.setattr(sys, "argv", ["gradlab", *map(str, args)])
            patched.setattr(sys, "stdout", out)
            patched.setattr(sys, "stderr", err)
            with pytest.raises(SystemExit) as stop:
                main()
            texts = []
            for stream in (out, err):
                stream.flush()
                texts.append(stream.buffer.getvalue().decode(encoding))
        return stop.value.code, *texts

    return run


# Any encoding


@pytest.mark.parametrize("encoding", ["ascii", "cp949", "cp1252", "utf-8"])
@pytest.mark.parametrize(
    "verb", [("demo", "--output", "D"), ("check", "--network", "64,3,10", "--samples", "3")]
)
def test_output_has_only_characters_of_the_streams_encoding(command, blank, verb, encoding):
    code, out, err = command(*verb, encoding=encoding)
    assert (code, err) == (0, "")
    shown = {"demo": ("x^2", "x²"), "check": ("+-", "±")}[verb[0]]
    assert any(form in out for form in shown)


def test_a_character_without_a_replacement_is_a_question_mark(command, tmp_path):
    code, _, err = command("evaluate", "가중치.npz", encoding="ascii")
    assert code == 1
    assert err.startswith("gradlab: ???.npz")


# Any width


def table(columns):
    shown = Table(title="the title", caption="the caption", box=SIMPLE_HEAD)
    for i in range(columns):
        shown.add_column(f"times as fast as {i}", justify="right")
    for row in "ab":
        shown.add_row(*(f"{row}-cell-{i}" for i in range(columns)))
    return shown


@pytest.mark.parametrize("columns", [1, 2, 6, 30])
@pytest.mark.parametrize("width", [8, 20, 60, 80])
def test_no_cell_is_cut_and_no_line_is_too_long(monkeypatch, columns, width):
    monkeypatch.setenv("COLUMNS", str(width))
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    shown = table(columns)
    console.show_table(shown)
    text = stream.getvalue()
    cells = set(re.findall(r"[ab]-cell-\d+", text))
    assert cells == {f"{row}-cell-{i}" for row in "ab" for i in range(columns)}
    assert "…" not in text
    widest = max(9, 2 * (9 + (columns > 10)) + 2 if columns > 1 else 0)
    assert max(map(len, text.splitlines())) <= max(width, widest)
    assert shown.columns[0].header == "times as fast as 0"  # nothing of it has changed
    if width >= 20:
        assert len(re.findall("the title", text)) == len(re.findall("the caption", text)) == 1


def test_the_current_width_is_used(monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    made = type(console.out)(file=io.StringIO())
    monkeypatch.setenv("COLUMNS", "40")
    assert made.width == 40
    for absent in ("", "0", "wide"):
        monkeypatch.setenv("COLUMNS", absent)
        assert made.width == console.UNBOUNDED_WIDTH


def test_lines_in_files_are_not_broken(command, blank):
    code, out, _ = command("compare", "--layers", "3", "--iterations", "2", "--output", "results")
    assert code == 0
    (line,) = [line for line in out.splitlines() if "agree" in line]
    assert line.endswith(".")


def test_many_backends_have_a_row_each(command, blank, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    settings = ("--layers", "2", "--iterations", "1", "--batch-size", "5")
    code, out, err = command("compare", "--backend", EIGHT, *settings)
    assert (code, err) == (0, "")
    rows = {name: re.findall(rf"^│ {name} .*", out, re.MULTILINE) for name in EIGHT.split(",")}
    assert all(len(lines) == 3 for lines in rows.values())  # result, cost, distance
    assert "…" not in out
    assert max(map(len, out.splitlines()[1:-1])) <= 80


# Interrupted


def interrupt(*args, **kwargs):
    raise KeyboardInterrupt


@pytest.fixture
def trained(tmp_path):
    weights.save(tmp_path / "w.npz", network.init([64, 4, 10], seed=0))
    return tmp_path / "w.npz"


@pytest.mark.parametrize(
    ("verb", "place"),
    [
        ("demo", (story, "compute")),
        ("demo", (plotting, "descent")),
        ("evaluate", (network, "logits")),
        ("evaluate", (plotting, "save")),
        ("check", (check, "check_gradients")),
    ],
)
def test_ctrl_c_is_reported_and_leaves_nothing_half_written(
    command, monkeypatch, tmp_path, trained, verb, place
):
    args = {
        "demo": ("demo", "--output", "D"),
        "evaluate": ("evaluate", trained, "--output", "D"),
        "check": ("check", "--network", "64,4,10"),
    }[verb]
    with monkeypatch.context() as interrupted:
        interrupted.setattr(*place, interrupt)
        code, _, err = command(*args)
    assert (code, err) == (130, "gradlab: interrupted\n")
    assert not (tmp_path / "D").exists()


def test_ctrl_c_while_the_folder_is_created_leaves_no_folder(command, monkeypatch, tmp_path):
    monkeypatch.setattr(files, "probe", interrupt)
    code, _, err = command("demo", "--output", "D")
    assert (code, err) == (130, "gradlab: interrupted\n")
    assert not (tmp_path / "D").exists()


def test_ctrl_c_while_the_package_loads_is_one_line(tmp_path):
    (tmp_path / "typer.py").write_text("import signal\n\nsignal.raise_signal(signal.SIGINT)\n")
    ended = subprocess.run(
        [sys.executable, "-c", "import gradlab_command; gradlab_command.main()"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (130, "")
    assert ended.stderr == "gradlab: interrupted\n"


def test_ctrl_c_while_drawing_keeps_what_was_trained(command, monkeypatch, tmp_path):
    monkeypatch.setattr(plotting, "save", interrupt)
    code, out, err = command(*TRAIN, "--output", "D")
    assert (code, err) == (130, "gradlab: interrupted\n")
    assert "Written to D: history.json, weights.npz" in out
    assert {path.name for path in (tmp_path / "D").iterdir()} == {"history.json", "weights.npz"}
    assert weights.load(tmp_path / "D/weights.npz")["W1"].shape == (64, 4)


def test_a_training_continues_if_its_checkpoint_is_in_its_folder(
    command, blank, monkeypatch, tmp_path
):
    keep = ("--output", "D", "--checkpoint", "D/ck")
    assert command(*TRAIN, "--output", "undisturbed")[0] == 0

    def die(checkpoint, state, *, write):
        reach(checkpoint, state, write=write)
        if len(state.history.epochs) == 2:
            raise SystemExit(137)  # before anything except the checkpoint is written

    reach = checkpoints.Keeper.reach
    with monkeypatch.context() as killed:
        killed.setattr(checkpoints.Keeper, "reach", die)
        assert command(*TRAIN, *keep)[0] == 137
    files.beside(tmp_path / "D/ck", "lock").touch()  # which a killed process leaves behind
    assert command(*TRAIN, *keep)[0] == 2
    for _ in range(2):  # finished results are written again
        code, _, err = command(*TRAIN, *keep, "--resume")
        assert (code, err) == (0, "")
    ours, theirs = (weights.load(tmp_path / name / "weights.npz") for name in ("D", "undisturbed"))
    assert all(ours[name].tobytes() == theirs[name].tobytes() for name in theirs)


def test_a_folder_with_other_files_does_not_count_as_the_trainings_own(command, tmp_path):
    (tmp_path / "D").mkdir()
    for name in ("ck", "checkbook"):
        (tmp_path / "D" / name).write_text("precious")
    code, _, err = command(*TRAIN, "--output", "D", "--checkpoint", "D/ck", "--resume")
    assert code == 2
    assert "not empty" in err


# Diverged


@pytest.mark.filterwarnings("ignore:the loss grows:gradlab.errors.TrainingWarning")
def test_a_training_that_diverges_says_so(command, blank):
    code, out, err = command(*TRAIN, "--learning-rate", "1e300", "--output", "D")
    assert code == 1
    assert "Written to D" in out
    assert "the training diverged" in err
    assert "lower --learning-rate 1e+300 to 0.1" in err


@pytest.mark.filterwarnings("ignore:the loss grows:gradlab.errors.TrainingWarning")
def test_a_comparison_that_diverges_is_written(command, blank, tmp_path):
    code, _, err = command(
        "compare", "--learning-rate", "1e200", "--layers", "3", "--iterations", "4", "--output", "D"
    )
    assert code == 1
    assert "central, autograd: the training diverged" in err
    assert json.loads((tmp_path / "D/summary.json").read_text())["runs"]


def test_numbers_that_are_not_finite_are_null_in_json(tmp_path):
    write = results.numbers_writer("check", {"a": [np.inf, 1.5], "b": float("nan")})
    write(tmp_path / "x.json")
    found = json.loads((tmp_path / "x.json").read_text())
    assert found["command"] == "check"
    assert found["a"] == [None, 1.5]
    assert found["b"] is None


# Messages


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["train", "--seed", "-1"], "--seed -1: give an integer from 0\n"),
        (["compare", "--backend", "central,autogad"], "did you mean 'autograd'?"),
        (["evaluate", "."], ".: is a folder; name the file, such as weights.npz in it"),
    ],
)
def test_messages_say_what_to_type(command, args, message):
    code, _, err = command(*args)
    assert code in (1, 2)
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("verb", ["train", "bench"])
def test_help_shows_flags_without_a_value(command, verb):
    _, out, _ = command(verb, "--help")
    assert "bool" not in out.lower()
