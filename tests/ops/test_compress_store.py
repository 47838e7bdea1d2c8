"""Finalising compressed rows, alone and fused: exact rows, equal bytes, no stray write."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import plan_loop
import pytest
import store_world
import torch
from store_world import LAYOUTS, Batch

import wavejit
from wavejit import reference
from wavejit.layouts import FlashMLA

STEPS = [pytest.param(True, id="decode"), pytest.param(False, id="prefill")]


def compressed(device: str, batch: Batch) -> tuple[Any, Any]:
    """The rows that `compress` returns, zero where there is none, and the state after it."""
    rows = batch.plan.plan_d if batch.is_decode else batch.plan.plan_c
    given = {
        "kv_buffer": batch.kv_buffer,
        "kv_input": batch.kv_input,
        "ape": batch.ape,
        "plan": batch.plan,
        "head_dim": batch.dim,
        "ratio": batch.ratio,
        "out": torch.zeros((rows.shape[0], batch.dim), dtype=batch.input),
    }
    found = store_world.run(device, wavejit.compress, given, ("kv_buffer", "out"))
    return found["out"][0], found["kv_buffer"][0]


def stored(device: str, batch: Batch, rows: Any) -> tuple[Any, ...]:
    given = {"kv": rows, "plan": batch.plan, **batch.store, "cache": batch.cache()}
    found = store_world.run(device, wavejit.compress_norm_rope_store, given, ("cache",))
    return found["cache"]


def without_skipped(batch: Batch, rows: Any) -> Batch:
    """The batch as the second of two launches needs it: rows that the first skipped are marked."""
    skipped = (rows == 0).all(dim=1)

    def mark(plan: Any) -> Any:
        if plan.shape[1] != 16:
            return plan
        plan = plan.clone()
        plan[skipped, :4] = 0xFF
        return plan

    marked = copy.copy(batch)
    marked.plan = plan_loop.mapped(batch.plan, mark)
    return marked


def fused(device: str, batch: Batch) -> tuple[tuple[Any, ...], Any]:
    given = {
        "kv_buffer": batch.kv_buffer,
        "kv_input": batch.kv_input,
        "ape": batch.ape,
        "plan": batch.plan,
        "head_dim": batch.dim,
        **batch.store,
        "cache": batch.cache(),
    }
    found = store_world.run(device, wavejit.compress_store, given, ("kv_buffer", "cache"))
    return found["cache"], found["kv_buffer"][0]


def expected_cache(batch: Batch, rows: Any) -> tuple[Any, ...]:
    """The cache with every stored row by exact arithmetic, quantised byte by byte."""
    cache, locs, made = batch.cache(), [], []
    plan = batch.plan.plan_d if batch.is_decode else batch.plan.plan_c
    words = np.ascontiguousarray(plan.numpy()).view("<u4").tolist()
    for i, (seq_len, where, _, _) in enumerate(words):
        index = i if batch.is_decode else where & 0xFFFF
        complete = 0 < seq_len < 0xFFFFFFFF and (not batch.is_decode or seq_len % batch.ratio == 0)
        position = seq_len - batch.ratio
        if not complete or index >= batch.tokens or not 0 <= position < store_world.POSITIONS:
            continue
        angles = batch.angles[position]
        row = store_world.finished_exactly(rows[i], batch.norm_weight, angles, batch.layout)
        locs.append(int(batch.out_loc[index]))
        made.append(row)
    if made:
        reference.store_cache(torch.stack(made), cache, torch.tensor(locs), layout=batch.layout)
    return store_world.parts(cache)


def assert_same(found: tuple[Any, ...], expected: tuple[Any, ...], what: str) -> None:
    for one, other in zip(found, expected, strict=True):
        assert wavejit.testing.digest(one) == wavejit.testing.digest(other), what


@pytest.mark.parametrize("is_decode", STEPS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_finalised_rows_are_exact(device: str, layout: str, is_decode: bool) -> None:
    ratio = 128 if layout == "FlashMLA-fnuz-2" else 4
    batch = Batch(ratio, LAYOUTS[layout], is_decode, seed=7)
    rows = wavejit.testing.inputs.normal(5, (9 if is_decode else len(batch.plan.plan_c), batch.dim))
    rows[0] = 0.0
    rows[1, ::7] *= 1e4
    assert_same(stored(device, batch, rows), expected_cache(batch, rows), layout)


DTYPES = [
    (torch.float32, torch.float32, torch.float32),
    (torch.bfloat16, torch.float32, torch.bfloat16),
    (torch.bfloat16, torch.bfloat16, torch.bfloat16),
]


@pytest.mark.parametrize("is_decode", STEPS)
@pytest.mark.parametrize("ratio", [4, 128])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_launch_gives_the_bytes_of_two(
    device: str, layout: str, ratio: int, is_decode: bool
) -> None:
    kinds = list(LAYOUTS)
    state, given, weight = DTYPES[(kinds.index(layout) + ratio // 4) % 3]
    dtypes = {"state": state, "input": given, "weight_dtype": weight}
    locs = torch.int32 if is_decode else torch.int64
    batch = Batch(ratio, LAYOUTS[layout], is_decode, loc_dtype=locs, seed=11, **dtypes)
    rows, state_after = compressed(device, batch)
    expected = stored(device, without_skipped(batch, rows), rows)
    cache, fused_state = fused(device, batch)
    assert_same(cache, expected, "cache")
    assert_same((fused_state,), (state_after,), "state")
    before = store_world.parts(batch.cache())
    assert any(
        not torch.equal(one.view(torch.uint8), other.view(torch.uint8))
        for one, other in zip(cache, before)
    )


@pytest.mark.parametrize("ratio", [4, 128])
def test_a_plan_serves_many_launches(device: str, ratio: int) -> None:
    """What blocks hand over is ready again: one plan, several layers, other contents each time."""
    batch = Batch(ratio, LAYOUTS["FlashMLA"], True, seed=3)
    plan = plan_loop.mapped(batch.plan, lambda rows: rows.to(device))
    store = {
        name: value.to(device) if isinstance(value, torch.Tensor) else value
        for name, value in batch.store.items()
    }
    for turn in range(4):
        state = (batch.kv_buffer + turn).to(device)
        given = (batch.kv_input.to(device), batch.ape.to(device), plan)
        again = state.clone()
        one, two = (batch.cache().to(device) for _ in range(2))
        wavejit.compress_store(state, *given, head_dim=batch.dim, cache=one, **store)
        out = torch.zeros(9, batch.dim, device=device)
        wavejit.compress(again, *given, head_dim=batch.dim, ratio=ratio, out=out)
        wavejit.compress_norm_rope_store(out, plan, cache=two, **store)
        assert torch.equal(one, two)


def test_a_large_step_equals_small_ones(device: str) -> None:
    """Batches beyond 65,536 channels go through another kernel."""
    count, layout = 140, LAYOUTS["FlashMLA"]
    ring, dim = wavejit.RequestRing(8), 512
    normal = wavejit.testing.inputs.normal
    state, kv = (
        normal(1, (2 * count, 4, 4 * dim)).to(device),
        normal(2, (count, 4 * dim)).to(device),
    )
    ape, weight = normal(3, (8, dim)).to(device), normal(4, (dim,)).to(device)
    angles = normal(5, (64, 64)).to(device)

    def step(first: int, last: int, cache: Any) -> None:
        rows = slice(first, last)
        slots = list(range(first, last))
        plan = plan_loop.decode_plan(device, slots, [8] * (last - first), ring, ratio=4)
        locs = torch.arange(first, last, dtype=torch.int32, device=device)
        wavejit.compress_store(
            state.clone(), kv[rows], ape, plan, head_dim=dim, ratio=4, norm_weight=weight, eps=1e-6,
            freqs_cis=angles, out_loc=locs, cache=cache, layout=layout,
        )  # fmt: skip

    whole, pieces = (layout.empty(count, device=device) for _ in range(2))
    step(0, count, whole)
    step(0, 70, pieces)
    step(70, count, pieces)
    assert torch.equal(whole, pieces) and int(whole.count_nonzero()) > 500 * count


def test_the_reference_is_close(device: str) -> None:
    """float64 and the kernel: at most one byte in a hundred differs, by rounding ties."""
    for layout in ("FlashMLA", "Indexer"):
        batch = Batch(4, LAYOUTS[layout], False, seed=5)
        cache, _ = fused(device, batch)
        defined = batch.cache()
        reference.compress_store(
            batch.kv_buffer.clone(), batch.kv_input, batch.ape, batch.plan,
            head_dim=batch.dim, cache=defined, **batch.store,
        )  # fmt: skip
        wrong = int((cache[0] != defined).sum())
        changed = int((defined != batch.cache()).sum())
        assert changed > 500 and wrong <= max(2, changed // 100), (wrong, changed)


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


@pytest.mark.usefixtures("host")
def test_complex_tables_are_taken() -> None:
    batch = Batch(4, LAYOUTS["FlashMLA"], True)
    turned = torch.view_as_complex(batch.angles.reshape(-1, 32, 2).contiguous())
    assert torch.equal(call(freqs_cis=turned), call())


def test_a_short_out_loc_stores_only_what_it_names(device: str) -> None:
    """out_loc is indexed by the token's row, whatever its length (kernels.md 9.5, 13)."""
    batch = Batch(4, LAYOUTS["FlashMLA"], False, seed=9)
    batch.out_loc = batch.out_loc[: batch.tokens // 2].clone()
    rows, _ = compressed(device, batch)
    expected = stored(device, without_skipped(batch, rows), rows)
    assert_same(fused(device, batch)[0], expected, "cache")
    batch.tokens //= 2
    assert not torch.equal(expected[0], store_world.parts(batch.cache())[0])
