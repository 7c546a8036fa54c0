"""``gradlab compare --over``: optimisers, learning rates, activations, initialisations."""

import json
from functools import partial

import pytest
from printed import one_line

from gradlab import compare_trainings, datasets, network, optim

SMALL = ("--layers", "5", "--subset", "150", "--iterations", "6", "--seeds", "2", "--seed", "7")
OVER = ("compare", "--over")


def compared(gradlab, tmp_path, *args):
    code, out, err = gradlab(*OVER, *args, *SMALL, "--output", tmp_path / "run")
    assert (code, err) == (0, "")
    with_layers = args[0] in ("activation", "initialisation")
    written = {"summary.json", "losses.png"} | ({"activations.png"} if with_layers else set())
    assert {path.name for path in (tmp_path / "run").iterdir()} == written
    return out, json.loads((tmp_path / "run" / "summary.json").read_text())


def wanted(values):
    """Return the library's results for values of an activation, a scale and an optimiser."""
    data = datasets.load("digits", subset=150)

    def options(activation="sigmoid", scale=None, optimizer=None):
        start = partial(network.init, [64, 5, 10], activation=activation, scale=scale)
        return {
            "loss": partial(network.loss, activation=activation),
            "accuracy": partial(network.accuracy, activation=activation),
            "params": start,
            "optimizer": optimizer or optim.sgd(0.1, 0.9),
        }

    return compare_trainings(
        None,
        None,
        data.train,
        values={name: options(**given) for name, given in values.items()},
        test=data.test,
        seeds=[7, 8],
        iterations=6,
        batch_size=50,
        backend="tape",
    ).summary()["values"]


CASES = {
    "optimizer --values sgd,momentum,adam:0.01 --momentum 0.5": {
        "sgd": {"optimizer": optim.sgd(0.1)},
        "momentum": {"optimizer": optim.sgd(0.1, 0.5)},
        "adam:0.01": {"optimizer": optim.adam(0.01)},
    },
    "optimizer": {
        "sgd": {"optimizer": optim.sgd(0.1)},
        "momentum": {},
        "adagrad": {"optimizer": optim.adagrad(0.05)},
        "rmsprop": {"optimizer": optim.rmsprop(0.001)},
        "adam": {"optimizer": optim.adam(0.001)},
    },
    "learning-rate --values 0.1,1 --optimizer adam": {
        "0.1": {"optimizer": optim.adam(0.1)},
        "1": {"optimizer": optim.adam(1.0)},
    },
    "activation --values tanh,relu": {
        "tanh": {"activation": "tanh"},
        "relu": {"activation": "relu"},
    },
    "initialisation --activation relu --learning-rate 0.2": {
        name: {"scale": scale, "activation": "relu", "optimizer": optim.sgd(0.2, 0.9)}
        for name, scale in {"0.01": 0.01, "xavier": "xavier", "he": "he"}.items()
    },
}


@pytest.mark.parametrize("options", CASES)
@pytest.mark.usefixtures("drawn")
def test_the_numbers_are_those_of_the_library(gradlab, tmp_path, options):
    out, summary = compared(gradlab, tmp_path, *options.split())
    library = wanted(CASES[options])
    assert [value["value"] for value in summary["values"]] == list(CASES[options])
    for found, expected in zip(summary["values"], library, strict=True):
        for a, b in zip(found["runs"], expected["runs"], strict=True):
            assert a["seed"] == b["seed"]
            assert a["losses"] == pytest.approx(b["losses"], rel=1e-9)
            assert a["loss"] == pytest.approx(b["loss"], rel=1e-9)
            assert a["accuracy"] == b["accuracy"]
        assert found["value"] in out
    assert f"{summary['best']} has the lowest test loss" in out
    assert summary["options"]["seeds"] == [7, 8]


@pytest.mark.filterwarnings("ignore::gradlab.errors.TrainingWarning")
def test_a_value_that_diverges_is_in_the_table(gradlab, tmp_path):
    diverging = ("learning-rate", "--values", "0.1,1e300", "--activation", "relu")
    out, summary = compared(gradlab, tmp_path, *diverging)
    assert "2 of 2" in out
    assert [value["diverged"] for value in summary["values"]] == [0, 2]


@pytest.mark.filterwarnings("ignore::gradlab.errors.TrainingWarning")
@pytest.mark.parametrize("activation", ["relu", "sigmoid"])  # the sigmoid's losses stay finite
def test_where_every_training_diverges_the_run_has_failed(gradlab, activation):
    diverging = ("learning-rate", "--values", "1e299,1e300", "--activation", activation)
    code, out, err = gradlab(*OVER, *diverging, *SMALL)
    assert code == 1
    assert "every training diverged" in one_line(err)
    assert "Written to" in out


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ("--values 1,2", "--values 1,2: add --over, one of optimizer, learning-rate"),
        ("--seeds 3", "--seeds 3: add --over"),
        ("--optimizer adam", "--optimizer adam: add --over"),
        (
            "--over optimiser",
            "--over optimiser: unknown axis 'optimiser': did you mean 'optimizer'?",
        ),
        ("--over optimizer --values adam", "--values adam: name two different values or more"),
        ("--over optimizer --values sgd,sgd", "--values sgd,sgd: name two different values"),
        (
            "--over optimizer --values sgd,adm",
            "--values adm: unknown optimizer 'adm': did you mean",
        ),
        ("--over optimizer --values sgd,lbfgs", "--values lbfgs: unknown optimizer 'lbfgs'"),
        ("--over optimizer --values sgd,adam:x", "--values adam:x: give a positive number"),
        (
            "--over optimizer --optimizer adam",
            "--optimizer adam: --over optimizer compares several",
        ),
        ("--over optimizer --values sgd,adam --momentum 0.5", "--momentum 0.5: add momentum to"),
        ("--over activation --activation relu", "--activation relu: --over activation compares"),
        ("--over activation --values relu,tan", "--values tan: unknown activation 'tan'"),
        ("--over activation --optimizer lbfgs", "--optimizer lbfgs: unknown optimizer"),
        (
            "--over activation --optimizer adam --momentum 0.5",
            "--momentum 0.5: adam takes no momentum",
        ),
        ("--over activation --momentum 1", "--momentum 1.0: give"),
        ("--over learning-rate --learning-rate 1", "--learning-rate 1.0: --over learning-rate"),
        ("--over learning-rate --values 1,-1", "--values -1: give a positive number"),
        ("--over learning-rate --values 1,nan", "--values nan: give a positive number"),
        ("--over initialisation --values he,hee", "--values hee: choose xavier, he, normal or"),
        ("--over activation --seeds 0", "--seeds 0: give an integer from 1 to 1,000"),
        ("--over activation --seed -1", "--seed -1: give an integer from 0"),
        ("--over activation --iterations 0", "--iterations 0: give an integer from 1"),
        (
            "--over activation --backend central,tape",
            "--backend central,tape: with --over, give one",
        ),
        ("--over activation --backend tap", "did you mean 'tape'?"),
    ],
)
def test_wrong_options_are_one_line_and_exit_code_2(gradlab, tmp_path, args, says):
    code, out, err = gradlab("compare", *args.split())
    assert says in one_line(err)
    assert (code, out) == (2, "")
    assert not list(tmp_path.iterdir())
