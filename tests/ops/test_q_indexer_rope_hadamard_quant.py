"""q_indexer_rope_hadamard_quant: float64, the reference, strides, positions, values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import wavejit
from wavejit import reference
from wavejit.testing import assert_same_bytes, inputs

TABLE = wavejit.rope_table(300, base=10000.0)
SCALE = 128**-0.5 * 64**-0.5
BIG = (1 << 31) - 1
KINDS = [("fp8", "fn", 448), ("fp8", "fnuz", 240), ("fp4", None, None)]


def given(tokens: int, heads: int, dtype: Any = torch.bfloat16) -> tuple[Any, Any, Any]:
    q = inputs.normal(tokens + heads, (tokens, heads, 128), 2.0).to(dtype)
    weight = inputs.normal(7, (tokens, heads)).to(dtype)
    return q, weight, inputs.integers(8, (tokens,), 0, 300)


def run(device: str, q: Any, weight: Any, positions: Any, **options: Any) -> Any:
    where = TABLE.to(device), positions.to(device)
    return wavejit.q_indexer_rope_hadamard_quant(
        q.to(device), weight.to(device), SCALE, *where, **options
    )


def expected_of(q: Any, weight: Any, positions: Any, **options: Any) -> Any:
    return reference.q_indexer_rope_hadamard_quant(q, weight, SCALE, TABLE, positions, **options)


def assert_same(got: Any, expected: Any) -> None:
    assert len(got) == len(expected)
    for mine, other in zip(got, expected, strict=True):
        assert mine.dtype == other.dtype
        if mine.itemsize == 1:
            mine, other = mine.view(torch.uint8), other.view(torch.uint8)
        assert_same_bytes(mine, other)


@pytest.mark.parametrize("tokens, heads", [(1, 64), (5, 1), (7, 9), (33, 35), (129, 64)])
@pytest.mark.parametrize("format, flavour, fp8_max", KINDS)
def test_as_the_reference(
    device: str, tokens: int, heads: int, format: str, flavour: Any, fp8_max: Any
) -> None:
    """Few heads, more and many: three ways to lay a head over lanes."""
    options = {"format": format, "flavour": flavour, "fp8_max": fp8_max}
    q, weight, positions = given(tokens, heads)
    got = run(device, q, weight, positions, **options)
    assert_same(got, expected_of(q, weight, positions, **options))


def exact(q: Any, positions: Any) -> np.ndarray:
    """The rotated and transformed queries in float64, by the matrix's definition."""
    x = q.double().clone()
    pairs = torch.view_as_complex(x[..., 64:].unflatten(-1, (32, 2)).contiguous())
    turned = pairs * TABLE[positions].to(torch.complex128)[:, None]
    x[..., 64:] = torch.view_as_real(turned).flatten(-2)
    index = np.arange(128)
    bits = index[:, None] & index[None, :]
    odd = np.array([[bin(b).count("1") & 1 for b in row] for row in bits])
    return x.numpy() @ np.where(odd, -1.0, 1.0) * 128**-0.5


def test_fp8_against_float64(device: str) -> None:
    q, weight, positions = given(30, 8)
    codes, weights = run(device, q, weight, positions, flavour="fn")
    wanted = exact(q, positions)
    scale = np.maximum(np.abs(wanted).max(-1), 1e-4) / 448
    values = codes.cpu().float().numpy() * scale[..., None]
    assert (np.abs(values - wanted) <= 16.01 * scale[..., None]).all()  # half a top step
    assert np.allclose(
        weights[..., 0].cpu().numpy(), weight.double().numpy() * SCALE * scale, rtol=1e-5, atol=0
    )


def test_fp4_against_float64(device: str) -> None:
    q, weight, positions = given(30, 8)
    codes, scales, weights = run(device, q, weight, positions, format="fp4")
    packed = codes.cpu().numpy()
    nibbles = np.stack([packed & 15, packed >> 4], -1).reshape(30, 8, 128)
    values = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])[nibbles & 7] * np.where(nibbles & 8, -1, 1)
    e = scales.cpu().numpy().view(np.uint8).reshape(30, 8, 4)
    step = np.exp2(e.astype(np.float64) - 127).repeat(32, -1)
    assert (np.abs(values * step - exact(q, positions)) <= 1.1 * step).all()  # 6 to 4, and bf16
    product = weight.float() * torch.tensor(SCALE, dtype=torch.float32)
    assert_same_bytes(weights[..., 0], product)


def test_it_is_its_parts(device: str) -> None:
    """rope_inplace in fp32 and then nothing but the reference's transform."""
    q, weight, positions = given(6, 5)
    turned = q.float().to(device)
    wavejit.rope_inplace(turned[..., 64:], None, TABLE.to(device), positions.to(device))
    whole = run(device, q, weight, positions, flavour="fn")
    still = torch.ones(1, 32, dtype=torch.complex64)
    zero = torch.zeros_like(positions)
    parts = reference.q_indexer_rope_hadamard_quant(
        turned.cpu(), weight, SCALE, still, zero, flavour="fn"
    )
    assert_same_bytes(whole[0].view(torch.uint8), parts[0].view(torch.uint8))


