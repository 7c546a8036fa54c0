"""Gradients computed by several workers have the bits of those computed by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shared_losses import PARAMS, Counted, X, loss, note_chunks, write_into_data
from sharing import every_method, gradient, same_bits, share_out

import gradlab
from gradlab.errors import LossError
from gradlab.gradients.differences.numerical import Numerical
from gradlab.gradients.workers.chunks import chunk_size, chunks


@every_method
def test_processes_give_the_bits_of_the_plain_loop(method: type[Numerical]) -> None:
    value, wanted = gradlab.value_and_grad(loss, method())(PARAMS, X)
    for count in (1, 3) if method is gradlab.CentralDifference else (2,):
        found = gradlab.value_and_grad(loss, method(workers=count))(PARAMS, X)
        assert found[0] == value
        assert same_bits(found[1], wanted)


@pytest.fixture(scope="module")
def maps() -> Iterator[list[Any]]:
    with ThreadPoolExecutor(2) as threads, ProcessPoolExecutor(2, get_context("spawn")) as pool:
        yield [map, threads.map, pool.map]


@every_method
def test_maps_of_executors_give_the_bits_of_the_plain_loop(
    method: type[Numerical], maps: list[Any]
) -> None:
    wanted = gradlab.grad(loss, method())(PARAMS, X)
    for mapping in maps:
        assert same_bits(gradlab.grad(loss, method(workers=mapping))(PARAMS, X), wanted)


@given(sizes=st.lists(st.integers(0, 20), max_size=3), size=st.integers(1, 9), data=st.data())
def test_chunks_cover_the_missing_slopes(sizes: list[int], size: int, data: Any) -> None:
    missing = [
        np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)), bool) for n in sizes
    ]
    left = [mask.copy() for mask in missing]
    for leaf, start, stop in chunks(missing, size):
        assert 0 < stop - start <= size
        assert left[leaf][start:stop].all()
        left[leaf][start:stop] = False
    assert not any(mask.any() for mask in left)


@given(
    entries=st.integers(1, 10**6),
    workers=st.integers(1, 64),
    evaluation=st.floats(1e-6, 100),
    sending=st.just(0.0) | st.floats(1e-3, 1),
)
def test_sending_takes_a_small_part_of_a_chunk(
    entries: int, workers: int, evaluation: float, sending: float
) -> None:
    size = chunk_size(entries, workers, evaluation, sending)
    assert size >= 1
    assert sending <= 0.05 * size * evaluation * (1 + 1e-9)
    worth = int(np.ceil(sending / 0.05 / evaluation))
    assert size <= max(1, worth, entries // workers)  # not fewer chunks than that asks for


def test_the_order_of_the_answers_does_not_matter() -> None:
    def backwards(function: Callable[..., Any], values: Any) -> Any:
        return reversed(list(map(function, values)))

    assert same_bits(gradient(workers=backwards), gradient())


def test_the_problem_is_sent_once_to_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    share_out(monkeypatch, 1)
    gradient(PARAMS, X, Counted(tmp_path), of=note_chunks, workers=2)
    assert len(list(tmp_path.iterdir())) == 2


def test_data_are_shared_and_read_only(tmp_path: Path) -> None:
    big = np.zeros((1000, 4))
    big[:20] = X
    with pytest.raises(LossError, match=r"writes into its parameters or arguments") as caught:
        gradient(PARAMS, big, tmp_path, of=write_into_data, workers=2)
    assert "w[0, 0]" in caught.value.__notes__[0]
    assert len(list(tmp_path.iterdir())) == 1
    assert np.isfinite(big).all()


def test_data_keep_their_layout() -> None:
    fortran, strided = np.asfortranarray(X), np.repeat(X, 2, axis=0)[::2]
    for x in (fortran, strided):
        assert same_bits(gradient(PARAMS, x, workers=1), gradient(PARAMS, x))


def test_a_gradient_without_entries_needs_no_workers() -> None:
    assert gradlab.grad(lambda p: 1.0, gradlab.CentralDifference(workers=2))({}) == {}
