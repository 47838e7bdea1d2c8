"""store_cache against pages built byte by byte, and at its edges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cache_cases import FILL, INT_MAX, INT_MIN, STORES, filled, on_cpu, raw, rows, settled

import wavejit
from wavejit import reference
from wavejit.layouts import Bf16Rows, FlashMLA, Indexer, IndexerFp4, TwoPool
from wavejit.testing import assert_same_bytes, guarded, inputs


@pytest.mark.parametrize("name", STORES)
@pytest.mark.parametrize("count", [1, 7, 64])
def test_as_the_reference(device: str, name: str, count: int) -> None:
    """Rows apart, either width of locations, the last slot too; all other bytes as before."""
    layout, dtype = settled(name), STORES[name][1]
    cache, guards = filled(layout, 3 * count + 5, device)
    capacity = layout.capacity(cache)
    x = rows(count, count, layout, dtype)
    given = guarded(x, device=device, row_stride=layout.DIMS + 16, name="x")
    loc = inputs.permutation(count, capacity)[:count]
    loc[0] = capacity - 1
    loc[1:][loc[1:] == capacity - 1] = -1
    loc = loc.to(torch.int32 if count == 7 else torch.int64)
    expected = reference.store_cache(x, on_cpu(cache), loc, layout=layout)
    assert wavejit.store_cache(given.tensor, cache, loc.to(device), layout=layout) is cache
    for ours, theirs in zip(raw(cache), raw(expected), strict=True):
        assert_same_bytes(ours, theirs)
    for guard in (given, *guards):
        guard.check()


@pytest.mark.parametrize(
    "name, count", [("flashmla-64", 2100), ("indexer-64", 8200), ("indexer-fp4-64", 8200)]
)
def test_many_rows(device: str, name: str, count: int) -> None:
    """Where a lane has several pieces of a row, the last block not full."""
    layout, dtype = settled(name), STORES[name][1]
    cache = layout.empty(count + 100, device=device)
    x = rows(5, count, layout, dtype)
    loc = inputs.permutation(9, count + 100)[:count]
    loc[::17] = -5
    expected = reference.store_cache(x, on_cpu(cache), loc, layout=layout)
    wavejit.store_cache(x.to(device), cache, loc.to(device), layout=layout)
    assert_same_bytes(raw(cache)[0], raw(expected)[0])


@pytest.mark.parametrize(
    "name, count",
    [
        ("flashmla-64", 32_801),
        ("rows", 32_801),
        ("indexer-64", 131_081),
        ("indexer-fp4-64", 131_081),
    ],
)
def test_very_many_rows(device: str, name: str, count: int) -> None:
    """In small blocks and with several rows a lane: the bytes of the same rows in calls of few."""
    layout, dtype = settled(name), STORES[name][1]
    x = rows(6, count, layout, dtype).to(device)
    loc = inputs.permutation(3, count + 100)[:count].to(device)
    loc[::17] = -5
    caches = [filled(layout, count + 100, device)[0] for _ in range(2)]
    wavejit.store_cache(x, caches[0], loc, layout=layout)
    for first in range(0, count, 2000):
        part = slice(first, first + 2000)
        wavejit.store_cache(x[part], caches[1], loc[part], layout=layout)
    for ours, theirs in zip(*map(raw, caches), strict=True):
        assert_same_bytes(ours, theirs)


@pytest.mark.parametrize("name", ["flashmla-64", "rows", "two-pool", "indexer-7", "indexer-fp4-7"])
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_locations_outside_write_nothing(device: str, name: str, dtype: Any) -> None:
    layout, given = settled(name), STORES[name][1]
    cache, guards = filled(layout, 10, device)
    capacity = layout.capacity(cache)
    outside = [-1, -2, INT_MIN, INT_MAX, capacity, capacity + 1, capacity + 64]
    if dtype == torch.int64:
        outside += [1 << 32, 1 << 40, -(1 << 63), (1 << 63) - 1, (1 << 32) + 1, -(1 << 32)]
    loc = torch.tensor(outside, dtype=dtype, device=device)
    x = torch.full((len(outside), layout.DIMS), float("nan"), dtype=given, device=device)
    wavejit.store_cache(x, cache, loc, layout=layout)
    for pool in raw(cache):
        assert (pool == FILL).all()
    for guard in guards:
        guard.check()


def test_slot_zero_is_skipped_on_demand(device: str) -> None:
    layout = settled("flashmla-64")
    x = inputs.normal(1, (3, 512)).bfloat16().to(device)
    loc = torch.tensor([0, -1, 5], device=device)
    cache, guards = filled(layout, 64, device)
    wavejit.store_cache(x, cache, loc, layout=layout, skip_zero=True)
    assert (raw(cache)[0][0, :576] == FILL).all()
    assert not (raw(cache)[0][0, 5 * 576 : 6 * 576] == FILL).all()
    both = on_cpu(cache)
    wavejit.store_cache(x, cache, loc, layout=layout)
    assert not (raw(cache)[0][0, :576] == FILL).all()
    expected = reference.store_cache(x.cpu(), both, loc.cpu(), layout=layout)
    assert_same_bytes(raw(cache)[0], raw(expected)[0])
    guards[0].check()


def test_one_token_by_hand(device: str) -> None:
    """FlashMLA's bytes written out: a group of ones, one of 448 s, one that rounds its scale up."""
    x = torch.zeros(1, 512)
    x[0, :64] = 1.0
    x[0, 64:128] = -448.0
    x[0, 128] = 449.0
    x[0, 448:] = 1.0
    cache = wavejit.layouts.FlashMLA(2, "fn").empty(2, device=device)
    loc = torch.tensor([1], device=device)
    wavejit.store_cache(x.to(device), cache, loc, layout=FlashMLA(2, "fn"))
    page = cache.cpu()[0]
    assert page.shape == (1728,)
    slot = page[576:1152]
    assert (slot[:64] == 0x78).all()  # 256 = 1 / 2^-8
    assert (slot[64:128] == 0xFE).all()  # -448
    assert slot[128] == 0x76 and (slot[129:448] == 0).all()  # 449 / 2 -> 224
    assert slot[448:].tolist() == [0x80, 0x3F] * 64
    # 2^-8: the least power of two with 1 <= 448 * 2^e; 1; 2; and those of the floor, 2^-22
    assert page[1160:1168].tolist() == [119, 127, 128, 105, 105, 105, 105, 0]
    assert (page[:576] == 0).all() and (page[1152:1160] == 0).all() and (page[1168:] == 0).all()


