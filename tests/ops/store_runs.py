"""Calls of the ops that finalise compressed rows, and what every one of them is checked for."""

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
from wavejit import finishing, reference

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
        if not complete or index >= len(batch.out_loc) or not 0 <= position < store_world.POSITIONS:
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


DTYPES = [
    (torch.float32, torch.float32, torch.float32),
    (torch.bfloat16, torch.float32, torch.bfloat16),
    (torch.bfloat16, torch.bfloat16, torch.bfloat16),
]


def check_one_launch(
    device: str, layout: str, ratio: int, is_decode: bool, requests: int = 9
) -> None:
    """One launch gives the bytes of two."""
    kinds = list(LAYOUTS)
    state, given, weight = DTYPES[(kinds.index(layout) + ratio // 4) % 3]
    dtypes = {"state": state, "input": given, "weight_dtype": weight}
    locs = torch.int32 if is_decode else torch.int64
    options = {"loc_dtype": locs, "seed": 11, "requests": requests}
    batch = Batch(ratio, LAYOUTS[layout], is_decode, **options, **dtypes)
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


def check_many_launches(device: str, ratio: int, is_decode: bool = True, requests: int = 9) -> None:
    """What blocks hand over is ready again: one plan, several layers, other contents each time."""
    batch = Batch(ratio, LAYOUTS["FlashMLA"], is_decode, seed=3, requests=requests)
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
        count = len(plan.plan_d if is_decode else plan.plan_c)
        out = torch.zeros(count, batch.dim, device=device)
        wavejit.compress(again, *given, head_dim=batch.dim, ratio=ratio, out=out)
        wavejit.compress_norm_rope_store(out, plan, cache=two, **store)
        assert torch.equal(one, two)
        if ratio == 128:
            room = finishing.room_of(plan, batch.dim)
            assert all((words.view(torch.int32) == -1).all() for words in room)


def check_large_step(device: str, layout: Any, ratio: int, counts: tuple[int, ...]) -> None:
    """Larger batches go through other kernels: all requests at once, and in `counts`.

    Some requests are within a group, invalid, or have a page outside the state: no byte of their
    slots changes.
    """
    count, dim = sum(counts), layout.DIMS
    width, window = (4 * dim, 8) if ratio == 4 else (2 * dim, 128)
    ring = wavejit.RequestRing(window)
    normal = wavejit.testing.inputs.normal
    state = normal(1, (count * window, width)).reshape(-1, ratio, width).to(device)
    kv = normal(2, (count, width)).to(device)
    store = {
        "norm_weight": normal(4, (dim,)).to(device),
        "eps": 1e-6,
        "freqs_cis": normal(5, (200, 64)).to(device),
        "layout": layout,
        "ratio": ratio,
        "head_dim": dim,
    }
    ape = normal(3, (window, dim)).to(device)

    number = torch.arange(count)
    within, invalid, outside = number % 5 == 3, number % 7 == 2, number % 11 == 5

    def step(first: int, last: int, cache: Any) -> Any:
        slots, after = list(range(first, last)), state.clone()
        lengths = [window - int(within[i]) for i in slots]
        plan = plan_loop.decode_plan("cpu", slots, lengths, ring, ratio=ratio)
        rows = plan_loop.as_rows(plan.plan_d, plan_loop.D_ROW)
        rows["seq"][invalid[first:last].numpy()] = 0xFFFFFFFF
        rows["page1"][outside[first:last].numpy()] = len(state)
        plan = wavejit.DecodePlan(ratio, plan_loop.as_plan(rows).to(device))
        locs = torch.arange(first, last, dtype=torch.int32, device=device)
        given = after, kv[first:last], ape, plan
        wavejit.compress_store(*given, out_loc=locs, cache=cache, **store)
        return after

    whole, pieces = (layout.empty(count, device=device) for _ in range(2))
    for cache in (whole, pieces):
        cache.view(torch.uint8).fill_(0x35)
    everywhere = torch.arange(count, device=device)
    before = wavejit.load_cache(whole, everywhere, layout=layout)
    after, first = step(0, count, whole), 0
    assert not torch.equal(after, state)
    for size in counts:
        mine = step(first, first + size, pieces).reshape(-1, window, width)[first : first + size]
        assert torch.equal(mine, after.reshape(-1, window, width)[first : first + size])
        first += size
    assert torch.equal(whole, pieces)
    changed = (wavejit.load_cache(whole, everywhere, layout=layout) != before).any(dim=1).cpu()
    assert torch.equal(changed, ~(within | invalid | outside))


def check_chunk_of_bad_rows(device: str, layout: Any, ratio: int) -> None:
    """Rows of a chunk with a token of the batch and a good location, but with a page outside the
    state or more rows of the ring than the window has: their slots keep their bytes."""
    window, dim = (8, layout.DIMS) if ratio == 4 else (128, layout.DIMS)
    width, tokens, pages = (4 if ratio == 4 else 2) * dim, 2 * window, 6
    normal = wavejit.testing.inputs.normal
    rows = [
        (2 * window, window - 1, 0, 0),
        (2 * window, window | window // 2 << 16, pages, pages),
        (2 * window, window + 1 | window + 1 << 16, 0, 0),
        (2 * window, window + 2 | window // 2 << 16, -1, -1),
        (2 * window, window + 3 | window // 2 << 16, 1, 2),
    ]
    plan_c = plan_loop.as_plan(np.array(rows, plan_loop.C_ROW)).to(device)
    plan_w = torch.zeros(0, 8, dtype=torch.uint8, device=device)
    cache = layout.empty(tokens, device=device)
    cache.view(torch.uint8).fill_(0x35)
    everywhere = torch.arange(tokens, device=device)
    before = wavejit.load_cache(cache, everywhere, layout=layout)
    wavejit.compress_store(
        normal(1, (pages * ratio, width)).reshape(pages, ratio, width).to(device),
        normal(2, (tokens, width)).to(device),
        normal(3, (window, dim)).to(device),
        wavejit.PrefillPlan(ratio, plan_c, plan_w),
        head_dim=dim, ratio=ratio, norm_weight=normal(4, (dim,)).to(device), eps=1e-6,
        freqs_cis=normal(5, (300, 64)).to(device), out_loc=everywhere, cache=cache, layout=layout,
    )  # fmt: skip
    changed = (wavejit.load_cache(cache, everywhere, layout=layout) != before).any(dim=1)
    assert changed.nonzero().flatten().tolist() == [window - 1, window + 3]
