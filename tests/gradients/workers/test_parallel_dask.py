"""Gradients computed by a Dask cluster of two worker processes on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from shared_losses import PARAMS, Counted, X, bad, loss, note_chunks
from sharing import every_method, gradient, same_bits, share_out

import gradlab
from gradlab.errors import NonFiniteError, WorkerError
from gradlab.gradients.differences.numerical import Numerical


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    if find_spec("distributed") is None:
        pytest.skip("Dask is not installed")
    import dask
    from distributed import Client, LocalCluster

    with (
        dask.config.set({"distributed.comm.timeouts.connect": "60s"}),
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            host="127.0.0.1",
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@every_method
def test_dask_gives_the_bits_of_the_plain_loop(client: Any, method: type[Numerical]) -> None:
    found = gradlab.grad(loss, method(workers=client))(PARAMS, X)
    assert same_bits(found, gradlab.grad(loss, method())(PARAMS, X))


def test_dask_gets_the_problem_once(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    share_out(monkeypatch, 1)
    gradient(PARAMS, X, Counted(tmp_path), of=note_chunks, workers=client)
    by_worker = {path.name.split()[0] for path in tmp_path.iterdir()}
    assert len(list(tmp_path.iterdir())) == len(by_worker) == 2


def test_dask_outlives_a_worker_that_is_killed(client: Any, tmp_path: Path) -> None:
    found = gradient(PARAMS, X, "killed once", tmp_path / "log", of=bad, workers=client)
    assert same_bits(found, gradient())
    assert (tmp_path / "log").stat().st_size == 3


class FakeClient:
    """The part of a Dask client that gradlab uses."""

    def __init__(self, workers: int | None) -> None:
        self.workers, self.cancelled = workers, 0

    def nthreads(self) -> dict[str, int]:
        if self.workers is None:
            raise AttributeError("'NoneType' object has no attribute 'ncores'")
        return {f"worker {i}": 1 for i in range(self.workers)}

    def scatter(self, *args: Any, **options: Any) -> Any:
        raise AssertionError("waits for a worker")

    submit = scatter

    def cancel(self, futures: Any) -> None:
        self.cancelled += 1
        raise RuntimeError("closed")


def test_dask_without_workers_is_an_error_at_once() -> None:
    if find_spec("distributed") is None:
        pytest.skip("Dask is not installed")
    with pytest.raises(WorkerError, match=r"the cluster has no workers; start some"):
        gradient(workers=FakeClient(0))


def test_a_dask_client_that_is_closed_is_an_error() -> None:
    with pytest.raises(WorkerError, match=r"does not answer .*: give a client that is connected"):
        gradlab.CentralDifference(workers=FakeClient(None))


def test_dask_names_what_fails(client: Any, tmp_path: Path) -> None:
    with pytest.raises(NonFiniteError, match=r"the loss is nan at w\[2, 1\]"):
        gradient(PARAMS, X, "nan", tmp_path / "log", of=bad, workers=client)
    with pytest.raises(
        WorkerError, match=r"Dask twice left .* among them, as when its workers die"
    ):
        gradient(PARAMS, X, "killed", tmp_path / "log", of=bad, workers=client)
