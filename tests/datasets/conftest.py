"""Tests of data sets ignore the settings of the machine."""

import pytest


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    """Keep a developer's own settings, and the network, out of the tests."""
    monkeypatch.delenv("GRADLAB_DATA", raising=False)
    monkeypatch.delenv("GRADLAB_CACHE", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
