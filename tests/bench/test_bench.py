"""`gradlab bench`: its folder and report state the outcome of every benchmark."""

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from processes import PATIENCE, is_alive, running, wait_until

from gradlab.bench import Script, ScriptResult, find, render, tables
from gradlab.bench import bench as run_all
from gradlab.bench.running import GUARD, summarise
from gradlab.command.main import main
from gradlab.errors import OptionError

SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="72pt" height="36pt"></svg>'
NUMBERS = {
    "benchmark": "speed",
    "headline": "A is <b>2</b> & more times as fast.",
    "table": {
        "title": "Cost",
        "columns": ["", "seconds"],
        "right": [False, True],
        "rows": [["net", ""], ["  A | B", "~1.5 ms"], ["  <C>", "not installed"]],
        "notes": "median\nof 3 rounds",
    },
    "results": [
        {"name": "A", "seconds": 0.0015, "ratio": {"median": 2.0, "low": 1.0}, "laps": [1, 2]},
        {"name": "C, D", "seconds": 1 / 3, "ratio": None},
    ],
    "missing": {"C": "pip install 'gradlab[c]'"},
}

DONE = """
import argparse, json, sys
parser = argparse.ArgumentParser()
for option in ("--json", "--plot"):
    parser.add_argument(option, action="append")
parser.add_argument("--quick", action="store_true")
given = parser.parse_args()
print("half way", file=sys.stderr)
print("a table")
table = {"title": "T", "columns": ["", "x"], "right": [False, True], "rows": [["a", "1"]],
         "notes": ""}
numbers = {"benchmark": "b", "environment": {}, "headline": f"quick: {given.quick}", "table": table,
           "results": [{"x": 1}]}
open(given.json[0], "w").write(json.dumps(numbers))
for path in given.plot:
    open(path, "w").write("<svg/>")
"""
FAILS = """
import sys
print("what it printed")
print("half way", file=sys.stderr)
sys.exit("fails.py: SciPy is <not> installed")
"""
HANGS = """
import os, signal, subprocess, sys
# Whoever runs the suite in the background may have had Ctrl-C ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
try:
    print(os.getpid(), file=sys.stderr, flush=True)
    child.wait()
except KeyboardInterrupt:
    child.wait()  # it was interrupted, too
    print("x" * 2**20, file=sys.stderr)  # more than an unread pipe holds
    print("all in order")
"""
IGNORES = """
import os, signal, subprocess, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
print(os.getpid(), child.pid, file=sys.stderr, flush=True)
child.wait()
"""


class Page(HTMLParser):
    """The content of a page: text, tags and attributes; requires that every tag is closed."""

    VOID = frozenset({"meta", "link", "img", "br"})

    def __init__(self, source):
        super().__init__()
        self.tags, self.text, self._open = [], "", []
        self.feed(source)
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def page(*outcomes, quick=False):
    return Page(render(outcomes, summarise(outcomes, quick, "2026-01-02 03:04")))


@pytest.fixture
def write(tmp_path):
    """Write scripts of these sources, by their names."""

    def written(**sources):
        scripts = []
        for name, source in sources.items():
            path = tmp_path / f"{name}.py"
            path.write_text(source, encoding="utf-8")
            scripts.append(Script(name, path, f"What is {name}?"))
        return scripts

    return written


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "results"
    made.mkdir()
    return made


def summary(folder):
    return json.loads((folder / "summary.json").read_text("utf-8"))


# The report


def test_a_report_shows_headline_question_figure_table_and_notes():
    shown = page(ScriptResult("speed", "How <fast>?", "done", 12.3, NUMBERS, SVG))
    for words in (NUMBERS["headline"], "How <fast>?", "12 s", "Cost", "A | B", "~1.5 ms", "median"):
        assert words in shown.text
    assert "1 of 1 done" in shown.text
    (picture,) = shown.all("img")
    assert NUMBERS["headline"] in picture["alt"]
    assert picture["style"] == "--width: 115px"  # 96 times 1.2
    assert {"href": "#speed"} in shown.all("a")
    assert {"id": "speed"} in shown.all("section")


