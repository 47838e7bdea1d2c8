"""convert_cache against numpy, and that values stay what they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cache_cases import FILL, STORES, filled, on_cpu, raw, rows, settled

import wavejit
from wavejit import reference
from wavejit.layouts import Bf16Rows, FlashMLA, Indexer, Layout, TwoPool
from wavejit.testing import assert_same_bytes, inputs

NAMES = [name for name in STORES if not name.startswith("rows")]
NAMES = [name for name in NAMES if name not in ("flashmla-1", "two-pool-fnuz")]


def other(layout: Layout) -> str:
    return "fn" if layout.flavour == "fnuz" else "fnuz"


def random_bytes(layout: Layout, slots: int, device: str) -> tuple[Any, list[Any]]:
    """Every code and scale, in groups of which half have no code of the largest magnitude."""
    cache, guards = filled(layout, slots, device)
    for seed, pool in enumerate(cache if isinstance(cache, tuple) else (cache,)):
        width = pool.shape[1] * pool.element_size()
        content = inputs.integers(seed, (pool.shape[0], width), 0, 256).to(torch.uint8)
        tame = (torch.arange(width) // 64 % 2 == 0) & ((content & 0x7F) == 0x7F)
        content[tame] = 0x35
        pool.copy_(content.view(pool.dtype))
    return cache, guards


@pytest.mark.parametrize("name", NAMES)
def test_as_the_reference(device: str, name: str) -> None:
    """In place, and into another cache, whose other bytes stay."""
    layout = settled(name)
    cache, guards = random_bytes(layout, 70, device)
    before = on_cpu(cache)
    apart, apart_guards = filled(layout, 70, device)
    expected = reference.convert_cache(before, layout=layout, to=other(layout), out=on_cpu(apart))
    assert wavejit.convert_cache(cache, layout=layout, to=other(layout), out=apart) is apart
    for ours, theirs in zip(raw(apart), raw(expected), strict=True):
        assert_same_bytes(ours, theirs)
        assert (ours != FILL).any()
    for ours, theirs in zip(raw(cache), raw(before), strict=True):
        assert_same_bytes(ours, theirs)
    reference.convert_cache(before, layout=layout, to=other(layout))
    assert wavejit.convert_cache(cache, layout=layout, to=other(layout)) is cache
    for ours, theirs in zip(raw(cache), raw(before), strict=True):
        assert_same_bytes(ours, theirs)
    for guard in (*guards, *apart_guards):
        guard.check()


@pytest.mark.parametrize("name", ["flashmla-64", "indexer-64"])
def test_stored_values_stay(device: str, name: str) -> None:
    """FN to FNUZ and back: the values stay at each step, and the bytes in the end."""
    layout, dtype = settled(name), STORES[name][1]
    x = inputs.normal(8, (60, layout.DIMS), 3.0).to(dtype).to(device)
    loc = torch.arange(60, device=device)
    cache = layout.empty(64, device=device)
    wavejit.store_cache(x, cache, loc, layout=layout)
    first = cache.clone()
    values = wavejit.load_cache(cache, loc, layout=layout)
    wavejit.convert_cache(cache, layout=layout, to="fnuz")
    fnuz = replace(layout, flavour="fnuz", fp8_max=240)
    assert_same_bytes(wavejit.load_cache(cache, loc, layout=fnuz).abs(), values.abs())
    assert (cache != first).any()
    wavejit.convert_cache(cache, layout=fnuz, to="fn")
    assert_same_bytes(wavejit.load_cache(cache, loc, layout=layout).abs(), values.abs())
    minus = (first == 0x80) & (cache == 0)  # FNUZ has no -0
    assert torch.equal(torch.where(minus, first, cache), first)


def test_largest_codes_keep_their_scale(device: str) -> None:
    """A group with 240: its scale and its normal values stay, one odd step below 2^-6 rounds."""
    layout = FlashMLA(64, "fnuz")
    cache = layout.empty(64, device=device)
    cache[0, :4] = torch.tensor([0x7F, 0xFF, 0x01, 0x40], dtype=torch.uint8, device=device)
    cache[0, 64:68] = torch.tensor([0x7E, 0x01, 0x80, 0x40], dtype=torch.uint8, device=device)
    cache[0, 64 * 576 : 64 * 576 + 7] = 127
    wavejit.convert_cache(cache, layout=layout, to="fn")
    assert cache[0, :4].tolist() == [0x77, 0xF7, 0x00, 0x38]
    assert cache[0, 64:68].tolist() == [0x7E, 0x01, 0x7F, 0x40]
    assert cache[0, 64 * 576 : 64 * 576 + 7].tolist() == [127] + [126] * 6


def test_rows_of_floats_converted_and_read(device: str) -> None:
    """Where no group has 240 (maximum 224) nothing is lost from FNUZ either."""
    layout, dtype = FlashMLA(100, "fnuz", fp8_max=224, nan="code"), torch.bfloat16
    x = rows(3, 90, layout, dtype)
    x = torch.where(x.isfinite(), x, torch.zeros_like(x)).to(device)
    loc = torch.arange(90, device=device)
    cache = layout.empty(100, device=device)
    reference_cache = layout.empty(100)
    reference.store_cache(x.cpu(), reference_cache, loc.cpu(), layout=layout)
    cache.copy_(reference_cache)
    out = torch.empty(90, 512, device=device)
    values = wavejit.load_cache(cache, loc, layout=layout, out=out).clone()
    wavejit.convert_cache(cache, layout=layout, to="fn")
    moved = reference.load_cache(cache.cpu(), loc.cpu(), layout=FlashMLA(100, "fn"), out=out.cpu())
    assert_same_bytes(moved, values)


def test_beyond_four_gigabytes(device: str, tmp_path: Path) -> None:
    """Rows far apart in a file with holes: the last page's bytes are beyond 2^32."""
    layout, step = settled("indexer-64"), 1 << 30
    if device == "cpu":
        shape = (5 * step,)
        flat = torch.from_numpy(np.memmap(tmp_path / "cache", np.uint8, "w+", shape=shape))
    else:
        flat = torch.zeros(5 * step, dtype=torch.uint8, device=device)
    cache = flat.as_strided((5, layout.page_bytes), (step, 1))
    content = inputs.integers(4, (5, layout.page_bytes), 0, 256).to(torch.uint8)
    cache.copy_(content)
    wavejit.convert_cache(cache, layout=layout, to="fnuz")
    reference.convert_cache(content, layout=layout, to="fnuz")
    assert_same_bytes(cache.cpu(), content)


