"""The c128 compressor with plans of any value: no stray write or read, the defined rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import plan_loop
import pytest
import torch
from plan_loop import C_ROW, D_ROW, W_ROW

import wavejit
from wavejit import DecodePlan, PrefillPlan, reference
from wavejit.testing import assert_same_bytes, check_guards, guarded, inputs

DIM = 64
WIDTH = 2 * DIM
P = 3  # pages
INT_MIN, INT_MAX, ALL_ONES = -(1 << 31), (1 << 31) - 1, 0xFFFFFFFF
PAGES = [INT_MIN, -2, -1, 0, P - 1, P, P + 1, 1 << 24, INT_MAX]
LOCS = [INT_MIN, -1, 0, 127, 128, 128 * P - 1, 128 * P, 1 << 28, INT_MAX]
SEQS = [0, 1, 127, 128, 129, 256, INT_MAX, 1 << 31, ALL_ONES - 127, ALL_ONES]


def arguments(rows: int, outputs: int) -> tuple[Any, Any, Any, Any]:
    return (
        inputs.normal(1, (P, 128, WIDTH)),
        inputs.normal(2, (rows, WIDTH)),
        inputs.normal(3, (128, DIM)),
        inputs.uniform(4, (outputs, DIM), 50, 60),
    )


def check_defined(device: str, rows: int, plan: Any, outputs: int) -> int:
    """State and outputs are the reference's, inputs and what lies around is untouched.

    Returns how many rows were written.
    """
    names = ("kv_buffer", "kv_input", "ape", "out")
    given = dict(zip(names, arguments(rows, outputs), strict=True))
    boxes = {
        name: guarded(
            tensor, device=device, name=name, row_stride=WIDTH + 12 if name == "kv_input" else None
        )
        for name, tensor in given.items()
    }
    plans: list[tuple[Any, Any]] = []

    def box_of(rows: Any) -> Any:
        plans.append((guarded(rows, device=device, name="plan"), rows))
        return plans[-1][0].tensor

    tensors = {name: box.tensor for name, box in boxes.items()}
    wavejit.compress(plan=plan_loop.mapped(plan, box_of), head_dim=DIM, ratio=128, **tensors)
    check_guards(*boxes.values(), *(box for box, _ in plans))
    for name in ("kv_input", "ape"):
        assert_same_bytes(tensors[name], given[name], name)
    for box, before in plans:
        assert_same_bytes(box.tensor, before, "plan")
    state, wanted = given["kv_buffer"].clone(), given["out"].clone()
    reference.compress(
        state, given["kv_input"], given["ape"], plan, head_dim=DIM, ratio=128, out=wanted
    )
    assert_same_bytes(tensors["kv_buffer"], state, "state")
    torch.testing.assert_close(tensors["out"].cpu(), wanted, rtol=2e-5, atol=2e-5)
    untouched = (wanted == given["out"]).all(dim=1)
    assert_same_bytes(tensors["out"][untouched.to(device)], given["out"][untouched], "skipped rows")
    return int((~untouched).sum())


@pytest.mark.parametrize("seq", SEQS)
def test_every_edge_of_a_decode_row(device: str, seq: int) -> None:
    """One row at a time is free of races: every location and both pages."""
    written = 0
    for loc in LOCS:
        for page in PAGES:
            row = np.array([(seq, loc, INT_MIN, page)], D_ROW)
            written += check_defined(device, 1, DecodePlan(128, plan_loop.as_plan(row)), 1)
    ends_group = seq % 128 == 0 and seq > 0
    assert written == (2 * len(LOCS) if ends_group else 0)  # pages 0 and P - 1


@pytest.mark.parametrize("before", [0, 511, 514])
def test_edges_of_rows_in_a_large_step(device: str, before: int) -> None:
    """Several entries a block, some of which are skipped; locations that nobody else reads."""
    edges = [(-1, P), (128, 0), (INT_MIN, 2), (INT_MAX, 0), (129, INT_MAX), (128 * P, 0), (130, -1)]
    rows = [(ALL_ONES, -1, -1, -1)] * before + [(256, loc, 0, page) for loc, page in edges]
    rows += [(5, 131, 0, 0), (128, -1, 0, 2)]
    plan = DecodePlan(128, plan_loop.as_plan(np.array(rows, D_ROW)))
    assert check_defined(device, len(rows), plan, len(rows)) == 5


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("copies", [1, 4])
def test_every_edge_of_a_prefill_row(device: str, wide: bool, copies: int) -> None:
    """In a small launch and in one whose blocks pool several entries."""
    shift, tokens = 24 if wide else 16, 140
    buffers = [0, 1, 3, 4, 5, 16, 100, 127, 128, 129, 255] + ([] if wide else [256, 65535])
    rows = [
        (seq, ragged | buffer << shift, INT_MIN, page)
        for seq in (0, 128, ALL_ONES)
        for buffer in buffers
        for ragged in (0, 27, 126, 127, 139, 140, (1 << shift) - 1)
        for page in (0, -1, P - 1, P)
    ][:: 5 - copies]
    writes = [(ragged, -1) for ragged in (0, 139, 140, INT_MAX, ALL_ONES)]
    writes += [(i, loc) for i, loc in enumerate(LOCS) if loc not in (-1, 128 * P - 1)]
    writes += [(ALL_ONES, 128 * P - 1), (140, 128 * P - 1), (139, 128 * P - 1)]
    plans = plan_loop.as_plan(np.array(rows, C_ROW)), plan_loop.as_plan(np.array(writes, W_ROW))
    assert check_defined(device, tokens, PrefillPlan(128, *plans, wide), len(rows)) > 50


@pytest.mark.parametrize("seed", range(6))
def test_thirty_percent_random_rows_and_stale_padding(device: str, seed: int) -> None:
    """Real plans, 30 % of whose rows are random words, behind them rows of an older batch."""
    slots, ring = [0, 2, 1], wavejit.RequestRing(128)
    seqs, extends = [200 + seed, 130, 256], [100, 3 + seed, 256]
    good = plan_loop.prefill_plan("cpu", slots, seqs, extends, ring, ratio=128)
    stale = plan_loop.prefill_plan("cpu", [1], [600], [600], ring, ratio=128)  # beyond the batch
    wild = []
    for k, (mine, old) in enumerate(((good.plan_c, stale.plan_c), (good.plan_w, stale.plan_w))):
        rows = torch.cat((mine, old)).clone()
        hit = inputs.uniform(seed + k, (len(rows),)) < 0.3
        random = inputs.bits(10 * seed + k, rows.numel() // 8).view(np.uint8)
        rows[hit] = torch.from_numpy(random.copy()).view(rows.shape)[hit]
        wild.append(rows)
    writes = plan_loop.as_rows(wild[1], W_ROW)  # one writer a location: order is not defined
    _, first = np.unique(writes["loc"], return_index=True)
    again = np.ones(len(writes), bool)
    again[first] = False
    writes["loc"][again] = -1
    plan = PrefillPlan(128, wild[0], plan_loop.as_plan(writes))
    check_defined(device, sum(extends), plan, len(wild[0]))


def test_graph_padding_writes_to_ring_0_alone(device: str) -> None:
    """Rows that pad a captured decode step: slot 0, one token."""
    plan = plan_loop.decode_plan(
        "cpu", [1, 0, 0, 2], [128, 1, 0, 130], wavejit.RequestRing(128), ratio=128
    )
    assert check_defined(device, 4, plan, 4) == 1


@pytest.mark.parametrize("rows", [0, 1])
def test_empty_everything(device: str, rows: int) -> None:
    empty = torch.empty(0, 16, dtype=torch.uint8)
    assert check_defined(device, 0, DecodePlan(128, empty), 0) == 0
    assert check_defined(device, rows, PrefillPlan(128, empty, empty[:, :8]), 0) == 0
    full = plan_loop.as_plan(np.array([(128, 0 | 127 << 16, 0, 0)], C_ROW))
    assert check_defined(device, rows, PrefillPlan(128, full, empty[:, :8]), 1) == rows


def test_rows_beyond_4_gib(device: str) -> None:
    """Pages whose byte offsets do not fit in 32 bits, and input rows far apart."""
    pages = (1 << 32) // (128 * WIDTH * 4) + 3
    try:
        pool = torch.empty((pages, 128, WIDTH), device=device)  # touched only where it is used
    except RuntimeError:
        pytest.skip("no address space of 4 GiB")
    last = pages - 1
    pool[last] = inputs.normal(1, (128, WIDTH)).to(device)
    expected = pool[last:].cpu().clone()
    given, ape = inputs.normal(2, (1, WIDTH)), inputs.normal(3, (128, DIM))
    options = {"head_dim": DIM, "ratio": 128}
    for base, target in ((last, pool), (0, expected)):
        rows = np.array([(128, 128 * base + 127, -1, base)], D_ROW)
        plan = DecodePlan(128, plan_loop.as_plan(rows).to(target.device))
        tensors = (tensor.to(target.device) for tensor in (given, ape))
        call = wavejit.compress if target is pool else reference.compress
        out = call(target, *tensors, plan, **options)
        if target is pool:
            found = out.cpu()
    assert_same_bytes(pool[last:], expected, "state")
    torch.testing.assert_close(found, out, rtol=2e-5, atol=2e-5)
    far = pool.view(-1).as_strided((2, WIDTH), ((1 << 32) // 4, 1))
    far[1] = given[0].to(device)
    near = given.expand(2, WIDTH).contiguous()
    for base, target, rows in ((last, pool, far), (0, expected, near)):
        entry = np.array([(128, 1 | 127 << 16, -1, base)], C_ROW)
        write = np.array([(1, 128 * base + 5)], W_ROW)
        plans = (plan_loop.as_plan(plan).to(target.device) for plan in (entry, write))
        call = wavejit.compress if target is pool else reference.compress
        out = call(target, rows, ape.to(target.device), PrefillPlan(128, *plans), **options)
        if target is pool:
            found = out.cpu()
    assert_same_bytes(pool[last:], expected, "the row of an offset beyond 4 GiB")
    torch.testing.assert_close(found, out, rtol=2e-5, atol=2e-5)


WRONG: list[tuple[str, Any, type[Exception], tuple[str, ...]]] = [
    ("kv_buffer", lambda t: t.half(), ValueError, ("dtype", "float, bfloat16")),
    ("kv_buffer", lambda t: t.view(-1, 4, WIDTH), ValueError, ("shape", "128, 128]")),
    ("kv_buffer", lambda t: t[:, :, :64].contiguous(), ValueError, ("shape", "128, 64]")),
    ("kv_input", lambda t: t[:, 1:], ValueError, ("shape", "127]")),
    ("ape", lambda t: t.view(64, 128), ValueError, ("shape", "[128, 64]", "[64, 128]")),
    ("ape", lambda t: t.bfloat16(), TypeError, ("dtype", "float32", "bfloat16")),
    ("out", lambda t: t[:1], ValueError, ("shape", "[1, 64]")),
    ("out", lambda t: t.int(), ValueError, ("dtype", "int32")),
]


@pytest.mark.parametrize("decode", [True, False], ids=["decode", "prefill"])
@pytest.mark.parametrize("name, change, error, parts", WRONG)
def test_wrong_tensors(decode: bool, name: str, change: Any, error: Any, parts: Any) -> None:
    ring, seqs = wavejit.RequestRing(128), [128, 5]
    plan = plan_loop.decode_plan("cpu", [0, 1], seqs, ring, ratio=128)
    if not decode:
        plan = plan_loop.prefill_plan("cpu", [0, 1], [128, 256], [128, 128], ring, ratio=128)
    names = ("kv_buffer", "kv_input", "ape", "out")
    given = dict(zip(names, arguments(2 if decode else 256, 2), strict=True))
    wavejit.compress(plan=plan, head_dim=DIM, ratio=128, **given)
    given[name] = change(given[name])
    with pytest.raises(error, match=name) as caught:
        wavejit.compress(plan=plan, head_dim=DIM, ratio=128, **given)
    for part in parts:
        assert part in str(caught.value), str(caught.value)
