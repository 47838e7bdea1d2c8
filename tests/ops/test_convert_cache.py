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
from wavejit.layouts import Bf16Rows, FlashMLA, Indexer, IndexerFp4, Layout, TwoPool
from wavejit.testing import assert_same_bytes, inputs

NAMES = [name for name, (layout, _) in STORES.items() if layout.QUANTISED and layout.HAS_FLAVOURS]
NAMES = [name for name in NAMES if name not in ("flashmla-1", "two-pool-fnuz")]


def other(layout: Layout) -> Layout:
    """The same layout in the other flavour."""
    found: Layout = replace(
        layout, flavour="fn" if layout.flavour == "fnuz" else "fnuz", fp8_max=None
    ).at()
    return found


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
    expected = reference.convert_cache(before, layout, other(layout), out=on_cpu(apart))
    assert wavejit.convert_cache(cache, layout, other(layout), out=apart) is apart
    for ours, theirs in zip(raw(apart), raw(expected), strict=True):
        assert_same_bytes(ours, theirs)
        assert (ours != FILL).any()
    for ours, theirs in zip(raw(cache), raw(before), strict=True):
        assert_same_bytes(ours, theirs)
    reference.convert_cache(before, layout, other(layout))
    assert wavejit.convert_cache(cache, layout, other(layout)) is cache
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
    wavejit.convert_cache(cache, layout, other(layout))
    fnuz = other(layout)
    assert_same_bytes(wavejit.load_cache(cache, loc, layout=fnuz).abs(), values.abs())
    assert (cache != first).any()
    wavejit.convert_cache(cache, fnuz, layout)
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
    wavejit.convert_cache(cache, layout, other(layout))
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
    wavejit.convert_cache(cache, layout, other(layout))
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
    wavejit.convert_cache(cache, layout, other(layout))
    reference.convert_cache(content, layout, other(layout))
    assert_same_bytes(cache.cpu(), content)


def test_views_and_empty_caches(device: str) -> None:
    layout = settled("indexer-64")
    cache, _ = random_bytes(layout, 128, "cpu")
    there = cache.contiguous().to(device)
    assert wavejit.convert_cache(there.view(2, 64, 1, 132), layout, other(layout)).dim() == 4
    assert_same_bytes(there, reference.convert_cache(on_cpu(cache), layout, other(layout)))
    wavejit.convert_cache(there[:0], layout, other(layout))


def test_what_a_layout_leaves_open(device: str) -> None:
    """The page size by the call or by either layout, the device's own flavour, either maximum."""
    indexer = settled("indexer-64")
    cache, _ = random_bytes(indexer, 64, "cpu")
    expected = reference.convert_cache(on_cpu(cache), Indexer(64, "fn"), Indexer(64, "fnuz"))
    own = wavejit.arch.load(
        wavejit.arch.detect(device) if device == "cuda" else wavejit.arch.host()
    )
    calls: list[tuple[Any, Any, dict[str, Any]]] = [
        (Indexer(flavour="fn"), Indexer(flavour="fnuz"), {"page_size": 64}),
        (Indexer(64, "fn"), Indexer(flavour="fnuz", fp8_max=224), {}),
        (Indexer(flavour="fn", fp8_max=448), Indexer(64, "fnuz", fp8_max=240), {}),
    ]
    if own.fp8_flavour == "fn":
        calls.append((Indexer(64), Indexer(64, "fnuz"), {}))
    for src, dst, options in calls:
        there = on_cpu(cache).to(device)
        assert wavejit.convert_cache(there, src, dst, **options) is there
        assert_same_bytes(there, expected)


def test_wrong_arguments() -> None:
    cache, fn, fnuz = FlashMLA(64).empty(128), FlashMLA(64, "fn"), FlashMLA(64, "fnuz")
    tall, code = FlashMLA(32, "fnuz"), FlashMLA(64, "fnuz", nan="code")
    both = r"src_layout and dst_layout: got FlashMLA\(page_size=64.*and "
    alone = "expected them to differ in flavour and fp8_max alone"
    rows = Bf16Rows().empty(2)
    cases: list[tuple[Any, Any, Any, dict[str, Any], type[Exception], str]] = [
        (cache, fn, fn, {}, ValueError, both + "FlashMLA.*expected two flavours: both are fn"),
        (cache, fnuz, FlashMLA(64, "fnuz", 224), {}, ValueError, "two flavours: both are fnuz"),
        (cache, fn, tall, {}, ValueError, both + r"FlashMLA\(page_size=32.*" + alone),
        (cache, fn, code, {}, ValueError, both + "FlashMLA.*" + alone),
        (cache, fn, FlashMLA(64, "fnuz", amax_floor=1e-8), {}, ValueError, alone),
        (cache, fn, Indexer(64, "fnuz"), {}, ValueError, both + "Indexer.*" + alone),
        (cache, Indexer(64, "fn"), Indexer(64, "fnuz", preshuffled=True), {}, ValueError, alone),
        (cache, IndexerFp4(64), IndexerFp4(64), {}, ValueError, "IndexerFp4 has no fp8 to convert"),
        (cache, IndexerFp4(64), Indexer(64, "fn"), {}, ValueError, alone),
        (rows, Bf16Rows(), Bf16Rows(flavour="fnuz"), {}, ValueError, "Bf16Rows has no fp8"),
        (cache, "x", fn, {}, TypeError, "src_layout: expected one of wavejit.layouts, got 'x'"),
        (
            cache,
            fn,
            "fnuz",
            {},
            TypeError,
            "dst_layout: expected one of wavejit.layouts, got 'fnuz'",
        ),
        (cache, fn, fnuz, {"page_size": 32}, ValueError, "page_size: expected that of FlashMLA"),
        (
            cache,
            FlashMLA(flavour="fn"),
            FlashMLA(flavour="fnuz"),
            {},
            ValueError,
            "page_size: neither",
        ),
        (cache, Indexer(64, "fn"), Indexer(64, "fnuz"), {}, ValueError, r"\[2, 37440\]"),
        (cache, fn, fnuz, {"out": cache[:1]}, ValueError, "out: .*128"),
        (cache, fn, fnuz, {"out": cache[:, :9]}, ValueError, "out: Flash"),
        (cache, fn, fnuz, {"out": cache.char()}, TypeError, "out: expected uint8"),
        (
            cache,
            TwoPool(flavour="fn"),
            TwoPool(flavour="fnuz"),
            {},
            ValueError,
            "expected 2 tensors",
        ),
        (None, fn, fnuz, {}, TypeError, "cache: expected a torch tensor"),
    ]
    for wrong, src, dst, options, error, text in cases:
        with pytest.raises(error, match=text):
            wavejit.convert_cache(wrong, src, dst, **options)
    with pytest.raises(TypeError, match="layout"):
        wavejit.convert_cache(cache, layout=fn, to="fnuz")