def test_views_and_empty_caches(device: str) -> None:
    layout = settled("indexer-64")
    cache, _ = random_bytes(layout, 128, "cpu")
    there = cache.contiguous().to(device)
    assert wavejit.convert_cache(there.view(2, 64, 1, 132), layout=layout, to="fnuz").dim() == 4
    assert_same_bytes(there, reference.convert_cache(on_cpu(cache), layout=layout, to="fnuz"))
    wavejit.convert_cache(there[:0], layout=layout, to="fnuz")


def test_wrong_arguments() -> None:
    cache, fn = FlashMLA(64).empty(128), FlashMLA(64, "fn")
    cases: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
        (cache, {"layout": fn, "to": "fn"}, ValueError, "to: FlashMLA.* has flavour fn already"),
        (cache, {"layout": fn, "to": "e5m2"}, ValueError, "to: expected one of fn, fnuz"),
        (cache, {"layout": "x", "to": "fn"}, TypeError, "layout: expected one of wavejit.layouts"),
        (cache, {"layout": Indexer(64, "fn"), "to": "fnuz"}, ValueError, r"\[2, 37440\]"),
        (cache, {"layout": fn, "to": "fnuz", "out": cache[:1]}, ValueError, "out: .*128"),
        (cache, {"layout": fn, "to": "fnuz", "out": cache[:, :9]}, ValueError, "out: Flash"),
        (
            cache,
            {"layout": fn, "to": "fnuz", "out": cache.char()},
            TypeError,
            "out: expected uint8",
        ),
        (cache, {"layout": TwoPool(flavour="fn"), "to": "fnuz"}, ValueError, "expected 2 tensors"),
        (Bf16Rows().empty(2), {"layout": Bf16Rows(), "to": "fnuz"}, ValueError, "no fp8"),
        (None, {"layout": fn, "to": "fnuz"}, TypeError, "cache: expected a torch tensor"),
    ]
    for wrong, options, error, text in cases:
        with pytest.raises(error, match=text):
            wavejit.convert_cache(wrong, **options)


def test_from_one_layout_to_another(device: str) -> None:
    """The documented form: two layouts that differ in their flavour alone."""
    source, target = FlashMLA(64, "fn"), FlashMLA(64, "fnuz")
    cache = inputs.integers(3, (2, 37440), 0, 256, torch.uint8)
    one, two = cache.clone().to(device), cache.clone().to(device)
    assert wavejit.convert_cache(one, source, target) is one
    wavejit.convert_cache(two, layout=source, to="fnuz")
    assert_same_bytes(one, two)
    expected = reference.convert_cache(cache.clone(), source, target)
    assert_same_bytes(one, expected)
    for wrong in (FlashMLA(32, "fnuz"), Indexer(64, "fnuz")):
        with pytest.raises(ValueError, match="dst_layout: expected FlashMLA.* but for its flavour"):
            wavejit.convert_cache(one, source, wrong)
    with pytest.raises(ValueError, match="has flavour fn already"):
        wavejit.convert_cache(one, source, source)
    for given, options in (((source,), {}), ((), {"layout": source}), ((source,), {"to": "fnuz"})):
        with pytest.raises(TypeError, match="src_layout and dst_layout, or layout and to"):
            wavejit.convert_cache(one, *given, **options)
