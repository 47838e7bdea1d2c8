"""rope_inplace: every head against plain arithmetic, any strides and positions, and back again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import wavejit
from wavejit import reference
from wavejit.testing import assert_same_bytes, guarded, inputs

DTYPES = (torch.bfloat16, torch.float32, torch.float16)
BIG = (1 << 31) - 1


def table(dim: int, rows: int = 500) -> Any:
    return wavejit.rope_table(rows, base=10000.0, dim=dim)


def by_hand(x: Any, freqs: Any, position: int, inverse: bool) -> Any:
    """One head [dim] in numpy's fp32, pair by pair."""
    values, out = x.float().numpy(), np.empty(len(x), dtype=np.float32)
    for j in range(len(x) // 2):
        a, b = values[2 * j], values[2 * j + 1]
        c, s = np.float32(freqs[position, j].real), np.float32(freqs[position, j].imag)
        out[2 * j] = a * c + b * s if inverse else a * c - b * s
        out[2 * j + 1] = b * c - a * s if inverse else a * s + b * c
    return torch.from_numpy(out).to(x.dtype)


WIDTHS = [(dim, torch.bfloat16) for dim in (2, 6, 64, 96, 128, 192)]
WIDTHS += [(64, torch.float32), (6, torch.float32), (64, torch.float16)]


@pytest.mark.parametrize("dim, dtype", WIDTHS)
@pytest.mark.parametrize("inverse", [False, True])
def test_by_hand(device: str, dim: int, dtype: Any, inverse: bool) -> None:
    freqs = table(dim)
    q, k = inputs.normal(1, (5, 3, dim)).to(dtype), inputs.normal(2, (5, 1, dim)).to(dtype)
    positions = torch.tensor([0, 1, 499, 77, 256])
    got_q, got_k = q.clone().to(device), k.clone().to(device)
    where = freqs.to(device), positions.to(device)
    result = wavejit.rope_inplace(got_q, got_k, *where, inverse=inverse)
    assert result[0] is got_q
    assert result[1] is got_k
    for heads, got in ((q, got_q), (k, got_k)):
        for t in range(5):
            for h in range(heads.shape[1]):
                wanted = by_hand(heads[t, h], freqs, int(positions[t]), inverse)
                assert_same_bytes(got[t, h], wanted, f"token {t} head {h}")


CASES = {  # tokens, q heads, k heads: one vector a lane, and four heads a lane
    "few": (33, 8, 1),
    "without k": (33, 5, None),
    "many": (700, 31, 3),
    "many q heads alone": (300, 130, None),
    "one head": (4097, 1, None),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_as_the_reference(device: str, case: str, dtype: Any) -> None:
    tokens, q_heads, k_heads = CASES[case]
    q = inputs.normal(1, (tokens, q_heads, 64)).to(dtype)
    k = None if k_heads is None else inputs.normal(2, (tokens, k_heads, 64)).to(dtype)
    positions = inputs.integers(3, (tokens,), -50, 550).int()
    freqs = table(64)
    got_q, got_k = q.clone().to(device), None if k is None else k.clone().to(device)
    wavejit.rope_inplace(got_q, got_k, freqs.to(device), positions.to(device))
    reference.rope_inplace(q, k, freqs, positions)
    assert_same_bytes(got_q, q)
    if k is not None:
        assert_same_bytes(got_k, k)


@pytest.mark.parametrize("layout", ["tail of 512", "heads first", "odd rows", "unaligned"])
def test_strides(device: str, layout: str) -> None:
    """Views of a larger tensor, whose other elements keep their bytes."""
    tokens, heads, dim = 9, 6, 64
    widths = {"tail of 512": 512, "heads first": 64, "odd rows": 67, "unaligned": 80}
    whole = inputs.normal(1, (heads, tokens, widths[layout])).to(torch.bfloat16)
    whole = whole if layout == "heads first" else whole.transpose(0, 1).contiguous()
    start = {"tail of 512": 448, "odd rows": 3, "unaligned": 1}.get(layout, 0)

    def view(tensor: Any) -> Any:
        turned = tensor.transpose(0, 1) if layout == "heads first" else tensor
        return turned[..., start : start + dim]

    mine = guarded(whole.flatten(), device=device)
    got = mine.tensor.view(whole.shape)
    positions = torch.arange(tokens) * 50
    freqs = table(dim)
    wavejit.rope_inplace(view(got), None, freqs.to(device), positions.to(device))
    reference.rope_inplace(view(whole), None, freqs, positions)
    assert_same_bytes(got, whole)
    mine.check()


@pytest.mark.parametrize("kind", [torch.int32, torch.int64])
def test_positions_outside_the_table(device: str, kind: Any) -> None:
    wild = [-1, 500, BIG, -BIG - 1, 0, 499, -500, 501, 1000]
    if kind == torch.int64:
        wild += [1 << 40, -(1 << 40), (1 << 63) - 1, -(1 << 63), 1 << 32]
    q = inputs.normal(1, (len(wild), 2, 64)).to(torch.bfloat16)
    mine = guarded(q.flatten(1), device=device)
    freqs, positions = table(64), torch.tensor(wild, dtype=kind)
    got = mine.tensor.view(q.shape)
    wavejit.rope_inplace(got, None, freqs.to(device), positions.to(device))
    expected = reference.rope_inplace(q.clone(), None, freqs, positions)[0]
    assert_same_bytes(got, expected)
    unmoved = [i for i, position in enumerate(wild) if not 0 <= position < 500]
    assert_same_bytes(got[unmoved], q[unmoved])
    assert not torch.equal(got[5].cpu(), q[5])
    mine.check()


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 499), st.integers(0, 1 << 30), st.sampled_from(["few", "many"]))
def test_there_and_back(position: int, seed: int, kind: str) -> None:
    """Forward then inverse returns the input within two steps of bf16."""
    q = inputs.normal(seed, (2 if kind == "few" else 40, 3, 64)).to(torch.bfloat16)
    positions = torch.full((len(q),), position)
    turned = q.clone()
    freqs = table(64)
    wavejit.rope_inplace(turned, None, freqs, positions)
    wavejit.rope_inplace(turned, None, freqs, positions, inverse=True)
    scale = q.float().view(*q.shape[:-1], -1, 2).norm(dim=-1, keepdim=True)
    error = (turned.float() - q.float()).view(*q.shape[:-1], -1, 2).abs()
    assert bool((error <= scale * 2.0**-7).all())


