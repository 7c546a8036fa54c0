"""The command: what each verb shows and writes, and how it ends when something is wrong."""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import warnings
from functools import partial

import numpy as np
import pytest
from optional import LIBRARIES, each_backend
from processes import PATIENCE, running

from gradlab import (
    BACKENDS,
    __version__,
    check_gradients,
    datasets,
    files,
    network,
    weights,
)
from gradlab.command.application import NEXT, app
from gradlab.command.main import main

PNG = b"\x89PNG"
VERBS = {command.name or command.callback.__name__ for command in app.registered_commands}


@pytest.fixture
def gradlab(capsys, monkeypatch, tmp_path):
    """Run the command in an empty folder; return its exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")

    def run(*args):
        monkeypatch.setattr("sys.argv", ["gradlab", *map(str, args)])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return stop.value.code, captured.out, captured.err

    return run


QUICK = ("--layers", "4", "--iterations", "3", "--batch-size", "20")


# What works


def test_alone_it_shows_what_there_is_to_do(gradlab):
    code, out, err = gradlab()
    assert (code, err) == (0, "")
    assert "Start with gradlab compare" in out
    assert all(f"gradlab {command} " in out for command in NEXT)
    assert {command.split()[0] for command in NEXT} == VERBS
    assert max(len(line.rstrip()) for line in out.splitlines()) <= 79


def test_help_lists_all_verbs(gradlab):
    code, out, err = gradlab("--help")
    assert (code, err) == (0, "")
    assert all(re.search(rf"^│ {verb} ", out, re.MULTILINE) for verb in VERBS)
    assert "--install-completion" in out


def completions(gradlab, monkeypatch, *words):
    monkeypatch.setenv("_GRADLAB_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", " ".join(["gradlab", *words]))
    monkeypatch.setenv("COMP_CWORD", str(len(words)))
    code, out, err = gradlab()
    assert (code, err) == (0, "")
    return set(out.split())


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["tr"], {"train"}),
        (["compare", "--back"], {"--backend"}),
        (["compare", "--backend", "central"], {"central", "central4"}),
        (["train", "--backend", "auto"], {"autograd", "autograd-forward"}),
        (["check", "--backend", "ri"], {"richardson"}),
        (["train", "--dataset", ""], {"digits", "mnist"}),
        (["evaluate", "--activation", "re"], {"relu"}),
        (["check", "--mode", "e"], {"entries"}),
        (["bench", "sca"], {"scaling"}),
    ],
)
def test_the_tab_key_completes(gradlab, monkeypatch, words, wanted):
    assert completions(gradlab, monkeypatch, *words) == wanted


def test_the_tab_key_knows_all_backends(gradlab, monkeypatch):
    assert completions(gradlab, monkeypatch, "train", "--backend", "") == set(BACKENDS)


def test_version(gradlab):
    assert gradlab("--version") == (0, f"gradlab {__version__}\n", "")


@pytest.mark.parametrize("verb", ["compare", "train", "evaluate", "check", "bench", "demo"])
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_shows_an_example(gradlab, verb, flag):
    code, out, _ = gradlab(verb, flag)
    assert code == 0
    assert f"Example: gradlab {verb}" in out


@each_backend()
def test_every_backend_trains(gradlab, backend):
    options = [*QUICK[:2], *QUICK[4:], "--activation", "relu", "--subset", "40", "--epochs", "1"]
    code, out, err = gradlab("train", *options, "--backend", backend, "--output", "results")
    assert (code, err) == (0, "")
    assert "Test accuracy" in out


def test_compare(gradlab, tmp_path):
    code, out, err = gradlab("compare", *QUICK, "--output", "results", "--json", "numbers.json")
    assert (code, err) == (0, "")
    assert "64-4-10, 310 parameters" in out
    for row in (
        "test loss",
        "test accuracy",
        "seconds a gradient",
        "times faster",
        "evaluations a gradient",
        "seconds by the plain loop",
        "largest gradient difference",
        "stayed together",
    ):
        assert row in out  # fmt: skip
    assert "times faster than central" in out
    assert "Written to results: summary.json, losses.png" in out
    results = tmp_path / "results"
    assert sorted(path.name for path in results.iterdir()) == [
        "cost.png", "gradient_differences.png", "losses.png", "summary.json"
    ]  # fmt: skip
    assert all(path.read_bytes()[:4] == PNG for path in results.glob("*.png"))
    summary = json.loads((results / "summary.json").read_text())
    assert summary == json.loads((tmp_path / "numbers.json").read_text())
    central, autograd = summary["runs"]
    assert central["evaluations_per_gradient"] == 2 * 310 + 1
    assert central["evaluations_are_equivalent"]
    assert not autograd["evaluations_are_equivalent"]
    assert central["seconds_by_plain_loop"] > 0
    assert autograd["seconds_by_plain_loop"] is None
    assert autograd["evaluations_per_gradient"] == 1
    assert central["together"]
    assert summary["options"]["sizes"] == [64, 4, 10]
    assert summary["environment"]["numpy"] == np.__version__


def test_compare_takes_backends_by_name(gradlab):
    code, out, _ = gradlab("compare", *QUICK, "--backend", "forward", "--backend", "autograd")
    assert code == 0
    assert "forward" in out
    assert "central" not in out


def test_compare_tells_estimates_apart(gradlab, tmp_path):
    backends = ["--backend", "spsa", "--backend", "autograd", "--backend", "central"]
    code, out, err = gradlab("compare", *QUICK, *backends, "--json", "numbers.json")
    assert (code, err) == (0, "")
    assert "Apart from the estimates, the gradients agree to" in " ".join(out.split())
    assert "spsa: an estimate, right only on average." in " ".join(out.split())
    (row,) = [line for line in out.splitlines() if "stayed together" in line]
    assert [cell.strip() for cell in row.split("│")[2:-1]] == ["estimate", "reference", "yes"]
    runs = json.loads((tmp_path / "numbers.json").read_text())["runs"]
    assert [run["is_estimate"] for run in runs] == [True, False, False]
    assert runs[0]["largest_gradient_difference"] > 1


def test_compare_of_estimates_alone(gradlab):
    code, out, _ = gradlab("compare", *QUICK, "--backend", "spsa", "--backend", "forward-gradient")
    assert code == 0
    assert "agree" not in out
    assert "spsa and forward-gradient: an estimate" in " ".join(out.split())


@pytest.mark.parametrize("backend", ["spsa", "forward-gradient"])
def test_check_refuses_estimates(gradlab, backend):
    code, out, err = gradlab("check", "--network", "64,4,10", "--backend", backend)
    assert (code, out) == (2, "")
    assert err == (
        f"gradlab: digits, 64-4-10: {backend} estimates gradients, which are right only on "
        "average: no single one can be checked; check a backend that is none, such as autograd\n"
    )


@each_backend(LIBRARIES)
def test_check_takes_a_librarys_gradient(gradlab, backend):
    code, out, err = gradlab("check", "--network", "64,4,10", "--backend", backend)
    assert (code, err) == (0, "")
    assert "agree: " in out


def test_results_go_to_a_new_folder_each_time(gradlab, tmp_path):
    for _ in range(2):
        assert gradlab("demo")[0] == 0
    assert len(list((tmp_path / "gradlab-runs").iterdir())) == 2


def test_train_then_evaluate(gradlab, tmp_path):
    code, out, err = gradlab(
        "train", "--layers", "16", "--activation", "tanh", "--epochs", "5", "--output", "run"
    )
    assert (code, err) == (0, "")
    assert "digits, 64-16-10" in out
    run = tmp_path / "run"
    assert sorted(path.name for path in run.iterdir()) == [
        "curves.png", "history.json", "weights.npz"
    ]  # fmt: skip
    history = json.loads((run / "history.json").read_text())
    assert [epoch["epoch"] for epoch in history["epochs"]] == [1, 2, 3, 4, 5]
    assert len(history["losses"]) == 5 * 15
    test = datasets.load("digits").test
    trained = weights.load(run / "weights.npz")
    assert history["accuracy"] == network.accuracy(trained, *test, activation="tanh") > 0.7

    # The weights remember the activation that they were trained with.
    code, out, err = gradlab(
        "evaluate", run / "weights.npz", "--output", "seen", "--json", "e.json"
    )
    assert (code, err) == (0, "")
    seen = json.loads((tmp_path / "e.json").read_text())
    assert seen["accuracy"] == history["accuracy"]
    assert f"Accuracy {history['accuracy']:.4f}" in out
    assert np.trace(seen["confusion"]) == seen["right"]
    assert np.sum(seen["confusion"]) == seen["samples"] == 360
    assert np.sum(seen["confusion"], axis=1).tolist() == np.bincount(test.y).tolist()
    assert sorted(path.name for path in (tmp_path / "seen").iterdir()) == [
        "confusion.png", "misclassified.png", "summary.json"
    ]  # fmt: skip


def test_train_is_deterministic(gradlab, tmp_path):
    for folder in ("a", "b"):
        gradlab("train", "--epochs", "1", "--seed", "3", "--output", folder)
    assert (tmp_path / "a/weights.npz").read_bytes() == (tmp_path / "b/weights.npz").read_bytes()


def test_train_on_data_of_ones_own(gradlab, tmp_path):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 3))
    np.savez(tmp_path / "mine.npz", x=x, y=(x[:, 0] > 0).astype(int))
    code, out, err = gradlab("train", "--dataset", "mine.npz", "--output", "r", "--json", "r.json")
    assert (code, err) == (0, "")
    assert "3-50-2" in out
    # Fewer samples than the usual batch are one batch.
    assert json.loads((tmp_path / "r.json").read_text())["options"]["batch_size"] == 48
    code, _, err = gradlab("evaluate", "r/weights.npz", "--dataset", "mine.npz", "--output", "e")
    assert (code, err) == (0, "")
    assert not (tmp_path / "e/misclassified.png").exists()  # no pictures, no picture of them


def test_no_hidden_layers(gradlab):
    code, out, _ = gradlab("train", "--layers", "", "--epochs", "1")
    assert code == 0
    assert "64-10" in out


def test_demo_tells_the_notebooks_numbers(gradlab, tmp_path):
    code, out, err = gradlab("demo", "--output", "story")
    assert (code, err) == (0, "")
    for number in ("0.0975", "0.5975", "0.510825457099338", "2.30258409299454"):
        assert number in out
    told = json.loads((tmp_path / "story/summary.json").read_text())
    assert np.allclose(told["descent"]["path"][-1], 0)
    assert len(list((tmp_path / "story").glob("*.png"))) == 4


def test_the_notebooks_weights_and_accuracy(gradlab, data_dir, tmp_path):
    code, out, err = gradlab(
        "evaluate", data_dir / "mnist_weight.pkl", "--dataset", "mnist", "--data-dir", data_dir,
        "--json", "e.json",
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert "Accuracy 0.9352: 9,352 of 10,000" in out
    assert json.loads((tmp_path / "e.json").read_text())["accuracy"] == 0.9352


@pytest.mark.slow
def test_mnist_is_learned_to_97_percent_by_default(gradlab, data_dir, tmp_path):
    code, _, err = gradlab(
        "train", "--dataset", "mnist", "--layers", "50,100", "--data-dir", data_dir,
        "--json", "h.json",
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert json.loads((tmp_path / "h.json").read_text())["accuracy"] >= 0.97


TRAIN = ("train", "--layers", "5", "--subset", "200", "--epochs", "4", "--batch-size", "30")


def trained(gradlab, tmp_path, name, *options):
    code, _, err = gradlab(*TRAIN, "--output", name, *options)
    assert (code, err) == (0, "")
    return (tmp_path / name / "weights.npz").read_bytes()


def test_a_training_goes_on_from_its_checkpoint(gradlab, tmp_path, monkeypatch):
    undisturbed = trained(gradlab, tmp_path, "undisturbed")
    path = tmp_path / "checkpoint"
    replace, writings = files.replace, itertools.count()

    def die_at_the_third(*args, **kwargs):
        if next(writings) == 2:
            raise KeyboardInterrupt
        replace(*args, **kwargs)

    keep = ("--checkpoint", path, "--checkpoint-every", 5)
    with monkeypatch.context() as dying:
        dying.setattr(files, "replace", die_at_the_third)
        code, _, err = gradlab(*TRAIN, "--output", "dead", *keep)
    assert code == 130
    assert (
        f"interrupted: the weights are those that were reached; --resume goes on from {path}"
        in (one_line(err))
    )
    code, _, err = gradlab(*TRAIN, *keep)
    assert code == 2
    assert "there is one already; go on from it with --resume" in one_line(err)
    code, _, err = gradlab(*TRAIN, *keep, "--resume", "--momentum", "0.5")
    assert code == 2
    assert f"--checkpoint '{path}' belongs to another training (momentum was 0.9 and is 0.5)" in (
        one_line(err)
    )
    assert trained(gradlab, tmp_path, "resumed", *keep, "--resume") == undisturbed
    # Killed before all of its results were written, it writes them again; but over no others.
    (tmp_path / "resumed" / "weights.npz").unlink()
    assert trained(gradlab, tmp_path, "resumed", *keep, "--resume") == undisturbed
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "weights.npz").touch()
    for name in ("undisturbed", "others"):
        code, _, err = gradlab(*TRAIN, *keep, "--resume", "--output", name, "--seed", "1")
        assert "not empty" in one_line(err)
    path.write_bytes(path.read_bytes()[:-1])
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        code, _, err = gradlab(*TRAIN, *keep, "--resume")
    assert code == 0
    assert "damaged, or cut short" in one_line(err)
    assert "going on from the one before it" in err


# Checking

LOSSES = """
import numpy as np

