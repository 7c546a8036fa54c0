"""The benchmark of checkers: it runs each on the right cases and counts the answers."""

from __future__ import annotations

import doctest
import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import checker_power as power
import common
import numpy as np
import pytest
from corpus import CASES, KINDS, Case
from corpus.case import factor
from run_script import BENCHMARKS, WITHOUT_PEERS, require_one_line, run

import gradlab
from gradlab.errors import OptionError

PEERS = {name: e for name, e in power.ENTRANTS.items() if name != "gradlab"}

ASK_PEERS = """
import sys
import common
common.limit_threads(1)
import numpy as np
from corpus import Case
from corpus.case import factor
import checker_power as power

def refusing(x):
    if (x["w"] < 0).any() or x["b"] > 0.5:
        raise ValueError("not here")
    return np.sum(x["w"])

start = {"w": np.array([[0.5, 1.0], [2.0, -0.3]]), "b": np.array(0.7)}
easy = Case("smooth", "easy", lambda p: np.sum(np.sin(p["w"])) * p["b"], start,
            lambda p: {"w": np.cos(p["w"]) * p["b"], "b": np.sum(np.sin(p["w"]))})
hard = Case("edge", "hard", refusing, start, lambda p: {"w": np.ones((2, 2)), "b": np.zeros(())})
for name in sys.argv[1:]:
    entrant = power.ENTRANTS[name]
    for case in (easy, easy.with_fault(factor(-1)), easy.with_fault(factor(2, "b")), hard):
        answer = power.ask(entrant, case)
        print(name, answer.outcome, answer.reason, answer.evaluations_per_entry > 0, sep=";")
"""


@pytest.fixture(scope="module")
def without_peers(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any, Path]:
    """Run the benchmark quickly, for autograd alone and without the other peers."""
    folder = tmp_path_factory.mktemp("power")
    files = ("--json", folder / "power.json", "--plot", folder / "power.png")
    names = [word for name in PEERS for word in ("--checker", name)]
    script = BENCHMARKS / "checker_power.py"
    done = run("-c", WITHOUT_PEERS, script, "--quick", "--by-kind", "--mistakes", *names, *files)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads((folder / "power.json").read_text("utf-8")), folder


# The script


def test_the_table_shows_every_checker(without_peers: Any) -> None:
    printed, _, _ = without_peers
    for name in PEERS:
        assert any(line.startswith(f" {name} ") for line in printed.splitlines()), name
    assert "…" not in printed
    assert max(map(len, printed.splitlines()[:-1])) <= 80


def test_a_missing_peer_has_a_row(without_peers: Any) -> None:
    printed, numbers, _ = without_peers
    absent = set(PEERS) - {"autograd"}
    assert printed.count("not installed") == len(absent)
    assert set(numbers["missing"]) == absent
    for name in absent:
        assert numbers["missing"][name].startswith("pip install 'gradlab[")
        assert f"{name}: {numbers['missing'][name]}" in printed
    assert set(numbers["answers"]) == {"autograd"}


def test_the_last_line_is_the_headline(without_peers: Any) -> None:
    printed, numbers, _ = without_peers
    assert printed.splitlines()[-1] == numbers["headline"]
    assert numbers["headline"].startswith("Autograd is wrong on ")


def test_the_numbers_add_up(without_peers: Any) -> None:
    printed, numbers, _ = without_peers
    assert set(numbers) == {
        "benchmark", "environment", "options", "cases", "right", "table", "results", "answers",
        "missing", "headline",
    }  # fmt: skip
    (score,), answers = numbers["results"], numbers["answers"]["autograd"]
    outcomes = [answer["outcome"] for answer in answers]
    assert len(outcomes) == numbers["cases"]
    assert score["run"] + score["not_run"] == numbers["cases"]
    assert score["false_alarms"] == outcomes.count("false alarm") > 0
    assert score["misses"] == outcomes.count("miss") > 0
    named = [line for line in printed.splitlines() if line.startswith("autograd: ")]
    assert len(named) == score["false_alarms"] + score["misses"]
    assert {answer["kind"] for answer in answers} == set(KINDS) - {"large"}


def test_the_figure_is_written(without_peers: Any) -> None:
    _, _, folder = without_peers
    assert (folder / "power.png").read_bytes().startswith(b"\x89PNG")


