"""The c4 compressor with plans of any value: no stray write or read, the defined rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import plan_loop
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from plan_loop import C_ROW, D_ROW, W_ROW

import wavejit
from wavejit import DecodePlan, PrefillPlan, reference
from wavejit.testing import assert_same_bytes, check_guards, guarded, inputs

DIM = 64
MANY = 1100  # requests of a step that is launched as a large one
INT_MIN, INT_MAX, ALL_ONES = -(1 << 31), (1 << 31) - 1, 0xFFFFFFFF
FUZZ = settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],  # a failure is reported at once, as it is
    report_multiple_bugs=False,
)


def signed(limit: int) -> Any:
    """Pages or rows around [0, limit), and the far ends of 32 bits."""
    near = st.integers(-2, limit + 2)
    edges = st.sampled_from([INT_MIN, INT_MAX, -1, 0, limit - 1, limit, 1 << 29, -(1 << 29)])
    return st.one_of(near, near, edges)


def unsigned(limit: int) -> Any:
    near = st.integers(0, limit + 2)
    edges = st.sampled_from([ALL_ONES, 1 << 31, INT_MAX, ALL_ONES - 1, 0, limit])
    return st.one_of(near, near, edges)


@st.composite
def decode_case(draw: Any) -> tuple[int, int, np.ndarray]:
    pages = draw(st.integers(1, 6))
    count = draw(st.integers(0, 9))
    page = signed(pages)
    rows = st.tuples(unsigned(24).map(lambda seq: seq), signed(4 * pages), page, page)
    boundary = st.tuples(
        st.sampled_from([4, 8, 12, 1 << 31, ALL_ONES - 3]), signed(4 * pages), page, page
    )
    plan = draw(st.lists(st.one_of(rows, boundary), min_size=count, max_size=count))
    invalid = draw(st.sampled_from([0] * 9 + [MANY]))
    return pages, invalid, np.array(plan, D_ROW)


@st.composite
def prefill_case(draw: Any) -> tuple[int, int, bool, np.ndarray, np.ndarray]:
    pages = draw(st.integers(1, 6))
    tokens = draw(st.integers(0, 20))
    wide = draw(st.booleans())
    page = signed(pages)
    shift = 24 if wide else 16
    most = (1 << (32 - shift)) - 1
    buffer = st.one_of(st.integers(0, 9), st.sampled_from([255, min(65535, most), min(256, most)]))
    ragged = st.one_of(st.integers(0, tokens + 8), st.sampled_from([65535, (1 << shift) - 1]))
    where = st.builds(lambda g, b: g | b << shift, ragged, buffer)
    seq = st.one_of(st.sampled_from([4, 8, 12, 400]), unsigned(13))
    plan_c = draw(st.lists(st.tuples(seq, where, page, page), max_size=12))
    plan_w = draw(st.lists(st.tuples(unsigned(tokens), signed(4 * pages)), max_size=12))
    return pages, tokens, wide, np.array(plan_c, C_ROW), np.array(plan_w, W_ROW)


def one_writer(plan: np.ndarray, pages: int, read: list[set[int]]) -> np.ndarray:
    """The plan without rows that race: each location written once, and not where others read."""
    plan, taken = plan.copy(), set()
    for i, loc in enumerate(plan["loc"].tolist()):
        others = set().union(*(pages_read for j, pages_read in enumerate(read) if j != i), set())
        if 0 <= loc < 4 * pages and (loc in taken or loc // 4 in others):
            plan["loc"][i] = -1
        taken.add(loc)
    return plan


def run_guarded(device: str, pages: int, rows: int, plan: Any, outputs: int) -> tuple[Any, Any]:
    """State and outputs of the library; buffers lie between sentinels, inputs stay."""
    state, given, ape, out = arguments(pages, rows, outputs)
    boxes = {
        "kv_buffer": guarded(state, device=device, name="kv_buffer"),
        "kv_input": guarded(given, device=device, row_stride=4 * DIM + 12, name="kv_input"),
        "ape": guarded(ape, device=device, name="ape"),
        "out": guarded(out, device=device, name="out"),
    }
    plans = []

    def box_of(rows: Any) -> Any:
        plans.append((guarded(rows, device=device, name="plan"), rows))
        return plans[-1][0].tensor

    same = plan_loop.mapped(plan, box_of)
    tensors = {name: box.tensor for name, box in boxes.items()}
    wavejit.compress(plan=same, head_dim=DIM, ratio=4, **tensors)
    check_guards(*boxes.values(), *(box for box, _ in plans))
    assert_same_bytes(tensors["kv_input"], given, "kv_input")
    assert_same_bytes(tensors["ape"], ape, "ape")
    for box, rows in plans:
        assert_same_bytes(box.tensor, rows, "plan")
    return tensors["kv_buffer"].cpu(), tensors["out"].cpu()


def arguments(pages: int, rows: int, outputs: int) -> tuple[Any, Any, Any, Any]:
    return (
        inputs.normal(1, (pages, 4, 4 * DIM)),
        inputs.normal(2, (rows, 4 * DIM)),
        inputs.normal(3, (8, DIM)),
        inputs.uniform(4, (outputs, DIM), 50, 60),
    )


def check_defined(device: str, pages: int, rows: int, plan: Any, outputs: int) -> None:
    """The library's state and outputs are the reference's."""
    state, out = run_guarded(device, pages, rows, plan, outputs)
    expected, given, ape, wanted = arguments(pages, rows, outputs)
    before = wanted.clone()
    reference.compress(expected, given, ape, plan, head_dim=DIM, ratio=4, out=wanted)
    assert_same_bytes(state, expected, "state")
    torch.testing.assert_close(out, wanted, rtol=2e-5, atol=2e-5)
    untouched = (wanted == before).all(dim=1)
    assert_same_bytes(out[untouched], before[untouched], "rows that are not written")


def pages_of(plan: np.ndarray, pages: int) -> list[set[int]]:
    """The pages that each decode row reads."""
    read = []
    for seq, _, first, second in plan.tolist():
        used = {second, first} if seq > 4 else {second}
        read.append({page for page in used if 0 <= page < pages} if seq % 4 == 0 else set())
    return read


def test_decode_plans_of_any_value(device: str) -> None:
    @FUZZ
    @given(decode_case())
    def fuzz(case: tuple[int, int, np.ndarray]) -> None:
        pages, invalid, rows = case
        before = np.array([(ALL_ONES, -1, -1, -1)] * invalid, D_ROW)
        count = invalid + len(rows)
        racing = DecodePlan(4, plan_loop.as_plan(np.concatenate((before, rows))))
        run_guarded(device, pages, count, racing, count)
        calm = one_writer(rows, pages, pages_of(rows, pages))
        plan = DecodePlan(4, plan_loop.as_plan(np.concatenate((before, calm))))
        check_defined(device, pages, count, plan, count)

    fuzz()


def test_prefill_plans_of_any_value(device: str) -> None:
    @FUZZ
    @given(prefill_case())
    def fuzz(case: tuple[int, int, bool, np.ndarray, np.ndarray]) -> None:
        pages, tokens, wide, rows_c, rows_w = case
        racing = PrefillPlan(4, plan_loop.as_plan(rows_c), plan_loop.as_plan(rows_w), wide)
        run_guarded(device, pages, tokens, racing, len(rows_c))
        calm = one_writer(rows_w, pages, [])
        plan = PrefillPlan(4, plan_loop.as_plan(rows_c), plan_loop.as_plan(calm), wide)
        check_defined(device, pages, tokens, plan, len(rows_c))

    fuzz()


P = 3  # pages of the directed cases
EDGES = [INT_MIN, INT_MIN + 1, -2, -1, 0, P - 1, P, P + 1, 4 * P - 1, 4 * P, 1 << 28, INT_MAX]


@pytest.mark.parametrize("seq", [0, 1, 3, 4, 5, 8, INT_MAX, 1 << 31, ALL_ONES - 3, ALL_ONES])
def test_every_edge_of_a_decode_row(device: str, seq: int) -> None:
    """One row at a time is free of races: every pair of pages and locations."""
    for loc in EDGES:
        rows = [(seq, loc, a, b) for a in EDGES for b in (EDGES if a == 0 else (0, P - 1, P))]
        for row in rows:
            plan = DecodePlan(4, plan_loop.as_plan(np.array([row], D_ROW)))
            if row[2] in (0, -1, P) or loc in (-1, 0, 4 * P):
                check_defined(device, P, 1, plan, 1)


@pytest.mark.parametrize("seq", [4, 8, ALL_ONES - 3])
def test_edges_of_a_row_in_a_large_step(device: str, seq: int) -> None:
    edges = [(-1, P, 0), (4 * P, 0, 1), (INT_MIN, 1, P), (3, INT_MAX, 2), (INT_MAX, -1, 0)]
    for edge in edges:
        rows = [(ALL_ONES, -1, -1, -1)] * MANY + [(seq, *edge)]
        plan = DecodePlan(4, plan_loop.as_plan(np.array(rows, D_ROW)))
        check_defined(device, P, len(rows), plan, len(rows))


@pytest.mark.parametrize("wide", [False, True])
def test_every_edge_of_a_prefill_row(device: str, wide: bool) -> None:
    shift = 24 if wide else 16
    buffers = [*range(10), 255] + ([] if wide else [256, 65535])
    seqs = [0, 4, 5, 8, ALL_ONES - 1, ALL_ONES]
    tokens = [0, 3, 6, 7, 9, 10, (1 << shift) - 1]
    pairs = [
        (0, 1),
        (-1, 1),
        (0, -1),
        (P, P - 1),
        (P - 1, P),
        (INT_MIN, INT_MAX),
        (INT_MAX, INT_MIN),
    ]
    rows = [
        (seq, ragged | buffer << shift, *pair)
        for seq in seqs
        for buffer in buffers
        for ragged in tokens
        for pair in pairs
    ]
    writes = [(ragged, -1) for ragged in (0, 9, 10, 11, INT_MAX, ALL_ONES)]
    writes += [(i, loc) for i, loc in enumerate(EDGES) if loc not in (-1, 4 * P - 1)]
    writes += [(ALL_ONES, 4 * P - 1), (10, 4 * P - 1), (9, 4 * P - 1)]
    plan = PrefillPlan(
        4,
        plan_loop.as_plan(np.array(rows, C_ROW)),
        plan_loop.as_plan(np.array(writes, W_ROW)),
        wide,
    )
    check_defined(device, P, 10, plan, len(rows))


@pytest.mark.parametrize("wide", [False, True])
def test_an_input_of_more_rows_than_16_bits_name(device: str, wide: bool) -> None:
    """What lies above a row's number in a narrow plan is no part of it, in a wide one it is."""
    rows = [(8, where, 0, 1) for where in (7, 65535, 1 << 16 | 6, 1 << 16 | 9, 1 << 24 | 6)]
    empty = torch.empty(0, 8, dtype=torch.uint8)
    plan = PrefillPlan(4, plan_loop.as_plan(np.array(rows, C_ROW)), empty, wide)
    check_defined(device, P, (1 << 16) + 20, plan, len(rows))


