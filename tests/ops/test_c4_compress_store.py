"""compress_store of ratio 4: the bytes of two launches, any batch size, errors."""

from __future__ import annotations

from typing import Any

import pytest
import store_runs
import store_world
import torch
from store_runs import STEPS, fused
from store_world import LAYOUTS, Batch

import wavejit
from wavejit import reference
from wavejit.layouts import FlashMLA


@pytest.mark.parametrize("is_decode", STEPS)
@pytest.mark.parametrize("layout", ["FlashMLA", "Bf16Rows", "Indexer-shuffled", "IndexerFp4"])
def test_one_launch_gives_the_bytes_of_two(device: str, layout: str, is_decode: bool) -> None:
    store_runs.check_one_launch(device, layout, 4, is_decode)


def test_a_plan_serves_many_launches(device: str) -> None:
    store_runs.check_many_launches(device, 4)


def test_a_large_step_equals_small_ones(device: str) -> None:
    store_runs.check_large_step(device, LAYOUTS["FlashMLA"], 4, (70, 71))
    store_runs.check_large_step(device, LAYOUTS["Indexer"], 4, (300, 217))


def test_rows_that_cannot_be_pooled_store_nothing(device: str) -> None:
    for layout in ("FlashMLA", "Indexer"):
        store_runs.check_chunk_of_bad_rows(device, LAYOUTS[layout], 4)


def test_the_reference_is_close(device: str) -> None:
    """float64 and the kernel: at most one byte in a hundred differs, by rounding ties."""
    for layout in ("FlashMLA", "Indexer", "IndexerFp4"):
        batch = Batch(4, LAYOUTS[layout], False, seed=5)
        cache, _ = fused(device, batch)
        defined = batch.cache()
        reference.compress_store(
            batch.kv_buffer.clone(), batch.kv_input, batch.ape, batch.plan,
            head_dim=batch.dim, cache=defined, **batch.store,
        )  # fmt: skip
        wrong = int((cache[0] != defined).sum())
        changed = int((defined != batch.cache()).sum())
        assert changed > 300 and wrong <= max(2, changed // 100), (wrong, changed)


def call(**changed: Any) -> Any:
    batch = Batch(4, LAYOUTS["FlashMLA"], True)
    given = {
        "kv_buffer": batch.kv_buffer,
        "kv_input": batch.kv_input,
        "ape": batch.ape,
        "plan": batch.plan,
        "head_dim": batch.dim,
        "cache": batch.cache(),
        **batch.store,
    }
    given.update(changed)
    return wavejit.compress_store(**given)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"ratio": 128}, ValueError, "plan: expected one of ratio 128, got one of ratio 4"),
        ({"ratio": 3}, ValueError, "ratio: expected one of 4, 128, got 3"),
        ({"head_dim": 128}, ValueError, "head_dim: expected that of FlashMLA"),
        ({"layout": "FlashMLA"}, TypeError, "layout: expected one of wavejit.layouts"),
        ({"plan": None}, TypeError, "plan: expected what compress_plan_decode"),
        ({"norm_weight": 1.0}, TypeError, "norm_weight: expected a torch tensor"),
        ({"norm_weight": torch.ones(511)}, ValueError, "norm_weight: wrong shape"),
        ({"eps": -1.0}, ValueError, "eps: expected a finite number from 0 on, got -1"),
        ({"eps": None}, TypeError, "eps: expected a number, got None"),
        ({"freqs_cis": torch.ones(0, 64)}, ValueError, "freqs_cis: expected at least one position"),
        ({"freqs_cis": torch.ones(9, 32)}, ValueError, "freqs_cis: wrong shape"),
        ({"out_loc": torch.ones(9)}, TypeError, "out_loc: wrong dtype"),
        ({"cache": torch.zeros(2, 100, dtype=torch.uint8)}, ValueError, "cache: FlashMLA"),
        ({"layout": FlashMLA(flavour="fn")}, ValueError, "page_size: neither the call nor"),
    ],
)
@pytest.mark.usefixtures("host")
def test_errors_name_the_argument(
    changed: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call(**changed)


@pytest.mark.parametrize("is_decode", STEPS)
@pytest.mark.parametrize("ratio", [4, 128])
def test_a_short_out_loc_is_refused(device: str, ratio: int, is_decode: bool) -> None:
    """out_loc is indexed by the token's row, however few rows the plan has (kernels.md 9.5, 13)."""
    batch = Batch(ratio, LAYOUTS["FlashMLA"], is_decode, seed=9)
    batch.out_loc = batch.out_loc[:-1].clone()
    rows, count = 9 if is_decode else batch.tokens, len(batch.out_loc)
    message = f"out_loc: expected a location for each of {rows} rows, got {count}"
    given = {
        "kv_buffer": batch.kv_buffer,
        "kv_input": batch.kv_input,
        "ape": batch.ape,
        "plan": batch.plan,
        "head_dim": batch.dim,
        "cache": batch.cache(),
        **batch.store,
    }
    for op in (wavejit.compress_store, wavejit.reference.compress_store):
        on = device if op is wavejit.compress_store else "cpu"
        with pytest.raises(ValueError, match=message):
            op(**store_world.placed(on, given, []))
