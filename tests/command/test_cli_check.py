"""`gradlab check`: losses from the user's files, verdicts, exit codes."""

import json
from functools import partial

import pytest
from printed import PNG, one_line

from gradlab import check_gradients, datasets, network

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
def test_check_a_users_loss(gradlab, args, code, says):
    function, *rest = args
    found, out, err = gradlab("check", f"losses.py:{function}", *rest)
    assert (found, err) == (code, "")
    assert says in out
    assert not any(line != line.rstrip() for line in out.splitlines())


@pytest.mark.usefixtures("losses")
@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["losses.py"], "'losses.py' does not name a loss: give module:function"),
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
def test_an_impossible_check_is_one_line_and_exit_code_2(gradlab, tmp_path, args, says):
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
