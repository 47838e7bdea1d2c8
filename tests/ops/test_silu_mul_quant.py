"""silu_mul_quant: scales within 1e-6, codes within one of float64; padding untouched."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import wavejit
from wavejit import reference
from wavejit.testing import assert_same_bytes, check_guards, guarded, inputs

FORMATS = [("fp32", "row"), ("fp32", "col"), ("ue8m0", "row"), ("ue8m0", "col")]


def shapes(experts: int, rows: int, width: int, group: int, form: str, layout: str) -> Any:
    packed = (form, layout) == ("ue8m0", "col")
    groups = width // group // (4 if packed else 1)
    codes = torch.full((experts, rows, width), 0x7F, dtype=torch.uint8)
    scale = torch.full((experts, rows, groups), -1.0)
    if layout == "col":
        scale = torch.full((experts, groups, rows), -1.0)
    return codes, scale.int() if packed else scale


def check(device: str, x: Any, counts: Any, group: int, form: str, layout: str, **more: Any) -> Any:
    """Between sentinels and poisoned padding against the reference."""
    options = {"group_size": group, "scale_format": form, "scale_layout": layout, **more}
    experts, rows, width = x.shape[0], x.shape[1], x.shape[2] // 2
    expected = shapes(experts, rows, width, group, form, layout)
    outs = [guarded(t, device=device, name="out") for t in expected]
    given = [guarded(t, device=device, name="x") for t in (x, counts)]
    got = wavejit.silu_mul_quant(
        *(g.tensor for g in given), out=tuple(g.tensor for g in outs), **options
    )
    check_guards(*given, *outs)
    reference.silu_mul_quant(x, counts, out=expected, **options)
    codes, scale = (t.cpu() for t in got)
    if form == "fp32":
        torch.testing.assert_close(scale, expected[1], rtol=1e-6, atol=0)
    else:
        assert_same_bytes(scale, expected[1], "scale")
    apart = (codes.int() - expected[0].int()).abs()
    assert int((apart % 128).max()) <= 1  # 128: a zero of the other sign
    assert (apart != 0).sum() <= 2 + codes.numel() // 500
    again = wavejit.silu_mul_quant(given[0].tensor, given[1].tensor, **options)
    for e, count in enumerate(counts.clamp(0, rows).tolist()):
        assert_same_bytes(again[0].view(torch.uint8)[e, :count], got[0][e, :count], "second run")
    return codes


@pytest.mark.parametrize("form, layout", FORMATS)
@pytest.mark.parametrize("group, flavour, swizzle", [(32, "fn", True), (128, "fnuz", False)])
def test_as_the_reference(
    device: str, form: str, layout: str, group: int, flavour: str, swizzle: bool
) -> None:
    x = inputs.normal(group, (4, 9, 1024), 4.0).to(torch.bfloat16)
    x[1, 7:] = 123.0
    counts = torch.tensor([9, 7, 0, 3])
    check(device, x, counts, group, form, layout, flavour=flavour, swizzle=swizzle)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_the_limit(device: str, dtype: Any) -> None:
    x = inputs.normal(1, (2, 6, 512), 15.0).to(dtype)
    counts = torch.tensor([6, 4], dtype=torch.int32)
    limited = check(device, x, counts, 128, "fp32", "row", limit=10.0, flavour="fn")
    free = check(device, x, counts, 128, "fp32", "row", flavour="fn")
    assert not torch.equal(limited, free)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("limit", [None, 10.0])
def test_16_bits_take_a_shorter_way_to_the_same_bytes(
    device: str, dtype: Any, limit: float | None
) -> None:
    """fp32 with the same values takes the plain one: every gate, outliers, any bits."""
    gate = torch.arange(1 << 16, dtype=torch.int32).to(torch.int16).view(dtype).view(128, 512)
    up = inputs.normal(1, (128, 512), 30.0).to(dtype)
    up[::16] = inputs.any_float(2, (8, 512)).to(dtype)
    x = torch.cat((gate[torch.randperm(128, generator=torch.Generator().manual_seed(1))], up), 1)
    options: dict[str, Any] = {"flavour": "fn", "limit": limit}
    short = wavejit.silu_mul_quant(x.to(device), **options)
    plain = wavejit.silu_mul_quant(x.float().to(device), **options)
    assert_same_bytes(short[0].view(torch.uint8), plain[0].view(torch.uint8))
    assert_same_bytes(short[1], plain[1])


def test_many_experts_and_counts_of_any_value(device: str) -> None:
    x = inputs.normal(1, (384, 2, 256), 2.0).to(torch.bfloat16)
    counts = inputs.integers(2, (384,), -1, 4)
    counts[:3] = torch.tensor([2**40, -(2**40), 2**31])
    check(device, x, counts, 128, "fp32", "row", flavour="fn")


def test_a_block_takes_several_turns(device: str) -> None:
    """4,096 experts have one block each, which is less than nine rows need."""
    chosen = [0, 700, 4095]
    x = torch.zeros(4096, 9, 512, dtype=torch.bfloat16)
    x[chosen] = inputs.normal(1, (3, 9, 512), 2.0).to(torch.bfloat16)
    counts = torch.zeros(4096, dtype=torch.int64)
    counts[chosen] = 9
    got = wavejit.silu_mul_quant(x.to(device), counts.to(device), flavour="fn")
    few = wavejit.silu_mul_quant(x[chosen].to(device), counts[chosen].to(device), flavour="fn")
    assert_same_bytes(got[0].view(torch.uint8)[chosen], few[0].view(torch.uint8))
    assert_same_bytes(got[1][chosen], few[1])


@pytest.mark.parametrize("form, layout", FORMATS)
def test_contiguous_rows(device: str, form: str, layout: str) -> None:
    x = inputs.normal(1, (37, 2048), 3.0).to(torch.bfloat16)
    options: dict[str, Any] = {"scale_format": form, "scale_layout": layout, "flavour": "fn"}
    got = wavejit.silu_mul_quant(x.to(device), **options)
    whole = wavejit.silu_mul_quant(x[None].to(device), torch.tensor([37], device=device), **options)
    assert got[0].dtype == torch.float8_e4m3fn and got[0].shape == (37, 1024)
    assert_same_bytes(got[0].view(torch.uint8), whole[0][0].view(torch.uint8))
    assert_same_bytes(got[1], whole[1][0])
    none = wavejit.silu_mul_quant(x[:0].to(device), **options)
    assert none[0].shape == (0, 1024)


def test_values_that_are_no_numbers_touch_nothing_else(device: str) -> None:
    x = inputs.normal(1, (1, 2, 512)).to(torch.bfloat16)
    options: dict[str, Any] = {"flavour": "fn", "limit": 10.0}
    before = wavejit.silu_mul_quant(x.to(device), **options)[0].view(torch.uint8).cpu()
    x[0, 0, 5], x[0, 1, 130], x[0, 1, 300] = torch.nan, -200.0, -0.0
    after = wavejit.silu_mul_quant(x.to(device), **options)[0].view(torch.uint8).cpu()
    assert after[0, 0, 5] == 0x7E and after[0, 1, 130] & 0x7F == 0
    changed = (before != after).nonzero().tolist()
    assert all(place in ([0, 0, 5], [0, 1, 130], [0, 1, 44]) for place in changed)
    zero = wavejit.silu_mul_quant(torch.zeros(1, 256, device=device).bfloat16(), flavour="fn")
    assert (zero[0].view(torch.uint8) == 0).all()
    assert torch.equal(zero[1].cpu(), torch.full((1, 1), 1e-10) / 448)


def test_wrong_arguments() -> None:
    x = torch.zeros(2, 3, 512, dtype=torch.bfloat16)
    counts = torch.tensor([1, 2])
    cases: list[tuple[tuple[Any, ...], dict[str, Any], type[Exception], str]] = [
        (([1.0], counts), {}, TypeError, "x: expected a torch tensor"),
        ((x.double(), counts), {}, ValueError, "x dtype"),
        ((x[0], counts), {}, ValueError, "x: expected"),
        ((x, counts[:1]), {}, ValueError, "masked_m"),
        ((x, counts.float()), {}, TypeError, "masked_m"),
        ((x, counts), {"group_size": 64}, ValueError, "group_size"),
        ((x, counts), {"scale_format": "fp16"}, ValueError, "scale_format"),
        ((x, counts), {"scale_layout": "tile"}, ValueError, "scale_layout"),
        ((x, counts), {"limit": 0}, ValueError, "limit"),
        ((x, counts), {"limit": 1e-60}, ValueError, "limit: expected a number above 0"),
        ((x, counts), {"flavour": "e5m2"}, ValueError, "flavour"),
        ((x[..., :384], counts), {}, ValueError, "x"),
        ((x, counts), {"scale_format": "ue8m0", "scale_layout": "col"}, ValueError, "512 columns"),
        ((x.transpose(0, 1), counts), {}, ValueError, "x"),
    ]
    for wrong, options, error, text in cases:
        with pytest.raises(error, match=text):
            wavejit.silu_mul_quant(*wrong, **options)


def test_fp32_inputs_need_16_bytes(device: str) -> None:
    """Those of one access, not of a lane's eight."""
    x = inputs.normal(9, (2 * 3 * 512 + 4,)).to(device)[4:].view(2, 3, 512)
    counts = torch.tensor([3, 3], device=device)
    options = {"group_size": 128, "scale_format": "fp32"}
    expected = wavejit.silu_mul_quant(x.clone(), counts, **options)
    for got, wanted in zip(wavejit.silu_mul_quant(x, counts, **options), expected, strict=True):
        assert_same_bytes(got.view(torch.uint8), wanted.view(torch.uint8))