def test_one_fp4_key_by_hand(device: str) -> None:
    """IndexerFp4's bytes written out: every magnitude, every middle, both signs, four scales."""
    values = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0]
    x = torch.zeros(1, 128)
    x[0, :15] = torch.tensor(values)
    x[0, 16:31] = -torch.tensor(values)
    x[0, 32:64] = 12.0  # 12 / 6 is a power of two
    x[0, 64:96] = -12.001  # and this is beyond one
    cache = IndexerFp4(3).empty(3, device=device)
    loc = torch.tensor([1], device=device)
    wavejit.store_cache(x.to(device), cache, loc, layout=IndexerFp4(3))
    page = cache.cpu()[0]
    assert page.shape == (204,)
    plus = [0x10, 0x32, 0x54, 0x76, 0x10, 0x32, 0x54, 0x06]  # a middle becomes the lower one
    minus = [0x90, 0xBA, 0xDC, 0xFE, 0x90, 0xBA, 0xDC, 0x0E]  # and zeros have no sign
    assert page[64:80].tolist() == [*plus, *minus]
    assert page[80:96].tolist() == [0x77] * 16
    assert page[96:112].tolist() == [0xDD] * 16  # -12.001 / 4 -> -3
    assert (page[112:128] == 0).all()
    assert page[196:200].tolist() == [127, 128, 129, 112]  # 1, 2, 4, and the floor's 2^-15
    assert (page[:64] == 0).all() and (page[128:196] == 0).all() and (page[200:] == 0).all()


