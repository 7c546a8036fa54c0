"""The command when something is wrong: one line, an exit code, no results lost."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from printed import one_line
from processes import PATIENCE, running

from gradlab import network, weights


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["compair"], "compair"),
        (["compare", "--iteration", "3"], "--iteration"),
        (["compare", "--iterations", "many"], "'--iterations': "),
        (["compare", "--iterations", "0"], "--iterations 0: give an integer from 1"),
        (["compare", "--backend", "centrall"], "did you mean 'central'?"),
        (["compare", "--backend", "central"], "two different backends"),
        (["compare", "--batch-size", "5000"], "--batch-size 5000: there are only 1437 samples"),
        (["train", "--epochs", "0"], "--epochs 0: give"),
        (["train", "--layers", "50;100"], "50;100"),
        (["train", "--layers", "50,0"], "--layers 50,0: give widths"),
        (["train", "--layers", "9" * 5000], "99: give widths such as"),
        (["train", "--epochs", "9" * 30], "give an integer from 1 to 10,000,000"),
        (["compare", "--iterations", "9" * 30], "give an integer from 1 to 10,000,000"),
        (["train", "--seed", "9" * 5000], "'--seed'"),
        (["train", "--activation", "sigmoida"], "did you mean 'sigmoid'?"),
        (["train", "--learning-rate", "-1"], "--learning-rate -1.0: give a positive"),
        (["train", "--learning-rate", "nan"], "--learning-rate nan"),
        (["train", "--momentum", "1"], "--momentum 1.0"),
        (["train", "--seed", "-3"], "--seed -3: give an integer from 0"),
        (["train", "--dataset", "digit"], "did you mean 'digits'?"),
        (["train", "--dataset", "cifar"], "digits, mnist"),
        (["train", "--subset", "0"], "--subset 0: give an integer from 1 to 1437"),
        (["train", "--subset", "2000"], "--subset 2000: give an integer from 1 to 1437"),
        (["train", "--resume"], "--resume: name the file, too, with --checkpoint PATH"),
        (["train", "--checkpoint-every", "3"], "--checkpoint-every 3: name the file, too"),
        (["train", "--checkpoint", "c", "--checkpoint-every", "0"], "--checkpoint-every 0: give"),
        (["train", "--checkpoint", "."], "--checkpoint '.': is a folder; name a file"),
        (["train", "--json", "nowhere/x.json"], "there is no folder nowhere"),
        (["train", "--json", "."], "--json .: is a folder; name a file"),
        (["evaluate"], "WEIGHTS"),
    ],
)  # fmt: skip
def test_wrong_usage_is_one_line_and_exit_code_2(gradlab, tmp_path, args, says):
    code, out, err = gradlab(*args)
    assert says in one_line(err)
    assert (code, out) == (2, "")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["evaluate", "missing.npz"], "missing.npz: no such file"),
        (["evaluate", "weights.txt"], "unknown suffix '.txt'"),
        (["train", "--dataset", "missing.npz"], "missing.npz"),
        (["train", "--dataset", "mnist", "--data-dir", "missing"], "missing"),
        (["train", "--learning-rate", "1e300", "--activation", "relu"], "diverged at iteration"),
    ],
)
def test_a_run_that_fails_is_one_line_and_exit_code_1(gradlab, tmp_path, args, says):
    code, out, err = gradlab(*args)
    assert says in one_line(err)
    assert (code, out) == (1, "")
    assert not list(tmp_path.iterdir())


def test_a_run_that_fails_leaves_other_folders_alone(gradlab, tmp_path):
    (tmp_path / "mine").mkdir()
    for output in ("mine", "made/of/many"):
        assert gradlab("train", "--momentum", "1", "--output", output)[0] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ((784, 10), "w.npz: a network from 784 inputs to 10 classes, but digits has 64 inputs"),
        ((64, 7), "w.npz: a network from 64 inputs to 7 classes, but digits has 64 inputs"),
    ],
)
def test_weights_that_do_not_fit_the_data(gradlab, tmp_path, sizes, says):
    weights.save(tmp_path / "w.npz", network.init(sizes))
    code, _, err = gradlab("evaluate", "w.npz")
    assert says in one_line(err)
    assert code == 1


def test_a_file_of_arrays_that_is_not_a_network(gradlab, tmp_path):
    weights.save(tmp_path / "w.npz", {"A": np.eye(3)})
    code, _, err = gradlab("evaluate", "w.npz")
    assert "w.npz: A: not a parameter of a network" in one_line(err)
    assert code == 1


def test_results_are_never_written_over_others(gradlab, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/weights.npz").write_text("precious")
    code, _, err = gradlab("train", "--epochs", "1", "--output", "full")
    assert "not empty" in one_line(err)
    assert code == 2
    assert (tmp_path / "full/weights.npz").read_text() == "precious"


def test_an_output_that_is_a_file(gradlab, tmp_path):
    (tmp_path / "file").write_text("precious")
    code, _, err = gradlab("demo", "--output", "file")
    assert "--output file: is a file; name another folder" in one_line(err)
    assert code == 2


UNDER_WAY = """
import itertools, signal
from gradlab import network
from gradlab.command.main import main

# Whoever runs the suite in the background may have had Ctrl-C ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
calls, evaluate = itertools.count(), network.loss

def loss(*args, **options):
    if next(calls) == 100:  # in every backend, some steps are done
        print("under way", flush=True)
    return evaluate(*args, **options)

network.loss = loss
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to one process")
@pytest.mark.parametrize("verb", ["compare", "train"])
def test_ctrl_c_keeps_what_was_reached(tmp_path, verb):
    endless = {"compare": ["--iterations", "1000000"], "train": ["--epochs", "1000000"]}[verb]
    with running(
        [sys.executable, "-c", UNDER_WAY, verb, *endless, "--output", "out"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "under way\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    last = err.splitlines(keepends=True)[-1]  # after a warning of a loss that is not replayed
    assert "interrupted" in one_line(last)
    assert "Written to out" in out
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names >= ({"summary.json"} if verb == "compare" else {"weights.npz", "history.json"})
