"""The online plans against the token loop of the reference and worked examples."""

from __future__ import annotations

from typing import Any

import plan_loop
import pytest
import torch
from plan_loop import C_ROW, D_ROW, INVALID

import wavejit
from wavejit import reference
from wavejit.bind import module_for
from wavejit.ops import online_plan
from wavejit.testing import assert_same_bytes, inputs


def launch(device: str, lists: list[list[int]], tokens: int, rows: int, banks: int = 0) -> Any:
    """The planner as lengths on a GPU reach it, unchecked."""
    plans = [torch.full((rows, 16), 0x5A, dtype=torch.uint8, device=device) for _ in range(2)]
    vectors = (torch.tensor(values, dtype=torch.int64, device=device) for values in lists)
    run = module_for(online_plan.spec(), plans[0]).chunk
    run(*vectors, *plans, tokens, banks, False)
    return plans


def rows_of(plan: Any) -> list[tuple[int, ...]]:
    """(seq_len, last row, length, row to store, row to load)."""
    return [
        (s, w & 0xFFFF, w >> 16, a, b) for s, w, a, b in plan_loop.as_rows(plan, C_ROW).tolist()
    ]


def test_worked_examples(device: str) -> None:
    slots = torch.tensor([4, 2], device=device)
    seqs, extends = torch.tensor([300, 128]), torch.tensor([200, 5])
    plan = wavejit.compress_online_plan_prefill(slots, seqs, extends, num_q_tokens=205)
    assert rows_of(plan.plan_c) == [(128, 27, 28, 4, 4), (256, 155, 128, 4, 4), (128, 204, 5, 2, 2)]
    assert rows_of(plan.plan_w) == [(300, 199, 44, 4, 4)]
    seqs, extends = torch.tensor([130, 7]), torch.tensor([4, 2])
    plan = wavejit.compress_online_plan_prefill(slots, seqs, extends, num_q_tokens=6, bank_rows=10)
    assert rows_of(plan.plan_c) == [(128, 1, 2, 24, 4)]
    writes = [(127, 0, 1, 14, 4), (129, 2, 1, 34, 4), (130, 3, 2, 44, 4)]
    assert rows_of(plan.plan_w) == [*writes, (6, 4, 1, 12, 2), (7, 5, 2, 22, 2)]
    plan = wavejit.compress_online_plan_decode(slots, torch.tensor([9, 0], device=device))
    assert plan_loop.as_rows(plan.plan_d, D_ROW).tolist() == [(9, 4, 4, -1), (INVALID, -1, -1, -1)]


@pytest.mark.parametrize("banks", [None, 700])
def test_random_batches(device: str, banks: int | None) -> None:
    for seed in range(100):
        requests = 1 + seed % 7 if seed % 10 else 520 + seed  # more than a tile
        most = 9 if banks else (5, 140, 400)[seed % 3] if requests < 100 else 9
        extends = inputs.integers(seed, (requests,), 1, most)
        seqs = extends + inputs.integers(seed + 1, (requests,), 0, 300)
        slots = inputs.permutation(seed + 2, 700)[:requests]
        tokens = int(extends.sum())
        options: dict[str, Any] = {"num_q_tokens": tokens, "bank_rows": banks}
        if seed % 3 == 2:
            options["pad_to"] = tokens + seed % 5
        plan = wavejit.compress_online_plan_prefill(slots.to(device), seqs, extends, **options)
        expected = reference.compress_online_plan_prefill(slots, seqs, extends, **options)
        assert_same_bytes(plan.plan_c, expected.plan_c, f"plan_c of batch {seed}")
        assert_same_bytes(plan.plan_w, expected.plan_w, f"plan_w of batch {seed}")
        step = wavejit.compress_online_plan_decode(slots.to(device), seqs.to(device))
        assert_same_bytes(
            step.plan_d, reference.compress_online_plan_decode(slots, seqs).plan_d, "plan_d"
        )


@pytest.mark.parametrize("banks", [0, 7])
def test_wild_lengths_and_slots(device: str, banks: int) -> None:
    """Any 64-bit value: rows of the batch's tokens, the rest invalid, nothing beyond the plans."""
    huge = [1 << 40, (1 << 31) - 1, 1 << 31, -(1 << 63), (1 << 63) - 1, -1, 0, 5]
    cases = [(slot, seq, extend) for slot in (1, -1, 1 << 40) for seq in huge for extend in huge]
    for turn in range(0, len(cases), 3):
        lists = [list(column) for column in zip(*[(0, 3, 3), *cases[turn : turn + 3], (2, 130, 5)])]
        got = launch(device, lists, 16, 20, banks)
        taken = [extend for _, _, extend in zip(*lists) if extend > 0]
        small = all(0 < e < 100 for e in taken)
        for plan in got:
            for seq, last, length, target, source in rows_of(plan):
                if seq == INVALID:
                    assert (last, length, target, source) == (0, 0, -1, -1)
                else:
                    assert last < 16 and 1 <= length <= 128 and target >= source >= 0
        if small:
            vectors = [torch.tensor(values) for values in lists]
            expected = reference.compress_online_plan_prefill(
                *vectors, num_q_tokens=16, pad_to=20, bank_rows=banks or None
            )
            assert_same_bytes(got[0], expected.plan_c, f"plan_c of {lists}")
            assert_same_bytes(got[1], expected.plan_w, f"plan_w of {lists}")


def test_more_than_65536_tokens(device: str) -> None:
    slots, lengths = torch.tensor([1], device=device), torch.tensor([70000])
    plan = wavejit.compress_online_plan_prefill(slots, lengths, lengths, num_q_tokens=70000)
    assert plan.wide
    expected = reference.compress_online_plan_prefill(
        slots.cpu(), lengths, lengths, num_q_tokens=70000
    )
    assert_same_bytes(plan.plan_c, expected.plan_c)
    assert_same_bytes(plan.plan_w, expected.plan_w)


@pytest.mark.parametrize(
    "change, parts",
    [
        ({"extend_lens": torch.tensor([0, 2])}, ("extend_lens[0]", "0 < extend", "got 0")),
        ({"extend_lens": torch.tensor([3, 9])}, ("extend_lens[1]", "seq_lens[1]=8", "got 9")),
        ({"extend_lens": torch.tensor([3])}, ("extend_lens", "[2]", "[1]")),
        ({"num_q_tokens": 6}, ("num_q_tokens=6", "got 5")),
        ({"num_q_tokens": -1}, ("num_q_tokens", "positive")),
        ({"num_q_tokens": 1 << 25}, ("num_q_tokens", "16777216")),
        ({"pad_to": 1, "bank_rows": 4}, ("pad_to", "5 writes")),
        ({"bank_rows": 0}, ("bank_rows", "positive")),
        (
            {"bank_rows": 4, "seq_lens": torch.tensor([9, 9]), "extend_lens": torch.tensor([9, 1])},
            ("extend_lens[0]", "at most 8", "got 9"),
        ),
    ],
)
def test_errors(change: dict[str, Any], parts: tuple[str, ...]) -> None:
    given: dict[str, Any] = {
        "req_pool_indices": torch.tensor([0, 1]),
        "seq_lens": torch.tensor([3, 8]),
        "extend_lens": torch.tensor([3, 2]),
        "num_q_tokens": 5,
    }
    with pytest.raises(ValueError) as caught:
        wavejit.compress_online_plan_prefill(**{**given, **change})
    for part in parts:
        assert part in str(caught.value), str(caught.value)
