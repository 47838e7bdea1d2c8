"""softmax_pool against float64 and against the compressors; overlap and bias re-arranged."""

from __future__ import annotations

from typing import Any

import plan_loop
import pytest
import torch
from compress_world import random_ape, random_rows

import wavejit
from wavejit import reference
from wavejit.testing import assert_same_bytes, check_guards, guarded, inputs

INF = float("inf")
SHAPES = [(3, 8, 128), (2, 128, 512), (4, 1, 3), (2, 7, 64), (2, 9, 36), (1, 130, 4), (2, 300, 37)]


def scored(shape: tuple[int, int, int], seed: int = 1) -> Any:
    """Values about 1, scores about 3, a third of them masked."""
    rows, candidates, dim = shape
    given = inputs.normal(seed, (rows, candidates, 2 * dim))
    given[..., dim:] *= 3
    given[:, 1::3, dim:] = -INF
    return given


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_against_float64(device: str, shape: tuple[int, int, int], dtype: Any) -> None:
    given = scored(shape).to(dtype)
    box = guarded(given, device=device, name="kv_score")
    out = guarded(torch.full((shape[0], shape[2]), -77.0, dtype=dtype), device=device, name="out")
    assert wavejit.softmax_pool(box.tensor, shape[2], out=out.tensor) is out.tensor
    check_guards(box, out)
    values, scores = given.double().split(shape[2], dim=2)
    expected = (torch.softmax(scores, dim=1) * values).sum(dim=1)
    limit = {"rtol": 1e-5, "atol": 2e-6} if dtype == torch.float32 else {"rtol": 1e-2, "atol": 1e-2}
    torch.testing.assert_close(out.tensor.cpu().double(), expected, **limit)
    assert_same_bytes(box.tensor, given, "kv_score")
    assert_same_bytes(reference.softmax_pool(given, shape[2]), expected.to(dtype), "the reference")


@pytest.mark.parametrize("candidates", [1, 8, 20, 128, 200])
def test_masked_and_not_numbers(device: str, candidates: int) -> None:
    """Everything masked gives 0, -FLT_MAX is a score, NaN and +inf give the one quiet NaN."""
    given = torch.ones(1, candidates, 12)
    scores = given[0, :, 6:]
    scores[:] = 0
    scores[:, 0] = -INF
    scores[:, 1] = torch.finfo(torch.float32).min
    scores[-1, 2] = torch.tensor(-0x2B3DD).int().view(torch.float32)
    scores[-1, 3] = INF
    given[0, -1, 4] = torch.nan
    out = wavejit.softmax_pool(given.to(device), 6).cpu()[0]
    assert out[[0, 1, 5]].tolist() == [0, 1, 1]
    assert out[2:5].view(torch.int32).tolist() == [0x7FC00000] * 3


def test_no_rows(device: str) -> None:
    for candidates in (8, 128):
        empty = torch.empty(0, candidates, 256, device=device)
        assert wavejit.softmax_pool(empty, 128).shape == (0, 128)


