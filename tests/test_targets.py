"""Targets given as text: found in modules and files, and named if they are missing."""

import sys

import numpy as np
import pytest

from gradlab import targets
from gradlab.errors import LossError, OptionError

SOURCE = """
import numpy as np
from sibling import rate

def loss(w, x):
    return rate * ((x @ w) ** 2).mean()

def gradient(w, x):
    return rate * 2 * x.T @ (x @ w) / len(x)

def wrong(w, x):
    return w

def start():
    return {"w": np.ones(2)}

def draws():
    raise KeyError("no data")

def leaves():
    import sys
    sys.exit(3)

def needs(n):
    return np.ones(n)

params = np.array([1.0, 2.0, 3.0])
args = (np.eye(3),)
batch = [np.ones((2, 3))]
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    for place in (tmp_path, tmp_path / "sub"):
        (place / "sibling.py").write_text("rate = 0.5\n")
        (place / "mine.py").write_text(SOURCE)
    (tmp_path / "bare.py").write_text("def loss(w):\n    return w * w\n\nparams = 3.0\n")
    (tmp_path / "json.py").write_text("def loss(w):\n    return w\n\nparams = 3.0\n")
    (tmp_path / "broken.py").write_text("def loss(:\n")
    (tmp_path / "stops.py").write_text("x = 1\n1 / 0\n")
    (tmp_path / "lacks.py").write_text("import a_module_that_is_not_there\n")
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize("name", ["mine:loss", "mine.py:loss", "sub/mine.py:loss", "sub.mine:loss"])
def test_a_module_gives_everything_by_name(folder, name):
    path = list(sys.path)
    found = targets.load(name)
    assert found.name == name
    assert np.array_equal(found.params, [1.0, 2.0, 3.0])
    assert np.array_equal(found.args[0], np.eye(3))
    assert found.loss(found.params, *found.args) == pytest.approx(7 / 3)
    assert np.allclose(found.gradient(found.params, *found.args), found.params / 3)
    assert sys.path == path


def test_other_names(folder):
    found = targets.load("mine:loss", params="start", args="batch", gradient="wrong")
    assert found.params["w"].tolist() == [1.0, 1.0]
    assert found.args[0].shape == (2, 3)
    assert found.gradient.__name__ == "wrong"


def test_optional_names(folder):
    found = targets.load("bare:loss")
    assert (found.params, found.args, found.gradient) == (3.0, (), None)


def test_a_file_may_have_the_name_of_an_imported_module(folder):
    import json

    assert targets.load("json.py:loss").loss(2.0) == 2.0
    assert sys.modules["json"] is json


@pytest.mark.parametrize(
    ("name", "names", "says"),
    [
        ("mine", {}, "'mine' does not name a loss: give module:function or file.py:function"),
        ("mine:", {}, "'mine:' does not name a loss"),
        (":loss", {}, "':loss' does not name a loss"),
        ("mime:loss", {}, "mime: there is no such module"),
        ("mime.py:loss", {}, "mime.py: no such file"),
        ("sub:loss", {}, "sub: has no 'loss'"),
        ("sub.mime:loss", {}, "sub.mime: there is no such module"),
        ("sub/mine:loss", {}, "sub/mine: there is no such module; for the file, give sub/mine.py"),
        ("mine:lost", {}, "mine: unknown function 'lost': did you mean 'loss'?"),
        ("mine:params", {}, "mine:params is ndarray, not a function"),
        ("mine:loss", {"params": "begin"}, "mine has no 'begin' to check loss at"),
        ("mine:loss", {"gradient": "wong"}, "unknown gradient 'wong': did you mean 'wrong'?"),
        ("mine:loss", {"args": "bat"}, "mine: unknown name 'bat'"),
        ("mine:loss", {"args": "params"}, "mine: params is ndarray; give a tuple of loss"),
        ("mine:loss", {"params": "draws"}, r"mine: draws(): KeyError: 'no data' (mine.py, line 18"),
        ("mine:loss", {"params": "leaves"}, "mine: leaves(): SystemExit: 3 (mine.py, line 22"),
        ("mine:loss", {"params": "needs"}, "mine: needs(): TypeError: needs() missing 1"),
        ("broken:loss", {}, "broken: SyntaxError: invalid syntax (broken.py, line 1)"),
        ("broken.py:loss", {}, "broken.py: SyntaxError: invalid syntax (broken.py, line 1)"),
        ("stops:loss", {}, "stops: ZeroDivisionError: division by zero (stops.py, line 2)"),
        ("lacks:loss", {}, "lacks: ModuleNotFoundError: No module named 'a_module_that_is_not"),
    ],
)
def test_errors_are_one_line(folder, name, names, says):
    with pytest.raises(OptionError) as raised:
        targets.load(name, **names)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


def test_blame_passes_gradlabs_own_errors_and_repeats_notes():
    with pytest.raises(LossError), targets.one_line_error("mine"):
        raise LossError("no loss")
    error = ValueError("a\n b")
    error.add_note("c")
    says = r"^mine: ValueError: a b \(test_targets.py, line \d+; c\)$"
    with pytest.raises(OptionError, match=says), targets.one_line_error("mine"):
        raise error
