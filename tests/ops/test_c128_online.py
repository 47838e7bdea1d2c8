"""The online c128 compressor: values, exact chunking, banks, plans of any value."""

from __future__ import annotations

from typing import Any

import numpy as np
import plan_loop
import pytest
import torch
from compress_world import random_ape, random_rows
from plan_loop import C_ROW, D_ROW

import wavejit
from wavejit import reference
from wavejit.ops.online_plan import OnlineDecodePlan, OnlinePrefillPlan
from wavejit.testing import assert_same_bytes, check_guards, guarded, inputs

DIM, LENGTH, SLOT = 64, 900, 3
INT_MIN, INT_MAX, ALL_ONES = -(1 << 31), (1 << 31) - 1, 0xFFFFFFFF


def served(device: str, sizes: list[int], dtype: Any = torch.float32, dim: int = DIM) -> Any:
    """Entries and final state of one request in chunks of `sizes` tokens (0: a step)."""
    given = random_rows(dim, 128)[:LENGTH].to(device)
    ape, slot = random_ape(dim, 128).to(device), torch.tensor([SLOT], device=device)
    state = torch.full((6, 3 * dim), float("nan"), dtype=dtype, device=device)
    entries, at = [], 0
    for size in sizes:
        end = min(at + max(size, 1), LENGTH)
        seq = torch.tensor([end])
        plan: Any = wavejit.compress_online_plan_decode(slot, seq.to(device))
        if size:
            plan = wavejit.compress_online_plan_prefill(
                slot, seq, torch.tensor([end - at]), num_q_tokens=end - at
            )
        out = wavejit.compress_online(state, given[at:end], ape, plan, head_dim=dim)
        if size or end % 128 == 0:
            entries.append(out.cpu())
        at = end
    assert at == LENGTH
    assert state[[0, 1, 2, 4, 5]].isnan().all()  # other requests' rows
    return torch.cat(entries), state[SLOT].cpu()


