"""The state pool in use: capacity, drafts, transfers, aliases, the online form."""

from __future__ import annotations

from typing import Any

import plan_loop
import pytest
import torch
from compress_world import World, random_rows

import wavejit
from wavejit.testing import assert_same_bytes, inputs


def pool_of(device: str = "cpu", size: int = 64, **options: Any) -> Any:
    given: dict[str, Any] = {"ratio": 4, "head_dim": 64, "swa_page_size": 64, "ring_size": 16}
    given |= {"device": device, "request_scoped": True}
    return wavejit.CompressStatePool(size, **{**given, **options})


ONLINE = {"ratio": 128, "ring_size": 1, "online": True}


# -- capacity ------------------------------------------------------------------------------------


def test_capacity() -> None:
    needed = wavejit.CompressStatePool.rows_needed
    assert needed(ring_size=8, swa_pages=100) == 800
    assert needed(ring_size=256, request_slots=65) == 65 * 256
    for wrong in ({}, {"swa_pages": 1, "request_slots": 1}):
        with pytest.raises(ValueError, match="one of swa_pages and request_slots"):
            needed(ring_size=8, **wrong)
    with pytest.raises(ValueError, match="swa_pages: expected a positive"):
        needed(ring_size=8, swa_pages=0)
    with pytest.raises(ValueError, match="ring_size"):
        needed(ring_size=0, swa_pages=1)


