"""Text from files reaches the terminal as text: no escape sequences, no markup."""

import io
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from gradlab import network, plotting, weights
from gradlab.command import console, neutral
from gradlab.command.main import main

ESCAPES = "\x1b[31m", "\x9b31m", "\x1b]0;title\x07", "\x08", "\r", "\u202e", "\u2028", "\udcff"
MARKUP = "[red]", "[/red]", "[/]", "[/b]", "[a]", ":boom:", "[link=file:///]", "\\[", "[@click=x]"
HOSTILE = st.lists(st.sampled_from([*ESCAPES, *MARKUP, "a", " "]), max_size=6).map("".join)


def printed(make, **options):
    """Return the text sent to a terminal without colours."""
    file = io.StringIO()
    options = {"force_terminal": True, "color_system": None, "width": 500} | options
    neutral.NeutralConsole(file=file, **options).print(make)
    return file.getvalue()


def in_a_table(text):
    table = Table(text, title=text, caption=text)
    table.add_column(Text(text), footer=text)
    table.add_row(text, Text(text))
    return table


@settings(max_examples=30, deadline=None)
@given(HOSTILE)
def test_no_printed_text_controls_the_terminal(text):
    for thing in (text, Text(text), in_a_table(text), Panel(text), Text.assemble(text)):
        out = printed(thing).replace("\x1b[3m", "").replace("\x1b[2;3m", "").replace("\x1b[1m", "")
        out = out.replace("\x1b[2m", "").replace("\x1b[0m", "")  # titles and headings
        assert not neutral._CONTROL_CHARACTERS.search(out), repr(out)


@settings(max_examples=30, deadline=None)
@given(HOSTILE)
def test_a_text_is_printed_unchanged(text):
    shown = neutral.visible(text)
    assert printed(text) == f"{shown}\n"
    assert shown in printed(in_a_table(text))
    if not any(character in text for character in "\x08\r\x07"):  # which rich takes out of a Text
        assert printed(Text(text)) == f"{shown}\n"


@given(st.text())
def test_visible_text_is_the_text_unless_a_terminal_would_act_on_it(text):
    shown = neutral.visible(text, one_line=True)
    assert shown.isprintable() or shown == text or not neutral._CONTROL_CHARACTERS.search(shown)
    assert "\n" not in shown
    if text.isprintable():
        assert shown == text
    assert neutral.visible(shown, one_line=True) == shown


def test_styles_and_positions_are_still_sent():
    out = printed(Text("a", "bold red"), color_system="standard")
    assert out == "\x1b[1;31ma\x1b[0m\n"
    file = io.StringIO()
    terminal = neutral.NeutralConsole(file=file, force_terminal=True)
    with terminal.status(Text("checking \x1b[31mx")):
        pass
    assert "\x1b[?25l" in file.getvalue()  # hides the cursor
    assert "checking \\x1b[31mx" in file.getvalue()


def test_a_message_is_one_line(capsys):
    console.print_to_stderr("a\nb\x1b[2J[/b]")
    assert capsys.readouterr().err == "gradlab: a\\nb\\x1b[2J[/b]\n"


# The command


@pytest.fixture
def gradlab(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    # No figure prints to the terminal.
    monkeypatch.setattr(plotting, "save", lambda figure, path: path.touch())

    def run(*args):
        monkeypatch.setattr("sys.argv", ["gradlab", *map(str, args)])
        with pytest.raises(SystemExit) as stop:
            main()
        said = capsys.readouterr()
        assert not neutral._CONTROL_CHARACTERS.search(said.out + said.err)
        return stop.value.code, said.out, said.err

    return run


posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names of files")
SHORT = ("--epochs", "1", "--layers", "4")
NAME = "x[red]\x1b[31m[_b]\u202e"


def test_a_folder_has_the_name_that_it_was_given(gradlab, tmp_path):
    for name in ("run[a]:boom:", "[/b]"):
        code, out, err = gradlab("demo", "--output", name)
        assert (code, err) == (0, "")
        assert f"Written to {name}: summary.json" in out
        assert (tmp_path / name / "summary.json").exists()


@posix
def test_names_of_data_and_weights_are_shown(gradlab, tmp_path):
    x, y = np.random.default_rng(0).normal(size=(30, 2)), np.arange(30) % 3
    np.savez(tmp_path / f"{NAME}.npz", x=x, y=y)
    code, out, _ = gradlab("train", "--dataset", f"{NAME}.npz", "--output", NAME, *SHORT)
    assert code == 0
    assert "x[red]\\x1b[31m[_b]\\u202e.npz, 2-4-3" in out
    code, out, _ = gradlab("evaluate", f"{NAME}/weights.npz", "--dataset", f"{NAME}.npz")
    assert code == 0
    assert "samples of x[red]\\x1b[31m[_b]\\u202e.npz are classified right" in out


@posix
def test_errors_are_shown(gradlab, tmp_path):
    code, _, err = gradlab("evaluate", "a\n\x1b[2J[/b].npz")
    assert code == 1
    assert err == "gradlab: a\\n\\x1b[2J[/b].npz: no such file\n"
    code, _, err = gradlab("train", "--dataset", "\x1b[2J")
    assert code == 2
    assert err.count("\n") == 1
    (tmp_path / "losses.py").write_text(
        "params = 1.0\ndef loss(p): raise ValueError('[/b]\\x1b[2J\\nsecond')\n"
    )
    code, _, err = gradlab("check", "losses.py:loss")
    assert code == 2
    assert "[/b]\\x1b[2J" in err
    assert err.count("\n") == 1


def test_names_in_files_of_weights_are_shown(gradlab, tmp_path):
    np.savez(tmp_path / "w.npz", **{"W\x1b[2J[/b]": np.array([np.nan])})
    code, _, err = gradlab("evaluate", "w.npz")
    assert code == 1
    assert "x1b[2J[/b]" in err
    weights.save(tmp_path / "net.npz", {"[/b]": np.eye(3)})
    code, _, err = gradlab("evaluate", "net.npz")
    assert code == 1
    assert "net.npz: [/b]: not a parameter of a network" in err


def test_names_of_parameters_are_shown(gradlab, tmp_path):
    (tmp_path / "losses.py").write_text(
        "import numpy as np\nparams = {'[/b]\\x1b[2J': np.ones(2)}\n"
        "def loss(p): return sum((w**2).sum() for w in p.values())\n"
        "def gradient(p): return {k: 3 * w for k, w in p.items()}\n"
    )
    code, out, _ = gradlab("check", "losses.py:loss")
    assert code == 1
    assert "[/b]\\x1b[2J" in out


def test_evaluate_says_which_activation_it_assumes(gradlab, tmp_path):
    net = network.init([64, 5, 10])
    weights.save(tmp_path / "unsaid.npz", net)
    weights.save(tmp_path / "said.npz", net, metadata={"activation": "tanh"})
    weights.save(tmp_path / "linear.npz", network.init([64, 10]))
    np.savez(tmp_path / "own.npz", x=np.zeros((10, 64)), y=np.arange(10))
    own = ("--dataset", "own.npz")
    assumed = "which activation its hidden layers have: sigmoid is assumed; --activation names"
    assert assumed in gradlab("evaluate", "unsaid.npz", *own)[1]
    for args in (["said.npz"], ["linear.npz"], ["unsaid.npz", "--activation", "relu"]):
        code, out, _ = gradlab("evaluate", *args, *own)
        assert code == 0
        assert "assumed" not in out