@pytest.mark.parametrize("dim", [64, 512])
def test_every_chunking_gives_the_same_bytes(device: str, dim: int) -> None:
    """In one piece, in random pieces and token by token: entries and state; close to float64."""
    whole, state = served(device, [LENGTH], dim=dim)
    rows = random_rows(dim, 128)[:LENGTH].double()
    ape = random_ape(dim, 128).double()
    groups = rows[: LENGTH // 128 * 128].view(-1, 128, 2 * dim)
    weights = torch.softmax(groups[..., dim:] + ape, dim=1)
    expected = (weights * groups[..., :dim]).sum(dim=1)
    torch.testing.assert_close(whole.double(), expected, rtol=1e-4, atol=1e-5)
    for sizes in ([0] * LENGTH, [1, 126, 3, 255, 0, 0, 400, 130], [128] * 8):
        pieces, end = served(device, sizes, dim=dim)
        assert_same_bytes(pieces, whole, "entries")
        assert_same_bytes(end, state, "state")


def test_a_bf16_state(device: str) -> None:
    whole, _ = served(device, [LENGTH])
    pieces, state = served(device, [100] * 9, torch.bfloat16)
    assert state.dtype == torch.bfloat16
    torch.testing.assert_close(pieces, whole, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("prefix", [5, 121, 124, 127, 128])
def test_verification_and_commit(device: str, prefix: int) -> None:
    """For each number of accepted drafts the state is that of having decoded just those."""
    banks, drafts, bank_rows = 9, 8, 6
    rows, ape = random_rows(DIM, 128).to(device), random_ape(DIM, 128).to(device)
    slots, offset = torch.tensor([SLOT, 1], device=device), 200  # two requests, other tokens

    def start(count: int) -> Any:
        state = torch.full((banks * bank_rows, 3 * DIM), float("nan"), device=device)
        given = torch.cat((rows[:count], rows[offset : offset + count]))
        seqs = torch.tensor([count, count])
        plan = wavejit.compress_online_plan_prefill(slots, seqs, seqs, num_q_tokens=2 * count)
        wavejit.compress_online(state, given, ape, plan, head_dim=DIM)
        return state

    given = torch.cat(
        (rows[prefix : prefix + drafts], rows[offset + prefix : offset + prefix + drafts])
    )
    seqs, extends = torch.tensor([prefix + drafts] * 2), torch.tensor([drafts] * 2)
    plan = wavejit.compress_online_plan_prefill(
        slots, seqs, extends, num_q_tokens=2 * drafts, bank_rows=bank_rows
    )
    for accepted in range(1, drafts + 1):
        state = start(prefix)
        before = state[:bank_rows].clone()
        wavejit.compress_online(state, given, ape, plan, head_dim=DIM)
        assert_same_bytes(state[:bank_rows], before, "what was accepted before")
        final = torch.tensor([prefix + accepted] * 2, device=device)
        took = torch.tensor([accepted] * 2, device=device)
        wavejit.compress_online_commit(state, slots, final, took, bank_rows=bank_rows)
        if (prefix + accepted) % 128 == 0:
            assert_same_bytes(state[:bank_rows], before, "a complete group leaves no state")
        else:
            assert_same_bytes(state[:bank_rows], start(prefix + accepted)[:bank_rows], "committed")


def test_commits_of_any_value(device: str) -> None:
    """Slots and banks that do not exist, in every combination: nothing but the defined copies."""
    values = [INT_MIN, -1, 0, 1, 2, 3, 5, 6, 1 << 40, -(1 << 63), (1 << 63) - 1]
    cases = [(slot, bank) for slot in values for bank in values]
    before = inputs.normal(1, (18, 3 * DIM))
    for slot, bank in cases:
        box = guarded(before, device=device, name="state")
        slots, banks, seqs = (torch.tensor([v], device=device) for v in (slot, bank, 5))
        wavejit.compress_online_commit(box.tensor, slots, seqs, banks, bank_rows=6)
        expected, defined = before.clone(), before.clone()
        if 0 <= slot < 6 and 1 <= bank < 3:
            expected[slot] = before[slot + 6 * bank]
        given = (tensor.cpu() for tensor in (slots, seqs, banks))
        reference.compress_online_commit(defined, *given, bank_rows=6)
        assert_same_bytes(defined, expected, f"reference of slot {slot}, bank {bank}")
        check_guards(box)
        assert_same_bytes(box.tensor, expected, f"slot {slot}, bank {bank}")


def check_defined(device: str, plan: Any, tokens: int, outputs: int) -> None:
    """State and outputs are the reference's, nothing around them is written."""
    state = torch.cat((inputs.normal(1, (4, DIM)), inputs.uniform(2, (4, 2 * DIM), 1, 9)), dim=1)
    given, ape = inputs.normal(3, (tokens, 2 * DIM)), inputs.normal(4, (128, DIM))
    out = inputs.uniform(5, (outputs, DIM), 50, 60)
    box = guarded(state, device=device, name="state")
    rows = guarded(given, device=device, row_stride=2 * DIM + 3, name="kv_input")
    written = guarded(out, device=device, name="out")
    same = plan_loop.mapped(plan, lambda rows: rows.to(device))
    wavejit.compress_online(
        box.tensor, rows.tensor, ape.to(device), same, head_dim=DIM, out=written.tensor
    )
    check_guards(box, rows, written)
    before = out.clone()
    reference.compress_online(state, given, ape, plan, head_dim=DIM, out=out)
    torch.testing.assert_close(box.tensor.cpu(), state, rtol=2e-5, atol=2e-5)
    torch.testing.assert_close(written.tensor.cpu(), out, rtol=2e-5, atol=2e-5)
    skipped = (out == before).all(dim=1)
    assert_same_bytes(written.tensor.cpu()[skipped], before[skipped], "skipped rows")


@pytest.mark.parametrize(
    "seq", [0, 1, 2, 127, 128, 129, INT_MAX, 1 << 31, ALL_ONES - 127, ALL_ONES]
)
def test_every_edge_of_a_decode_row(device: str, seq: int) -> None:
    edges = [INT_MIN, -1, 0, 3, 4, INT_MAX]
    for loc in edges:
        rows = np.array([(seq, loc, source, 0) for source in edges], D_ROW)
        for i in range(len(edges)):
            plan = OnlineDecodePlan(plan_loop.as_plan(rows[i : i + 1]))
            check_defined(device, plan, 1, 1)


@pytest.mark.parametrize("wide", [False, True])
def test_every_edge_of_a_prefill_row(device: str, wide: bool) -> None:
    shift = 24 if wide else 16
    rows = [
        (seq, ragged | length << shift, target, source)
        for seq in (0, 5, 128, 130, ALL_ONES)
        for length in (0, 1, 2, 5, 128, 129, 255)
        for ragged in (0, 4, 129, 130, (1 << shift) - 1)
        for target, source in ((-1, 0), (4, 1), (INT_MIN, -1), (INT_MAX, 3), (-1, 4))
    ]
    stored = [(3, 2 | 3 << shift, 2, INT_MIN), (130, 50 | 1 << shift, 0, 1), (5, 9, 1, 1)]
    plans = (plan_loop.as_plan(np.array(part, C_ROW)) for part in (rows, stored))
    check_defined(device, OnlinePrefillPlan(*plans, wide), 130, len(rows))


@pytest.mark.parametrize("score", [float("nan"), float("inf"), float("-inf")])
def test_scores_that_are_no_numbers(device: str, score: float) -> None:
    """NaN and +inf stay until the group ends; -inf has no weight, whichever token has it."""
    for place in (0, 5, 127):
        given = inputs.normal(place, (128, 2 * DIM))
        given[place, DIM:] = score
        state, slot = torch.zeros(1, 3 * DIM, device=device), torch.zeros(1, dtype=torch.int64)
        length = torch.tensor([128])
        plan = wavejit.compress_online_plan_prefill(
            slot.to(device), length, length, num_q_tokens=128
        )
        ape = torch.zeros(128, DIM, device=device)
        out = wavejit.compress_online(state, given.to(device), ape, plan, head_dim=DIM).cpu()
        if score == -float("inf"):
            weights = torch.softmax(given[:, DIM:].double(), dim=0)
            expected = (weights * given[:, :DIM].double()).sum(dim=0)
            torch.testing.assert_close(out[0].double(), expected, rtol=1e-4, atol=1e-5)
        else:
            assert set(out.view(torch.int32).flatten().tolist()) == {0x7FC00000}


WRONG: list[tuple[str, Any, type[Exception], tuple[str, ...]]] = [
    ("state", lambda t: t[:, :128].contiguous(), ValueError, ("192]", "128]")),
    ("state", lambda t: t.half(), ValueError, ("float, bfloat16", "float16")),
    ("kv_input", lambda t: t.bfloat16(), TypeError, ("float32", "bfloat16")),
    ("kv_input", lambda t: t[:, 1:], ValueError, ("128]", "127]")),
    ("ape", lambda t: t[:8], ValueError, ("[128, 64]", "[8, 64]")),
    ("out", lambda t: t.repeat(2, 1), ValueError, ("64]", "[2, 64]")),
]


@pytest.mark.parametrize("name, change, error, parts", WRONG)
def test_wrong_tensors(name: str, change: Any, error: Any, parts: tuple[str, ...]) -> None:
    given = {
        "state": torch.zeros(4, 3 * DIM),
        "kv_input": torch.zeros(1, 2 * DIM),
        "ape": torch.zeros(128, DIM),
        "plan": wavejit.compress_online_plan_decode(torch.tensor([1]), torch.tensor([1])),
        "out": torch.zeros(1, DIM),
    }
    wavejit.compress_online(**given, head_dim=DIM)
    with pytest.raises(error, match=name) as caught:
        wavejit.compress_online(**{**given, name: change(given[name])}, head_dim=DIM)
    for part in parts:
        assert part in str(caught.value), str(caught.value)


def test_commit_errors() -> None:
    one = torch.tensor([1])
    for state in (torch.zeros(7, 3 * DIM), torch.zeros(6, 3 * DIM + 1)):
        with pytest.raises(ValueError, match=r"state: expected \[banks \* 6"):
            wavejit.compress_online_commit(state, one, one, one, bank_rows=6)
