"""``gradlab diagnose``: the story of a training, its files, and what it refuses."""

import json
import signal

import pytest
from printed import one_line

from gradlab import datasets, diagnosis, network

SMALL = ("--layers", "3", "--subset", "100", "--epochs", "2", "--backend", "autograd")
FIGURES = {"curves.png", "rates.png", "step.png", "norms.png", "activations.png"}


@pytest.mark.slow
@pytest.mark.usefixtures("drawn")
def test_a_diagnosis_writes_its_files(gradlab, tmp_path):
    code, out, err = gradlab(
        "diagnose", *SMALL, "--learning-rate", "1e-6", "--initialisation", "0.5",
        "--output", "run", "--json", "copy.json",
    )  # fmt: skip
    assert (code, err) == (0, "")
    run = tmp_path / "run"
    assert {path.name for path in run.iterdir()} == FIGURES | {"summary.json", "report.html"}
    summary = json.loads((run / "summary.json").read_text())
    assert summary == json.loads((tmp_path / "copy.json").read_text())
    assert summary["options"]["initialisation"] == 0.5
    # The first training equals that of the library.
    data = datasets.load("digits", subset=100)
    start = network.init([64, 3, 10], 0, scale=0.5)
    assert summary["losses"][0] == pytest.approx(network.loss(start, *data.train), rel=1e-12)
    page = (run / "report.html").read_text()
    assert page.count("data:image/svg+xml") == len(FIGURES)
    for finding in summary["findings"]:
        assert finding["about"] in page
        assert f"{finding['about']}: {finding['text'][:20]}" in out
        assert f"→ {finding['remedy'][:20]}" in out or not finding["remedy"]
    assert summary["headline"] in out


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ("--initialisation no", "--initialisation no: choose xavier, he, normal or a positive"),
        ("--initialisation -1", "--initialisation -1: choose xavier"),
        ("--epochs 0", "--epochs 0: give an integer from 1"),
        ("--batch-size 0", "--batch-size 0: give an integer from 1"),
        ("--batch-size 1e3", "Invalid value for '--batch-size'"),
        ("--optimizer fast", "--optimizer fast: "),
        ("--momentum 0.5 --optimizer adam", "--momentum 0.5: adam takes no momentum"),
        ("--dataset nowhere.npz", "nowhere.npz"),
        ("--layers a", "--layers a: give widths such as 50,100"),
        ("--backend fast", "fast"),
        ("--learning-rate 0", "--learning-rate 0"),
    ],
)
def test_a_wrong_option_is_one_line(options, wanted, gradlab, tmp_path):
    code, out, err = gradlab("diagnose", *SMALL, *options.split())
    assert (code, out) == (2 if "nowhere" not in options else code, "")
    assert code in (1, 2)
    assert wanted in one_line(err)
    assert not (tmp_path / "gradlab-runs").exists()


def test_ctrl_c_is_one_line_and_leaves_nothing(gradlab, tmp_path, monkeypatch):
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def pressed(*args, **options):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(diagnosis, "diagnose", pressed)
    code, out, err = gradlab("diagnose", *SMALL)
    assert (code, out, err) == (130, "", "gradlab: interrupted\n")
    assert list(tmp_path.rglob("*")) == []


def test_a_folder_that_is_not_empty_is_refused_before_the_work(gradlab, tmp_path, monkeypatch):
    monkeypatch.setattr(diagnosis, "diagnose", None)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine").write_text("")
    code, _, err = gradlab("diagnose", *SMALL, "--output", "run")
    assert code == 2
    assert "the folder is not empty" in one_line(err)
