"""The command: what each verb shows and writes."""

import itertools
import json
import re
import warnings

import numpy as np
import pytest
from optional import LIBRARIES, each_backend
from printed import PNG, one_line

from gradlab import BACKENDS, __version__, datasets, files, network, weights
from gradlab.command.application import NEXT_STEPS, app

VERBS = {command.name or command.callback.__name__ for command in app.registered_commands}

QUICK = ("--layers", "4", "--iterations", "3", "--batch-size", "20")


# What works


def test_without_a_verb_the_command_suggests_the_next_step(gradlab):
    code, out, err = gradlab()
    assert (code, err) == (0, "")
    assert "Start with gradlab compare" in out
    assert all(f"gradlab {command} " in out for command in NEXT_STEPS)
    assert {command.split()[0] for command in NEXT_STEPS} == VERBS
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


@pytest.mark.parametrize(
    "verb", ["compare", "train", "diagnose", "evaluate", "check", "bench", "demo"]
)
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


@pytest.mark.usefixtures("drawn")
def test_compare(gradlab, tmp_path):
    code, out, err = gradlab("compare", *QUICK, "--output", "results", "--json", "numbers.json")
    assert (code, err) == (0, "")
    assert "64-4-10, 310 parameters" in out
    for row in (
        "test loss",
        "test accuracy",
        "seconds per gradient",
        "times faster",
        "evaluations per gradient",
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


def test_compare_marks_estimates(gradlab, tmp_path):
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
        "average: no single one can be checked; check a backend that does not estimate, such as "
        "autograd\n"
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


@pytest.mark.usefixtures("drawn")
def test_train_then_evaluate(gradlab, tmp_path):
    code, out, err = gradlab(
        "train", "--layers", "16", "--activation", "tanh", "--epochs", "5", "--output", "run"
    )
    assert (code, err) == (0, "")
    assert "digits, 64-16-10" in out
    run = tmp_path / "run"
    assert sorted(path.name for path in run.iterdir()) == [
        "curves.png", "history.json", "norms.png", "weights.npz"
    ]  # fmt: skip
    history = json.loads((run / "history.json").read_text())
    assert [epoch["epoch"] for epoch in history["epochs"]] == [1, 2, 3, 4, 5]
    assert len(history["losses"]) == 5 * 15
    test = datasets.load("digits").test
    trained = weights.load(run / "weights.npz")
    assert history["accuracy"] == network.accuracy(trained, *test, activation="tanh") > 0.7

    # The file of the weights has the activation of their training.
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


def test_train_on_a_users_data(gradlab, tmp_path):
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
    assert not (tmp_path / "e/misclassified.png").exists()  # the data are no pictures


def test_no_hidden_layers(gradlab):
    code, out, _ = gradlab("train", "--layers", "", "--epochs", "1")
    assert code == 0
    assert "64-10" in out


@pytest.mark.usefixtures("drawn")
def test_demo_shows_the_notebooks_numbers(gradlab, tmp_path):
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


def test_a_training_continues_from_its_checkpoint(gradlab, tmp_path, monkeypatch):
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
        f"interrupted: the weights are those that were reached; --resume continues from {path}"
        in (one_line(err))
    )
    code, _, err = gradlab(*TRAIN, *keep)
    assert code == 2
    assert "already exists; continue from it with --resume" in one_line(err)
    code, _, err = gradlab(*TRAIN, *keep, "--resume", "--momentum", "0.5")
    assert code == 2
    assert f"--checkpoint '{path}' belongs to another training (momentum was 0.9 and is 0.5)" in (
        one_line(err)
    )
    assert trained(gradlab, tmp_path, "resumed", *keep, "--resume") == undisturbed
    # After a kill during the writing, it writes its results again, but never over others.
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
    assert "continuing from the previous one" in err