def test_text_from_outside_is_escaped():
    evil = "<script>alert(1)</script>\"'&"
    table = {**NUMBERS["table"], "title": evil, "columns": ["", evil], "rows": [[evil, evil]]}
    numbers = {"headline": evil, "missing": {evil: evil}, "table": {**table, "notes": evil}}
    shown = page(
        ScriptResult("speed", evil, "done", 1.0, numbers, SVG),
        ScriptResult("other", "", "failed", why=evil),
    )
    assert not shown.all("script")
    assert shown.text.count(evil) == 11
    assert evil in shown.all("img")[0]["alt"]


def test_a_report_loads_nothing_from_elsewhere():
    source = render(
        [o := ScriptResult("speed", "", "done", 1.0, NUMBERS, SVG)], summarise([o], False, "")
    )
    shown = Page(source)
    addresses = [
        value
        for _, attributes in shown.tags
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "data")
    ]
    assert addresses
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert not re.search(r"url\(|@import", source)
    assert "default-src 'none'" in shown.all("meta")[1]["content"]


def test_a_missing_peer_and_a_failure_are_rows_that_say_so():
    shown = page(
        ScriptResult("speed", "", "done", 1.0, NUMBERS, SVG),
        ScriptResult("power", "", "failed", 1.0, why="mpmath is not installed: pip install it"),
        ScriptResult("late", "", "interrupted", 1.0),
        ScriptResult("later", "", "not run"),
        quick=True,
    )
    assert "without C, which is not installed: pip install 'gradlab[c]'" in shown.text
    assert "failed: mpmath is not installed: pip install it" in shown.text
    assert [tr["class"] for tr in shown.all("tr") if "class" in tr] == [
        "done", "failed", "interrupted", "not-run", "absent",
    ]  # fmt: skip
    assert "1 of 4 done" in shown.text
    assert "quick run" in shown.text
    assert len(shown.all("section")) == 1


# Tables


def test_csv_has_every_bit_of_the_measured_numbers():
    rows = list(csv.DictReader(io.StringIO(tables.csv(NUMBERS))))
    assert [row["name"] for row in rows] == ["A", "C, D"]
    assert float(rows[1]["seconds"]) == 1 / 3
    assert (rows[0]["ratio.median"], rows[1]["ratio.median"]) == ("2.0", "")
    assert "laps" not in rows[0]


def test_csv_has_no_formulas():
    """Only text can be a formula; negative numbers are not."""
    texts = ["=1+1", "+1 bias", "-inf net", "@SUM(A1)", " =1", "\t=1", "-1.5", "+2e3", "a=b", ""]
    results = [{"name": text, "=ratio": -0.5} for text in texts]
    header, *rows = csv.reader(io.StringIO(tables.csv({"results": results})))
    assert header == ["name", "'=ratio"]
    assert [name.removeprefix("'") for name, _ in rows] == texts
    assert [name[:1] == "'" for name, _ in rows] == [True] * 6 + [False] * 4
    assert {ratio for _, ratio in rows} == {"-0.5"}