x, y = np.random.default_rng(0).standard_normal((8, 3)), np.ones(8)

def loss(w, x, y):
    return ((x @ w - y) ** 2).mean()

def gradient(w, x, y):
    return 2 * x.T @ (x @ w - y) / len(x)

def summed(w, x, y):
    return 2 * x.T @ (x @ w - y)

def relu(w, x, y):
    return np.maximum(w, 0).sum()

def step(w, x, y):
    return 1.0 * (w > 0)

def buried(w, x, y):
    return 1e17 + loss(w, x, y)

def steps(w, x, y):
    w += 1
    return loss(w, x, y)

def raises(w, x, y):
    raise ValueError("no [bold]luck[/] :boom:")

def nothing(w, x, y):
    return np.log(-np.abs(w)).sum()

params = np.array([0.5, 2.0, 3.0])
edge = np.array([0.0, 2.0, -3.0])
args = (x, y)
short = np.ones(2)
"""


@pytest.fixture
def losses(tmp_path):
    (tmp_path / "losses.py").write_text(LOSSES)


@pytest.mark.usefixtures("losses")
@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["loss"], 0, "losses.py:loss against gradient\nagree: "),
        (["loss", "--backend", "autograd"], 0, "losses.py:loss against autograd\nagree: "),
        (["loss", "--mode", "directional"], 0, "directions  through all 3 entries"),
        (["loss", "--gradient", "summed"], 1, "8 times too large: a sum for a mean?"),
        (["loss", "--gradient", "params"], 1, "mismatch: all 3 entries"),
        (["relu", "--gradient", "step", "--params", "edge"], 0, "kink: "),
        (["buried"], 1, "inconclusive: "),
    ],
)
def test_check_a_loss_of_ones_own(gradlab, args, code, says):
    function, *rest = args
    found, out, err = gradlab("check", f"losses.py:{function}", *rest)
    assert (found, err) == (code, "")
    assert says in out
    assert not any(line != line.rstrip() for line in out.splitlines())


@pytest.mark.usefixtures("losses")
@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["losses.py"], "'losses.py' is no target: give module:function"),
        (["losses:los"], "losses: unknown function 'los': did you mean 'loss'?"),
        (["no.py:loss"], "no.py: no such file"),
        (["losses.py:loss", "--params", "short"], "losses.py:loss: ValueError: matmul"),
        (["losses.py:loss", "--gradient", "short"], "params has shape (2,) in the gradient"),
        (["losses.py:loss", "--gradient", "grad"], "unknown gradient 'grad': did you mean"),
        (["losses.py:steps"], "losses.py, line 25: "),
        (["losses.py:raises"], "raises: ValueError: no [bold]luck[/] :boom: (losses.py, line 29"),
        (["losses.py:nothing"], "losses.py:nothing: the loss is nan"),
        (["losses.py:loss", "--backend", "autogrd"], "did you mean 'autograd'?"),
        (["losses.py:loss", "--mode", "fast"], "--mode 'fast': choose auto, entries or"),
        (["losses.py:loss", "--seed", "-1"], "--seed -1: give an integer from 0"),
        (["losses.py:loss", "--plot", "x.gif"], "--plot x.gif: name a file that ends in .png"),
        (["losses.py:loss", "--json", "no/x.json"], "--json no/x.json: there is no folder no"),
        (["losses.py:loss", "--network", "64,10"], "give either a TARGET"),
        ([], "give either a TARGET, such as losses.py:loss, or --network 64,32,10"),
        (["losses.py:loss", "--gradient", "a", "--backend", "central"], "--gradient a: give it"),
        (["--network", "64,10", "--gradient", "a"], "--gradient a: give it with a TARGET"),
        (["--network", "64;10"], "--network 64;10: give widths such as 64,32,10"),
        (["--network", "10"], "--network 10: digits has 64 inputs and 10 classes"),
        (["--network", "60,10"], "--network 60,10: digits has 64 inputs and 10 classes"),
        (["--network", "64,10", "--samples", "0"], "--samples 0: give an integer from 1 to 1437"),
    ],
)
def test_what_cannot_be_checked_is_one_line_and_exit_code_2(gradlab, tmp_path, args, says):
    code, out, err = gradlab("check", *args)
    assert says in one_line(err)
    assert (code, out) == (2, "")
    assert [path.name for path in tmp_path.iterdir() if path.name != "__pycache__"] == ["losses.py"]


def test_check_gradlabs_own_network(gradlab, tmp_path):
    code, out, err = gradlab(
        "check", "--network", "64,5,10", "--activation", "tanh", "--samples", "7", "--seed", "3",
        "--json", "check.json", "--plot", "check.png",
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert "digits, 64-5-10 against autograd\nagree: " in out
    told = json.loads((tmp_path / "check.json").read_text())
    assert told["command"] == "check"
    assert told["verdict"] == "agree"
    assert told["size"] == len(told["entries"]) == 64 * 5 + 5 + 5 * 10 + 10
    assert told["target"] == "digits, 64-5-10 against autograd"
    split = datasets.load("digits").train
    params = network.init([64, 5, 10], 3, activation="tanh")
    report = check_gradients(
        partial(network.loss, activation="tanh"), params, split.x[:7], split.y[:7], seed=3
    )
    assert told["entries"] == json.loads(json.dumps(report.to_dict()["entries"]))
    for name in ("check.png", "check-map.png"):
        assert (tmp_path / name).read_bytes()[:4] == PNG


@pytest.mark.usefixtures("losses")
def test_a_plot_can_be_a_drawing(gradlab, tmp_path):
    assert gradlab("check", "losses.py:loss", "--plot", "a.svg")[0] == 0
    assert "<svg" in (tmp_path / "a-map.svg").read_text()


# What is wrong ends in one line


def one_line(err):
    assert err.startswith("gradlab: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err


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


def test_a_file_of_arrays_that_is_no_network(gradlab, tmp_path):
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
    assert "--output file" in one_line(err)
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
    last = err.splitlines(keepends=True)[-1]  # before it, that a loss which counts is not replayed
    assert "interrupted" in one_line(last)
    assert "Written to out" in out
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names >= ({"summary.json"} if verb == "compare" else {"weights.npz", "history.json"})
