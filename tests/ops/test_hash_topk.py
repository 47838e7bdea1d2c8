"""hash_topk: ids exact, weights within 1e-6 of float64, any index value."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import wavejit
from wavejit import reference
from wavejit.testing import assert_same_bytes, check_guards, guarded, inputs


def world(n: int, experts: int, chosen: int, dtype: Any = torch.float32, scale: float = 6.0) -> Any:
    logits = inputs.normal(n, (n, experts), scale).to(dtype)
    tokens = inputs.integers(n + 1, (n,), 0, 1000)
    table = inputs.integers(n + 2, (1000, chosen), 0, experts, torch.int32)
    return logits, tokens, table


def compare(got: Any, expected: Any) -> None:
    assert_same_bytes(got[1], expected[1], "ids")
    torch.testing.assert_close(got[0].cpu(), expected[0], rtol=1e-6, atol=1e-30, equal_nan=True)


@pytest.mark.parametrize("n", [0, 1, 7, 64, 515])
@pytest.mark.parametrize("experts, chosen, shared", [(256, 6, 1), (384, 8, 0), (384, 6, 0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_as_the_reference(
    device: str, n: int, experts: int, chosen: int, shared: int, dtype: Any
) -> None:
    given = world(n, experts, chosen, dtype)
    options = {"shared_experts": shared, "routed_scaling_factor": 2.5}
    guards = [guarded(tensor, device=device) for tensor in given]
    out = guarded(torch.zeros(n, chosen + shared)), guarded(torch.zeros(n, chosen + shared).int())
    out = tuple(guarded(g.tensor, device=device) for g in out)
    got = wavejit.hash_topk(
        *(g.tensor for g in guards), **options, out=tuple(g.tensor for g in out)
    )
    compare(got, reference.hash_topk(*given, **options))
    check_guards(*guards, *out)
    again = wavejit.hash_topk(*(g.tensor for g in guards), **options)
    for one, other in zip(got, again, strict=True):
        assert_same_bytes(one, other)


@pytest.mark.parametrize("chosen, shared", [(1, 0), (1, 1), (5, 0), (32, 0), (32, 1), (61, 3)])
def test_any_number_of_columns(device: str, chosen: int, shared: int) -> None:
    given = world(35, 300, chosen)
    got = wavejit.hash_topk(*(t.to(device) for t in given), shared_experts=shared)
    compare(got, reference.hash_topk(*given, shared_experts=shared))


def test_ids_and_table_entries_of_any_value(device: str) -> None:
    logits, _, table = world(8, 256, 6)
    wild = torch.tensor([-1, 1000, 2**40, -(2**40), 999, 0, 2**63 - 1, -(2**63)])
    table[0] = torch.tensor([-1, 256, 2**31 - 1, -(2**31), 255, 0])
    guards = [guarded(t, device=device) for t in (logits, wild, table)]
    got = wavejit.hash_topk(*(g.tensor for g in guards))
    compare(got, reference.hash_topk(logits, wild, table))
    assert got[1][5].tolist() == [0, 255, 255, 0, 255, 0]
    narrow = wild.clamp(-5, 2000).int()
    got = wavejit.hash_topk(logits.to(device), narrow.to(device), table.to(device))
    compare(got, reference.hash_topk(logits, narrow, table))


def test_weights_where_softplus_breaks(device: str) -> None:
    levels = [-60.0, 60.0, -17.0, -87.0, -86.0, -300.0, -torch.inf, torch.inf, 3e38]
    logits = torch.tensor(levels)[:, None].repeat(1, 256)
    tokens, table = torch.arange(9), world(9, 256, 6)[2]
    got = wavejit.hash_topk(logits.to(device), tokens.to(device), table.to(device))[0].cpu()
    assert got.isfinite().all()
    even = torch.full((6,), 1 / 6)
    for row in (0, 1, 2, 7, 8):
        torch.testing.assert_close(got[row], even, rtol=1e-6, atol=0)
    assert (got[[5, 6]] == 0).all()
    logits[0, 5:], logits[1, ::2], logits[2, 3] = torch.inf, -torch.inf, torch.nan
    table[2] = 3
    got = wavejit.hash_topk(logits.to(device), tokens.to(device), table.to(device))
    compare(got, reference.hash_topk(logits, tokens, table))
    assert (got[0][2].cpu().view(torch.int32) == 0x7FC00000).all()


def test_rows_of_logits_may_lie_apart(device: str) -> None:
    logits, tokens, table = world(9, 256, 6)
    apart = guarded(logits, device=device, row_stride=300)
    got = wavejit.hash_topk(apart.tensor, tokens.to(device), table.to(device))
    compare(got, reference.hash_topk(logits, tokens, table))
    apart.check()


def test_wrong_arguments() -> None:
    logits, tokens, table = world(4, 256, 6)
    cases: list[tuple[tuple[Any, ...], dict[str, Any], type[Exception], str]] = [
        (([1.0], tokens, table), {}, TypeError, "logits: expected a torch tensor"),
        ((logits.half(), tokens, table), {}, ValueError, "logits dtype"),
        ((logits, tokens[:3], table), {}, ValueError, "token_ids"),
        ((logits, tokens.float(), table), {}, TypeError, "token_ids"),
        ((logits, tokens, table.long()), {}, TypeError, "tid2eid"),
        ((logits, tokens, table[0]), {}, ValueError, "tid2eid: expected 2 dimensions"),
        ((logits, tokens, table[:0]), {}, ValueError, "tid2eid: expected at least one row"),
        ((logits[:, :0], tokens, table), {}, ValueError, "logits: expected 1 to"),
        ((logits, tokens, table), {"shared_experts": 59}, ValueError, "64 columns"),
        ((logits, tokens, table), {"shared_experts": 1.5}, TypeError, "shared_experts"),
        ((logits, tokens, table), {"routed_scaling_factor": 0}, ValueError, "routed_scaling"),
    ]
    for given, options, error, text in cases:
        with pytest.raises(error, match=text):
            wavejit.hash_topk(*given, **options)
