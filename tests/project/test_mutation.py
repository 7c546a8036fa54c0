"""Mutants: the planted faults, the reports, and the accepted survivors."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("resource")  # Windows has no processes that fork

from mutation import running
from mutation.__main__ import MUTATED, OPTIONS, ROOT, Covering, accepted
from mutation.coverage import Covered, choose, spread, traced
from mutation.operators import mutants_of, sources

MODULE = '''
"""A docstring with 1 number."""

SIZE = 2.0**-6
"""Another."""


def f(x: int = 3, *, flag: bool = True) -> float:
    assert x > 0
    if not flag and x < SIZE or x in (1,):
        raise ValueError(f"{x + 1} is too small")
    total = 0
    for y in [min(v, 2) for v in range(x) if v % 2]:
        total += y
        print(y)
    return -total


class C:
    def g(self) -> int:
        return 7
'''


def changes(source: str) -> set[str]:
    return {mutant.change for mutant in mutants_of("m.py", source)}


def test_kinds_of_mutants() -> None:
    assert changes(MODULE) == {
        "2.0 ** (-6) → 10 * 2.0 ** (-6)", "2.0 ** (-6) → 0.1 * 2.0 ** (-6)",
        "3 → 30", "3 → 0.3", "True → False",
        "not flag and x < SIZE or x in (1,) → not (not flag and x < SIZE or x in (1,))",
        "not flag and x < SIZE or x in (1,) → (not flag and x < SIZE) and x in (1,)",
        "not flag and x < SIZE → not flag or x < SIZE", "not flag → flag",
        "x < SIZE → x >= SIZE", "x in (1,) → x not in (1,)", "1 → 10", "1 → 0",
        "raise ValueError(f'{x + 1} is too small') → pass",
        "0 → 1", "min → max", "2 → 20", "2 → 0.2", "v % 2 → True", "v % 2 → v * 2",
        "total += y → pass", "total += y → total -= y", "print(y) → pass",
        "-total → None", "-total → total", "7 → None", "7 → 70", "7 → 0.7",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def f(x):\n    if x:\n        return\n    f(x)", {"x → not x", "return → pass"}),
        ("def f(x):\n    f(x)\n    return None", set()),
        ("def f(x):\n    if x:\n        f(x)\n        return", {"x → not x"}),
        ("for x in y:\n    f(x)\n    continue", set()),
        ("while x:\n    f(x)\n    continue", {"x → not x"}),
        ("if len(x) < n:\n    f(x)", {"len(x) < n → not len(x) < n", "len(x) < n → len(x) <= n"}),
        ("if x == y:\n    f(x)", {"x == y → not x == y"}),
        ("if x < y:\n    f(x)", {"x < y → not x < y"}),
        ("def f():\n    return False", {"False → True"}),
        ("lines.append(f'{x + 1}')", set()),
        ("z = x.astype(y, copy=False) if x else {}", {"x → not x"}),
        ("z = x / max(y, 1e-300)", {"x / max(y, 1e-300) → x * max(y, 1e-300)", "max → min"}),
        ("class C:\n    def __repr__(self):\n        return self.x + 1", set()),
    ],
)
def test_undetectable_changes_are_omitted(text: str, expected: set[str]) -> None:
    assert changes(text) - {"f(x) → pass"} == expected


@pytest.mark.parametrize("file", sources(ROOT, MUTATED))
def test_every_mutant_is_a_module_of_the_same_lines_before_it(file: str) -> None:
    source = (ROOT / file).read_text()
    found, unchanged = mutants_of(file, source), ast.dump(ast.parse(source))
    assert len({mutant.key for mutant in found}) == len(found)
    for mutant in sorted(found, key=lambda mutant: mutant.order(0))[:3]:
        changed = mutant.applied(source)
        assert ast.dump(ast.parse(changed)) != unchanged
        before = source.splitlines()[: mutant.number - 1]
        assert changed.splitlines()[: mutant.number - 1] == before


def test_accepted_mutants_exist_and_have_a_reason() -> None:
    """After a change of its line, a mutant has to be judged again."""
    there = {
        (mutant.file, mutant.line, change)
        for file, source in sources(ROOT, MUTATED).items()
        for mutant in mutants_of(file, source)
        for change in (mutant.change, "")
    }
    assert set(accepted()) <= there
    assert all(reason.endswith(".") for reason in accepted().values())


def test_tests_are_chosen_by_the_lines_they_run(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text(textwrap.dedent(MODULE))
    space: dict[str, object] = {}
    exec(compile(file.read_text(), str(file), "exec"), space)
    with traced({str(file): "module.py"}) as lines:
        space["C"]().g()  # type: ignore[operator]
    number = next(m.number for m in mutants_of("module.py", MODULE) if m.function == "C.g")
    assert lines == {"module.py": {number}}
    test = Covered("t", 0.1, True, {"module.py": [number, 9]})
    covering = Covering([test], {"module.py": MODULE})
    told = {m.change: covering.of(m) for m in mutants_of("module.py", MODULE)}
    assert told["7 → None"] == [test]
    assert told["-total → None"] == []


def test_fast_tests_come_first_and_parameters_wait_for_each_other() -> None:
    own = {"m.py": [1]}
    tests = [Covered(f"a[{k}]", 0.2, True, own) for k in range(4)]
    tests += [Covered("b", 0.5, True, own), Covered("c", 9.0, True, own)]
    assert choose(tests, budget=1.2)[0] == ["a[0]", "a[1]", "b", "a[2]"]
    assert choose(tests, budget=9.0, most=2)[0] == ["a[0]", "a[1]"]
    assert choose(tests[-1:], budget=1.0)[0] == ["c"]


def test_tests_of_one_file_come_before_tests_of_everything() -> None:
    """A second of which a tenth is spent in the file counts as ten."""
    wide = Covered("wide", 1.0, True, {"m.py": [1], "n.py": list(range(9))})
    slow = Covered("slow", 9.0, True, {"m.py": [1, 2]})
    assert choose([wide, slow], 20.0, "m.py")[0] == ["slow", "wide"]
    assert choose([wide, slow], 20.0, "n.py")[0] == ["wide", "slow"]


def test_a_function_is_replaced_in_place(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    source = "def f(x):\n    return [y + 1 for y in x]\n"
    space: dict[str, object] = {}
    exec(compile(source, str(file), "exec"), space)
    functions = running.Functions({str(file)})
    [mutant] = [m for m in mutants_of("module.py", source) if m.change == "y + 1 → y - 1"]
    assert functions.replace(str(file), mutant.applied(source), mutant.function)
    assert space["f"]([1, 2]) == [0, 1]  # type: ignore[operator]
    assert not functions.replace(str(file), source, "g")


@pytest.mark.parametrize(("code", "outcome"), [(0, "survived"), (1, "killed"), (-1, "timeout")])
def test_how_a_trial_ends(code: int, outcome: str) -> None:
    [mutant, *_] = mutants_of("m.py", MODULE)

    def body() -> int:
        while code < 0:
            os.kill(os.getpid(), 24)  # SIGXCPU, as of a limit of processor time
        return code

    trials = [running.start(mutant, 0.0, body)]
    ended = []
    while not ended:
        ended = list(running.finished(trials))
    assert [(trial.mutant, told) for trial, told, _ in ended] == [(mutant, outcome)]
    assert not Path(ended[0][0].folder).exists()


@pytest.mark.slow
@pytest.mark.parametrize(("added", "outcome"), [("", "survived"), ("NOTE = 2", "killed")])
def test_a_module_is_changed_before_anything_imports_it(
    tmp_path: Path, added: str, outcome: str
) -> None:
    """This includes a module that the tests' conftest.py imports."""
    file, work = ROOT / "gradlab/seeding.py", tmp_path / "mutant.json"
    test = tmp_path / "test_seen.py"
    test.write_text("def test_seen():\n    from gradlab import seeding\n"
                    "    assert not hasattr(seeding, 'NOTE')\n")  # fmt: skip
    shutil.copy(ROOT / "tests/conftest.py", tmp_path)
    options = [*OPTIONS, "--rootdir", str(tmp_path), "-c", os.devnull]
    names = [f"{test}::test_seen", "test_seen.py::test_seen"]
    work.write_text(json.dumps([str(file), f"{file.read_text()}\n{added}\n", names, options]))
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    ended = subprocess.run(
        [sys.executable, "-m", "mutation", "--one", str(work)],
        env={**os.environ, "PYTHONPATH": paths, "TMPDIR": str(tmp_path)}, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert ended.returncode == {"survived": running.SURVIVED, "killed": running.KILLED}[outcome]


def test_tests_are_dealt_out_file_by_file() -> None:
    """No process is started without tests, such as after a change of a single file."""
    items: Any = [
        SimpleNamespace(nodeid=f"tests/{name}.py::test_{k}") for name in "aab" for k in "12"
    ]
    parts = spread(items, 3)
    assert [{item.nodeid[6] for item in part} for part in parts] == [{"a"}, {"b"}]
    assert sum(map(len, parts)) == len(items)
