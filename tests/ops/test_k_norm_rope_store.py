"""k_norm_rope_store against torch and against its parts, byte for byte."""

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
# instance of cache_cases -> dtypes of rows and weights, preset
CASES = {
    "flashmla-64": ("bfloat16", "bfloat16", "default"),
    "flashmla-2": ("bfloat16", "float32", "cuda"),
    "flashmla-100": ("bfloat16", "bfloat16", "amd"),
    "two-pool": ("float16", "float16", "default"),
    "rows": ("bfloat16", "bfloat16", "default"),
}


def layout_of(name: str) -> Layout:
    found: Layout = STORES[name][0].at()
    return found


def made(count: int, name: str, rows: int = 300) -> tuple[Any, Any, Any, Any]:
    """kv, weight, table, positions; every fourth row with zeros, denormals and large numbers."""
    element, weight, _ = CASES[name]
    kv = inputs.normal(1, (count, 512), 2.0)
    kv[::4] *= 2.0 ** inputs.integers(2, (len(kv[::4]), 512), -30, 9).float()
    kv[3::16] = 0.0
    w = inputs.normal(3, (512,))
    table = wavejit.rope_table(rows, base=10000.0)
    positions = inputs.integers(4, (count,), 0, rows)
    return kv.to(getattr(torch, element)), w.to(getattr(torch, weight)), table, positions


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("count", [1, 7, 65])
def test_as_the_reference(device: str, name: str, count: int) -> None:
    """Rows apart, either width of integers, positions outside the table, locations outside."""
    layout, preset = layout_of(name), CASES[name][2]
    kv, weight, table, positions = made(count, name)
    cache, guards = filled(layout, count + 20, device)
    capacity = layout.capacity(cache)
    loc = inputs.permutation(5, capacity)[:count]
    loc[0] = capacity - 1
    loc[1:][loc[1:] == capacity - 1] = -1
    loc[6::9], positions[2::7] = INT_MAX, INT_MIN
    positions[4::7] = 300
    loc = loc.int() if count == 7 else loc
    positions = positions.int() if count == 65 else positions
    given = guarded(kv, device=device, row_stride=512 + 24, name="kv")
    options: dict[str, Any] = {"eps": EPS, "layout": layout, "preset": preset}
    expected = reference.k_norm_rope_store(
        kv, weight, table, positions, loc, on_cpu(cache), **options
    )
    there = (t.to(device) for t in (weight, table, positions))
    got = wavejit.k_norm_rope_store(given.tensor, *there, loc.to(device), cache, **options)
    assert got is cache
    for ours, theirs in zip(raw(cache), raw(expected), strict=True):
        assert_same_bytes(ours, theirs)
    assert_same_bytes(given.tensor, kv)
    for guard in (given, *guards):
        guard.check()


@pytest.mark.parametrize("name, preset", [("flashmla-64", "default"), ("flashmla-2", "cuda")])
def test_as_its_parts(device: str, name: str, preset: str) -> None:
    """norm_rope_inplace of fp32 rows, then store_cache: the same bytes."""
    layout = layout_of(name)
    kv, weight, table, positions = (t.to(device) for t in made(70, name))
    loc = inputs.permutation(6, 100)[:70].to(device)
    ours, other = (layout.empty(100, device=device) for _ in range(2))
    options: dict[str, Any] = {"eps": EPS, "layout": layout, "preset": preset}
    wavejit.k_norm_rope_store(kv, weight, table, positions, loc, ours, **options)
    rows = wavejit.norm_rope_inplace(kv.float(), weight, table, positions, eps=EPS)
    source = rows.bfloat16() if preset == "default" else rows
    wavejit.store_cache(source, other, loc, layout=layout)
    assert_same_bytes(ours, other)
    assert ours.any()


@pytest.mark.parametrize("name", CASES)
def test_many_rows(device: str, name: str) -> None:
    """Where a wave has several rows, some skipped, some not finite, the last block not full."""
    layout, count = layout_of(name), 4203 if name == "flashmla-64" else 531
    kv, weight, table, positions = made(count, name)
    kv[5::37, 70], kv[6::41, 411], kv[9::43, 500] = float("nan"), float("inf"), float("nan")
    loc = inputs.permutation(7, count)
    loc[::5] = -1
    cache = layout.empty(count, device=device)
    expected = on_cpu(cache)
    options: dict[str, Any] = {"eps": EPS, "layout": layout, "preset": CASES[name][2]}
    reference.k_norm_rope_store(kv, weight, table, positions, loc, expected, **options)
    there = (t.to(device) for t in (kv, weight, table, positions))
    wavejit.k_norm_rope_store(*there, loc.to(device), cache, **options)
    for ours, theirs in zip(raw(cache), raw(expected), strict=True):
        assert_same_bytes(ours.cpu(), theirs)


@pytest.mark.parametrize("count", [9, 531])
def test_weights_that_are_not_finite(device: str, count: int) -> None:
    """A NaN is no part of its group's maximum and leaves the other dims as they are."""
    layout = layout_of("flashmla-64")
    kv, weight, table, positions = made(count, "flashmla-64")
    weight[70], weight[130], weight[203] = float("nan"), float("inf"), -float("inf")
    weight[447], weight[448], weight[511] = float("nan"), float("nan"), float("inf")
    weight[256:320] = float("nan")
    loc = inputs.permutation(8, count)
    cache = layout.empty(count, device=device)
    expected = on_cpu(cache)
    options: dict[str, Any] = {"eps": EPS, "layout": layout}
    reference.k_norm_rope_store(kv, weight, table, positions, loc, expected, **options)
    there = (t.to(device) for t in (kv, weight, table, positions))
    wavejit.k_norm_rope_store(*there, loc.to(device), cache, **options)
    assert_same_bytes(cache.cpu(), expected)


