"""Finalising compressed rows in a launch of its own: exact rows, no stray write."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from store_runs import STEPS, assert_same, expected_cache, stored
from store_world import LAYOUTS, Batch

import wavejit
from wavejit import reference
from wavejit.testing import inputs


@pytest.mark.parametrize("is_decode", STEPS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_finalised_rows_are_exact(device: str, layout: str, is_decode: bool) -> None:
    ratio = 128 if layout == "FlashMLA-fnuz-2" else 4
    batch = Batch(ratio, LAYOUTS[layout], is_decode, seed=7)
    rows = wavejit.testing.inputs.normal(5, (9 if is_decode else len(batch.plan.plan_c), batch.dim))
    rows[0] = 0.0
    rows[1, ::7] *= 1e4
    assert_same(stored(device, batch, rows), expected_cache(batch, rows), layout)


def call(**changed: Any) -> Any:
    batch = Batch(4, LAYOUTS["FlashMLA"], True)
    given = {"kv": torch.ones(9, 512), "plan": batch.plan, "cache": batch.cache(), **batch.store}
    return wavejit.compress_norm_rope_store(**{**given, **changed})


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"kv": torch.ones(9, 511)}, ValueError, "kv: wrong shape"),
        ({"kv": torch.ones(8, 512)}, ValueError, "plan: wrong shape"),
        ({"kv": 1.0}, TypeError, "kv: expected a torch tensor"),
        ({"ratio": 128}, ValueError, "plan: expected one of ratio 128, got one of ratio 4"),
        ({"layout": None}, TypeError, "layout: expected one of wavejit.layouts"),
    ],
)
def test_errors_name_the_argument(
    changed: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call(**changed)


@pytest.mark.usefixtures("host")
def test_complex_tables_are_taken() -> None:
    batch = Batch(4, LAYOUTS["FlashMLA"], True)
    turned = torch.view_as_complex(batch.angles.reshape(-1, 32, 2).contiguous())
    assert torch.equal(call(freqs_cis=turned), call())


def test_a_short_out_loc(device: str) -> None:
    """Refused where the plan knows how many rows there are; else what has a location is stored."""
    step = Batch(4, LAYOUTS["FlashMLA"], True, seed=9)
    step.out_loc = step.out_loc[:8].clone()
    with pytest.raises(ValueError, match="out_loc: expected a location for each of 9 rows, got 8"):
        stored(device, step, torch.ones(9, 512))

    batch = Batch(4, LAYOUTS["FlashMLA"], False, seed=9)
    tokens, rows = batch.tokens, inputs.normal(5, (len(batch.plan.plan_c), 512))
    batch.out_loc = batch.out_loc[: tokens // 2].clone()
    assert_same(stored(device, batch, rows), expected_cache(batch, rows), "half of the tokens")
    batch.plan = replace(batch.plan, num_q_tokens=tokens)
    message = f"out_loc: expected a location for each of {tokens} rows, got {tokens // 2}"
    with pytest.raises(ValueError, match=message):
        stored(device, batch, rows)
    given = {"cache": batch.cache(), **batch.store}
    with pytest.raises(ValueError, match=message):
        reference.compress_norm_rope_store(rows, batch.plan, **given)


def test_plans_know_their_tokens(device: str) -> None:
    lengths = torch.tensor([9, 4])
    given = 4, torch.tensor([0, 1], device=device), lengths, lengths
    scheme = wavejit.RequestRing(8)
    for plan in (wavejit.compress_plan_prefill, reference.compress_plan_prefill):
        if plan is reference.compress_plan_prefill:
            given = tuple(x.cpu() if hasattr(x, "cpu") else x for x in given)
        assert plan(*given, scheme=scheme, num_q_tokens=13).num_q_tokens == 13
