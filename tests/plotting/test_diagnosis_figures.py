"""The figures of a diagnosis show the measured values, and are readable."""

import figures
import numpy as np
import pytest

from gradlab import plotting
from gradlab.diagnosis import Section, Trained

RATES = 10.0 ** np.arange(-3, 3)
TRIED = tuple(map(Trained, RATES, (2.2, 2.0, 1.0, 0.2, 7.0, np.inf)))
GRID = np.geomspace(1e-4, 10, 30)


def section(rate):
    """Return the loss (1 - t)² along t, which is 1 before the step."""
    losses = np.where(GRID < 5, (1 - GRID) ** 2, np.inf)
    return Section(rate, 1.0, (1 - rate) ** 2, 2 * rate, tuple(GRID), tuple(losses))


FIGURES = {
    "rates": lambda: plotting.rate_sweep(TRIED, 0.1, 2.3, 100),
    "a rate that diverges": lambda: plotting.rate_sweep(TRIED, 100.0, 2.3, 1),
    "all diverge": lambda: plotting.rate_sweep([Trained(r, np.inf) for r in RATES], 0.1, 2.3, 100),
    "none does anything": lambda: plotting.rate_sweep(
        [Trained(r, 0.0) for r in RATES], 1.0, 0.0, 9
    ),
    "steps": lambda: plotting.loss_sections({"start": section(0.1), "end": section(9.0)}),
}


@pytest.mark.parametrize("name", FIGURES)
def test_each_figure_can_be_read(name):
    figure = FIGURES[name]()
    figure.draw_without_rendering()
    figures.require_readable(figure)
    figures.require_ticks(figure)


def test_the_sweep_shows_each_training_and_marks_the_lowest():
    (axes,) = FIGURES["rates"]().axes
    curve, _, above, lowest, used = axes.lines
    np.testing.assert_allclose(curve.get_xdata(), RATES)
    np.testing.assert_allclose(curve.get_ydata()[:4], [2.2, 2.0, 1.0, 0.2])
    assert curve.get_ydata()[4] > axes.get_ylim()[1]
    assert above.get_xdata().tolist() == [10.0, 100.0]
    assert (lowest.get_xdata()[0], lowest.get_ydata()[0]) == (1.0, 0.2)
    assert used.get_xdata() == [0.1, 0.1]


def test_a_section_shows_the_loss_and_the_tangent():
    start, _ = FIGURES["steps"]().axes
    loss, _, tangent, used = start.lines
    near = GRID < 0.5
    np.testing.assert_allclose(loss.get_ydata()[near], (1 - GRID[near]) ** 2)
    np.testing.assert_allclose(tangent.get_ydata(), 1 - 2 * GRID)
    assert used.get_xdata() == [0.1, 0.1]
