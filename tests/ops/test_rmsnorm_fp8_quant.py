"""rmsnorm_fp8_quant: the reference, what it is made of, layouts of scales, special values."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import wavejit
from wavejit import reference
from wavejit.testing import assert_same_bytes, guarded, inputs


def rows(count: int, dim: int, dtype: Any = torch.bfloat16) -> tuple[Any, Any]:
    x = inputs.normal(count + dim, (count, dim), 2.0).to(dtype)
    return x, (inputs.normal(3, (dim,), 0.3) + 1).to(torch.bfloat16)


def both(device: str, x: Any, weight: Any, **options: Any) -> tuple[Any, Any]:
    got = wavejit.rmsnorm_fp8_quant(x.to(device), weight.to(device), 1e-6, **options)
    return got, reference.rmsnorm_fp8_quant(x, weight, 1e-6, **options)


def as_bytes(tensor: Any) -> Any:
    return tensor.view(torch.uint8) if tensor.itemsize == 1 else tensor


def assert_same(got: Any, expected: Any) -> None:
    for name, mine, other in zip(("y_fp8", "scale", "y"), got, expected, strict=True):
        assert mine.dtype == other.dtype, name
        for size, a, b in zip(mine.shape, mine.stride(), other.stride(), strict=True):
            assert size == 1 or a == b, name
        assert_same_bytes(as_bytes(mine), as_bytes(other), name)


SHAPES = [(1, 1024, "fp32"), (7, 1536, "ue8m0"), (2, 7168, "ue8m0")]
SHAPES += [(5, 128, "fp32"), (2, 384, "ue8m0"), (1, 16384, "fp32"), (300, 256, "ue8m0")]
KINDS = [  # each compiles two units
    (32, torch.bfloat16, "fn", 448, "fp32"),
    (64, torch.float16, "fnuz", 240, "ue8m0"),
    (256, torch.float32, "fnuz", 224, "fp32"),
    (32, torch.float32, "fn", 448, "ue8m0"),
]


@pytest.mark.parametrize("count, dim, scale_format", SHAPES)
def test_as_the_reference(device: str, count: int, dim: int, scale_format: str) -> None:
    x, weight = rows(count, dim)
    layout = "col" if dim % 512 else "row"
    options = {"flavour": "fn", "scale_format": scale_format, "scale_layout": layout}
    got, expected = both(device, x, weight, **options)
    assert_same(got, expected)
    assert got[1].shape == (count, dim // 128)
    if layout == "col":
        assert got[1].t().is_contiguous()


@pytest.mark.parametrize("group, dtype, flavour, fp8_max, scale_format", KINDS)
def test_groups_dtypes_and_flavours(
    device: str, group: int, dtype: Any, flavour: str, fp8_max: int, scale_format: str
) -> None:
    x, weight = rows(3, 768, dtype)
    options = {"group_size": group, "scale_format": scale_format}
    assert_same(*both(device, x, weight, flavour=flavour, fp8_max=fp8_max, **options))


def test_it_is_its_parts(device: str) -> None:
    """The norm of norm_rope_inplace that turns nothing, and fp8_encode of what is scaled."""
    x, weight = rows(9, 512)
    x, weight = x.to(device), weight.to(device)
    codes, scale, y = wavejit.rmsnorm_fp8_quant(x, weight, 1e-6, flavour="fn")
    still = torch.ones(1, 32, dtype=torch.complex64, device=device)
    kv, at = x.clone(), torch.zeros(9, dtype=torch.int32, device=device)
    wavejit.norm_rope_inplace(kv, weight, still, at, eps=1e-6)
    assert_same_bytes(y, kv)
    factor = 1.0 / scale.cpu()
    scaled = (y.cpu().float().unflatten(-1, (4, 128)) * factor[..., None]).flatten(-2)
    assert_same_bytes(as_bytes(codes), wavejit.fp8_encode(scaled, "fn"))


@pytest.mark.parametrize("scale_format", ["fp32", "ue8m0"])
def test_what_is_decoded_is_near(device: str, scale_format: str) -> None:
    x, weight = rows(20, 512)
    codes, scale, y = wavejit.rmsnorm_fp8_quant(
        x.to(device), weight.to(device), 1e-6, scale_format=scale_format, flavour="fn"
    )
    factor = scale.cpu().float()
    factor = factor if scale_format == "fp32" else torch.exp2(factor - 127)
    values = codes.cpu().float().unflatten(-1, (4, 128)) * factor[..., None]
    error = (values.flatten(-2) - y.cpu().float()).abs().unflatten(-1, (4, 128))
    assert bool((error <= factor[..., None] * 16.001).all())  # half a step of the top binade
    top = y.cpu().float().unflatten(-1, (4, 128)).abs().amax(-1) / factor
    assert bool((top <= 448.001).all())
    assert bool((top > (447.9 if scale_format == "fp32" else 223.9)).all())


@pytest.mark.parametrize("scale_format, zero", [("fp32", 1e-10), ("ue8m0", 85)])
def test_zero_rows_and_special_values(device: str, scale_format: str, zero: float) -> None:
    """A NaN or an infinity stays in its row; NaN codes become the largest; zeros give zeros."""
    x, weight = rows(5, 512)
    x[0], x[1, 7], x[2, 300], x[3, 5] = 0.0, float("nan"), float("inf"), 3e38
    options = {"scale_format": scale_format, "flavour": "fn"}
    (codes, scale, y), expected = both(device, x, weight, **options)
    assert_same_bytes(as_bytes(codes), as_bytes(expected[0]))
    assert_same_bytes(scale, expected[1])
    assert_same_bytes(y, expected[2])
    assert int(as_bytes(codes)[0].count_nonzero()) == 0
    wanted = torch.tensor(zero, dtype=torch.float32)
    wanted = wanted / torch.tensor(448.0) if scale_format == "fp32" else wanted
    assert bool((scale[0].cpu().float() == wanted).all())
    assert bool((as_bytes(codes)[1] == 0x7E).all())
    assert not y[[0, 3, 4]].isnan().any()


def test_rows_that_lie_apart(device: str) -> None:
    x, weight = rows(6, 512)
    wide = guarded(x, device=device, row_stride=640)
    got = wavejit.rmsnorm_fp8_quant(wide.tensor, weight.to(device), 1e-6, flavour="fn")
    assert_same(got, reference.rmsnorm_fp8_quant(x, weight, 1e-6, flavour="fn"))
    wide.check()


def test_no_rows(device: str) -> None:
    x, weight = rows(0, 512)
    codes, scale, y = wavejit.rmsnorm_fp8_quant(x.to(device), weight.to(device), 1e-6)
    assert codes.shape == y.shape == (0, 512)
    assert scale.shape == (0, 4)


def test_wrong_arguments() -> None:
    x, weight = rows(3, 256)
    cases: list[tuple[tuple[Any, ...], dict[str, Any], type[Exception], str]] = [
        ((x[:, :200], weight, 1e-6), {}, ValueError, r"x: expected rows of n \* 128 .* got 200"),
        ((x.double(), weight, 1e-6), {}, ValueError, "x dtype: expected one of"),
        ((x[0], weight, 1e-6), {}, ValueError, "x's rank: expected one of 2, got 1"),
        ((x, weight[:128], 1e-6), {}, ValueError, "weight: wrong shape"),
        ((x.t(), weight, 1e-6), {"group_size": 32}, ValueError, "x: expected rows"),
        ((x, None, 1e-6), {}, TypeError, "weight: expected a torch tensor"),
        ((x, weight, -1.0), {}, ValueError, "eps: expected a finite number"),
        ((x, weight, 1e39), {}, ValueError, "eps: expected a finite number"),
        ((x, weight, 1e-6), {"group_size": 100}, ValueError, "group_size: expected one of 32"),
        ((x, weight, 1e-6), {"scale_format": "bf16"}, ValueError, "scale_format: expected one of"),
        ((x, weight, 1e-6), {"scale_layout": "tile"}, ValueError, "scale_layout: expected one of"),
        ((x, weight, 1e-6), {"flavour": "e5m2"}, ValueError, "flavour: expected one of fn, fnuz"),
        ((x, weight, 1e-6), {"flavour": "fn", "fp8_max": 240}, ValueError, "fp8_max of flavour fn"),
    ]
    for wrong, options, error, text in cases:
        with pytest.raises(error, match=text):
            wavejit.rmsnorm_fp8_quant(*wrong, **options)