def test_special_values(device: str) -> None:
    """NaN and infinity stay in their pair."""
    q = inputs.normal(1, (4, 2, 64))
    q[0, 0, 10], q[1, 1, 5], q[2, 0, 63] = float("nan"), float("inf"), -float("inf")
    for dtype in DTYPES:
        heads, positions = q.to(dtype), torch.tensor([3, 4, 5, 6])
        got = heads.clone().to(device)
        wavejit.rope_inplace(got, None, table(64).to(device), positions.to(device))
        expected = reference.rope_inplace(heads.clone(), None, table(64), positions)[0]
        assert_same_bytes(got, expected)
        touched = (got.cpu().isnan() | got.cpu().isinf()).nonzero().tolist()
        assert {tuple(place) for place in touched} <= {
            *((0, 0, 10), (0, 0, 11), (1, 1, 4), (1, 1, 5), (2, 0, 62), (2, 0, 63))
        }


def test_real_tables_and_empty_calls(device: str) -> None:
    freqs = table(64)
    q = inputs.normal(1, (3, 2, 64)).to(device)
    other = q.clone()
    positions = torch.tensor([1, 2, 3], device=device)
    wavejit.rope_inplace(q, None, freqs.to(device), positions)
    wavejit.rope_inplace(other, None, torch.view_as_real(freqs).flatten(1).to(device), positions)
    assert_same_bytes(q, other)
    for shape in ((0, 2, 64), (3, 0, 64)):
        empty = torch.empty(shape, device=device)
        wavejit.rope_inplace(empty, None, freqs.to(device), positions[: shape[0]])


def test_wrong_arguments() -> None:
    q, freqs, positions = torch.zeros(3, 2, 64), table(64), torch.arange(3)
    cases: list[tuple[tuple[Any, ...], type[Exception], str]] = [
        ((q[0], None, freqs, positions), ValueError, "q's rank: expected one of 3, got 2"),
        ((q[..., :7], None, freqs, positions), ValueError, "q: .* even number .* got 7"),
        ((q.double(), None, freqs, positions), ValueError, "q dtype: expected one of bfloat16"),
        ((q, q.bfloat16(), freqs, positions), TypeError, "k: wrong dtype"),
        ((q, q[:2], freqs, positions), ValueError, r"k: wrong shape: expected shape \[tokens=3"),
        ((q, None, freqs[:, :5], positions), ValueError, "freqs_cis: wrong shape"),
        ((q, None, freqs, positions[:2]), ValueError, "positions: wrong shape"),
        ((q, None, freqs, positions.float()), TypeError, "positions: wrong dtype"),
        ((q, None, freqs, None), TypeError, "positions: expected a torch tensor, got NoneType"),
        ((q[:1].expand(3, 2, 64), None, freqs, positions), ValueError, "q: .*do not overlap"),
        ((q[:, :1].expand(3, 2, 64), None, freqs, positions), ValueError, "q: .*do not overlap"),
        ((q.transpose(1, 2)[:, :, :2], None, table(2), positions), ValueError, "q: wrong strides"),
    ]
    for wrong, error, text in cases:
        with pytest.raises(error, match=text):
            wavejit.rope_inplace(*wrong)
