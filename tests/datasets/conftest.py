"""Tests of data sets ignore the settings of the machine."""

import pytest


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    """Isolate the tests from a developer's settings and the network."""
    monkeypatch.delenv("GRADLAB_DATA", raising=False)
    monkeypatch.delenv("GRADLAB_CACHE", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
