"""load_cache against bytes read one by one, and at its edges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cache_cases import INT_MAX, INT_MIN, settled
from hypothesis import given, settings
from hypothesis import strategies as st

import wavejit
from wavejit import reference
from wavejit.layouts import Bf16Rows, FlashMLA, IndexerFp4, TwoPool
from wavejit.testing import assert_same_bytes, guarded, inputs

# A layout each, with the dtype of the output.
LOADS = {
    "flashmla-64": torch.bfloat16,
    "flashmla-100": torch.float32,
    "flashmla-1": torch.bfloat16,
    "rows": torch.bfloat16,
    "two-pool": torch.float32,
    "two-pool-fnuz": torch.bfloat16,
    "indexer-64": torch.float32,
    "indexer-7": torch.bfloat16,
    "indexer-shuffled-48": torch.bfloat16,
    "indexer-fp4-64": torch.bfloat16,
    "indexer-fp4-7": torch.float32,
}


def any_cache(name: str, slots: int, seed: int = 1) -> Any:
    """Random bytes: every code, every scale, NaN of every payload."""
    made = settled(name).empty(slots)
    for pool in made if isinstance(made, tuple) else (made,):
        raw = pool.view(torch.uint8)
        raw.copy_(inputs.integers(seed, tuple(raw.shape), 0, 256))
    return made


def moved(cache: Any, device: str) -> Any:
    return tuple(p.to(device) for p in cache) if isinstance(cache, tuple) else cache.to(device)


@pytest.mark.parametrize("name", LOADS)
@pytest.mark.parametrize("count", [1, 9, 130])
def test_as_the_reference(device: str, name: str, count: int) -> None:
    """Any bytes, rows of the output apart, locations of either width with some outside."""
    layout, cache = settled(name), any_cache(name, 77)
    capacity = layout.capacity(cache)
    loc = inputs.integers(count, (count,), 0, capacity)
    loc[0] = capacity - 1
    loc[3::5] = torch.tensor([-1, INT_MIN, INT_MAX, capacity, 1 << 30] * 26)[: len(loc[3::5])]
    loc = loc.to(torch.int64 if count == 9 else torch.int32)
    start = torch.full((count, layout.DIMS), 7.0, dtype=LOADS[name])
    out = guarded(start, device=device, row_stride=layout.DIMS + 8, name="out")
    expected = reference.load_cache(cache, loc, layout=layout, out=start.clone())
    there = moved(cache, device)
    got = wavejit.load_cache(there, loc.to(device), layout=layout, out=out.tensor)
    assert got is out.tensor
    assert_same_bytes(got, expected)
    out.check()


@pytest.mark.parametrize("flavour", ["fn", "fnuz"])
def test_every_code_with_every_scale(device: str, flavour: str) -> None:
    """All 256 codes under all 256 UE8M0 bytes."""
    layout = FlashMLA({"fn": 64, "fnuz": 100}[flavour], flavour)
    cache = layout.empty(300)
    flat = torch.arange(300)
    pages, slots = flat // layout.slots, flat % layout.slots
    codes = torch.arange(448, dtype=torch.int64) % 256
    for i in range(256):
        cache[pages[i], int(slots[i]) * 576 :][:448] = ((codes + 64 * (i % 4)) % 256).byte()
        scales = int(layout.slots) * 576 + int(slots[i]) * 8
        cache[pages[i], scales : scales + 7] = torch.arange(i, i + 7).remainder(256).byte()
    loc = torch.arange(256)
    out = torch.empty(256, 512, dtype=torch.float32 if flavour == "fnuz" else torch.bfloat16)
    expected = reference.load_cache(cache, loc, layout=layout, out=out.clone())
    place = loc.to(device)
    got = wavejit.load_cache(cache.to(device), place, layout=layout, out=out.to(device))
    assert_same_bytes(got, expected)


def test_every_fp4_code_with_every_scale(device: str) -> None:
    """All bytes, which are two codes each, under all 256 UE8M0 bytes."""
    layout = IndexerFp4(7)
    cache = layout.empty(259)
    for slot in range(256):
        page, inside = divmod(slot, 7)
        codes = torch.arange(64) + 64 * (slot % 4)
        cache[page, 64 * inside : 64 * inside + 64] = codes.byte()
        scales = torch.arange(slot, slot + 4) * torch.tensor([1, 7, 31, 101])
        cache[page, 448 + 4 * inside : 452 + 4 * inside] = scales.remainder(256).byte()
    loc, out = torch.arange(256), torch.empty(256, 128)
    expected = reference.load_cache(cache, loc, layout=layout, out=out.clone())
    place, there = loc.to(device), out.to(device)
    assert_same_bytes(
        wavejit.load_cache(cache.to(device), place, layout=layout, out=there), expected
    )


@pytest.mark.parametrize("name", ["indexer-64", "indexer-fp4-64"])
def test_many_rows(device: str, name: str) -> None:
    layout, cache = settled(name), any_cache(name, 640)
    loc = inputs.integers(1, (8200,), -5, 660)
    out = torch.empty(8200, 128)
    expected = reference.load_cache(cache, loc, layout=layout, out=out.clone())
    got = wavejit.load_cache(cache.to(device), loc.to(device), layout=layout, out=out.to(device))
    assert_same_bytes(got, expected)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 1 << 30), power=st.integers(-20, 20))
def test_what_was_stored_comes_back(seed: int, power: int) -> None:
    """Within half a step of three bits, or of the group's least code."""
    x = inputs.normal(seed, (6, 512)) * 2.0**power
    x = x.bfloat16()
    loc = inputs.permutation(seed, 64)[:6]
    layout = settled("flashmla-64")
    cache = layout.empty(64)
    wavejit.store_cache(x, cache, loc, layout=layout)
    back = wavejit.load_cache(cache, loc, layout=layout).float()
    wide = x.float()
    assert torch.equal(back[:, 448:], wide[:, 448:])
    tiles, found = (v[:, :448].reshape(6, 7, 64) for v in (wide, back))
    # a scale is below 2 * max(amax, floor) / 448, and a code's least step 2^-9 of it
    least = tiles.abs().amax(-1, keepdim=True).clamp(min=1e-4) * 2 / 448 * 2.0**-10
    assert ((found - tiles).abs() <= torch.maximum(tiles.abs() * 2.0**-4, least)).all()
    wavejit.store_cache(back.bfloat16(), cache, loc, layout=layout)
    again = wavejit.load_cache(cache, loc, layout=layout).float()
    assert torch.equal(again, back)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1 << 30), power=st.integers(-20, 20))