def test_markdown_has_as_many_cells_in_every_row():
    lines = [line for line in tables.markdown(NUMBERS).splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(NUMBERS["table"]["rows"])
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {3}


# A run


def test_a_folder_has_tables_figures_and_numbers(write, folder):
    heard = []
    (outcome,) = run_all(
        write(first=DONE), folder, quick=True, watch=lambda name, line: heard.append((name, line))
    )
    assert (outcome.state, outcome.headline) == ("done", "quick: True")
    assert ("first", "half way") in heard
    found = sorted(str(p.relative_to(folder).as_posix()) for p in folder.rglob("*") if p.is_file())
    assert found == [
        "figures/first.png", "figures/first.svg", "raw/first.json", "raw/first.txt",
        "report.html", "summary.json", "tables/first.csv", "tables/first.md",
    ]  # fmt: skip
    assert "a table" in (folder / "raw/first.txt").read_text("utf-8")
    assert summary(folder)["benchmarks"][0]["state"] == "done"
    assert "numpy" in summary(folder)["environment"]


def test_a_benchmark_that_fails_does_not_affect_others(write, folder):
    outcomes = list(run_all(write(a=DONE, b=FAILS, c="1 /", d=DONE), folder))
    assert [outcome.state for outcome in outcomes] == ["done", "failed", "failed", "done"]
    assert outcomes[1].why == "fails.py: SciPy is <not> installed"
    assert outcomes[2].why.startswith("SyntaxError")
    assert "SciPy is &lt;not&gt; installed" in (folder / "report.html").read_text("utf-8")
    log = (folder / "raw" / "b.txt").read_text("utf-8")
    assert log.index("what it printed") < log.index("half way") < log.index("SciPy")
    assert sorted(path.name for path in (folder / "raw").iterdir()) == [
        "a.json", "a.txt", "b.txt", "c.txt", "d.json", "d.txt",
    ]  # fmt: skip


def test_a_benchmark_that_cannot_run_here_has_not_failed(write, folder):
    absent = "import sys; print('X is missing', file=sys.stderr); sys.exit(3)"
    (outcome,) = run_all(write(a=absent), folder)
    assert (outcome.state, outcome.headline) == ("not run", "not run: X is missing")
    assert "X is missing" in (folder / "report.html").read_text(encoding="utf-8")


def test_a_benchmark_with_incomplete_numbers_fails_alone(write, folder):
    partly = DONE.replace('"table": table,', "")
    first, second = run_all(write(a=partly, b=DONE), folder)
    assert (first.state, second.state) == ("failed", "done")
    assert "a.py: the benchmark's numbers lack table" in first.headline


def test_an_interrupted_run_keeps_what_is_done(write, folder):
    pids = []

    def watch(name, line):
        if line.isdecimal():
            pids.append(int(line))
            raise KeyboardInterrupt

    outcomes = list(run_all(write(a=DONE, b=HANGS, c=DONE), folder, watch=watch))
    assert [outcome.state for outcome in outcomes] == ["done", "interrupted", "not run"]
    assert [each["state"] for each in summary(folder)["benchmarks"]] == [
        "done", "interrupted", "not run",
    ]  # fmt: skip
    assert "1 of 3 done" in (folder / "report.html").read_text("utf-8")
    if os.name == "posix":
        with pytest.raises(ProcessLookupError):
            os.kill(pids[0], 0)
        assert "all in order" in (folder / "raw" / "b.txt").read_text("utf-8")
    assert not list(folder.glob(".*"))


@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")
def test_a_second_ctrl_c_kills_a_script_that_does_not_end(write, folder):
    pids, told = [], []

    def watch(name, line):
        told.append(line)
        if re.fullmatch(r"\d+ \d+", line):
            pids.extend(map(int, line.split()))
            raise KeyboardInterrupt
        if pids:
            raise KeyboardInterrupt

    outcomes = list(run_all(write(a=DONE, b=IGNORES), folder, watch=watch))
    assert [outcome.state for outcome in outcomes] == ["done", "interrupted"]
    assert told[-1] == "interrupted; waiting for it to end (Ctrl-C again kills it)"
    wait_until(lambda: not any(map(is_alive, pids)))


def test_sigterm_leaves_a_report_of_what_is_done(write, folder):
    def watch(name, line):
        if line.isdecimal():
            signal.raise_signal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with pytest.raises(SystemExit) as stop:
            list(run_all(write(a=DONE, b=HANGS, c=DONE), folder, watch=watch))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert stop.value.code == 128 + signal.SIGTERM
    states = [each["state"] for each in summary(folder)["benchmarks"]]
    assert states == ["done", "interrupted", "not run"]
    assert "1 of 3 done" in (folder / "report.html").read_text("utf-8")
    assert not list(folder.glob(".*"))


STUBBORN = """
import os, signal, subprocess, sys, tempfile, time
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
sleep = "import time; print('up', flush=True); time.sleep(3600)"
child = subprocess.Popen([sys.executable, "-S", "-c", sleep], stdout=subprocess.PIPE)
child.stdout.readline()
open(os.path.join(tempfile.gettempdir(), "left"), "w").close()
print(os.getpid(), child.pid, file=sys.stderr, flush=True)
time.sleep(3600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")
def test_a_script_does_not_outlive_its_caller_however_that_ends(tmp_path):
    """When a process ends, the system closes its pipes, which ends the script."""
    scratch = tmp_path / "scratch"
    command = [sys.executable, "-S", "-c", STUBBORN]
    with running(
        [sys.executable, "-I", "-S", GUARD, scratch, tmp_path / "log", *command],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as guard:  # fmt: skip
        pids = guard.stderr.readline().split()
        assert list(scratch.iterdir()) == [scratch / "left"]
        guard.stdin.close()
        guard.wait(PATIENCE)
        assert not any(map(is_alive, pids))
        assert not scratch.exists()


def test_the_folder_is_complete_after_each_benchmark(write, folder):
    run = run_all(write(a=DONE, b=DONE), folder)
    next(run)
    assert "1 of 1 done" in (folder / "report.html").read_text("utf-8")
    assert len(summary(folder)["benchmarks"]) == 1


# The command


def command(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["gradlab", "bench", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        main()
    return stop.value.code


@pytest.fixture
def scripts(write, monkeypatch):
    """Write short scripts in place of those that take minutes."""

    def replaced(**sources):
        made = write(**sources)
        monkeypatch.setattr("gradlab.bench.find", lambda names: made)

    return replaced


def test_the_command_lists_every_benchmark_with_its_question(monkeypatch, capsys):
    assert command(monkeypatch, "--list") == 0
    printed = capsys.readouterr().out
    known = find()
    assert {"accuracy", "scaling", "gradient_speed", "training"} <= {s.name for s in known}
    for script in known:
        assert script.name in printed
        assert script.question.endswith((".", "?")), script.name
        assert script.question.split()[0] in printed


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("acuracy",), "did you mean 'accuracy'?"),
        (("common",), "unknown benchmark 'common'"),
        (("--output", __file__), "--output"),
        (("--json", "nowhere/x.json"), "--json nowhere"),
        (("--oops",), "--oops"),
    ],
)
def test_a_wrong_option_is_one_line(words, named, monkeypatch, capsys, scripts):
    if words[0].startswith("--"):
        scripts(a=DONE)
    assert command(monkeypatch, *words) == 2
    printed = capsys.readouterr()
    assert named in printed.err
    assert printed.err.count("\n") == 1


def test_the_command_runs_and_names_the_folder(monkeypatch, capsys, scripts, tmp_path):
    scripts(a=DONE)
    files = ("--output", tmp_path / "new", "--json", tmp_path / "numbers.json")
    assert command(monkeypatch, "--quick", *files) == 0
    printed = capsys.readouterr().out
    assert "quick: True" in printed
    assert "new: report.html" in printed
    assert json.loads((tmp_path / "numbers.json").read_text("utf-8")) == summary(tmp_path / "new")


def test_the_command_fails_if_one_does(monkeypatch, capsys, scripts, tmp_path):
    scripts(a=FAILS, b=DONE)
    assert command(monkeypatch, "--output", tmp_path / "new") == 1
    printed = capsys.readouterr()
    assert "failed: fails.py: SciPy is <not> installed" in printed.out
    assert printed.err == "gradlab: a failed; the report says why\n"


def test_benchmarks_are_found_inside_a_wheel(monkeypatch, tmp_path):
    (tmp_path / "common").mkdir()
    (tmp_path / "one.py").write_text('"""What\nelse?\n\nMore."""')
    monkeypatch.setattr("gradlab.bench.scripts.BENCHMARK_FOLDERS", (Path("/nowhere"), tmp_path))
    assert find() == [Script("one", tmp_path / "one.py", "What else?")]
    monkeypatch.setattr("gradlab.bench.scripts.BENCHMARK_FOLDERS", (tmp_path / "nowhere",))
    with pytest.raises(OptionError, match="the benchmarks are not here"):
        find()