@pytest.mark.parametrize(
    "name", ["flashmla-64", "flashmla-100", "two-pool", "indexer-7", "indexer-fp4-64"]
)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_stays_alone(device: str, name: str, value: float) -> None:
    """A NaN changes one byte; an infinity its own group, whose scale it decides, and no other."""
    layout, dtype = settled(name), STORES[name][1]
    x = inputs.normal(3, (1, layout.DIMS)).to(dtype)
    x[0, 70] = 0.0
    odd = x.clone()
    odd[0, 70] = value
    loc = torch.tensor([1], device=device)
    ours, other = layout.empty(8, device=device), layout.empty(8, device=device)
    wavejit.store_cache(x.to(device), ours, loc, layout=layout)
    wavejit.store_cache(odd.to(device), other, loc, layout=layout)
    differ = [(a != b) for a, b in zip(raw(ours), raw(other), strict=True)]
    changed = sum(int(mask.sum()) for mask in differ)
    if value != value:
        code = {"fn": 0x7F, "fnuz": 0x80} if layout.nan == "code" else {"fn": 0x7E, "fnuz": 0x7B}
        found = raw(other)[0][differ[0]].item()
        assert changed == 1
        assert found & 0xF == 7 if layout.KIND == "IndexerFp4" else found == code[layout.flavour]
    else:  # codes of the group, and its scale in one byte, two, or four
        group = {"Indexer": 128 + 4, "IndexerFp4": 16 + 1}.get(layout.KIND, 64 + 2)
        assert 1 < changed <= group


