"""compress_store of ratio 128: the bytes of two launches, any batch size."""

from __future__ import annotations

import pytest
import store_runs
from store_runs import STEPS
from store_world import LAYOUTS, Batch

import wavejit
from wavejit import finishing, fused

# Steps of few requests, and of more, have a kernel each.
FEW, MORE = 8, 9


@pytest.mark.parametrize("is_decode", STEPS)
@pytest.mark.parametrize("layout", ["FlashMLA", "FlashMLA-fnuz-2", "TwoPool", "Indexer"])
def test_one_launch_gives_the_bytes_of_two(device: str, layout: str, is_decode: bool) -> None:
    store_runs.check_one_launch(device, layout, 128, is_decode, MORE)


@pytest.mark.parametrize("layout", ["FlashMLA", "FlashMLA-fnuz-2", "TwoPool", "Indexer"])
def test_one_launch_of_few_gives_the_bytes_of_two(device: str, layout: str) -> None:
    store_runs.check_one_launch(device, layout, 128, True, FEW)


@pytest.mark.parametrize("is_decode, requests", [(True, FEW), (True, MORE), (False, MORE)])
def test_a_plan_serves_many_launches(device: str, is_decode: bool, requests: int) -> None:
    store_runs.check_many_launches(device, 128, is_decode, requests)


def test_large_steps_equal_small_ones(device: str) -> None:
    store_runs.check_large_step(device, LAYOUTS["Indexer"], 128, (6, 30, 50, 190))


def test_large_steps_of_long_rows_equal_small_ones(device: str) -> None:
    store_runs.check_large_step(device, LAYOUTS["FlashMLA-fnuz-2"], 128, (8, 50, 210))


def test_rows_that_cannot_be_pooled_store_nothing(device: str) -> None:
    store_runs.check_chunk_of_bad_rows(device, LAYOUTS["FlashMLA"], 128)


def test_a_failed_launch_forgets_the_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """What blocks have handed over by then nobody takes: the next call begins with a new room."""
    batch = Batch(128, LAYOUTS["FlashMLA"], True)

    def fails(*_: object) -> None:
        raise RuntimeError("this launch fails")

    finishing.room_of(batch.plan, batch.dim)
    monkeypatch.setattr(fused, "_ready", {})
    monkeypatch.setattr(fused, "_prepare", lambda *_: (fails, batch.layout))
    given = (batch.kv_buffer, batch.kv_input, batch.ape, batch.plan)
    with pytest.raises(RuntimeError, match="this launch fails"):
        wavejit.compress_store(*given, head_dim=batch.dim, cache=batch.cache(), **batch.store)
    assert not batch.plan.__dict__.get("_rooms")