@pytest.mark.parametrize("rows", [0, 1])
@pytest.mark.parametrize("pages", [0, 1])
def test_empty_everything(device: str, rows: int, pages: int) -> None:
    """No requests, no entries, no writes, a pool without pages: nothing happens."""
    empty = torch.empty(0, 16, dtype=torch.uint8)
    run_guarded(device, pages, 0, DecodePlan(4, empty), 0)
    run_guarded(device, pages, rows, PrefillPlan(4, empty, empty[:, :8]), 0)
    full = np.array([(8, 7 | 4 << 16, 0, 0)], C_ROW)
    plan = PrefillPlan(4, plan_loop.as_plan(full), empty[:, :8])
    check_defined(device, pages, rows, plan, 1)
    write = plan_loop.as_plan(np.array([(0, 0)], W_ROW))
    check_defined(device, pages, rows, PrefillPlan(4, empty, write), 0)
    step = plan_loop.as_plan(np.array([(8, 0, 0, 0)], D_ROW))
    check_defined(device, pages, 1, DecodePlan(4, step), 1)


def test_rows_beyond_4_gib(device: str) -> None:
    """Pages and input rows whose byte offsets do not fit in 32 bits."""
    pages = (1 << 32) // (16 * DIM * 4) + 3
    try:
        pool = torch.empty((pages, 4, 4 * DIM), device=device)  # touched only where it is used
    except RuntimeError:
        pytest.skip("no address space of 4 GiB")
    last = pages - 1
    pool[last - 1 :] = inputs.normal(1, (2, 4, 4 * DIM)).to(device)
    pool[0] = 1e9
    expected = pool[last - 1 :].cpu().clone()
    given, ape = inputs.normal(2, (1, 4 * DIM)), inputs.normal(3, (8, DIM))
    rows = np.array([(8, 4 * last + 3, last - 1, last)], D_ROW)
    plan = DecodePlan(4, plan_loop.as_plan(rows).to(device))
    options = {"head_dim": DIM, "ratio": 4}
    out = wavejit.compress(pool, given.to(device), ape.to(device), plan, **options)
    rows = np.array([(8, 7, 0, 1)], D_ROW)
    plan = DecodePlan(4, plan_loop.as_plan(rows))
    wanted = reference.compress(expected, given, ape, plan, **options)
    assert_same_bytes(pool[last - 1 :], expected, "state")
    torch.testing.assert_close(out.cpu(), wanted, rtol=2e-5, atol=2e-5)

    # The same memory as input rows far apart: 8 rows, 2^29 bytes from one to the next, and more.
    step = (1 << 29) // 4
    far = pool.view(-1).as_strided((9, 4 * DIM), (step, 1))
    given = inputs.normal(5, (9, 4 * DIM))
    far.copy_(given)
    plan_c = plan_loop.as_plan(np.array([(8, 8, -1, -1)], C_ROW))
    plan_w = plan_loop.as_plan(np.array([(8, 3)], W_ROW))
    small = torch.zeros(1, 4, 4 * DIM)
    on_device = PrefillPlan(4, plan_c.to(device), plan_w.to(device))
    state = small.clone().to(device)
    out = wavejit.compress(state, far, ape.to(device), on_device, **options)
    wanted = reference.compress(small, given, ape, PrefillPlan(4, plan_c, plan_w), **options)
    assert_same_bytes(state, small, "state")
    torch.testing.assert_close(out.cpu(), wanted, rtol=2e-5, atol=2e-5)
