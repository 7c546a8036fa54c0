"""Results in notebooks: short text, and tables that escape names."""

import dataclasses
from html.parser import HTMLParser

import numpy as np
import pytest
from optional import INSTALLED

import gradlab
from gradlab import html
from gradlab.history import Epoch, History

X = np.linspace(-1, 1, 20)
DATA = (X, 3 * X)


def loss(slope, x, y):
    return ((slope * x - y) ** 2).mean()


def close(slope, x, y):
    return float(np.mean(abs(slope * x - y) < 0.1))


class Cells(HTMLParser):
    """The open tags, and the rows of cells."""

    def __init__(self, source):
        super().__init__()
        self.open, self.rows = [], []
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("th", "td"):
            self.rows[-1][-1] += data


def cells(result):
    read = Cells(result._repr_html_())
    assert read.open == []
    assert len({len(row) for row in read.rows}) == 1
    return read.rows


@pytest.fixture(scope="module")
def comparison():
    return gradlab.compare(
        loss, 0.0, DATA, backends=["central", "autograd"], test=DATA, accuracy=close, iterations=3
    )


def test_a_training():
    fit = gradlab.fit(loss, 0.0, DATA, epochs=2, batch_size=10, validation=DATA, accuracy=close)
    history = fit.history
    assert repr(fit).startswith("<Fit: 4 iterations, 2 epochs, loss ")
    assert repr(history).startswith("<History: 4 iterations, 2 epochs, loss ")
    header, *rows = cells(fit)
    assert header == ["epoch", "loss", "validation loss", "validation accuracy", "seconds"]
    assert [row[1] for row in rows] == [f"{epoch.loss:.4f}" for epoch in history.epochs]
    assert cells(history) == cells(fit)
    assert repr(dataclasses.replace(fit, interrupted=True)).startswith("<Fit: interrupted, 4 ")


def test_columns_that_were_not_requested_are_left_out():
    assert cells(gradlab.fit(loss, 0.0, DATA, epochs=1))[0] == ["epoch", "loss", "seconds"]


def test_an_empty_history():
    assert repr(History()) == "<History: nothing yet>"
    assert cells(History()) == [[]]


def test_the_middle_of_many_epochs_is_left_out():
    history = History([1.0] * 200, [Epoch(i, 1.0, None, None, 0.5) for i in range(1, 201)])
    numbers = [row[0] for row in cells(history)[1:]]
    assert numbers == ["1", "2", "3", "4", "5", "6", "…", *map(str, range(195, 201))]


def test_a_comparison(comparison):
    assert repr(comparison) == "<Comparison of central and autograd: 1 parameter>"
    header, *rows = cells(comparison)
    assert header == ["", "central", "autograd"]
    told = {name: rest for name, *rest in rows}
    assert told["evaluations per gradient"] == ["3", "1"]
    assert told["trainings stayed together"] == ["yes", "reference"]


def test_each_result_has_a_one_line_repr(comparison):
    steps = []
    fit = gradlab.fit(loss, 0.0, DATA, epochs=1, callbacks=[steps.append])
    report = gradlab.check_gradients(loss, 0.0, *DATA)
    results = [
        *(comparison, *comparison.runs, fit, fit.history, *fit.history.epochs, *steps),
        *(report, *report.entries, *report.leaves, gradlab.datasets.load("digits")),
        *(gradlab.find_backend(name) for name in INSTALLED),
    ]
    for result in results:
        assert type(result).__name__ in repr(result)
        assert len(repr(result)) < 250
        assert "\n" not in repr(result)


def test_an_entry_says_what_was_found():
    entry = gradlab.check_gradients(lambda w: (w**2).sum(), np.ones(2), gradient=np.ones(2))
    assert repr(entry.mismatches[0]).startswith(
        "<Entry params[0]: mismatch, gradient 1, slope 2 ± "
    )


def test_names_are_escaped(comparison):
    run = dataclasses.replace(comparison.runs[0], backend="<script>&")
    told = dataclasses.replace(comparison, runs=(run,))
    assert "<script>" not in told._repr_html_()
    assert cells(told)[0] == ["", "<script>&"]
    assert "<b>" not in html.table("<b>", ["<b>"], [["<b>"]])


def test_no_colour_is_set_so_that_the_readers_theme_decides(comparison):
    for result in (comparison, comparison.runs[0].fit):
        assert "color" not in result._repr_html_()
