"""A comparison of trainings that have no accuracy."""

import numpy as np

import gradlab


def test_a_regression_is_compared_by_its_loss():
    x = np.linspace(-1, 1, 20)
    comparison = gradlab.compare(
        lambda params, x, y: np.mean((params["slope"] * x - y) ** 2),
        {"slope": 0.0},
        (x, 3 * x),
        test=(x, 3 * x),
        optimizer=gradlab.optim.adam(0.1),
        iterations=50,
    )
    assert [run.accuracy for run in comparison.runs] == [None, None]
    assert [run["accuracy"] for run in comparison.summary()["runs"]] == [None, None]
    assert [row[0] for row in comparison.sections()[0]] == ["test loss"]
    assert "test accuracy" not in comparison._repr_html_()
    assert all(run.together for run in comparison.runs)
    assert comparison.runs[0].loss < 1.0  # it began at 3