def test_fp4_keys_come_back(seed: int, power: int) -> None:
    """Within half a step of one bit, or of the group's least code; and stay what they are then."""
    x = (inputs.normal(seed, (6, 128)) * 2.0**power).bfloat16()
    loc, layout = inputs.permutation(seed, 63)[:6], settled("indexer-fp4-7")
    cache = layout.empty(63)
    wavejit.store_cache(x.float(), cache, loc, layout=layout)
    back = wavejit.load_cache(cache, loc, layout=layout).float()
    groups, found = (v.float().reshape(6, 4, 32) for v in (x, back))
    # a scale is below 2 * max(amax, floor) / 6, and a code's least step half of it
    least = groups.abs().amax(-1, keepdim=True).clamp(min=1e-10) * 2 / 6 * 0.25
    assert ((found - groups).abs() <= torch.maximum(groups.abs() * 0.25, least)).all()
    wavejit.store_cache(back, cache, loc, layout=layout)
    assert torch.equal(wavejit.load_cache(cache, loc, layout=layout).float(), back)


@pytest.mark.parametrize("name", ["flashmla-64", "indexer-fp4-7"])
def test_offsets_beyond_four_gigabytes(device: str, name: str, tmp_path: Path) -> None:
    layout = settled(name)
    pages = (1 << 32) // layout.page_bytes + 9
    if device == "cpu":
        shape = (pages, layout.page_bytes)
        backing = np.memmap(tmp_path / "cache", dtype=np.uint8, mode="w+", shape=shape)
        cache = torch.from_numpy(backing)
    else:
        cache = torch.zeros((pages, layout.page_bytes), dtype=torch.uint8, device=device)
    near = [edge // layout.page_bytes + k for edge in (1 << 31, 1 << 32) for k in (-1, 0, 1)]
    few = any_cache(name, len(near) * layout.slots)
    cache[near] = few.to(device)
    loc = torch.tensor([page * layout.slots + layout.slots - 1 for page in near])
    got = wavejit.load_cache(cache, loc.to(device), layout=layout)
    places = torch.arange(1, len(near) + 1) * layout.slots - 1
    assert_same_bytes(got, reference.load_cache(few, places, layout=layout))


def test_empty_and_views(device: str) -> None:
    layout, cache = settled("indexer-64"), any_cache("indexer-64", 128)
    there, loc = cache.to(device), torch.tensor([5, 64, 127])
    out = torch.empty(3, 128, device=device)
    got = wavejit.load_cache(there.view(2, 64, 1, 132), loc.to(device), layout=layout, out=out)
    expected = torch.empty(3, 128)
    assert_same_bytes(got, reference.load_cache(cache, loc, layout=layout, out=expected))
    none = loc[:0].to(device)
    assert wavejit.load_cache(there, none, layout=layout, out=out[:0]).shape == (0, 128)


def test_wrong_arguments() -> None:
    loc = torch.arange(3)
    cache = FlashMLA(64).empty(64)
    out = torch.empty(3, 512)
    cases: list[tuple[Any, Any, Any, Any, type[Exception], str]] = [
        (cache, loc, "page", None, TypeError, "layout: expected one of wavejit.layouts"),
        (cache, loc, FlashMLA(), None, ValueError, "page_size: neither the call nor the layout"),
        (cache, loc, FlashMLA(2), None, ValueError, r"FlashMLA\(page_size=2.*\[1, 37440\]"),
        (cache, loc.float(), FlashMLA(64), None, TypeError, "loc: wrong dtype"),
        (cache, loc, FlashMLA(64), out[:, :100], ValueError, "out: "),
        (cache, loc, FlashMLA(64), out[:2], ValueError, "out: "),
        (cache, loc, FlashMLA(64), out.half(), ValueError, "out dtype: expected one of float"),
        (cache, loc, TwoPool(), None, ValueError, "cache: expected 2 tensors"),
        (Bf16Rows().empty(4)[:, :500], loc, Bf16Rows(), None, ValueError, r"\[4, 500\]"),
        ("cache", loc, FlashMLA(64), None, TypeError, "cache: expected a torch tensor, got str"),
        (cache, [1], FlashMLA(64), None, TypeError, "loc: expected a torch tensor, got list"),
    ]
    for pages, places, layout, given_out, error, text in cases:
        with pytest.raises(error, match=text):
            wavejit.load_cache(pages, places, layout=layout, out=given_out)
