"""Calls of every op whose kernels survive indices of any value: with legal ones, padding among
them, and with some that lie outside (`bad`). Each returns what the kernel wrote."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from plan_loop import C_ROW, D_ROW, W_ROW, as_plan

import wavejit
from wavejit import DecodePlan, PrefillPlan
from wavejit.layouts import FlashMLA
from wavejit.testing import inputs

LAYOUT = FlashMLA(64, "fn")
SLOTS, HUGE = 128, 1 << 40
INVALID = 0xFFFFFFFF
Call = Callable[[str, bool], list[Any]]


def integers(values: list[int]) -> Any:
    return torch.tensor(values, dtype=torch.int64)


def angles(rows: int, device: str) -> Any:
    return inputs.uniform(7, (rows, 64), -1, 1).to(device)


def store(device: str, bad: bool) -> list[Any]:
    cache = LAYOUT.empty(SLOTS, device=device)
    loc = integers([0, -1, 200, SLOTS, HUGE, 5] if bad else [0, -1, SLOTS - 1, 3, -HUGE, 5])
    x = inputs.normal(1, (6, 512)).bfloat16().to(device)
    return [wavejit.store_cache(x, cache, loc.to(device), layout=LAYOUT)]


def store_many(device: str, bad: bool) -> list[Any]:
    cache = LAYOUT.empty(5000, device=device)
    loc = inputs.permutation(1, 5000)[:2600]
    loc[::3] = -1
    if bad:
        loc[[2599, 2222, 1501]] = integers([9000, HUGE, 8000])
    x = inputs.normal(1, (2600, 512)).bfloat16().to(device)
    return [wavejit.store_cache(x, cache, loc.to(device), layout=LAYOUT)]


def load_many(device: str, bad: bool) -> list[Any]:
    cache = LAYOUT.empty(5000, device=device)
    loc = inputs.permutation(1, 5000)[:2600]
    loc[::3] = -1
    if bad:
        loc[[2599, 2222, 1501]] = integers([9000, HUGE, 8000])
    return [wavejit.load_cache(cache, loc.to(device), layout=LAYOUT)]


def load(device: str, bad: bool) -> list[Any]:
    cache = LAYOUT.empty(SLOTS, device=device)
    loc = integers([-5, 127, 64, 128 if bad else 0, SLOTS + 9 if bad else 1])
    return [wavejit.load_cache(cache, loc.to(device), layout=LAYOUT)]


def keys(device: str, bad: bool) -> list[Any]:
    """The position of a row that goes nowhere is not looked at."""
    cache = LAYOUT.empty(SLOTS, device=device)
    loc = integers([1, -1, 2, SLOTS if bad else 3, 4])
    positions = integers([0, -77, 99, 1000, -3] if bad else [0, -77, 99, 50, 3])
    kv, weight = inputs.normal(1, (5, 512)).bfloat16(), inputs.normal(2, (512,))
    given = kv.to(device), weight.to(device), angles(100, device), positions.to(device)
    wavejit.k_norm_rope_store(*given, loc.to(device), cache, eps=1e-6, page_size=64, layout=LAYOUT)
    return [cache]


def _many_rows(tokens: int, device: str, bad: bool) -> tuple[Any, Any, Any, Any, Any]:
    """Rows, weight, angles, positions and locations; row 7 goes nowhere. `bad`: three positions,
    row 7's among them, and two locations, the first one past the last slot."""
    loc, positions = torch.arange(tokens), torch.arange(tokens) % 100
    loc[7] = -1
    if bad:
        positions[[7, 10, 50]] = integers([-77, HUGE, -3])
        loc[[20, 250]] = integers([-(-tokens // 64) * 64, HUGE])
    kv, weight = inputs.normal(1, (tokens, 512)).bfloat16(), inputs.normal(2, (512,))
    given = kv.to(device), weight.to(device), angles(100, device), positions.to(device)
    return (*given, loc.to(device))


def many_keys(device: str, bad: bool) -> list[Any]:
    cache = LAYOUT.empty(1088, device=device)
    given = _many_rows(1027, device, bad)
    wavejit.k_norm_rope_store(*given, cache, eps=1e-6, layout=LAYOUT)
    return [cache]


def many_queries_and_keys(device: str, bad: bool) -> list[Any]:
    cache = LAYOUT.empty(320, device=device)
    q = inputs.normal(3, (259, 1, 512)).bfloat16().to(device)
    given = _many_rows(259, device, bad)
    out = wavejit.qk_norm_rope_store(q, *given, cache, q_eps=1e-6, kv_eps=1e-6, layout=LAYOUT)
    return [out, cache]


def queries(device: str, bad: bool, eps: float | None = 1e-6) -> list[Any]:
    q = inputs.normal(1, (4, 3, 512)).bfloat16().to(device)
    positions = integers([0, 100, 99, -1] if bad else [0, 50, 99, 1]).to(device)
    out = q if eps is None else None
    return [wavejit.q_norm_rope(q, angles(100, device), positions, eps=eps, out=out)]


def queries_and_keys(device: str, bad: bool) -> list[Any]:
    """Positions are looked at for every query, also of a row that goes nowhere."""
    cache = LAYOUT.empty(SLOTS, device=device)
    loc = integers([1, -1, 2, SLOTS if bad else 3, 4])
    positions = integers([0, -77, 99, 1000, -3] if bad else [0, 7, 99, 50, 3])
    q = inputs.normal(3, (5, 3, 512)).bfloat16().to(device)
    kv, weight = inputs.normal(1, (5, 512)).bfloat16(), inputs.normal(2, (512,))
    given = kv.to(device), weight.to(device), angles(100, device), positions.to(device)
    out = wavejit.qk_norm_rope_store(
        q, *given, loc.to(device), cache, q_eps=1e-6, kv_eps=1e-6, layout=LAYOUT
    )
    return [out, cache]


def rotated(device: str, bad: bool) -> list[Any]:
    return queries(device, bad, None)


def indexer_queries(device: str, bad: bool, tokens: int = 4) -> list[Any]:
    q = inputs.normal(1, (tokens, 3, 128)).bfloat16().to(device)
    weight = inputs.normal(2, (tokens, 3)).bfloat16().to(device)
    positions = torch.arange(tokens) % 100
    if bad:
        positions[[1, 3]] = integers([HUGE, -4])
    call = wavejit.q_indexer_rope_hadamard_quant
    codes, weights = call(q, weight, 0.5, angles(100, device), positions.to(device))
    return [codes, weights]


def more_indexer_queries(device: str, bad: bool) -> list[Any]:
    return indexer_queries(device, bad, 500)


def many_indexer_queries(device: str, bad: bool) -> list[Any]:
    return indexer_queries(device, bad, 2000)


def in_place(device: str, bad: bool, offset: int = 0) -> list[Any]:
    q = inputs.normal(1, (4, 9, 64 + offset)).bfloat16().to(device)
    k = inputs.normal(2, (4, 1, 64)).bfloat16().to(device)
    positions = integers([0, 100, 99, -1] if bad else [0, 50, 99, 1]).to(device)
    wavejit.rope_inplace(q[..., offset:], k, angles(100, device), positions)
    return [q, k]


def pairs_in_place(device: str, bad: bool) -> list[Any]:
    return in_place(device, bad, 1)


def norm_in_place(device: str, bad: bool) -> list[Any]:
    kv = inputs.normal(1, (4, 512)).bfloat16().to(device)
    positions = integers([0, 100, 99, -1] if bad else [0, 50, 99, 1]).to(device)
    weight = inputs.normal(2, (512,)).bfloat16().to(device)
    wavejit.norm_rope_inplace(kv, weight, angles(100, device), positions, eps=1e-6)
    return [kv]


def routing(device: str, bad: bool) -> list[Any]:
    """Token 2's and token 4's ids become the last row, whose second entry is no expert."""
    table = inputs.integers(1, (50, 6), 0, 256).int()
    if bad:
        table[49, 1:3] = torch.tensor([-9, 300])
    ids = integers([3, -1, 50, 7, HUGE] if bad else [3, 0, 49, 7, 1])
    logits = inputs.normal(2, (5, 256)).to(device)
    return list(wavejit.hash_topk(logits, ids.to(device), table.to(device)))


def masked(device: str, bad: bool) -> list[Any]:
    ids = inputs.integers(1, (9, 6), 0, 256).int().to(device)
    wavejit.mask_topk_ids(ids, integers([10 if bad else 9]).to(device))
    return [ids]


def activation(device: str, bad: bool) -> list[Any]:
    x = inputs.normal(1, (3, 8, 512)).bfloat16().to(device)
    count = integers([8, -1, 9] if bad else [8, 0, 3]).int().to(device)
    filled = torch.zeros(3, 8, 256, dtype=torch.uint8, device=device)
    scale = torch.zeros(3, 8, 2, device=device)
    options = {"group_size": 128, "scale_format": "fp32", "out": (filled, scale)}
    wavejit.silu_mul_quant(x, count, **options)
    return [filled, scale]


def selected(device: str, bad: bool, columns: int = 300) -> list[Any]:
    """A negative entry is padding; row 1 has a length, row 2 a request, row 3 a page too many."""
    scores = inputs.normal(1, (4, columns)).to(device)
    pages = columns // 64 + 1
    table = torch.arange(4 * pages).view(4, pages).int()
    table[0, 1] = -1
    lengths = integers([200, 301, 200, -6] if bad else [200, columns, 200, 0])
    lengths[1] += columns - 300 if bad else 0
    if bad:
        table[0, :] = 1 << 30  # too large for slots of 32 bits, times 64
        table[0, 1] = -1
    requests = integers([0, 1, 4 if bad else 2, 3])
    given = scores, lengths.to(device), table.to(device), 8
    call = wavejit.topk_page_table
    return [call(*given, page_size=64, row_to_batch=requests.to(device))]


def selected_long(device: str, bad: bool) -> list[Any]:
    return selected(device, bad, 20_000)


def short_table(device: str, bad: bool) -> list[Any]:
    scores = inputs.normal(1, (2, 300)).to(device)
    table = torch.arange(8).view(2, 4).int().to(device)
    lengths = integers([256, 257 if bad else 40]).to(device)
    return [wavejit.topk_page_table(scores, lengths, table, 8, page_size=64)]


def state_and_rows(ratio: int, rows: int, device: str) -> tuple[Any, Any, Any]:
    width, window = (4 * 512, 8) if ratio == 4 else (2 * 512, 128)
    shapes = (4, ratio, width), (rows, width), (window, 512)
    return tuple(inputs.normal(i, shape).to(device) for i, shape in enumerate(shapes))


def step_plan(ratio: int, bad: bool, device: str) -> DecodePlan:
    """Non-boundary, padding, boundary rows; locations and pages of a pool of four pages.

    No row reads what another one writes.
    """
    last = 4 * ratio
    rows = [(INVALID, -1, -1, -1), (3, last - 1, -1, -1), (2 * ratio, ratio, 0, 1), (5, -7, 9, 9)]
    rows += [(2 * ratio, last, 0, 0), (2 * ratio, -1, 1, 4), (2 * ratio, 2 * ratio, 0, -2)]
    return DecodePlan(ratio, as_plan(np.array(rows if bad else rows[:4], D_ROW)).to(device))


def chunk_plan(ratio: int, bad: bool, device: str) -> PrefillPlan:
    """Rows of a chunk of `ratio` * 2 tokens."""
    seq, end = 4 * ratio, 2 * ratio - 1
    window = 8 if ratio == 4 else 128
    rows = [(INVALID, 0, -1, -1), (seq, end, -9, -9), (seq, 0 | (window - 1) << 16, 0, 1)]
    writes = [(INVALID, -1), (0, 3), (5, -1), (INVALID, 1 << 30)]
    if bad:
        rows += [(seq, end + 1, 0, 1), (seq, end | (window + 1) << 16, 0, 1)]
        rows += [(seq, 0 | (window - 2) << 16, 0, 1), (seq, 0 | (window - 1) << 16, 0, 4)]
        writes += [(2 * ratio, 5), (1, 4 * ratio)]
    plans = as_plan(np.array(rows, C_ROW)), as_plan(np.array(writes, W_ROW))
    return PrefillPlan(ratio, *(plan.to(device) for plan in plans))


def compressed(ratio: int, is_decode: bool) -> Call:
    def call(device: str, bad: bool) -> list[Any]:
        plan: Any = (step_plan if is_decode else chunk_plan)(ratio, bad, device)
        rows = len(plan.plan_d) if is_decode else 2 * ratio
        state, kv, ape = state_and_rows(ratio, rows, device)
        out = torch.zeros(len(plan.plan_d if is_decode else plan.plan_c), 512, device=device)
        options: dict[str, Any] = {"head_dim": 512, "ratio": ratio}
        wavejit.compress(state, kv, ape, plan, out=out, **options)
        return [state, out]

    return call


def stored(ratio: int, is_decode: bool, fused: bool) -> Call:
    """Entry 1 of a step, or the token of row 2 of a chunk, goes nowhere; others to bad places."""

    def call(device: str, bad: bool) -> list[Any]:
        if is_decode:
            rows = [(ratio * (i + 1), -1, 1, 2) for i in range(5)]
            plan: Any = DecodePlan(ratio, as_plan(np.array(rows, D_ROW)).to(device))
        else:
            window = 8 if ratio == 4 else 128
            where = [i | (window - 1 - i) << 16 for i in range(5)]
            rows = [(ratio * (i + 1), where[i], 1, 2) for i in range(5)]
            writes = [(INVALID, -1), (5, -1), (9, 0), (0, 4 * ratio)][: 4 if bad and fused else 2]
            plans = as_plan(np.array(rows, C_ROW)), as_plan(np.array(writes, W_ROW))
            plan = PrefillPlan(ratio, *(one.to(device) for one in plans))
        cache = LAYOUT.empty(SLOTS, device=device)
        loc = integers([3, SLOTS if bad else 4, -1, -5, 6])
        table = 4 * ratio if bad else 5 * ratio
        places = 5 if is_decode or not bad or fused else 4  # the last token of a chunk has none
        loc = loc[:places].to(device)
        store_options: dict[str, Any] = {
            "ratio": ratio,
            "norm_weight": inputs.normal(5, (512,)).to(device),
            "eps": 1e-6,
            "freqs_cis": angles(table, device),
            "out_loc": loc,
            "cache": cache,
            "layout": LAYOUT,
        }
        state, kv, ape = state_and_rows(ratio, 5, device)
        if fused:
            wavejit.compress_store(state, kv, ape, plan, head_dim=512, **store_options)
        else:
            pooled = inputs.normal(6, (5, 512)).to(device)
            wavejit.compress_norm_rope_store(pooled, plan, **store_options)
        return [cache, state]

    return call


def tables(device: str, bad: bool) -> Any:
    """Two requests of 40 tokens; a slot of the window that is gone (-1) is no report."""
    tokens = torch.arange(80, dtype=torch.int32).view(2, 40)
    window = torch.arange(80)
    window[0] = -1
    if bad:
        tokens[1, 6] = 80
        window[9] = 1 << 33
    return wavejit.PagedRing(tokens.to(device), window.to(device), 16, 8)


def planned_step(device: str, bad: bool) -> list[Any]:
    slots = integers([0, 1, 2, 0, -3] if bad else [0, 1, 1, 0, 0]).to(device)
    lengths = integers([4, 7, 8, 41, 10] if bad else [4, 8, 0, 40, 10]).to(device)
    plan = wavejit.compress_plan_decode(4, slots, lengths, scheme=tables(device, bad))
    return [plan.plan_d]


def planned_chunk(device: str, bad: bool) -> list[Any]:
    """As a graph has it, so that the host knows nothing of the lengths."""
    from wavejit.ops import compress_plan

    scheme = tables(device, bad)
    slots = integers([0, 1, 0]).to(device)
    seqs = integers([12, 6, 9] if bad else [12, 6, 0]).to(device)
    extends = integers([8, 7, 5] if bad else [8, 4, 0]).to(device)
    plan_c = torch.zeros(12, 16, dtype=torch.uint8, device=device)
    plan_w = torch.zeros(12, 8, dtype=torch.uint8, device=device)
    module = compress_plan.module_for(compress_plan.spec(), slots)
    arguments = compress_plan._scheme_arguments(scheme), compress_plan._rules(4, scheme)
    module.prefill(slots, seqs, extends, plan_c, plan_w, *arguments[0], *arguments[1], 12, False)
    return [plan_c, plan_w]


def online_plans(device: str, bad: bool) -> list[Any]:
    slots = integers([0, -1, 2] if bad else [0, 1, 2]).to(device)
    seqs = integers([130, 5, -2] if bad else [130, 5, 0]).to(device)
    step = wavejit.compress_online_plan_decode(slots, seqs)
    return [step.plan_d]


def online_step(device: str, bad: bool) -> list[Any]:
    rows = [(INVALID, 5, 5, -1), (129, 1, -1, -1), (5, 2, 2, -1), (128, 99, 0, -1)]
    rows += [(5, 4, 1, -1), (5, 0, 4, -1)] if bad else [(5, -1, 1, -1), (6, 0, 0, -1)]
    plan = wavejit.OnlineDecodePlan(as_plan(np.array(rows, D_ROW)).to(device))
    kv, ape = inputs.normal(1, (6, 128)).to(device), inputs.normal(2, (128, 64)).to(device)
    state, out = inputs.normal(3, (4, 192)).to(device), torch.zeros(6, 64, device=device)
    wavejit.compress_online(state, kv, ape, plan, head_dim=64, out=out)
    return [state, out]


def committed(device: str, bad: bool) -> list[Any]:
    state = inputs.normal(3, (9, 192)).to(device)
    slots = integers([0, 3, 2] if bad else [0, 1, 2]).to(device)
    accepted = integers([0, 1, 3] if bad else [0, 1, 2]).to(device)
    seqs = integers([5, 6, 7]).to(device)
    wavejit.compress_online_commit(state, slots, seqs, accepted, bank_rows=3)
    return [state]


def online_chunk(device: str, bad: bool) -> list[Any]:
    """Segments of a batch of six tokens and a state of four rows."""
    done = [(128, 2 | 3 << 16, -1, 0), (INVALID, 9 | 9 << 16, 9, 9)]
    rest = [(130, 4 | 2 << 16, 1, -1)]
    if bad:
        done += [(128, 6 | 3 << 16, -1, 0), (128, 5 | 3 << 16, -1, 4), (130, 3 | 3 << 16, -1, 0)]
        rest += [(3, 1 | 3 << 16, 0, -1), (3, 5 | 3 << 16, 4, 0)]
    plans = (as_plan(np.array(rows, C_ROW)).to(device) for rows in (done, rest))
    plan = wavejit.OnlinePrefillPlan(*plans)
    kv, ape = inputs.normal(1, (6, 128)).to(device), inputs.normal(2, (128, 64)).to(device)
    state, out = inputs.normal(3, (4, 192)).to(device), torch.zeros(len(done), 64, device=device)
    wavejit.compress_online(state, kv, ape, plan, head_dim=64, out=out)
    return [state, out]


def online_planned(device: str, bad: bool) -> list[Any]:
    from wavejit.ops import online_plan

    slots = integers([0, 1, -1 if bad else 2]).to(device)
    seqs = integers([130, 5, 9]).to(device)
    extends = integers([3, 6, 4] if bad else [3, 2, 0]).to(device)
    plans = [torch.zeros(8, 16, dtype=torch.uint8, device=device) for _ in range(2)]
    module = online_plan.module_for(online_plan.spec(), slots)
    module.chunk(slots, seqs, extends, *plans, 8, 0, False)
    return plans
