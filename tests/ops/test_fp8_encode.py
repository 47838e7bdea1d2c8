"""fp8_encode and its kernel's edges; the numbers themselves are proven in tests/cpp/test_fp8.py."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import wavejit
from wavejit import reference
from wavejit.testing import assert_same_bytes, guarded, inputs

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
OPTIONS = (("fn", 448, "max"), ("fn", 448, "code"), ("fnuz", 240, "max"), ("fnuz", 224, "code"))


def values(count: int, dtype: Any) -> Any:
    near = inputs.normal(count, (count,), 100.0)
    special = inputs.any_float(count + 1, (count,))
    return torch.where(inputs.integers(5, (count,), 0, 4) == 0, special, near).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("flavour, fp8_max, nan", OPTIONS)
def test_as_the_reference(device: str, dtype: Any, flavour: str, fp8_max: int, nan: str) -> None:
    x = values(20_003, dtype)
    options = {"fp8_max": fp8_max, "nan": nan}
    got = wavejit.fp8_encode(x.to(device), flavour, **options)
    assert_same_bytes(got, reference.fp8_encode(x, flavour, **options))


@pytest.mark.parametrize("flavour", ["fn", "fnuz"])
def test_every_bfloat16(device: str, flavour: str) -> None:
    x = torch.arange(-(1 << 15), 1 << 15).to(torch.int16).view(torch.bfloat16)
    got = wavejit.fp8_encode(x.to(device), flavour)
    assert_same_bytes(got, reference.fp8_encode(x, flavour))
    assert_same_bytes(wavejit.fp8_encode(x.float().to(device), flavour), got)


@pytest.mark.parametrize("flavour", ["fn", "fnuz"])
def test_every_float16(device: str, flavour: str) -> None:
    x = torch.arange(-(1 << 15), 1 << 15).to(torch.int16).view(torch.float16)
    got = wavejit.fp8_encode(x.to(device), flavour)
    assert_same_bytes(got, reference.fp8_encode(x, flavour))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [0, 1, 3, 4, 7, 8, 9, 1023, 4096, 4097, 8191])
@pytest.mark.parametrize("offset", [0, 1, 8])
def test_any_count_at_any_address(device: str, dtype: Any, count: int, offset: int) -> None:
    x = values(count + offset, dtype)
    given = guarded(x, device=device, name="x")
    out = guarded(torch.zeros(count + offset, dtype=torch.uint8), device=device, name="out")
    wavejit.fp8_encode(given.tensor[offset:], "fn", out=out.tensor[offset:])
    expected = torch.zeros(count + offset, dtype=torch.uint8)
    expected[offset:] = reference.fp8_encode(x[offset:], "fn")
    assert_same_bytes(out.tensor, expected)
    assert_same_bytes(given.tensor, x)
    given.check()
    out.check()


def test_shapes_and_strides(device: str) -> None:
    x = inputs.normal(1, (6, 10, 4)).to(device)
    expected = reference.fp8_encode(x.cpu(), "fn")
    assert_same_bytes(wavejit.fp8_encode(x, "fn"), expected)
    turned = x.permute(2, 0, 1)
    assert_same_bytes(wavejit.fp8_encode(turned, "fn"), expected.permute(2, 0, 1).contiguous())
    assert wavejit.fp8_encode(x[0, 0, 0], "fn").shape == ()


@pytest.mark.parametrize("flavour, dtype", [("fn", "float8_e4m3fn"), ("fnuz", "float8_e4m3fnuz")])
def test_out_may_be_float8(device: str, flavour: str, dtype: str) -> None:
    x = inputs.normal(1, (100,)).to(device)
    out = torch.empty(100, dtype=getattr(torch, dtype), device=device)
    assert wavejit.fp8_encode(x, flavour, out=out) is out
    assert_same_bytes(out.view(torch.uint8), wavejit.fp8_encode(x, flavour))


def test_the_flavour_is_the_devices_own(device: str) -> None:
    x = inputs.normal(1, (100,)).to(device)
    own = wavejit.arch.load(wavejit.arch.detect(x.device) if x.is_cuda else "host_w32").fp8_flavour
    assert_same_bytes(wavejit.fp8_encode(x), wavejit.fp8_encode(x, own))


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(width=32), min_size=1, max_size=40), st.sampled_from(["fn", "fnuz"]))
def test_encoding_what_was_decoded_changes_nothing(x: list[float], flavour: str) -> None:
    codes = wavejit.fp8_encode(torch.tensor(x), flavour)
    again = wavejit.fp8_encode(wavejit.fp8_decode(codes, flavour), flavour)
    assert_same_bytes(again, codes)


def test_wrong_arguments() -> None:
    x = torch.zeros(4)
    cases: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
        (x, {"flavour": "e5m2"}, ValueError, "flavour: expected one of fn, fnuz, got 'e5m2'"),
        (x, {"flavour": "fn", "fp8_max": 240}, ValueError, "fp8_max of flavour fn"),
        (x, {"flavour": "fn", "nan": "zero"}, ValueError, "nan: expected one of max, code"),
        (x.double(), {}, ValueError, "x dtype: expected one of float, bfloat16, float16"),
        ([1.0], {}, TypeError, "x: expected a torch tensor, got list"),
        (x, {"out": torch.zeros(3, dtype=torch.uint8)}, ValueError, r"out: .*\[4\], got \[3\]"),
        (x, {"out": torch.zeros(4)}, TypeError, "out: wrong dtype"),
        (x, {"out": torch.zeros(8, dtype=torch.uint8)[::2]}, ValueError, "out: .*strides"),
        (
            x,
            {"flavour": "fnuz", "out": torch.zeros(4, dtype=torch.float8_e4m3fn)},
            ValueError,
            "out: expected uint8 or float8_e4m3fnuz, got float8_e4m3fn",
        ),
    ]
    for wrong, options, error, text in cases:
        with pytest.raises(error, match=text):
            wavejit.fp8_encode(wrong, **options)