def test_installed_peers_judge_an_easy_case_and_are_stopped_by_an_exception() -> None:
    installed = [name for name, entrant in PEERS.items() if find_spec(entrant.module)]
    done = run("-c", ASK_PEERS, *installed)
    assert done.returncode == 0, done.stderr
    found = [line.split(";") for line in done.stdout.splitlines()]
    for name in installed:
        mine = [row[1:] for row in found if row[0] == name]
        assert mine[:3] == [["right", "", "True"]] * 3, name
        assert mine[3] == ["not run", "ValueError: not here", "True"], name


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--kind", "smoth"), "--kind smoth: unknown kind 'smoth': did you mean 'smooth'?"),
        (("--checker", "Torch"), "--checker Torch: unknown checker 'Torch'"),
        (("--places", "-1"), "--places"),
        (("--json", "nowhere/x.json"), "--json nowhere"),
        (("--plot", "x.doc"), "--plot x.doc"),
        (("--oops",), "--oops"),
    ],
)
def test_a_wrong_option_is_one_line(
    options: Any, named: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    require_one_line("checker_power.py", power.main, options, named, monkeypatch, capsys)


# The cases and the counts

RIGHT = next(case for case in CASES if case.title == "smooth: nested structure")
WRONG = RIGHT.with_fault(factor(-1))


def entrant(check: Any, **options: Any) -> power.Entrant:
    return power.Entrant(check, "numpy", "", **options)


@pytest.mark.parametrize(
    ("says", "of_right", "of_wrong"),
    [(True, "right", "miss"), (False, "false alarm", "right"), (None, *2 * ["inconclusive"])],
)
def test_answers_of_a_checker_are_compared_with_the_truth(
    says: bool | None, of_right: str, of_wrong: str
) -> None:
    said = entrant(lambda case: says)
    assert [power.ask(said, case).outcome for case in (RIGHT, WRONG)] == [of_right, of_wrong]


def test_an_exception_of_a_checker_is_counted_but_not_one_of_ours() -> None:
    def raising(error: Exception) -> Any:
        def check(case: Case) -> bool:
            raise error

        return entrant(check)

    answer = power.ask(raising(ValueError("negative\nmore")), RIGHT)
    assert (answer.outcome, answer.reason) == ("not run", "ValueError: negative")
    with pytest.raises(AttributeError):
        power.ask(raising(AttributeError("typo")), RIGHT)


def test_evaluations_are_counted_by_entry() -> None:
    def check(case: Case) -> bool:
        for _ in range(26):
            case.loss(*case.point)
        return True

    assert power.ask(entrant(check), RIGHT).evaluations_per_entry == 26 / 11


def test_checkers_of_single_entries_skip_large_cases() -> None:
    large = next(case for case in CASES if case.kind == "large")
    answer = power.ask(entrant(lambda case: True, entrywise=True), large)
    assert (answer.outcome, answer.reason) == ("not run", "more than 1,000 entries")
    assert power.ask(entrant(lambda case: True), large).outcome == "right"


def test_a_question_is_the_case_as_one_vector() -> None:
    question = power.Question.of(WRONG)
    assert question.x.shape == question.claimed.shape == (11,)
    assert question.f(question.x) == RIGHT.loss(RIGHT.params)
    i = 3
    h = np.eye(11)[i] * 1e-6
    slope = (question.f(question.x + h) - question.f(question.x - h)) / 2e-6
    assert -question.claimed[i] == pytest.approx(slope, rel=1e-6)


def test_gradlab_is_given_the_case_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def check_gradients(loss: Any, params: Any, *args: Any, gradient: Any) -> Any:
        asked.append((loss(params, *args), params, args, gradient))
        return SimpleNamespace(ok=False, verdict=verdict)

    monkeypatch.setattr(gradlab, "check_gradients", check_gradients, raising=False)
    case = next(case for case in CASES if case.title == "smooth: logistic regression")
    ours = power.ENTRANTS["gradlab"]
    assert power.is_ready("gradlab")
    verdict = "mismatch"
    assert power.ask(ours, case).outcome == "false alarm"
    verdict = "inconclusive"
    assert power.ask(ours, case).outcome == "inconclusive"
    assert asked[0] == (case.loss(*case.point), case.params, case.args, case.gradient)


def test_gradlab_without_a_checker_has_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(gradlab, "check_gradients", raising=False)
    assert not power.is_ready("gradlab")
    with common.out.capture() as printed:
        common.out.print(power.table([], {"gradlab": "this version has none"}, "caption"))
    assert "no checker yet" in printed.get()


def answers(**counts: int) -> list[power.Answer]:
    one = power.Answer("smooth: x²", "smooth", 0, "", "", 4.0, 0.5)
    return [
        replace(one, outcome=outcome.replace("_", " "))
        for outcome, count in counts.items()
        for _ in range(count)
    ]


def test_a_score_counts_each_outcome() -> None:
    score = power.Score.of(
        "JAX", answers(right=5, false_alarm=3, miss=1, inconclusive=1, not_run=2)
    )
    assert score == power.Score("JAX", 3, 1, 1, 2, 10, 4.0, 5.0)
    assert (score.wrong, score.share) == (4, 0.4)
    assert power.Score.of("JAX", []).share == 0.0


def test_the_headline_names_ours_and_the_range_of_the_others() -> None:
    scores = [
        power.Score.of("gradlab", answers(right=99, inconclusive=1)),
        power.Score.of("JAX", answers(right=7, miss=3)),
        power.Score.of("SciPy", answers(right=6, miss=4)),
        power.Score.of("PyTorch", answers(not_run=4)),
    ]
    assert power.headline(scores) == (
        "gradlab is wrong on 0 of 100 gradients (1 inconclusive); "
        "peers are wrong on 30% (JAX) to 40% (SciPy)."
    )
    assert power.headline(scores[:2]).endswith("(1 inconclusive); JAX is wrong on 30%.")
    assert power.headline([]) == "No checker ran."


def test_the_figure_has_a_row_a_kind_and_a_column_a_checker() -> None:
    each = {"JAX": answers(right=7, false_alarm=2, miss=1), "PyTorch fast": answers(not_run=1)}
    axes = power.figure(each, "title").axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["JAX", "PyTorch fast"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["smooth losses"]
    assert [text.get_text() for text in axes.texts] == ["3", "–"]


def test_bad_options_in_python_raise() -> None:
    with pytest.raises(OptionError, match="did you mean 'JAX'"):
        power.main(checker=["JAXX"])


def test_docstrings_run() -> None:
    outcome = doctest.testmod(power)
    assert outcome.attempted > 0
    assert outcome.failed == 0
