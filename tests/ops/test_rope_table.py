"""rope_table: frequencies by hand, every number against 64-digit arithmetic or long doubles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import wavejit
from wavejit import reference
from wavejit.ops import rope_table as op
from wavejit.testing import assert_same_bytes, guarded

SLIDING = {"base": 10000.0}
COMPRESSED = {"base": 160000.0, "yarn": wavejit.Yarn()}


def exact(positions: np.ndarray, rates: tuple[float, ...], angles: str) -> Any:
    """cos, sin in long double of the angles as they are defined; [positions, pairs, 2]."""
    kind = getattr(np, angles)
    angle = positions.astype(kind)[:, None] * np.array(rates, dtype=kind)
    wide = angle.astype(np.longdouble)
    return np.stack([np.cos(wide), np.sin(wide)], axis=-1)


def compare(table: Any, expected: np.ndarray) -> None:
    """Within 0.51 ulp of the exact value, and nearly always the nearest fp32."""
    got = torch.view_as_real(table).cpu().numpy()
    _, exponent = np.frexp(np.maximum(np.abs(expected), 2.0**-126).astype(np.float64))
    error = np.abs(got.astype(np.longdouble) - expected) / np.ldexp(1.0, exponent - 24)
    assert error.max() <= 0.51
    assert (got == expected.astype(np.float32)).mean() > 0.999999


@pytest.mark.parametrize("options", [SLIDING, COMPRESSED, {"base": 3.5, "dim": 6}])
@pytest.mark.parametrize("angles", ["float32", "float64"])
def test_every_number(device: str, options: dict[str, Any], angles: str) -> None:
    table = wavejit.rope_table(2000, **options, angles=angles, device=device)
    dim = options.get("dim", 64)
    assert (table.shape, table.dtype) == ((2000, dim // 2), torch.complex64)
    rates = op.frequencies(options["base"], dim, options.get("yarn"), angles)
    compare(table, exact(np.arange(2000), rates, angles))


@pytest.mark.parametrize("first", [65_000, 1_048_000, (1 << 24) - 600])
@pytest.mark.parametrize("angles", ["float32", "float64"])
def test_far_positions(device: str, first: int, angles: str) -> None:
    """Long angles: the reduction by pi/2 must keep every digit."""
    rates = op.frequencies(160000.0, 64, None, angles)
    table = torch.empty((600, 32, 2), device=device)
    given = torch.tensor(rates, dtype=getattr(torch, angles), device=device)
    op.module_for(op.spec(angles), table).run(given, table, first)
    positions = np.arange(first, first + 600)
    compare(torch.view_as_complex(table), exact(positions, rates, angles))


def test_angles_near_a_quarter_turn(device: str) -> None:
    """fp32 numbers nearest to multiples of pi/2, where nothing of the angle remains."""
    turns = np.arange(1, 1 << 16, 7, dtype=np.longdouble) * (np.longdouble(np.pi) / 2)
    rates = tuple(float(rate) for rate in turns.astype(np.float32))
    table = torch.empty((2, len(rates), 2), device=device)
    op.module_for(op.spec("float32"), table).run(torch.tensor(rates).to(device), table, 0)
    compare(torch.view_as_complex(table), exact(np.arange(2), rates, "float32"))


@pytest.mark.parametrize("options", [SLIDING, COMPRESSED])
def test_as_the_reference(device: str, options: dict[str, Any]) -> None:
    for angles in op.ANGLES:
        got = wavejit.rope_table(777, **options, angles=angles, device=device)
        wanted = reference.rope_table(777, **options, angles=angles)
        assert_same_bytes(torch.view_as_real(got), torch.view_as_real(wanted))


def test_frequencies_by_hand() -> None:
    plain = op.frequencies(10000.0, 64, None, "float64")
    assert plain[0] == 1.0
    assert plain[16] == 0.01
    assert op.frequencies(10000.0, 64, None, "float32")[16] == float(np.float32(0.01))
    assert op._ramp(160000.0, 64, wavejit.Yarn()) == (15, 25)  # of 15.453 and 24.708
    yarn = op.frequencies(160000.0, 64, wavejit.Yarn(), "float64")
    plain = op.frequencies(160000.0, 64, None, "float64")
    assert yarn[:16] == plain[:16]
    assert yarn[25:] == tuple(f / 16 for f in plain[25:])
    assert yarn[20] == pytest.approx(plain[20] / 16 * 0.5 + plain[20] * 0.5, rel=1e-15)


def test_position_zero_and_powers(device: str) -> None:
    table = wavejit.rope_table(3, **SLIDING, device=device).cpu()
    assert_same_bytes(torch.view_as_real(table[0]), torch.tensor([1.0, 0.0]).expand(32, 2))
    assert table[1, 0].tolist() == complex(np.float32(np.cos(1.0)), np.float32(np.sin(1.0)))


def test_one_ramp_that_is_a_step() -> None:
    """beta_fast = beta_slow at a whole pair: the denominator would be 0."""
    yarn = wavejit.Yarn(original=65536, beta_fast=1e9, beta_slow=1e9)
    assert op._ramp(160000.0, 64, yarn) == (0, 0.001) or op._ramp(160000.0, 64, yarn)[0] == 0
    assert all(np.isfinite(op.frequencies(160000.0, 64, yarn, "float32")))


def test_rope_scaling_of_a_model() -> None:
    given = {"type": "yarn", "factor": 16, "original_max_position_embeddings": 65536}
    given |= {"beta_fast": 32, "beta_slow": 1, "mscale": 1.0}
    one = wavejit.rope_table(50, base=160000, yarn=given)
    assert_same_bytes(
        torch.view_as_real(one), torch.view_as_real(wavejit.rope_table(50, **COMPRESSED))
    )


def test_cos_and_sin_apart(device: str) -> None:
    table = wavejit.rope_table(70, **COMPRESSED, device=device)
    cos, sin = wavejit.rope_cos_sin(table)
    assert (cos.shape, cos.dtype) == ((70, 1, 1, 32), torch.bfloat16)
    assert_same_bytes(cos[:, 0, 0], table.real.to(torch.bfloat16))
    cos, sin = wavejit.rope_cos_sin(table, torch.float32)
    assert_same_bytes(torch.complex(cos, sin)[:, 0, 0].real, table.real)
    assert_same_bytes(sin[:, 0, 0], table.imag.contiguous())
    with pytest.raises(TypeError, match="freqs_cis: expected the complex64"):
        wavejit.rope_cos_sin(cos)


def test_writes_only_its_table(device: str) -> None:
    guard = guarded(torch.zeros(37, 3 * 2), device=device, name="out")
    rates = torch.tensor([1.0, 0.5, 0.25], device=device)
    table = guard.tensor.view(37, 3, 2)
    op.module_for(op.spec("float32"), rates).run(rates, table, 0)
    guard.check()
    assert not (guard.tensor == 0).all(dim=1).any()


def test_wrong_arguments() -> None:
    cases: list[tuple[tuple[Any, ...], dict[str, Any], type[Exception], str]] = [
        ((0,), {"base": 1e4}, ValueError, "max_positions: expected a positive number, got 0"),
        (((1 << 24) + 1,), {"base": 1e4}, ValueError, "max_positions: expected at most 16777216"),
        ((1.5,), {"base": 1e4}, TypeError, "max_positions: expected an int"),
        ((4,), {"base": 1.0}, ValueError, "base: expected a number above 1"),
        ((4,), {"base": float("nan")}, ValueError, "base: expected a number above 1"),
        ((4,), {"base": 1e4, "dim": 7}, ValueError, "dim: expected an even number, got 7"),
        ((4,), {"base": 1e4, "angles": "float16"}, ValueError, "angles: expected one of float32"),
        ((4,), {"base": 1e4, "yarn": 16}, TypeError, "yarn: expected wavejit.Yarn"),
        ((4,), {"base": 1e4, "yarn": {"type": "linear"}}, ValueError, "yarn's type: expected one"),
    ]
    for given, options, error, text in cases:
        with pytest.raises(error, match=text):
            wavejit.rope_table(*given, **options)
