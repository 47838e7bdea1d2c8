"""wavejit.layouts as values: sizes, byte maps, tensors that fit or do not, and the document."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from wavejit import layout_tables
from wavejit.layouts import (
    LAYOUTS,
    Bf16Rows,
    FlashMLA,
    Indexer,
    IndexerFp4,
    Layout,
    TwoPool,
    from_params,
)

ROOT = Path(__file__).parents[1]


def test_the_document_is_current() -> None:
    assert (ROOT / "docs/layouts.md").read_text() == layout_tables.page()


@pytest.mark.parametrize(
    "size, expected",
    [(1, 1152), (2, 1728), (16, 9792), (32, 19008), (64, 37440), (128, 74880), (256, 149760)],
)
def test_pages_of_flashmla(size: int, expected: int) -> None:
    assert FlashMLA(size).page_bytes == expected
    assert expected >= 584 * size and expected % 576 == 0 and expected - 584 * size < 576


def test_pages_of_the_indexer() -> None:
    assert Indexer(64).page_bytes == 8448
    assert Indexer(7).page_bytes == 924
    assert IndexerFp4(64).page_bytes == 4352
    assert IndexerFp4(7).page_bytes == 476


@pytest.mark.parametrize(
    "layout", [FlashMLA(5), Bf16Rows(), TwoPool(), Indexer(5), IndexerFp4(5)], ids=str
)
def test_fields_neither_overlap_nor_leave_gaps(layout: Layout) -> None:
    """Every byte of a slot belongs to one field; only FlashMLA's page has bytes after its slots."""
    owners: dict[tuple[int, int], str] = {}
    for slot in range(layout.slots):
        for part in layout.parts:
            for byte in range(part.size):
                place = part.pool, part.area + slot * part.stride + byte
                assert place not in owners, (place, part, owners[place])
                owners[place] = part.name
    first = [place for pool, place in owners if pool == 0]
    assert sorted(first) == list(range(len(first)))
    assert layout.geometry[0][0] * (2 if layout.DTYPES[0][0] == "b" else 1) >= len(first)


@pytest.mark.parametrize(
    "layout", [FlashMLA(64), Bf16Rows(), TwoPool(), Indexer(64), IndexerFp4(64)], ids=str
)
def test_capacity_and_empty(layout: Layout) -> None:
    cache = layout.empty(130)
    assert layout.capacity(cache) == -(-130 // layout.slots) * layout.slots
    layout.check(cache)


def test_what_is_left_open() -> None:
    assert FlashMLA().at(64, "fnuz") == FlashMLA(64, "fnuz", 240)
    assert FlashMLA(64, "fn").at(flavour="fnuz").fp8_max == 448
    assert FlashMLA(64) != Indexer(64) and hash(FlashMLA(64)) == hash(FlashMLA(64))
    assert Indexer(64) != Indexer(64, preshuffled=True)
    assert IndexerFp4().at(64, "fnuz") == IndexerFp4(64) != Indexer(64)
    with pytest.raises(ValueError, match="page_size: neither the call nor the layout"):
        FlashMLA().at()
    with pytest.raises(ValueError, match="page_size: expected that of FlashMLA"):
        FlashMLA(64).at(32)


def test_wrong_values() -> None:
    cases: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
        (FlashMLA, {"page_size": 0}, ValueError, "page_size: expected a positive"),
        (FlashMLA, {"page_size": 2.0}, TypeError, "page_size: expected an int"),
        (FlashMLA, {"page_size": 1 << 20}, ValueError, "page_size: expected at most 65536"),
        (FlashMLA, {"flavour": "e5m2"}, ValueError, "flavour: expected one of"),
        (FlashMLA, {"flavour": "fn", "fp8_max": 240}, ValueError, "fp8_max of flavour fn"),
        (FlashMLA, {"amax_floor": 0.0}, ValueError, "amax_floor: expected one of"),
        (FlashMLA, {"nan": "zero"}, ValueError, "nan: expected one of max, code"),
        (Indexer, {"page_size": 24, "preshuffled": True}, ValueError, "multiple of 16"),
        (
            IndexerFp4,
            {"flavour": "fn"},
            ValueError,
            "flavour: IndexerFp4 is e2m1, no e4m3: got 'fn'",
        ),
        (IndexerFp4, {"fp8_max": 448}, ValueError, "fp8_max: IndexerFp4 is e2m1"),
        (IndexerFp4, {"nan": "code"}, ValueError, "nan: IndexerFp4 is e2m1"),
        (IndexerFp4, {"preshuffled": True}, ValueError, "preshuffled: IndexerFp4 has no such form"),
        (IndexerFp4, {"page_size": -1}, ValueError, "page_size: expected a positive"),
        (TwoPool, {"page_size": 64}, ValueError, "TwoPool has rows, not pages: got 64"),
    ]
    for layout, options, error, text in cases:
        with pytest.raises(error, match=text):
            layout(**options)