def test_presets_differ(device: str) -> None:
    """Rounding the source or the angles changes some bytes, and few."""
    layout = layout_of("flashmla-64")
    arguments = [t.to(device) for t in made(64, "flashmla-64")]
    loc = torch.arange(64, device=device)
    caches = []
    for preset in ("default", "cuda", "amd"):
        cache = layout.empty(64, device=device)
        options: dict[str, Any] = {"eps": EPS, "layout": layout, "preset": preset}
        caches.append(wavejit.k_norm_rope_store(*arguments, loc, cache, **options))
    for other in caches[1:]:
        changed = (other != caches[0]).sum().item()
        assert 0 < changed < 0.2 * 584 * 64


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3e38])
def test_rows_that_are_not_finite_stay_alone(device: str, value: float) -> None:
    """A row whose norm is lost is stored by the rules, and its neighbours as without it."""
    layout = layout_of("flashmla-64")
    kv, weight, table, positions = made(8, "flashmla-64")
    odd = kv.clone()
    odd[5, 100] = value
    loc, results = torch.arange(8), []
    for rows in (kv, odd):
        cache = layout.empty(64, device=device)
        options: dict[str, Any] = {"eps": EPS, "layout": layout}
        there = (t.to(device) for t in (rows, weight, table, positions))
        wavejit.k_norm_rope_store(*there, loc.to(device), cache, **options)
        results.append(cache.cpu())
    expected = layout.empty(64)
    reference.k_norm_rope_store(
        odd, weight, table, positions, loc, expected, eps=EPS, layout=layout
    )
    assert_same_bytes(results[1], expected)
    changed = (results[0] != results[1])[0].nonzero()[:, 0]
    scales = 64 * 576
    inside = (changed // 576 == 5) & (changed < scales)
    inside |= (changed >= scales + 5 * 8) & (changed < scales + 6 * 8)
    assert len(changed) > 0 and inside.all()


def test_skipped_rows_and_empty_batches(device: str) -> None:
    layout = layout_of("flashmla-64")
    arguments = [t.to(device) for t in made(3, "flashmla-64")]
    cache, guards = filled(layout, 64, device)
    outside = torch.tensor([-1, 64, 0], device=device)
    options: dict[str, Any] = {"eps": EPS, "layout": layout, "skip_zero": True}
    wavejit.k_norm_rope_store(*arguments, outside, cache, **options)
    assert (raw(cache)[0] == FILL).all()
    kv, weight, table, positions = arguments
    wavejit.k_norm_rope_store(kv[:0], weight, table, positions[:0], outside[:0], cache, **options)
    assert (raw(cache)[0] == FILL).all()
    guards[0].check()


def test_wrong_arguments() -> None:
    kv, weight, table, positions = made(3, "flashmla-64")
    loc, layout = torch.arange(3), FlashMLA(64, "fn")
    cache = layout.empty(64)
    base = [kv, weight, table, positions, loc, cache]
    cases: list[tuple[int, Any, dict[str, Any], type[Exception], str]] = [
        (0, kv[:, :256], {}, ValueError, "kv: "),
        (0, kv.float(), {}, ValueError, "kv dtype: expected one of bfloat16, float16"),
        (1, weight[:500], {}, ValueError, "weight: "),
        (2, table[:, :16], {}, ValueError, "freqs_cis: "),
        (2, table[:0], {}, ValueError, "freqs_cis: expected at least one position"),
        (3, positions[:2], {}, ValueError, "positions: "),
        (3, positions.float(), {}, TypeError, "positions: wrong dtype"),
        (5, cache[:, :100], {}, ValueError, r"cache: FlashMLA.*\[1, 100\]"),
        (4, loc[:2], {}, ValueError, "out_loc: "),
        (4, None, {}, TypeError, "out_loc: expected a torch tensor"),
        (0, kv, {"preset": "fast"}, ValueError, "preset: expected one of default, cuda, amd"),
        (0, kv, {"preset": 3}, ValueError, "preset: expected one of default, cuda, amd, got 3"),
        (0, kv, {"layout": Indexer(64, "fn")}, ValueError, "layout: expected one of 512 dims"),
        (0, kv, {"layout": "x"}, TypeError, "layout: expected one of wavejit.layouts"),
        (0, kv, {"eps": -1.0}, ValueError, "eps"),
        (0, kv, {"eps": 1e39}, ValueError, "eps: expected a finite number"),
    ]
    for index, value, options, error, text in cases:
        given = [*base[:index], value, *base[index + 1 :]]
        with pytest.raises(error, match=text):
            wavejit.k_norm_rope_store(*given, **{"eps": EPS, "layout": layout, **options})


def test_fp32_weights_need_16_bytes(device: str) -> None:
    """Those of one access, not of a lane's eight."""
    kv, _, table, positions = (t.to(device) for t in made(3, "flashmla-2"))
    weight, loc = inputs.normal(8, (516,)).to(device)[4:], torch.arange(3, device=device)
    options = {"eps": EPS, "layout": layout_of("flashmla-2"), "preset": "cuda"}
    caches = [options["layout"].empty(4, device=device) for _ in range(2)]
    for given, cache in zip((weight, weight.clone()), caches, strict=True):
        wavejit.k_norm_rope_store(kv, given, table, positions, loc, cache, **options)
    assert_same_bytes(*caches)
