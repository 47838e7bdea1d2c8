"""qk_norm_rope_store against torch and against its two parts, byte for byte."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from cache_cases import FILL, INT_MAX, INT_MIN, STORES, filled, on_cpu, raw

import wavejit
from wavejit import reference
from wavejit.layouts import FlashMLA, Indexer, Layout
from wavejit.testing import assert_same_bytes, guarded, inputs

EPS = 1e-6
BF16, FLOAT = torch.bfloat16, torch.float32
# instance of cache_cases -> dtypes of rows and weights, preset, of partial queries, q_eps. Each is
# four compilations.
CASES: dict[str, tuple[str, str, str, Any, float | None]] = {
    "flashmla-64": ("bfloat16", "bfloat16", "default", None, EPS),
    "flashmla-2": ("bfloat16", "float32", "cuda", FLOAT, EPS),
    "flashmla-100": ("bfloat16", "bfloat16", "amd", None, EPS),
    "two-pool": ("float16", "float16", "default", BF16, None),
    "rows": ("bfloat16", "bfloat16", "default", None, None),
}
TABLE = wavejit.rope_table(300, base=10000.0)


def layout_of(name: str) -> Layout:
    found: Layout = STORES[name][0].at()
    return found


def made(count: int, heads: int, name: str, splits: int = 1) -> list[Any]:
    """q, kv, weight, table, positions: rows and heads of every size."""
    element, weight, _, partial, _ = CASES[name]
    dtype = getattr(torch, element)
    kv = inputs.normal(1, (count, 512), 2.0)
    kv[::4] *= 2.0 ** inputs.integers(2, (len(kv[::4]), 512), -30, 9).float()
    q = inputs.normal(3, (splits, count, heads, 512), 2.0)
    q[:, 1::3] *= 2.0 ** inputs.integers(4, tuple(q[:, 1::3].shape), -20, 8).float()
    q = q.to(partial) if partial else q[0].to(dtype)
    w = inputs.normal(5, (512,)).to(getattr(torch, weight))
    return [q, kv.to(dtype), w, TABLE, inputs.integers(6, (count,), -5, 310)]


def options_of(name: str, layout: Layout) -> dict[str, Any]:
    *_, preset, _, q_eps = CASES[name]
    return {"q_eps": q_eps, "kv_eps": EPS, "layout": layout, "preset": preset}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("count, heads, splits", [(1, 64, 4), (5, 3, 1), (13, 7, 6)])
def test_as_the_reference(device: str, name: str, count: int, heads: int, splits: int) -> None:
    """Rows apart, an output padded in its heads, positions and locations outside."""
    layout = layout_of(name)
    q, kv, weight, table, positions = made(count, heads, name, splits)
    cache, guards = filled(layout, count + 20, device)
    loc = inputs.permutation(7, layout.capacity(cache))[:count]
    loc[3::6], loc[4::6], positions[2::7] = INT_MAX, -1, INT_MIN
    given = guarded(kv, device=device, row_stride=512 + 24, name="kv")
    padded = guarded(torch.zeros(count, (heads + 2) * 512, dtype=kv.dtype), device=device)
    out = padded.tensor.view(count, heads + 2, 512)[:, 1 : heads + 1]
    options = options_of(name, layout)
    expected_cache = on_cpu(cache)
    expected = reference.qk_norm_rope_store(
        q, kv, weight, table, positions, loc, expected_cache, **options
    )
    there = (t.to(device) for t in (weight, table, positions, loc))
    got = wavejit.qk_norm_rope_store(q.to(device), given.tensor, *there, cache, out=out, **options)
    assert got is out
    assert_same_bytes(out, expected)
    assert int(padded.tensor.view(count, heads + 2, 512)[:, [0, -1]].count_nonzero()) == 0
    for ours, theirs in zip(raw(cache), raw(expected_cache), strict=True):
        assert_same_bytes(ours, theirs)
    assert_same_bytes(given.tensor, kv)
    for guard in (given, padded, *guards):
        guard.check()


@pytest.mark.parametrize("name", ["flashmla-64", "flashmla-100", "rows"])
@pytest.mark.parametrize("count, heads", [(50, 8), (127, 16), (259, 3)])
def test_as_its_two_parts(device: str, name: str, count: int, heads: int) -> None:
    """Every preset and rotation alone, in place and not; few heads and keys, few keys, many
    (the last wave of 64 half empty)."""
    layout, preset, q_eps = layout_of(name), CASES[name][2], CASES[name][4]
    q, kv, weight, table, positions = (t.to(device) for t in made(count, heads, name))
    loc = inputs.permutation(8, 400)[:count].to(device)
    ours, other = (layout.empty(400, device=device) for _ in range(2))
    expected = wavejit.q_norm_rope(q, table, positions, eps=q_eps, preset=preset)
    wavejit.k_norm_rope_store(
        kv, weight, table, positions, loc, other, eps=EPS, layout=layout, preset=preset
    )
    rows = kv, weight, table, positions, loc
    options = options_of(name, layout)
    assert_same_bytes(wavejit.qk_norm_rope_store(q, *rows, ours, **options), expected)
    assert_same_bytes(ours, other)
    assert ours.any()
    inside = q.clone()
    assert wavejit.qk_norm_rope_store(inside, *rows, ours, out=inside, **options) is inside
    assert_same_bytes(inside, expected)


@pytest.mark.parametrize("count, splits", [(6, 1), (6, 4), (259, 3)])
def test_partial_results(device: str, count: int, splits: int) -> None:
    """Norm of the fp32 sum, rounded, then rope_inplace; splits lie apart, heads first."""
    name = "flashmla-2"
    layout = layout_of(name)
    q, *rows, positions = (t.to(device) for t in made(count, 5, name, splits))
    loc = torch.arange(count, device=device)
    total = q[0]
    for more in q[1:]:
        total = total + more
    still = torch.ones(300, 32, dtype=torch.complex64, device=device)
    options = options_of(name, layout)
    expected = wavejit.q_norm_rope(total, still, positions, eps=EPS).bfloat16()
    wavejit.rope_inplace(expected[..., 448:], None, TABLE.to(device), positions.clamp(0, 299))
    apart = q.permute(0, 2, 1, 3).contiguous().permute(0, 2, 1, 3)
    apart = torch.stack([apart, apart])[0] if splits == 1 else apart
    cache, other = (layout.empty(count, device=device) for _ in range(2))
    got = wavejit.qk_norm_rope_store(apart, *rows, positions, loc, cache, **options)
    assert got.dtype == BF16 and got.is_contiguous()
    assert_same_bytes(got, expected)
    wavejit.k_norm_rope_store(
        *rows, positions, loc, other, eps=EPS, layout=layout, preset=options["preset"]
    )
    assert_same_bytes(cache, other)


@pytest.mark.parametrize("count", [9, 259])
def test_rows_are_kept_where_asked(device: str, count: int) -> None:
    """As norm_rope_inplace of fp32 rows, rounded once; also of rows that are not stored."""
    layout = layout_of("flashmla-64")
    q, kv, weight, table, positions = (t.to(device) for t in made(count, 2, "flashmla-64"))
    positions = positions.clamp(0, 299)
    slots = -(-count // 64) * 64
    loc = torch.arange(count)
    loc[:9] = torch.tensor([5, -1, slots, 3, 0, 1, 2, 4, 6])
    loc = loc.to(device)
    options = {**options_of("flashmla-64", layout), "skip_zero": True}
    rows = wavejit.norm_rope_inplace(kv.float(), weight, table, positions, eps=EPS).bfloat16()
    kept = guarded(torch.zeros(count, 512, dtype=BF16), device=device, row_stride=520)
    caches = [layout.empty(slots, device=device) for _ in range(3)]
    wavejit.qk_norm_rope_store(
        q, kv, weight, table, positions, loc, caches[0], kv_out=kept.tensor, **options
    )
    assert_same_bytes(kept.tensor, rows)
    kept.check()
    wavejit.qk_norm_rope_store(q, kv, weight, table, positions, loc, caches[1], **options)
    wavejit.qk_norm_rope_store(
        q, kv, weight, table, positions, loc, caches[2], kv_out=kv, **options
    )
    assert_same_bytes(kv, rows)
    for other in caches[1:]:
        assert_same_bytes(caches[0], other)


def test_nothing_is_written_for_skipped_rows_and_empty_batches(device: str) -> None:
    layout = layout_of("flashmla-64")
    q, kv, weight, table, positions = (t.to(device) for t in made(3, 2, "flashmla-64"))
    cache, guards = filled(layout, 64, device)
    options = {**options_of("flashmla-64", layout), "skip_zero": True}
    outside = torch.tensor([-1, 64, 0], device=device)
    got = wavejit.qk_norm_rope_store(q, kv, weight, table, positions, outside, cache, **options)
    assert_same_bytes(got, wavejit.q_norm_rope(q, table, positions, eps=EPS))
    none = [t[:0] for t in (q, kv)], [t[:0] for t in (positions, outside)]
    empty = wavejit.qk_norm_rope_store(*none[0], weight, table, *none[1], cache, **options)
    assert empty.shape == (0, 2, 512)
    assert (raw(cache)[0] == FILL).all()
    guards[0].check()
    headless, stored = q[:, :0], torch.arange(3, device=device)
    other = layout.empty(64, device=device)
    options["skip_zero"] = False
    wavejit.qk_norm_rope_store(headless, kv, weight, table, positions, stored, other, **options)
    assert other.any()


def test_wrong_arguments() -> None:
    q, kv, weight, table, positions = made(3, 2, "flashmla-64")
    loc, layout = torch.arange(3), FlashMLA(64, "fn")
    cache = layout.empty(64)
    base = [q, kv, weight, table, positions, loc, cache]
    cases: list[tuple[int, Any, dict[str, Any], type[Exception], str]] = [
        (0, q[..., :256], {}, ValueError, "q: wrong shape"),
        (0, q[:2], {}, ValueError, "q: wrong shape|out: wrong shape|kv: wrong shape"),
        (0, q.float(), {}, TypeError, "q: wrong dtype"),
        (0, q[0], {}, ValueError, "q: wrong rank"),
        (0, q.half()[None], {}, ValueError, "partial q dtype: expected one of None, float"),
        (0, q.float()[None][:0], {}, ValueError, "q: expected at least one partial result"),
        (0, None, {}, TypeError, "q: expected a torch tensor"),
        (1, kv.float(), {}, ValueError, "kv dtype: expected one of bfloat16, float16"),
        (2, weight[:500], {}, ValueError, "weight: "),
        (3, table[:0], {}, ValueError, "freqs_cis: expected at least one position"),
        (4, positions[:2], {}, ValueError, "positions: "),
        (5, loc[:2], {}, ValueError, "out_loc: "),
        (6, cache[:, :100], {}, ValueError, r"cache: FlashMLA.*\[1, 100\]"),
        (0, q, {"out": q.float()}, TypeError, "out: wrong dtype"),
        (0, q, {"out": q[:1].expand(3, 2, 512)}, ValueError, "out: .*overlap"),
        (0, q, {"kv_out": kv[:2]}, ValueError, "kv_out: wrong shape"),
        (0, q, {"kv_out": kv[:1].expand(3, 512)}, ValueError, "kv_out: expected "),
        (0, q, {"q_eps": -1.0}, ValueError, "q_eps"),
        (0, q, {"kv_eps": -1.0}, ValueError, "kv_eps"),
        (0, q, {"preset": "fast"}, ValueError, "preset: expected one of default, cuda, amd"),
        (0, q, {"layout": Indexer(64, "fn")}, ValueError, "layout: expected one of 512 dims"),
        (0, q, {"layout": "x"}, TypeError, "layout: expected one of wavejit.layouts"),
    ]
    for index, value, options, error, text in cases:
        given = [*base[:index], value, *base[index + 1 :]]
        known = {"q_eps": EPS, "kv_eps": EPS, "layout": layout}
        with pytest.raises(error, match=text):
            wavejit.qk_norm_rope_store(*given, **{**known, **options})
