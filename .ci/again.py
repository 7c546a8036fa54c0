"""A pytest plugin that runs only the tests which earlier runs skipped.

    SKIPPED=FILE pytest -p again ...               adds the names of skipped tests to FILE
    SKIPPED=FILE pytest -p again --again ...       runs the tests named in FILE

So a test that needs a package runs later, in an environment with this package.
"""

import os
from pathlib import Path

import pytest

FILE = Path(os.environ["SKIPPED"])


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption("--again", action="store_true", help="run the tests that were skipped before")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests that were not skipped."""
    if not config.getoption("again"):
        return
    skipped = set(FILE.read_text("utf-8").splitlines())
    wanted, others = [], []
    for item in items:
        # The file names a test, or a whole module that was skipped.
        again = any(node.nodeid in skipped for node in item.listchain())
        (wanted if again else others).append(item)
    items[:] = wanted
    config.hook.pytest_deselected(items=others)


def pytest_configure(config: pytest.Config) -> None:
    """Write in the main process only: with pytest-xdist, it gets the reports of all workers."""
    if not hasattr(config, "workerinput") and not config.getoption("again"):
        config.pluginmanager.register(_Writer())


class _Writer:
    """Writes the names of skipped tests."""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add a test that was skipped."""
        self._add(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Add a module that was skipped as a whole."""
        self._add(report)

    def _add(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            with FILE.open("a", encoding="utf-8") as file:
                file.write(f"{report.nodeid}\n")