def test_strides_and_out(device: str) -> None:
    """A slice of a projection, a strided weight, tensors to fill: what lies between is kept."""
    q, weight, positions = given(6, 8)
    wide = torch.zeros(6, 12, 256, dtype=torch.bfloat16)
    wide[:, 2:10, 128:] = q
    rows = torch.zeros(6, 40, dtype=torch.bfloat16)
    rows[:, 11:19] = weight
    codes = torch.zeros(6, 8, 128, dtype=torch.uint8, device=device)
    weights = torch.zeros(6, 8, 1, device=device)
    out = (codes, weights)
    got = run(
        device, wide.to(device)[:, 2:10, 128:], rows.to(device)[:, 11:19], positions.int(),
        out=out, flavour="fn",
    )  # fmt: skip
    assert got[0] is codes
    expected = expected_of(q, weight, positions, flavour="fn")
    assert_same_bytes(codes, expected[0].view(torch.uint8))
    assert_same_bytes(weights, expected[1])


@pytest.mark.parametrize("kind", [torch.int32, torch.int64])
@pytest.mark.parametrize("format", ["fp8", "fp4"])
def test_positions_outside_the_table(device: str, kind: Any, format: str) -> None:
    wild = [-1, 300, BIG, -BIG - 1, 0, 299, 12]
    if kind == torch.int64:
        wild += [1 << 40, -(1 << 40), (1 << 63) - 1, -(1 << 63), 1 << 32]
    positions = torch.tensor(wild, dtype=kind)
    q, weight, _ = given(len(wild), 3)
    got = run(device, q, weight, positions, format=format, flavour="fn")
    nearest = positions.clamp(0, 299)
    assert_same(got, expected_of(q, weight, nearest, format=format, flavour="fn"))


@pytest.mark.parametrize("format, flavour, fp8_max", KINDS)
def test_special_values(device: str, format: str, flavour: Any, fp8_max: Any) -> None:
    """Zeros, NaN and infinities: codes by policy, and no other head is touched."""
    q, weight, positions = given(6, 2)
    q[0], q[1, 0, 5], q[2, 1, 70], q[3, 0, 3] = 0.0, float("nan"), float("inf"), -float("inf")
    q[4, 0] = 1e30
    options = {"format": format, "flavour": flavour, "fp8_max": fp8_max}
    got = run(device, q, weight, positions, **options)
    expected = expected_of(q, weight, positions, **options)
    assert_same_bytes(got[0].view(torch.uint8), expected[0].view(torch.uint8))
    assert_same_bytes(got[-1], expected[-1])
    assert int(got[0][0].view(torch.uint8).count_nonzero()) == 0
    if format == "fp4":
        assert_same_bytes(got[1], expected[1])
        assert bool((got[1][0].cpu() == 112 * 0x01010101).all())  # the floor's byte
    else:
        floor = torch.tensor(1e-4) / torch.tensor(float(fp8_max))
        factor = weight[0].float() * torch.tensor(SCALE, dtype=torch.float32)
        assert_same_bytes(got[1][0, :, 0], factor * floor)


def test_no_tokens(device: str) -> None:
    q, weight, positions = given(0, 8)
    codes, weights = run(device, q, weight, positions)
    assert codes.shape == (0, 8, 128)
    assert weights.shape == (0, 8, 1)


def test_wrong_arguments() -> None:
    q, weight, positions = given(3, 2)
    good = q, weight, SCALE, TABLE, positions
    small = torch.zeros(3, 2, 64, dtype=torch.uint8), torch.zeros(3, 2, 1)
    cases: list[tuple[tuple[Any, ...], dict[str, Any], type[Exception], str]] = [
        ((q[..., :64], *good[1:]), {}, ValueError, "q: wrong shape"),
        ((q.float(), *good[1:]), {}, ValueError, "q dtype: expected one of bfloat16, float16"),
        ((q, weight[:, :1], *good[2:]), {}, ValueError, "weight: wrong shape"),
        ((q, weight.float(), *good[2:]), {}, TypeError, "weight: wrong dtype"),
        ((q, weight, "1", *good[3:]), {}, TypeError, "weight_scale: expected a number"),
        ((*good[:3], TABLE[:, :5], positions), {}, ValueError, "freqs_cis: wrong shape"),
        ((*good[:3], TABLE[:0], positions), {}, ValueError, "freqs_cis: .*at least one position"),
        ((*good[:4], positions[:2]), {}, ValueError, "positions: wrong shape"),
        ((*good[:4], positions.float()), {}, TypeError, "positions: wrong dtype"),
        (good, {"format": "int8"}, ValueError, "format: expected one of fp8, fp4"),
        (good, {"flavour": "e5m2"}, ValueError, "flavour: expected one of fn, fnuz"),
        (good, {"flavour": "fn", "fp8_max": 240}, ValueError, "fp8_max of flavour fn"),
        (good, {"out": small, "flavour": "fn"}, ValueError, "out: wrong shape"),
        (good, {"out": small[:1], "flavour": "fn"}, ValueError, "out: expected 2 tensors"),
    ]
    for wrong, options, error, text in cases:
        with pytest.raises(error, match=text):
            wavejit.q_indexer_rope_hadamard_quant(*wrong, **options)
