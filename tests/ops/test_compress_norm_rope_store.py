"""Finalising compressed rows in a launch of its own: exact rows, no stray write."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from store_runs import STEPS, assert_same, expected_cache, stored
from store_world import LAYOUTS, Batch

import wavejit


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