def test_eight_candidates_are_the_c4_compressor(device: str) -> None:
    """Overlap transform, then softmax_pool: the bytes of `compress` with ratio 4."""
    dim, tokens = 64, 40
    rows, ape = random_rows(dim)[:tokens], random_ape(dim)
    biased = rows.clone()
    for token in range(tokens):
        biased[token, 2 * dim : 3 * dim] += ape[token % 4]
        biased[token, 3 * dim :] += ape[4 + token % 4]
    windows = wavejit.overlap_transform(biased.view(-1, 4, 4 * dim), dim)
    assert windows.shape == (tokens // 4, 8, 2 * dim)
    assert (windows[0, :4, :dim] == 0).all() and (windows[0, :4, dim:] == -INF).all()
    pooled = wavejit.softmax_pool(windows.to(device), dim)
    plan = plan_loop.prefill_plan(device, [0], [tokens], [tokens], wavejit.RequestRing(8))
    state = torch.zeros(2, 4, 4 * dim, device=device)
    tensors = rows.to(device), ape.to(device), plan
    assert_same_bytes(pooled, wavejit.compress(state, *tensors, head_dim=dim, ratio=4))


def test_128_candidates_are_the_c128_compressor(device: str) -> None:
    dim, tokens = 64, 384
    rows, ape = random_rows(dim, 128)[:tokens], random_ape(dim, 128)
    windows = rows.view(-1, 128, 2 * dim).clone()
    windows[..., dim:] += ape
    pooled = wavejit.softmax_pool(windows.to(device), dim)
    ring = wavejit.RequestRing(128)
    plan = plan_loop.prefill_plan(device, [0], [tokens], [tokens], ring, ratio=128)
    state = torch.zeros(1, 128, 2 * dim, device=device)
    tensors = rows.to(device), ape.to(device), plan
    assert_same_bytes(pooled, wavejit.compress(state, *tensors, head_dim=dim, ratio=128))


# -- the bias ------------------------------------------------------------------------------------


def test_a_checkpoints_ape_is_rearranged() -> None:
    """First columns: the overlap's tokens, the others: the group's; ratio 128 as it is."""
    stored = inputs.normal(5, (4, 256))
    right = wavejit.rearrange_ape(stored, ratio=4, head_dim=128)
    for token in range(4):
        assert_same_bytes(right[token], stored[token, :128])
        assert_same_bytes(right[4 + token], stored[token, 128:])
    assert right.is_contiguous()
    whole = inputs.normal(6, (128, 512))
    assert_same_bytes(wavejit.rearrange_ape(whole, ratio=128, head_dim=512), whole)
    for wrong in (right, stored[:, :128], whole):
        with pytest.raises(ValueError, match=r"ape: expected a checkpoint's \[4, 256\]"):
            wavejit.rearrange_ape(wrong, ratio=4, head_dim=128)
    with pytest.raises(ValueError, match="re-arranged already"):
        wavejit.rearrange_ape(right, ratio=4, head_dim=128)
    with pytest.raises(ValueError, match="ratio"):
        wavejit.rearrange_ape(stored, ratio=8, head_dim=128)


@pytest.mark.parametrize("change", [lambda ape: ape, lambda ape: ape.view(8, 128)])
def test_an_ape_as_the_checkpoint_has_it_is_refused(change: Any) -> None:
    """Also viewed as [8, head_dim], which has the right shape and the wrong rows."""
    stored = inputs.normal(5, (4, 256))
    plan = plan_loop.prefill_plan("cpu", [0], [8], [8], wavejit.RequestRing(8))
    state, rows = torch.zeros(2, 4, 512), random_rows(128)[:8]
    from wavejit import front

    front._ready.clear()
    options: dict[str, Any] = {"plan": plan, "head_dim": 128, "ratio": 4}
    with pytest.raises(ValueError, match=r"ape: .*\[8, 128\].*\[4, 256\]"):
        wavejit.compress(state, rows, change(stored), **options)
    right = wavejit.rearrange_ape(stored, ratio=4, head_dim=128)
    out = wavejit.compress(state, rows, right, **options)
    silent = wavejit.compress(state, rows, stored.view(8, 128).clone(), **options)
    assert (out - silent).abs().max() > 0.1  # what the wrong rows would have done


@pytest.mark.parametrize(
    "given, dim, parts",
    [
        (torch.zeros(2, 8, 256), 64, ("kv_score", "128]", "256]")),
        (torch.zeros(2, 256), 128, ("kv_score", "[rows, candidates, 256]", "[2, 256]")),
        (torch.zeros(2, 0, 256), 128, ("kv_score", "with candidates", "[2, 0, 256]")),
        (torch.zeros(2, 8, 256).half(), 128, ("kv_score", "float16")),
        (torch.zeros(4, 8, 256)[::2], 128, ("kv_score", "strides")),
        (torch.zeros(2, 8, 256), 0, ("head_dim", "positive")),
    ],
)
def test_errors(given: Any, dim: int, parts: tuple[str, ...]) -> None:
    with pytest.raises(ValueError) as caught:
        wavejit.softmax_pool(given, dim)
    for part in parts:
        assert part in str(caught.value), str(caught.value)


def test_overlap_transform_errors() -> None:
    for wrong in (torch.zeros(2, 4, 128), torch.zeros(8, 256)):
        with pytest.raises(ValueError, match=r"rows: expected \[groups, 4, 256\]"):
            wavejit.overlap_transform(wrong, 64)