def test_a_tensor_that_does_not_fit_is_shown_with_the_layout() -> None:
    cases: list[tuple[Layout, Any, type[Exception], str]] = [
        (
            FlashMLA(64),
            torch.zeros(3, 37376, dtype=torch.uint8),
            ValueError,
            r"FlashMLA\(page_size=64.*64 slots in 37440 bytes: expected \[pages, 37440\].*"
            r"got \[3, 37376\] with strides \[37376, 1\]",
        ),
        (FlashMLA(64), torch.zeros(3, 37440), TypeError, "expected uint8 .* got torch.float32"),
        (TwoPool(), torch.zeros(3, 512, dtype=torch.uint8), ValueError, "expected 2 tensors"),
        (
            TwoPool(),
            (torch.zeros(3, 512, dtype=torch.uint8), torch.zeros(4, 64, dtype=torch.bfloat16)),
            ValueError,
            r"as many rows .* got \[3, 512\] and \[4, 64\]",
        ),
    ]
    for layout, cache, error, text in cases:
        with pytest.raises(error, match=text):
            layout.capacity(cache)


def test_all_layouts_are_listed() -> None:
    kinds = ["FlashMLA", "Bf16Rows", "TwoPool", "Indexer", "IndexerFp4"]
    assert [layout.KIND for layout in LAYOUTS] == kinds


def test_constants_of_a_kernel_name_their_layout() -> None:
    """What `wavejit show --param` changes is a layout again, its other sizes with it."""
    keys = Indexer(32, "fn", 448), IndexerFp4(7, amax_floor=1e-8)
    for layout in (FlashMLA(5, "fnuz", 224, 1e-8, "code"), Bf16Rows(), *keys):
        params = {**layout.params(), **layout.rules()}
        made = from_params(params.pop("layout"), params)
        assert made.params() == layout.params() and made.rules() == layout.rules()
    shuffled = {**Indexer(32, "fn", preshuffled=True).at().params(), "page_size": 64}
    made = from_params(shuffled.pop("layout"), shuffled)
    assert made.preshuffled and made.page_bytes == 8448
    with pytest.raises(TypeError, match=r"layout: expected one of wavejit\.layouts"):
        from_params("Rows", {})


OPS = ["store_cache", "load_cache", "convert_cache", "k_norm_rope_store", "qk_norm_rope_store"]
OPS += ["compress_norm_rope_store", "c4_compress_store", "c128_compress_store"]


@pytest.mark.parametrize("op", OPS)
def test_every_spec_can_be_made_from_its_own_parameters(op: str) -> None:
    from wavejit.jit import arch as archs
    from wavejit.ops import modules

    module = modules()[op]
    for arch in ("sm_90", "gfx942"):
        for spec in module.variants(archs.load(arch), "flash"):
            assert module.spec(**dict(spec.params)) == spec
