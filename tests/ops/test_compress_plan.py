"""The planners against a token loop of their rules (plan_loop.py) and against the reference."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import plan_loop
import pytest
import torch
from plan_loop import C_ROW, D_ROW, INVALID, W_ROW, launch_prefill, paged_ring

import wavejit
from wavejit import reference
from wavejit.testing import assert_same_bytes, inputs

BATCHES = 1000
GEOMETRIES = (
    # ratio, ring, page (0: request rings)
    *((4, ring, page) for ring in (8, 16) for page in (0, 64, 256)),
    (4, 128, 256),
    (4, 256, 0),
    *((128, ring, page) for ring in (128, 256) for page in (0, 256)),
)
MAX_LEN = 1024


@cache
def scheme_of(_: int, ring: int, page: int) -> Any:
    return (
        paged_ring(6, MAX_LEN, page, ring, seed=ring + page) if page else wavejit.RequestRing(ring)
    )


def vectors(*lists: Any, dtype: Any = torch.int64) -> tuple[Any, ...]:
    return tuple(torch.as_tensor(values, dtype=dtype) for values in lists)


def prefill(device: str, ratio: int, batch: tuple[Any, ...], scheme: Any, **options: Any) -> Any:
    """The public planner with its tables on `device` and the lengths on the CPU."""
    slots, seqs, extends = batch
    return wavejit.compress_plan_prefill(
        ratio, slots.to(device), seqs, extends, scheme=plan_loop.on(device, scheme), **options
    )


def check_prefill(
    device: str, ratio: int, batch: tuple[Any, ...], scheme: Any, **options: Any
) -> None:
    """Exactly the loop's rows, and the reference's."""
    tokens = int(batch[2].sum())
    plan = prefill(device, ratio, batch, scheme, num_q_tokens=tokens, **options)
    lists = [vector.tolist() for vector in batch]
    rows = plan_loop.prefill_rows(ratio, *lists, scheme, tokens)
    plan_c, plan_w = plan_loop.pack(rows, wide=plan.wide, pad_to=options.get("pad_to"))
    assert_same_bytes(plan.plan_c, plan_c, "plan_c")
    assert_same_bytes(plan.plan_w, plan_w, "plan_w")
    defined = reference.compress_plan_prefill(
        ratio, *batch, scheme=scheme, num_q_tokens=tokens, **options
    )
    assert_same_bytes(defined.plan_c, plan_c, "the reference's plan_c")
    assert_same_bytes(defined.plan_w, plan_w, "the reference's plan_w")
    assert (plan.ratio, plan.is_decode, plan.wide) == (ratio, False, tokens > 65536)


# -- worked examples of the rules: rows by hand, pages by the identity tables --------------------

EXAMPLES = {
    "one request": (
        (4, 8, [0], [12], [7]),
        [(8, 2, 5, 3, 7), (12, 6, 1, 7, 11)],
        [(3, 0, 8), (4, 0, 9), (5, 0, 10), (6, 0, 11)],
    ),
    "two requests": (
        (4, 8, [0, 1], [260, 3], [8, 3]),
        [(256, 3, 4, 251, 255), (260, 7, 0, None, None)],
        [*((i, 0, 252 + i) for i in range(8)), (8, 1, 0), (9, 1, 1), (10, 1, 2)],
    ),
    "rows kept for speculation": (
        (4, 16, [0], [13], [5]),
        [(12, 3, 4, 7, 11)],
        [(i, 0, 8 + i) for i in range(5)],
    ),
    "ratio 128": (
        (128, 128, [0], [300], [200]),
        [(128, 27, 100, 0, 127), (256, 155, 0, None, None)],
        [(i, 0, 100 + i) for i in range(156, 200)],
    ),
}


@pytest.mark.parametrize("paged", [True, False])
@pytest.mark.parametrize("name", EXAMPLES)
def test_worked_example(device: str, name: str, paged: bool) -> None:
    (ratio, ring, slots, seqs, extends), entries, writes = EXAMPLES[name]
    scheme = paged_ring(2, 512, 256, ring, identity=True) if paged else wavejit.RequestRing(ring)

    def loc(slot: int, position: int) -> int:
        swa = slot * 512 + position
        return swa // 256 * ring + position % ring if paged else slot * ring + position % ring

    batch = vectors(slots, seqs, extends)
    plan = prefill(device, ratio, batch, scheme, num_q_tokens=sum(extends))
    got = plan_loop.as_rows(plan.plan_c, C_ROW)
    expected = []
    for seq, ragged, buffer_len, p0, p1 in entries:
        pages = [-1 if p is None else loc(0, p) // ratio for p in (p0, p1)]
        expected.append((seq, ragged | buffer_len << 16, *pages))
    assert [tuple(row) for row in got.tolist()] == expected
    saved = [tuple(row) for row in plan_loop.as_rows(plan.plan_w, W_ROW).tolist()]
    if name == "two requests" and not paged:
        writes = writes[4:]  # the end of a page is kept for those who share the page
    assert saved == [(ragged, loc(slot, position)) for ragged, slot, position in writes]


# -- random batches ------------------------------------------------------------------------------


@cache
def random_batch(seed: int) -> tuple[Any, ...]:
    """1 to 6 requests of up to 120 new tokens after a prefix of up to 900."""
    requests = int(inputs.bits(seed, 1)[0] % np.uint64(6)) + 1
    most = (4, 20, 120)[seed % 3]
    extends = inputs.integers(seed + 1, (requests,), 1, most + 1)
    prefixes = inputs.integers(seed + 2, (requests,), 0, (9, 300, 900)[seed // 3 % 3])
    prefixes = prefixes * inputs.integers(seed + 3, (requests,), 0, 4).clamp(max=1)
    return inputs.permutation(seed + 4, 6)[:requests], prefixes + extends, extends


def test_random_batches(device: str) -> None:
    for seed in range(BATCHES):
        geometry = GEOMETRIES[seed % len(GEOMETRIES)]
        dtype = (torch.int64, torch.int32)[seed // len(GEOMETRIES) % 2]
        batch = tuple(vector.to(dtype) for vector in random_batch(1000 * seed))
        options = {"pad_to": int(batch[2].sum()) + seed % 5} if seed % 4 == 3 else {}
        check_prefill(device, geometry[0], batch, scheme_of(*geometry), **options)


def test_random_batches_with_lengths_on_the_device(device: str) -> None:
    """Unchecked lengths, also 0, negative and impossible, and more tokens than the bucket."""
    for seed in range(300):
        ratio, ring, page = GEOMETRIES[seed % len(GEOMETRIES)]
        scheme = scheme_of(ratio, ring, page)
        slots, seqs, extends = (vector.clone() for vector in random_batch(1000 * seed + 7))
        wild = inputs.integers(seed, (len(seqs), 3), -12, 1 << 12)
        extends[wild[:, 0] < 300] = -wild[wild[:, 0] < 300, 1].clamp(max=40)
        seqs[wild[:, 1] < 200] = wild[wild[:, 1] < 200, 2].clamp(max=60)
        slots[wild[:, 2] < 300] = wild[wild[:, 2] < 300, 0] % 9 - 1
        tokens = max(int(extends.clamp(min=0).sum()) - seed % 3 * 4, 0)
        rows = tokens + seed % 7
        lists = [vector.tolist() for vector in (slots, seqs, extends)]
        expected = plan_loop.prefill_rows(ratio, *lists, scheme, tokens)
        got = launch_prefill(
            device, ratio, (slots, seqs, extends), scheme, tokens=tokens, rows=rows
        )
        for plan, wanted, name in zip(got, plan_loop.pack(expected, pad_to=rows), ("c", "w")):
            assert_same_bytes(plan, wanted, f"plan_{name} of batch {seed}")


@pytest.mark.parametrize("requests", [0, 1, 2, 511, 512, 513, 1024, 1025, 5000])
def test_any_number_of_requests(device: str, requests: int) -> None:
    scheme = wavejit.RequestRing(16)
    extends = inputs.integers(requests, (requests,), 1, 6)
    seqs = extends + inputs.integers(requests + 1, (requests,), 0, 50)
    batch = inputs.permutation(requests + 2, requests), seqs, extends
    check_prefill(device, 4, batch, scheme)
    check_prefill(device, 4, batch, scheme, pad_to=int(extends.sum()) + 1000)
    plan = wavejit.compress_plan_decode(4, batch[0].to(device), seqs.to(device), scheme=scheme)
    expected = plan_loop.decode_rows(4, batch[0].tolist(), seqs.tolist(), scheme)
    assert plan.plan_d.shape == (requests, 16)
    assert_same_bytes(plan.plan_d, plan_loop.as_plan(expected), "plan_d")


@pytest.mark.parametrize("requests, extend", [(16, 4096), (1, 65537), (3, 30000)])
def test_more_tokens_than_16_bits(device: str, requests: int, extend: int) -> None:
    """65,536 tokens fit the narrow rows; beyond, ragged ids have 24 bits."""
    batch = vectors(
        range(requests), [extend + 10 * i for i in range(requests)], [extend] * requests
    )
    check_prefill(device, 4, batch, wavejit.RequestRing(8))


def test_wide_rows_on_request_and_never_too_narrow(device: str) -> None:
    batch = vectors([0], [40], [30])
    scheme = wavejit.RequestRing(8)
    plan = prefill(device, 4, batch, scheme, num_q_tokens=30, wide=True)
    rows = plan_loop.prefill_rows(4, [0], [40], [30], scheme, 30)
    assert_same_bytes(plan.plan_c, plan_loop.pack(rows, wide=True)[0])
    with pytest.raises(ValueError, match=r"wide=False: 65537 tokens need .* more than 16 bits"):
        prefill(device, 4, vectors([0], [65537], [65537]), scheme, num_q_tokens=65537, wide=False)


def test_two_runs_give_the_same_bytes(device: str) -> None:
    batch = random_batch(5)
    scheme = scheme_of(4, 16, 64)
    first, second = (
        prefill(device, 4, batch, scheme, num_q_tokens=int(batch[2].sum())) for _ in range(2)
    )
    assert_same_bytes(first.plan_c, second.plan_c)
    assert_same_bytes(first.plan_w, second.plan_w)


def test_equal_extends_in_a_padded_bucket(device: str) -> None:
    """A bucket larger than requests * extend: nothing is planned beyond the real tokens."""
    batch = vectors([2, 0, 1], [9, 30, 4], [4, 4, 4])
    plan_c, plan_w = launch_prefill(device, 4, batch, wavejit.RequestRing(16), tokens=64, rows=64)
    lists = [vector.tolist() for vector in batch]
    rows = plan_loop.prefill_rows(4, *lists, wavejit.RequestRing(16), 12)
    expected = plan_loop.pack(rows, pad_to=64)
    assert_same_bytes(plan_c, expected[0], "plan_c")
    assert_same_bytes(plan_w, expected[1], "plan_w")


# -- what cannot be resolved ---------------------------------------------------------------------

HUGE = (1 << 40, (1 << 31) - 1, 1 << 31, -(1 << 63), (1 << 63) - 1, 1 << 30, -1, 0, 5)


@pytest.mark.parametrize("ratio, ring, page", [(4, 8, 256), (4, 16, 0), (128, 256, 256)])
def test_wild_lengths_and_slots(device: str, ratio: int, ring: int, page: int) -> None:
    """Any 64-bit value as a length or a slot: rows of the batch's tokens, the rest invalid."""
    scheme = scheme_of(ratio, ring, page)
    cases = [(slot, seq, extend) for slot in (1, -1, 1 << 40, 6) for seq in HUGE for extend in HUGE]
    for turn in range(0, len(cases), 3):
        some = [*cases[turn : turn + 3], (2, 300, 200)]
        lists = [list(column) for column in zip(*some)]
        rows = plan_loop.prefill_rows(ratio, *lists, scheme, 260)
        expected = plan_loop.pack(rows, pad_to=300)
        got = launch_prefill(device, ratio, vectors(*lists), scheme, tokens=260, rows=300)
        assert_same_bytes(got[0], expected[0], f"plan_c of {some}")
        assert_same_bytes(got[1], expected[1], f"plan_w of {some}")
        plan = wavejit.compress_plan_decode(
            ratio,
            vectors(lists[0])[0].to(device),
            vectors(lists[1])[0].to(device),
            scheme=plan_loop.on(device, scheme),
        )
        decoded = plan_loop.decode_rows(ratio, lists[0], lists[1], scheme)
        assert_same_bytes(plan.plan_d, plan_loop.as_plan(decoded), f"plan_d of {some}")


