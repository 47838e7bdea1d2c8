"""Plans as graphs leave them: three rows in ten are random words, and behind the real rows lie
those of an older batch. No stray write, and the others are as the definition says."""

from __future__ import annotations

from typing import Any

import numpy as np
import plan_loop
import pytest
import torch
from plan_loop import W_ROW
from store_runs import assert_same, expected_cache, fused, stored, without_skipped
from store_world import LAYOUTS, Batch
from test_c4_bounds import check_defined

import wavejit
from wavejit import PrefillPlan
from wavejit.testing import inputs


def spoiled(rows: Any, seed: int) -> Any:
    rows = rows.clone()
    hit = inputs.uniform(seed, (len(rows),)) < 0.3
    random = inputs.bits(seed + 1, rows.numel() // 8).view(np.uint8)
    rows[hit] = torch.from_numpy(random.copy()).view(rows.shape)[hit]
    return rows


def with_stale_rows(ratio: int, good: Any, seed: int) -> PrefillPlan:
    """`good` and a plan of 40 groups of slot 1, most of it beyond the batch; all spoiled."""
    count = 40 * ratio
    ring = wavejit.RequestRing(2 * ratio)
    stale = plan_loop.prefill_plan("cpu", [1], [count], [count], ring, ratio=ratio)
    made = [
        spoiled(torch.cat((mine, old)), seed + 10 * k)
        for k, (mine, old) in enumerate(((good.plan_c, stale.plan_c), (good.plan_w, stale.plan_w)))
    ]
    writes = plan_loop.as_rows(made[1], W_ROW)  # one writer a location: order is not defined
    again = np.ones(len(writes), bool)
    again[np.unique(writes["loc"], return_index=True)[1]] = False
    writes["loc"][again] = -1
    return PrefillPlan(ratio, made[0], plan_loop.as_plan(writes))


@pytest.mark.parametrize("seed", range(4))
def test_the_c4_compressor(device: str, seed: int) -> None:
    slots, ring = [0, 2, 1], wavejit.RequestRing(8)
    seqs, extends = [20 + seed, 13, 26], [10, 3 + seed, 26]
    good = plan_loop.prefill_plan("cpu", slots, seqs, extends, ring)
    plan = with_stale_rows(4, good, seed)
    check_defined(device, 6, sum(extends), plan, len(plan.plan_c))


@pytest.mark.parametrize("ratio", [4, 128])
def test_finalised_rows(device: str, ratio: int) -> None:
    """A location of an old row is stored where its token is one of the batch, and only there."""
    batch = Batch(ratio, LAYOUTS["FlashMLA"], False, seed=21)
    batch.plan = with_stale_rows(ratio, batch.plan, 5)
    tokens = plan_loop.as_rows(batch.plan.plan_c, plan_loop.C_ROW)["where"] & 0xFFFF
    _, first = np.unique(tokens, return_index=True)  # one row a token, so one writer a slot
    again = np.ones(len(tokens), bool)
    again[first] = False
    batch.plan.plan_c[torch.from_numpy(again), :4] = 0xFF
    rows = inputs.normal(5, (len(batch.plan.plan_c), batch.dim))
    assert_same(stored(device, batch, rows), expected_cache(batch, rows), "cache")


@pytest.mark.parametrize("ratio", [4, 128])
def test_both_in_one_launch(device: str, ratio: int) -> None:
    from store_runs import compressed

    batch = Batch(ratio, LAYOUTS["FlashMLA"], False, seed=22)
    batch.plan = with_stale_rows(ratio, batch.plan, 7)
    tokens = plan_loop.as_rows(batch.plan.plan_c, plan_loop.C_ROW)["where"] & 0xFFFF
    again = np.ones(len(tokens), bool)
    again[np.unique(tokens, return_index=True)[1]] = False
    batch.plan.plan_c[torch.from_numpy(again), :4] = 0xFF
    rows, state = compressed(device, batch)
    cache, after = fused(device, batch)
    assert_same((after,), (state,), "state")
    assert_same(cache, stored(device, without_skipped(batch, rows), rows), "cache")
