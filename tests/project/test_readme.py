"""The README: its code runs, its commands exist, its tables are complete."""

import doctest
import re
import shlex
from pathlib import Path

import pytest

from gradlab import BACKENDS
from gradlab.command.main import main

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
KOREAN = (ROOT / "README.ko.md").read_text(encoding="utf-8")


def blocks(language, text=README):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("text", "fewest"), [(README, 8), (KOREAN, 8)], ids=["en", "ko"])
def test_the_code_does_what_it_shows(text, fewest):
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    source = "\n".join(blocks("python", text))
    test = doctest.DocTestParser().get_doctest(source, {}, "README.md", "README.md", 0)
    assert len(test.examples) >= fewest
    printed = []
    runner = doctest.DocTestRunner(optionflags=flags)
    runner.run(test, out=printed.append)
    assert runner.failures == 0, "".join(printed)


def test_two_commands_each_one_line_that_makes_its_own_environment():
    commands = [line for block in blocks("sh") for line in block.splitlines()]
    assert commands == [
        "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/gradlab compare",
        'python3 -m venv .venv && .venv/bin/pip install -e ".[test]" && .venv/bin/pytest -n auto',
    ]


def test_continuous_integration_runs_these_commands_and_no_copy_of_them():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "README.md" in script
    assert 'bash -c "$tests"' in script
    assert 'bash -c "$compare"' in script
    assert 'pip install -e ".[test]"' not in script


@pytest.mark.parametrize("line", sorted(set(re.findall(r"`gradlab ([^`]+)`", README + KOREAN))))
def test_every_command_that_is_named_exists_with_its_options(line, capsys, monkeypatch):
    words = shlex.split(line)
    options = [word for word in words if word.startswith("--")]
    verbs = [word for word in words[:1] if word not in options]
    monkeypatch.setattr("sys.argv", ["gradlab", *verbs, "--help"])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 0
    helped = capsys.readouterr().out
    assert all(option in helped for option in options)


def test_every_backend_has_its_row():
    assert set(re.findall(r"^\| `([\w-]+)` \| .*\| .*evaluation", README, re.MULTILINE)) == set(
        BACKENDS
    )


def test_every_dependency_has_its_reason():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = [re.match(r"[\w-]+", need)[0] for need in project["dependencies"]]
    table = README[README.index("| dependency |") :]
    assert [name for name in names if f"[{name}]" not in table] == []
    extras = project["optional-dependencies"]
    assert [extra for extra in extras if f"gradlab[{extra}]" not in README] == []


def test_korean_readers_get_the_same_commands():
    assert blocks("sh", KOREAN) == blocks("sh")
    verbs = set(re.findall(r"`gradlab (\w+)", README))
    assert verbs - set(re.findall(r"`gradlab (\w+)", KOREAN)) == set()


def test_korean_readers_see_each_line_of_the_notebook_that_is_at_fault():
    (code,) = [block for block in blocks("python", KOREAN) if "# (1)" in block]
    shown = re.findall(r"# (\(\d\))$", code, re.MULTILINE)
    explained = re.findall(r"^\| (\(\d\)) \|", KOREAN, re.MULTILINE)
    assert shown == explained == [f"({i})" for i in range(1, 8)]


@pytest.mark.parametrize("text", [README, KOREAN], ids=["en", "ko"])
def test_links_lead_somewhere(text):
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    assert [link for link in links if not (ROOT / link.split("#")[0]).exists()] == []
    assert links