def test_huge_lengths_do_not_wrap_the_sums(device: str) -> None:
    """Impossible requests of 2^30 tokens and more push every later token out of the batch."""
    batch = vectors([0, 1, 2, 3], [5, 6, 1 << 30, 8], [1 << 40, 1 << 30, 1 << 30, 8])
    plan_c, plan_w = launch_prefill(device, 4, batch, wavejit.RequestRing(8), tokens=64, rows=64)
    assert set(plan_loop.as_rows(plan_c, C_ROW)["seq"]) == {INVALID}
    assert set(plan_loop.as_rows(plan_w, W_ROW)["ragged"]) == {INVALID}


def test_wild_tables(device: str) -> None:
    """Any value in either table, and positions beyond the table's width."""
    good = scheme_of(4, 8, 64)
    tokens = good.req_to_token.clone()
    swa = good.full_to_swa.clone()
    size = len(swa)
    wild = torch.tensor([-1, -(1 << 31), (1 << 31) - 1, size, size - 1])
    where = inputs.integers(1, (400,), 0, tokens.numel())
    tokens.view(-1)[where] = wild[inputs.integers(2, (400,), 0, 5)].int()
    wild = torch.tensor([-1, -(1 << 63), (1 << 63) - 1, 1 << 31, (1 << 31) - 1, 1 << 33])
    where = inputs.integers(3, (400,), 0, size)
    swa[where] = wild[inputs.integers(4, (400,), 0, 6)]
    scheme = wavejit.PagedRing(tokens, swa, 64, 8)
    invalid = 0
    for seed in range(40):
        batch = tuple(vector.clone() for vector in random_batch(99 * seed))
        batch[1].add_(int(inputs.integers(seed, (1,), 0, 200)))  # some end beyond max_len
        check_prefill(device, 4, batch, scheme)
        rows = plan_loop.decode_rows(4, batch[0].tolist(), batch[1].tolist(), scheme)
        invalid += int((rows["seq"] == INVALID).sum())
        plan = wavejit.compress_plan_decode(
            4, batch[0].to(device), batch[1].to(device), scheme=plan_loop.on(device, scheme)
        )
        assert_same_bytes(plan.plan_d, plan_loop.as_plan(rows), f"plan_d of batch {seed}")
    assert invalid > 0