@pytest.mark.parametrize(
    "options", [{}, {"ratio": 128, "ring_size": 128, "swa_page_size": 256}, ONLINE]
)
@pytest.mark.parametrize("size", [1, 63, 64, 1000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_memory_is_what_was_said(options: dict[str, Any], size: int, dtype: Any) -> None:
    drafts = {"max_draft_tokens": 3} if options.get("online") else {}
    pool = pool_of(size=size, dtype=dtype, **options, **drafts)
    names = ("ratio", "head_dim", "ring_size", "online", "max_draft_tokens")
    given = {"ratio": 4, "head_dim": 64, "ring_size": 16, **options, **drafts}
    said = wavejit.CompressStatePool.bytes_needed(
        size,
        element_size=dtype.itemsize,
        **{name: given[name] for name in names if name in given},
    )
    assert said == pool.kv_buffer.numel() * dtype.itemsize
    assert pool.bank_rows >= size + pool.ring_size + 1


# -- rows outside, drafts ------------------------------------------------------------------------


@pytest.mark.parametrize("wild", [-1, -2, -(1 << 40), 1 << 40, (1 << 63) - 1, 83, 84])
def test_rows_outside_of_the_pool(device: str, wild: int) -> None:
    """83 is the sentinel itself: it is read as such, and never written."""
    pool = pool_of(device)
    assert len(pool.rows) == 84
    before = pool.rows.cpu().clone()
    where = torch.tensor([wild, 3], device=device)
    assert_same_bytes(pool.get(where)[0], before[-1])
    pool.set(where, torch.ones(2, 256, device=device))
    before[3] = 1
    assert_same_bytes(pool.rows, before)
    pool.clear_rows(where)
    before[3] = before[4]
    assert_same_bytes(pool.rows, before)


def test_cleared_requests_of_any_value(device: str) -> None:
    pool = pool_of(device)
    expected = torch.full((84, 256), 3.0)
    fresh = pool.rows[0].cpu().clone()
    pool.rows[:-1] = 3
    expected[-1] = fresh
    pool.clear_requests(torch.tensor([1, -1, 5, 1 << 40, -(1 << 40)], device=device))
    expected[16:32] = fresh
    assert_same_bytes(pool.rows, expected)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_rejected_drafts_are_cleared(device: str, dtype: Any) -> None:
    pool = pool_of(device)
    fresh = pool.rows[0].cpu().clone()
    pool.rows[:-1] = 3
    slots, seqs, rejected = (
        torch.tensor(values, dtype=dtype, device=device)
        for values in ([2, 0, 3, 1, -1], [14, 5, 40, 9, 3], [4, 0, 1, 10, 9])
    )
    pool.clear_rejected(slots, seqs, rejected, most=10)
    expected = torch.full((84, 256), 3.0)
    expected[-1] = fresh
    expected[[32 + i % 16 for i in range(14, 18)]] = fresh
    expected[48 + 40 % 16] = fresh
    expected[[16 + i % 16 for i in range(9, 19)]] = fresh
    assert_same_bytes(pool.rows, expected)


def test_a_rejected_draft_leaves_no_trace(device: str) -> None:
    """A request that verified drafts and lost them goes on as if they had never been."""
    ring = wavejit.RequestRing(16)
    rows = random_rows(64)
    plain, drafted = (World(device, head_dim=64, scheme=ring) for _ in range(2))
    for world in (plain, drafted):
        world.chunk({1: 13}, rows=rows[:13])
    out = drafted.chunk({1: 6}, rows=rows[100:106])  # four of its tokens are rejected
    assert len(out) == 1
    drafted.rows[1] = drafted.rows[1][:13] + list(rows[100:102])
    plain.chunk({1: 2}, rows=rows[100:102])
    pool = pool_of(device, size=64)
    pool.kv_buffer = drafted.kv_buffer
    one = torch.ones(1, dtype=torch.int64, device=device)
    pool.clear_rejected(one, 15 * one, 4 * one, most=4)
    drafted.expected_state = drafted.kv_buffer.cpu().clone()
    for i in range(5):
        step = drafted.decode([1], rows=rows[200 + i : 201 + i])
        assert_same_bytes(step, plain.decode([1], rows=rows[200 + i : 201 + i]))


def test_drafts_need_room() -> None:
    one = torch.ones(1, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"most: .*room for 11 drafts.* 10"):
        pool_of().clear_rejected(one, one, one, most=11)
    with pytest.raises(ValueError, match="room"):
        pool_of(**ONLINE).clear_rejected(one, one, one, most=1)
    with pytest.raises(ValueError, match="most: expected a positive"):
        pool_of().clear_rejected(one, one, one, most=0)
    with pytest.raises(ValueError, match="clear_rejected: expected a request-scoped pool"):
        pool_of(request_scoped=False).clear_rejected(one, one, one, most=1)


# -- the online form -----------------------------------------------------------------------------


def test_an_online_pool(device: str) -> None:
    pool = pool_of(device, size=5, max_draft_tokens=2, **ONLINE)
    assert pool.kv_buffer.shape == (3 * 7, 192) and pool.bank_rows == 7
    rows = pool.rows.cpu()
    assert (rows[:, :64] == -torch.inf).all() and (rows[:, 64:] == 0).all()
    pool.rows.fill_(2)
    pool.clear_requests(torch.tensor([3], device=device))
    cleared = (pool.rows.cpu() != 2).all(dim=1).nonzero().flatten().tolist()
    assert cleared == [3, 10, 17]


@pytest.mark.parametrize(
    "options, part",
    [
        ({**ONLINE, "ratio": 4}, "ring_size: expected 1 and ratio 128"),
        ({**ONLINE, "ring_size": 64}, "ring_size: expected 1 and ratio 128"),
        ({**ONLINE, "max_draft_tokens": -1}, "max_draft_tokens"),
        ({"max_draft_tokens": 2}, "max_draft_tokens: expected 0 unless online"),
    ],
)
def test_online_errors(options: dict[str, Any], part: str) -> None:
    with pytest.raises(ValueError, match=part):
        pool_of(**options)


# -- what another server needs -------------------------------------------------------------------


@pytest.mark.parametrize("paged", [True, False])
@pytest.mark.parametrize("ratio, ring", [(4, 8), (4, 16), (128, 128), (128, 256)])
def test_a_transferred_request_goes_on(device: str, paged: bool, ratio: int, ring: int) -> None:
    """Only the named rows or page travel; every later entry is the same bytes."""

    def scheme(seed: int) -> Any:
        if paged:
            return plan_loop.paged_ring(3, 768, 256, ring, seed=seed)
        return wavejit.RequestRing(ring)

    rows = random_rows(64, ratio)
    for length in (1, 3, 4, 126, 128, 131, 255, 256, 257, 300):
        here, there = (
            World(device, ratio=ratio, head_dim=64, scheme=scheme(seed)) for seed in (1, 7)
        )
        here.chunk({1: length}, rows=rows[:length])
        options = {"ratio": ratio, "swa_page_size": 256, "ring_size": ring, "head_dim": 64}
        pool = pool_of(size=1024, **options)
        source = pool.transfer_indices(here.scheme, 1, length).tolist()
        target = pool.transfer_indices(there.scheme, 2, length).tolist()
        units = length % 4 + 4 if ratio == 4 else int(length % 128 > 0)
        assert len(source) == len(target) == min(units, length)
        width = 1 if ratio == 4 else 128
        for from_, to in zip(source, target, strict=True):
            moved = here.kv_buffer.view(-1, width, here.width)[from_]
            there.kv_buffer.view(-1, width, here.width)[to] = moved
        there.expected_state = there.kv_buffer.cpu().clone()
        there.rows[2] = list(here.rows[1])
        more = rows[500 : 500 + 2 * ratio]
        assert_same_bytes(
            there.chunk({2: len(more)}, rows=more), here.chunk({1: len(more)}, rows=more)
        )


def test_transfers_of_other_kinds() -> None:
    pool = pool_of(**ONLINE)
    ring = wavejit.RequestRing(1)
    assert pool.transfer_indices(ring, 3, 130).tolist() == [3]
    assert pool.transfer_indices(ring, 3, 256).tolist() == []
    with pytest.raises(
        ValueError, match=r"scheme: expected the pool's .*\(64, 16\), got \(64, 8\)"
    ):
        pool_of().transfer_indices(wavejit.RequestRing(8), 0, 5)


# -- aliases -------------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio, ring", [(4, 8), (4, 16), (128, 128), (128, 256)])
def test_live_requests_do_not_alias(ratio: int, ring: int) -> None:
    options = {"ratio": ratio, "swa_page_size": 256, "ring_size": ring}
    pool = pool_of(size=4 * 4 * ring, **options)
    paged = plan_loop.paged_ring(4, 1024, 256, ring, seed=2)
    slots, seqs = torch.tensor([1, 2, 3]), torch.tensor([300, 1000, 5])
    pool.check_aliases(paged, slots, seqs)
    pool.check_aliases(wavejit.RequestRing(ring), slots, seqs)
    with pytest.raises(ValueError, match="belongs to request slot 2"):
        pool.check_aliases(
            wavejit.RequestRing(ring), torch.tensor([2, 2]), torch.tensor([7, 7]) + 1
        )
    with pytest.raises(ValueError, match="request slot 90, position"):
        pool.check_aliases(wavejit.RequestRing(ring), torch.tensor([1, 90]), torch.tensor([7, 7]))


def test_pages_that_two_requests_hold() -> None:
    """A shared prefix is one token in one slot; a page given out twice is found."""
    ring = 8
    pool = pool_of(size=16 * ring, swa_page_size=256, ring_size=ring)
    scheme = plan_loop.paged_ring(4, 1024, 256, ring, seed=2)
    scheme.req_to_token[2, :256] = scheme.req_to_token[1, :256]
    slots = torch.tensor([1, 2])
    pool.check_aliases(scheme, slots, torch.tensor([260, 258]))
    taken = scheme.full_to_swa[scheme.req_to_token[1, 256:512].long()]
    scheme.full_to_swa[scheme.req_to_token[3, 256:512].long()] = taken
    with pytest.raises(ValueError, match=r"state row \d+ belongs to request slot 1, position 25\d"):
        pool.check_aliases(scheme, torch.tensor([1, 3]), torch.tensor([260, 270]))
    scheme.full_to_swa[scheme.req_to_token[2, 257].long()] = -1
    with pytest.raises(ValueError, match=r"request slot 2, position 257: .* got -1"):
        pool.check_aliases(scheme, slots, torch.tensor([260, 258]))


def test_an_online_row_has_one_request() -> None:
    pool, ring = pool_of(size=9, **ONLINE), wavejit.RequestRing(1)
    pool.check_aliases(ring, torch.tensor([1, 2, 2]), torch.tensor([300, 5, 128]))
    with pytest.raises(ValueError, match="state row 2 belongs to request slot 2, position 4"):
        pool.check_aliases(ring, torch.tensor([2, 2]), torch.tensor([5, 129]))


def test_random_rings_never_alias() -> None:
    """Planner's geometry and pool's agree for random live batches."""
    for seed in range(20):
        ring = (8, 16, 32)[seed % 3]
        pool = pool_of(size=40 * ring, swa_page_size=64, ring_size=ring)
        slots = inputs.permutation(seed, 40)[:9]
        seqs = inputs.integers(seed, (9,), 1, 500)
        pool.check_aliases(wavejit.RequestRing(ring), slots, seqs)
