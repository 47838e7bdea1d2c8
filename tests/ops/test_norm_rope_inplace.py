"""norm_rope_inplace: float64, the reference, rows that lie apart, any positions and values."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import wavejit
from wavejit import reference
from wavejit.testing import assert_same_bytes, guarded, inputs

DIMS = (64, 128, 192, 256, 512)
BF16, HALF, FLOAT = torch.bfloat16, torch.float16, torch.float32
# Every row length, and every pair of dtypes of rows and weights: each is two compilations.
INSTANCES = [(dim, BF16, BF16) for dim in DIMS]
INSTANCES += [(64, FLOAT, BF16), (128, HALF, FLOAT), (192, FLOAT, FLOAT), (256, HALF, BF16)]
INSTANCES += [(512, BF16, FLOAT)]
BIG = (1 << 31) - 1
TABLE = wavejit.rope_table(300, base=160000.0, yarn=wavejit.Yarn())


def rows(tokens: int, dim: int, dtype: Any = torch.bfloat16) -> tuple[Any, Any]:
    kv = inputs.normal(tokens + dim, (tokens, dim), 3.0).to(dtype)
    return kv, (inputs.normal(7, (dim,), 0.2) + 1).to(torch.bfloat16)


def run(device: str, kv: Any, weight: Any, positions: Any, eps: float = 1e-6) -> Any:
    where = TABLE.to(device), positions.to(device)
    return wavejit.norm_rope_inplace(kv, weight.to(device), *where, eps=eps)


@pytest.mark.parametrize("dim", DIMS)
def test_against_float64(device: str, dim: int) -> None:
    kv, weight = rows(40, dim)
    positions = torch.arange(40) * 7
    x = kv.double()
    y = (x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight.double()).bfloat16()
    tail = torch.view_as_complex(y[..., -64:].double().unflatten(-1, (32, 2)))
    turned = tail * TABLE[positions].to(torch.complex128)
    y[..., -64:] = torch.view_as_real(turned).flatten(-2).bfloat16()
    got = run(device, kv.clone().to(device), weight, positions).cpu()
    steps = (got.view(torch.int16).int() - y.view(torch.int16).int()).abs()
    near_zero = (got.double() - y.double()).abs() < 1e-6
    assert bool((steps[~near_zero] <= 1).all())
    assert float((steps == 0).double().mean()) >= 0.998


@pytest.mark.parametrize("dim, dtype, weights", INSTANCES)
def test_as_the_reference(device: str, dim: int, dtype: Any, weights: Any) -> None:
    """Rows inside a wider projection, whose other elements keep their bytes."""
    kv, weight = rows(11, dim + 128, dtype)
    weight, positions = weight[128:].to(weights), inputs.integers(1, (11,), -30, 330)
    mine = guarded(kv, device=device)
    got = run(device, mine.tensor[:, 128:], weight, positions)
    assert got.data_ptr() == mine.tensor[:, 128:].data_ptr()
    reference.norm_rope_inplace(kv[:, 128:], weight, TABLE, positions, eps=1e-6)
    assert_same_bytes(mine.tensor, kv)
    mine.check()


@pytest.mark.parametrize("kind", [torch.int32, torch.int64])
def test_positions_outside_the_table(device: str, kind: Any) -> None:
    wild = [-1, 300, BIG, -BIG - 1, 0, 299, -500, 12]
    if kind == torch.int64:
        wild += [1 << 40, -(1 << 40), (1 << 63) - 1, -(1 << 63), 1 << 32]
    positions = torch.tensor(wild, dtype=kind)
    kv, weight = rows(len(wild), 512)
    got = run(device, kv.clone().to(device), weight, positions).cpu()
    inside = torch.tensor([0 <= position < 300 for position in wild])
    assert_same_bytes(got[~inside], kv[~inside])
    expected = reference.norm_rope_inplace(kv.clone(), weight, TABLE, positions, eps=1e-6)
    assert_same_bytes(got, expected)
    assert not torch.equal(got[4], kv[4])


def test_special_values(device: str) -> None:
    """A NaN or an infinity stays in its row; a row of zeros gives zeros; tiny eps is kept."""
    kv, weight = rows(5, 128)
    kv[0, 3], kv[1, 100], kv[2], kv[3] = float("nan"), -float("inf"), 0.0, 1e-15
    positions = torch.tensor([1, 2, 3, 4, 5])
    for eps in (1e-6, 1e-20):
        got = run(device, kv.clone().to(device), weight, positions, eps).cpu()
        expected = reference.norm_rope_inplace(kv.clone(), weight, TABLE, positions, eps=eps)
        assert_same_bytes(got, expected)
        assert bool(got[0].isnan().all())
        assert int(got[2].count_nonzero()) == 0
        assert not got[2:].isnan().any()


def test_no_tokens(device: str) -> None:
    kv, weight = rows(0, 128)
    run(device, kv.to(device), weight, torch.zeros(0, dtype=torch.int32))


def test_wrong_arguments() -> None:
    kv, weight = rows(3, 128)
    positions = torch.arange(3)
    cases: list[tuple[tuple[Any, ...], dict[str, Any], type[Exception], str]] = [
        ((kv[:, :96], weight, TABLE, positions), {}, ValueError, "kv's row length: expected one"),
        ((kv.double(), weight, TABLE, positions), {}, ValueError, "kv dtype: expected one of"),
        ((kv, weight.double(), TABLE, positions), {}, ValueError, "weight dtype: expected one of"),
        ((kv, weight[:64], TABLE, positions), {}, ValueError, "weight: wrong shape"),
        ((kv[:1].expand(3, 128), weight, TABLE, positions), {}, ValueError, "kv: .*not overlap"),
        ((kv, weight, TABLE[:, 1:], positions), {}, ValueError, "freqs_cis: wrong shape"),
        ((kv, weight, TABLE, positions[:2]), {}, ValueError, "positions: wrong shape"),
        ((kv, weight, TABLE, positions.float()), {}, TypeError, "positions: wrong dtype"),
        ((kv, None, TABLE, positions), {}, TypeError, "weight: expected a torch tensor"),
        ((kv, weight, TABLE, positions), {"eps": float("nan")}, ValueError, "eps: expected a fini"),
        ((kv, weight, TABLE, positions), {"eps": 1e39}, ValueError, "eps: expected a finite num"),
    ]
    for wrong, options, error, text in cases:
        with pytest.raises(error, match=text):
            wavejit.norm_rope_inplace(*wrong, **{"eps": 1e-6, **options})


def test_fp32_weights_need_16_bytes(device: str) -> None:
    """Those of one access, not of a lane's eight."""
    kv, positions = rows(3, 192, FLOAT)[0].to(device), torch.arange(3)
    weight = inputs.normal(8, (196,)).to(device)[4:]
    expected = run(device, kv.clone(), weight.clone(), positions)
    assert_same_bytes(run(device, kv, weight, positions), expected)