def test_edges_of_the_tables(device: str) -> None:
    """The last position, the one after it and so on, of the first and the last slot and of none."""
    scheme = paged_ring(3, 40, 8, 8, seed=7)
    for slot in (0, 1, 2, 3):
        for seq in range(36, 47):
            batch = vectors([slot, 1], [seq, 9], [min(seq, 7), 3])
            check_prefill(device, 4, batch, scheme)
            plan = wavejit.compress_plan_decode(
                4, batch[0].to(device), batch[1].to(device), scheme=plan_loop.on(device, scheme)
            )
            rows = plan_loop.decode_rows(4, [slot, 1], [seq, 9], scheme)
            assert_same_bytes(plan.plan_d, plan_loop.as_plan(rows), f"slot {slot}, {seq} tokens")


def test_tables_with_int32_and_wide_rows(device: str) -> None:
    """full_to_swa as int32, req_to_token as a slice of a wider table: the same plans."""
    scheme = scheme_of(4, 8, 256)
    wider = torch.full((6, MAX_LEN + 32), -7, dtype=torch.int32)
    wider[:, :MAX_LEN] = scheme.req_to_token
    same = wavejit.PagedRing(
        wider.to(device)[:, :MAX_LEN], scheme.full_to_swa.int().to(device), 256, 8
    )
    batch = random_batch(8)
    tokens = int(batch[2].sum())
    slots, seqs, extends = batch
    plan = wavejit.compress_plan_prefill(
        4, slots.to(device), seqs, extends, scheme=same, num_q_tokens=tokens
    )
    lists = [vector.tolist() for vector in batch]
    expected = plan_loop.pack(plan_loop.prefill_rows(4, *lists, scheme, tokens))
    assert_same_bytes(plan.plan_c, expected[0], "plan_c")
    assert_same_bytes(plan.plan_w, expected[1], "plan_w")


