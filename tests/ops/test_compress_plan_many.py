"""Ten thousand random plans against the rules, token by token in numpy arrays."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import plan_loop
import torch
from plan_loop import C_ROW, INVALID, W_ROW

import wavejit
from wavejit.testing import inputs

PLANS = 10_000
GEOMETRIES = [
    *((4, ring, page) for ring in (8, 16) for page in (0, 64, 256)),
    *((128, ring, page) for ring in (128, 256) for page in (0, 256)),
]
SLOTS, MAX_LEN = 8, 1024


@cache
def tables(ring: int, page: int) -> Any:
    """Request rings, or pages of which one slot in 50 does not resolve."""
    if not page:
        return wavejit.RequestRing(ring)
    scheme = plan_loop.paged_ring(SLOTS, MAX_LEN, page, ring, seed=page)
    scheme.full_to_swa[inputs.integers(9, (SLOTS * MAX_LEN // 50,), 0, SLOTS * MAX_LEN)] = -1
    return scheme


@cache
def tables_on(device: str, ring: int, page: int) -> Any:
    return plan_loop.on(device, tables(ring, page))


def locations(scheme: Any, slots: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """state_loc of every token, -1 where it does not resolve."""
    if isinstance(scheme, wavejit.RequestRing):
        return slots * scheme.ring_size + positions % scheme.ring_size
    inside = positions < MAX_LEN
    full = scheme.req_to_token.numpy()[slots, np.where(inside, positions, 0)]
    swa = scheme.full_to_swa.numpy()[full]
    rows = swa // scheme.swa_page_size * scheme.ring_size + swa % scheme.ring_size
    return np.where(inside & (swa >= 0), rows, -1)


def expected(ratio: int, batch: tuple[np.ndarray, ...], scheme: Any) -> tuple[np.ndarray, ...]:
    """Both plans' rows."""
    slots, seqs, extends = batch
    window, overlap = (8, 4) if ratio == 4 else (128, 0)
    ragged = np.arange(extends.sum())
    slot, seq = np.repeat(slots, extends), np.repeat(seqs, extends)
    j = ragged - np.repeat(np.cumsum(extends) - extends, extends)
    position = seq - np.repeat(extends, extends) + j
    end = position + 1
    # entries
    from_ring = window - np.minimum(j + 1, window)
    pages = []
    for at in (np.maximum(position - ratio, 0), position):
        loc = locations(scheme, slot, at)
        pages.append(np.where((loc >= 0) & (from_ring > 0), loc // ratio, -1))
    lacks = (from_ring > overlap) & (pages[1] < 0)
    if ratio == 4:
        lacks |= (from_ring > 0) & (end > 4) & (pages[0] < 0)
    entries = np.zeros(len(ragged), C_ROW)
    entries["seq"], entries["where"] = end, ragged | from_ring << 16
    entries["page0"], entries["page1"] = pages
    entries[lacks] = (INVALID, 0, -1, -1)
    # rows to keep
    ring = scheme.ring_size
    kept = seq // ratio * ratio - overlap
    if ring > window:
        kept = np.minimum(kept, seq - (ring - window + 2))
    writes = position >= kept
    if ratio == 4 and isinstance(scheme, wavejit.PagedRing):
        writes |= position % scheme.swa_page_size >= scheme.swa_page_size - 4
    loc = locations(scheme, slot, position)
    rows = np.zeros(len(ragged), W_ROW)
    rows["ragged"], rows["loc"] = np.where(loc < 0, INVALID, ragged), loc
    return entries[end % ratio == 0], rows[writes]


def test_ten_thousand_plans(device: str) -> None:
    words = inputs.bits(1, 40 * PLANS).reshape(PLANS, 40)
    entries = writes = 0
    for i, word in enumerate(words):
        ratio, ring, page = GEOMETRIES[i % len(GEOMETRIES)]
        scheme = tables(ring, page)
        count = 1 + int(word[0] % np.uint64(6))
        most = np.uint64((5, 20, 150)[i // len(GEOMETRIES) % 3])
        slots = np.argsort(word[1:9])[:count].astype(np.int64)
        extends = (1 + word[9 : 9 + count] % most).astype(np.int64)
        prefixes = (word[17 : 17 + count] % np.uint64(900)).astype(np.int64)
        prefixes[word[25 : 25 + count] % np.uint64(4) == 0] = 0
        batch = slots, prefixes + extends, extends
        plan = wavejit.compress_plan_prefill(
            ratio,
            torch.from_numpy(slots).to(device),
            torch.from_numpy(batch[1]),
            torch.from_numpy(extends),
            scheme=tables_on(device, ring, page),
            num_q_tokens=int(extends.sum()),
        )
        wanted = expected(ratio, batch, scheme)
        for name, rows in zip(("plan_c", "plan_w"), wanted, strict=True):
            found = getattr(plan, name).cpu().numpy().tobytes()
            assert found == rows.tobytes(), f"{name} of plan {i}: {GEOMETRIES[i % 10]}, {batch}"
        entries += len(wanted[0])
        writes += len(wanted[1])
    assert entries > 100_000 and writes > 100_000
