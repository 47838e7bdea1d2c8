"""fp8_decode: every code to every dtype, any count at any address, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import wavejit
from wavejit import reference
from wavejit.testing import assert_same_bytes, guarded, inputs

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
FLOAT8 = {"fn": torch.float8_e4m3fn, "fnuz": torch.float8_e4m3fnuz}
EVERY = torch.arange(256, dtype=torch.uint8)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("flavour", ["fn", "fnuz"])
def test_every_code(device: str, dtype: Any, flavour: str) -> None:
    got = wavejit.fp8_decode(EVERY.to(device), flavour, dtype=dtype)
    assert_same_bytes(got, reference.fp8_decode(EVERY, flavour, dtype=dtype))
    quiet = {torch.float32: 0x7FC00000, torch.bfloat16: 0x7FC0, torch.float16: 0x7E00}[dtype]
    nan = got.cpu()[[0x7F, 0xFF] if flavour == "fn" else [0x80]]
    assert set(nan.view(torch.int32 if nan.itemsize == 4 else torch.int16).tolist()) == {quiet}
    finite = EVERY.view(FLOAT8[flavour]).float().isnan().logical_not()
    assert_same_bytes(got.cpu()[finite].float(), EVERY.view(FLOAT8[flavour]).float()[finite])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [0, 1, 3, 4, 7, 8, 9, 1023, 4096, 4097, 8191])
@pytest.mark.parametrize("offset", [0, 1, 8])
def test_any_count_at_any_address(device: str, dtype: Any, count: int, offset: int) -> None:
    codes = inputs.integers(count, (count + offset,), 0, 256, torch.uint8)
    given = guarded(codes, device=device, name="codes")
    out = guarded(torch.zeros(count + offset, dtype=dtype), device=device, name="out")
    wavejit.fp8_decode(given.tensor[offset:], "fn", out=out.tensor[offset:])
    expected = torch.zeros(count + offset, dtype=dtype)
    expected[offset:] = reference.fp8_decode(codes[offset:], "fn", dtype=dtype)
    assert_same_bytes(out.tensor, expected)
    assert_same_bytes(given.tensor, codes)
    given.check()
    out.check()


def test_float8_tensors_say_their_flavour(device: str) -> None:
    codes = inputs.integers(1, (3, 5, 7), 0, 256, torch.uint8).to(device)
    for flavour, dtype in FLOAT8.items():
        expected = wavejit.fp8_decode(codes, flavour)
        assert_same_bytes(wavejit.fp8_decode(codes.view(dtype), flavour), expected)
        turned = codes.permute(1, 0, 2)
        assert_same_bytes(
            wavejit.fp8_decode(turned, flavour), expected.permute(1, 0, 2).contiguous()
        )
    with pytest.raises(
        ValueError, match="bytes_: expected uint8 or float8_e4m3fnuz, got float8_e4m3fn"
    ):
        wavejit.fp8_decode(codes.view(FLOAT8["fn"]), "fnuz")


def test_wrong_arguments() -> None:
    codes = torch.zeros(4, dtype=torch.uint8)
    cases: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
        (codes, {"flavour": "ocp"}, ValueError, "flavour: expected one of fn, fnuz, got 'ocp'"),
        (codes.int(), {}, TypeError, "bytes_: wrong dtype"),
        (codes, {"dtype": torch.float64}, ValueError, "dtype: expected one of float"),
        ("abc", {}, TypeError, "bytes_: expected a torch tensor, got str"),
        (codes, {"out": torch.zeros(5)}, ValueError, r"out: .*\[4\], got \[5\]"),
    ]
    for given, options, error, text in cases:
        with pytest.raises(error, match=text):
            wavejit.fp8_decode(given, **options)