def test_decode_plans(device: str) -> None:
    for seed in range(60):
        ratio, ring, page = GEOMETRIES[seed % len(GEOMETRIES)]
        scheme = scheme_of(ratio, ring, page)
        slots, seqs, _ = random_batch(31 * seed)
        dtype = (torch.int64, torch.int32)[seed % 2]
        plan = wavejit.compress_plan_decode(
            ratio,
            slots.to(device, dtype),
            seqs.to(device, dtype),
            scheme=plan_loop.on(device, scheme),
        )
        rows = plan_loop.decode_rows(ratio, slots.tolist(), seqs.tolist(), scheme)
        assert_same_bytes(plan.plan_d, plan_loop.as_plan(rows), "plan_d")
        defined = reference.compress_plan_decode(ratio, slots, seqs, scheme=scheme)
        assert_same_bytes(defined.plan_d, plan_loop.as_plan(rows), "the reference's plan_d")
        assert plan.is_decode
        assert plan.ratio == ratio


def test_empty_batch(device: str) -> None:
    empty = torch.empty(0, dtype=torch.int64)
    for scheme in (wavejit.RequestRing(8), scheme_of(4, 8, 64)):
        plan = prefill(device, 4, (empty, empty, empty), scheme, num_q_tokens=0)
        assert (plan.plan_c.shape, plan.plan_w.shape) == ((0, 16), (0, 8))
        padded = prefill(device, 4, (empty, empty, empty), scheme, num_q_tokens=0, pad_to=3)
        assert set(plan_loop.as_rows(padded.plan_c, C_ROW)["seq"]) == {INVALID}
        assert set(plan_loop.as_rows(padded.plan_w, W_ROW)["ragged"]) == {INVALID}
        step = wavejit.compress_plan_decode(
            4, empty.to(device), empty.to(device), scheme=plan_loop.on(device, scheme)
        )
        assert step.plan_d.shape == (0, 16)
    assert D_ROW.itemsize == 16