@pytest.mark.parametrize("name", ["flashmla-64", "indexer-64", "indexer-fp4-7"])
def test_offsets_beyond_four_gigabytes(device: str, name: str, tmp_path: Path) -> None:
    """Pages on both sides of byte 2^31 and 2^32; on the CPU a file without most of its blocks."""
    layout, dtype = settled(name), STORES[name][1]
    pages = (1 << 32) // layout.page_bytes + 9
    if device == "cpu":
        shape = (pages, layout.page_bytes)
        backing = np.memmap(tmp_path / "cache", dtype=np.uint8, mode="w+", shape=shape)
        cache = torch.from_numpy(backing)
    else:
        cache = torch.zeros((pages, layout.page_bytes), dtype=torch.uint8, device=device)
    near = [(edge // layout.page_bytes + k) for edge in (1 << 31, 1 << 32) for k in (-1, 0, 1)]
    near += [pages - 1]
    loc = torch.tensor([page * layout.slots + layout.slots - 1 for page in near])
    x = rows(2, len(near), layout, dtype)
    wavejit.store_cache(x.to(device), cache, loc.to(device), layout=layout)
    small = layout.empty(len(near) * layout.slots)
    places = torch.arange(1, len(near) + 1) * layout.slots - 1
    reference.store_cache(x, small, places, layout=layout)
    assert_same_bytes(cache[near].cpu(), small)
    wrapped = [page - edge // layout.page_bytes for page in near for edge in (1 << 31, 1 << 32)]
    for page in (page for page in wrapped if page >= 0 and page not in near):
        assert not cache[page].any()


def test_written_and_read_by_either_wave() -> None:
    """Rows stored in one wave's width are read in the other's, to the same values."""
    for name in ("flashmla-64", "indexer-shuffled-48", "two-pool", "indexer-fp4-7"):
        layout, dtype = settled(name), STORES[name][1]
        x, loc = rows(4, 20, layout, dtype), inputs.permutation(3, 40)[:20]
        values = []
        for writer, reader in (("host_w32", "host_w64"), ("host_w64", "host_w32")):
            cache = layout.empty(40)
            with wavejit.arch.using(writer):
                wavejit.store_cache(x, cache, loc, layout=layout)
            with wavejit.arch.using(reader):
                values.append(wavejit.load_cache(cache, loc, layout=layout))
        assert_same_bytes(*values)


def test_views_and_empty_batches(device: str) -> None:
    """Pages seen as [pages, 64, 1, 132], and no rows at all."""
    layout = settled("indexer-64")
    x = inputs.normal(1, (5, 128)).bfloat16()
    loc = torch.tensor([0, 3, 64, 65, 127])
    cache = layout.empty(128, device=device)
    view = cache.view(2, 64, 1, 132)
    assert wavejit.store_cache(x.to(device), view, loc.to(device), layout=layout) is view
    expected = reference.store_cache(x, layout.empty(128), loc, layout=layout)
    assert_same_bytes(cache, expected)
    wavejit.store_cache(x[:0].to(device), cache, loc[:0].to(device), layout=layout)
    assert_same_bytes(cache, expected)


def test_the_flavour_is_the_devices_own(device: str) -> None:
    x, loc = inputs.normal(1, (4, 512)).bfloat16().to(device), torch.arange(4, device=device)
    made = [FlashMLA(64).empty(4, device=device) for _ in range(2)]
    own = wavejit.arch.load(wavejit.arch.detect(x.device) if x.is_cuda else "host_w32").fp8_flavour
    wavejit.store_cache(x, made[0], loc, layout=FlashMLA(), page_size=64)
    wavejit.store_cache(x, made[1], loc, layout=FlashMLA(64, own))
    assert_same_bytes(*made)
    assert made[0].any()


def test_wrong_arguments() -> None:
    x, loc = torch.zeros(3, 512), torch.arange(3)
    cache = FlashMLA(64).empty(64)
    two = TwoPool().empty(64)
    cases: list[tuple[Any, Any, Any, Any, type[Exception], str]] = [
        (x, cache, loc, "page", TypeError, "layout: expected one of wavejit.layouts, got 'page'"),
        (x, cache, loc, FlashMLA(), ValueError, "page_size: neither the call nor the layout"),
        (x, cache, loc, FlashMLA(2), ValueError, r"FlashMLA\(page_size=2.*\[1, 37440\]"),
        (x, cache[:, ::2], loc, FlashMLA(32), ValueError, "cache"),
        (x, cache.view(torch.int8), loc, FlashMLA(64), TypeError, "cache: expected uint8 .*int8"),
        (x, cache, loc.float(), FlashMLA(64), TypeError, "loc: wrong dtype"),
        (x, cache, loc[:2], FlashMLA(64), ValueError, "loc: "),
        (x[:, :256], cache, loc, FlashMLA(64), ValueError, "x: "),
        (x, (cache, cache), loc, FlashMLA(64), ValueError, "cache: expected 1 tensors"),
        (x, two[0], loc, TwoPool(), ValueError, "cache: expected 2 tensors"),
        (x, (two[0], two[1][:5]), loc, TwoPool(), ValueError, "two pools of as many rows"),
        (x, Bf16Rows().empty(4)[:, :500], loc, Bf16Rows(), ValueError, r"\[4, 500\]"),
        (
            x[:, :128],
            Indexer(64).empty(9),
            loc,
            IndexerFp4(64),
            ValueError,
            r"IndexerFp4.*\[1, 8448\]",
        ),
        (x[:, :128], IndexerFp4(8).empty(9), loc, IndexerFp4(7), ValueError, r"476.*\[2, 544\]"),
        (x, IndexerFp4(64).empty(9), loc, IndexerFp4(64), ValueError, "x: "),
        (x.double(), cache, loc, FlashMLA(64), ValueError, "x dtype: expected one of float"),
        ([1.0], cache, loc, FlashMLA(64), TypeError, "x: expected a torch tensor, got list"),
        (x, None, loc, FlashMLA(64), TypeError, "cache: expected a torch tensor, got NoneType"),
    ]
    for rows_, pages, places, layout, error, text in cases:
        with pytest.raises(error, match=text):
            wavejit.store_cache(rows_, pages, places, layout=layout)
    with pytest.raises(ValueError, match="page_size: expected that of Indexer"):
        wavejit.store_cache(x, cache, loc, layout=Indexer(64), page_size=32)
