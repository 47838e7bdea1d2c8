"""q_norm_rope: float64, the reference, its parts, any strides, positions and values."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import wavejit
from wavejit import reference
from wavejit.testing import assert_same_bytes, guarded, inputs

DIMS = (128, 192, 256, 512)
BF16, HALF, FLOAT = torch.bfloat16, torch.float16, torch.float32
# Every head dim, dtype and both kinds in pairs: each is two compilations.
INSTANCES = [(dim, BF16, 1e-6) for dim in DIMS]
INSTANCES += [(512, HALF, 1e-6), (192, FLOAT, 1e-6)]
INSTANCES += [(512, BF16, None), (192, BF16, None), (128, HALF, None), (256, FLOAT, None)]
BIG = (1 << 31) - 1
TABLE = wavejit.rope_table(300, base=10000.0)


def queries(tokens: int, heads: int, dim: int, dtype: Any = torch.bfloat16) -> Any:
    return inputs.normal(tokens * dim + heads, (tokens, heads, dim), 2.0).to(dtype)


def run(device: str, q: Any, positions: Any, eps: float | None = 1e-6, out: Any = None) -> Any:
    where = TABLE.to(device), positions.to(device)
    return wavejit.q_norm_rope(q.to(device), *where, eps=eps, out=out)


@pytest.mark.parametrize("dim", DIMS)
def test_against_float64(device: str, dim: int) -> None:
    """Almost every element is the nearest to the exact value, and none is further than a step."""
    q, positions = queries(6, 7, dim), torch.tensor([0, 1, 299, 77, 150, 3])
    x = q.double()
    y = (x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()).bfloat16()
    angle = TABLE[positions].to(torch.complex128)[:, None]
    tail = torch.view_as_complex(y[..., -64:].double().unflatten(-1, (32, 2))) * angle
    y[..., -64:] = torch.view_as_real(tail).flatten(-2).bfloat16()
    got = run(device, q, positions).cpu()
    steps = (got.view(torch.int16).int() - y.view(torch.int16).int()).abs()
    near_zero = (got.double() - y.double()).abs() < 1e-6
    assert bool((steps[~near_zero] <= 1).all())
    assert float((steps == 0).double().mean()) >= 0.999


@pytest.mark.parametrize("dim, dtype, eps", INSTANCES)
def test_as_the_reference(device: str, dim: int, dtype: Any, eps: float | None) -> None:
    q, positions = queries(5, 9, dim, dtype), torch.tensor([0, 1, 299, 77, 256])
    expected = reference.q_norm_rope(q, TABLE, positions, eps=eps)
    assert_same_bytes(run(device, q, positions, eps), expected)
    mine = guarded(q.flatten(1), device=device)
    inplace = mine.tensor.view(q.shape)
    where = TABLE.to(device), positions.int().to(device)
    assert wavejit.q_norm_rope(inplace, *where, eps=eps, out=inplace) is inplace
    assert_same_bytes(inplace, expected)
    mine.check()


@pytest.mark.parametrize("heads", [1, 8, 64, 128])
def test_heads(device: str, heads: int) -> None:
    q, positions = queries(3, heads, 512), torch.tensor([5, 0, 299])
    expected = reference.q_norm_rope(q, TABLE, positions, eps=1e-6)
    assert_same_bytes(run(device, q, positions), expected)


@pytest.mark.parametrize("eps", [1e-6, None])
def test_strides(device: str, eps: float | None) -> None:
    """A slice of a projection, heads first, and an output padded in its heads."""
    whole = queries(6, 5, 640)
    positions = torch.arange(6) * 40
    expected = reference.q_norm_rope(whole[..., 128:], TABLE, positions, eps=eps)
    given = whole.transpose(0, 1).contiguous().transpose(0, 1).to(device)
    padded = guarded(torch.zeros(6, 8 * 512, dtype=torch.bfloat16), device=device)
    out = padded.tensor.view(6, 8, 512)[:, 1:6]
    for source in (whole.to(device), given):
        out.zero_()
        run(device, source[..., 128:], positions, eps, out=out)
        assert_same_bytes(out, expected)
    assert int(padded.tensor.view(6, 8, 512)[:, [0, 6, 7]].count_nonzero()) == 0
    padded.check()
    inside = whole.clone().to(device)
    run_in = inside[..., 128:]
    wavejit.q_norm_rope(run_in, TABLE.to(device), positions.to(device), eps=eps, out=run_in)
    assert_same_bytes(run_in, expected)
    assert_same_bytes(inside[..., :128], whole[..., :128])


def test_it_is_its_parts(device: str) -> None:
    """Norm without rotation, then rope_inplace; and norm_rope_inplace with weights of one."""
    q, positions = queries(4, 3, 512).to(device), torch.tensor([3, 200, 17, 99]).to(device)
    still = torch.ones(300, 32, dtype=torch.complex64, device=device)
    parts = wavejit.q_norm_rope(q, still, positions, eps=1e-6)
    wavejit.rope_inplace(parts[..., 448:], None, TABLE.to(device), positions)
    whole = wavejit.q_norm_rope(q, TABLE.to(device), positions, eps=1e-6)
    assert_same_bytes(whole, parts)
    for head in range(3):
        kv, ones = q[:, head].clone(), torch.ones(512, dtype=torch.bfloat16, device=device)
        wavejit.norm_rope_inplace(kv, ones, TABLE.to(device), positions, eps=1e-6)
        assert_same_bytes(whole[:, head], kv)
    turned = q.clone()
    wavejit.rope_inplace(turned[..., 448:], None, TABLE.to(device), positions)
    assert_same_bytes(wavejit.q_norm_rope(q, TABLE.to(device), positions, eps=None), turned)


@pytest.mark.parametrize("kind", [torch.int32, torch.int64])
@pytest.mark.parametrize("eps", [1e-6, None])
def test_positions_outside_the_table(device: str, kind: Any, eps: float | None) -> None:
    wild = [-1, 300, BIG, -BIG - 1, 0, 299, 12]
    if kind == torch.int64:
        wild += [1 << 40, -(1 << 40), (1 << 63) - 1, -(1 << 63), 1 << 32]
    positions = torch.tensor(wild, dtype=kind)
    q = queries(len(wild), 2, 192)
    nearest = positions.clamp(0, 299)
    for out in (None, q.clone().to(device)):
        got = run(device, q if out is None else out, positions, eps, out)
        assert_same_bytes(got, reference.q_norm_rope(q, TABLE, nearest, eps=eps))


@pytest.mark.parametrize("dtype, dim", [(BF16, 192), (HALF, 512), (FLOAT, 192)])
def test_special_values(device: str, dtype: Any, dim: int) -> None:
    """A NaN or an infinity stays in its head; a head of zeros gives zeros."""
    q, positions = queries(4, 2, dim, dtype), torch.tensor([3, 4, 5, 6])
    q[0, 0, 10], q[1, 1, 5], q[2, 0] = float("nan"), float("inf"), 0.0
    q[3, 0] = 1e30
    got = run(device, q, positions).cpu()
    expected = reference.q_norm_rope(q, TABLE, positions, eps=1e-6)
    assert_same_bytes(got, expected)
    assert bool(got[0, 0].isnan().all())
    assert not got[[0, 1, 2, 3], [1, 0, 1, 1]].isnan().any()
    assert int(got[2, 0].count_nonzero()) == 0


@pytest.mark.parametrize("dim, dtype, eps", INSTANCES)
def test_many_heads(device: str, dim: int, dtype: Any, eps: float | None) -> None:
    """More than a launch of few has: the bytes of the tokens one by one, whatever is in them."""
    q = queries(61, 9, dim, dtype)
    q[3, 2, 17], q[5, 8, dim - 3], q[7, 0] = float("nan"), float("-inf"), 0.0
    q[9, 4], q[60, 8] = 3e4, float("inf")
    positions = torch.arange(61) * 7 - 40
    whole = run(device, q, positions, eps).cpu()
    parts = [run(device, q[i : i + 1], positions[i : i + 1], eps).cpu() for i in range(61)]
    assert_same_bytes(whole, torch.cat(parts))
    assert_same_bytes(whole, reference.q_norm_rope(q, TABLE, positions, eps=eps))


@pytest.mark.parametrize("preset", ["default", "amd"])
def test_zeros_without_an_epsilon(device: str, preset: str) -> None:
    """Zero times infinity is the one quiet NaN, in few heads and in many."""
    for tokens in (1, 70):
        q = queries(tokens, 9, 512)
        q[tokens // 2, 4] = 0.0
        where = TABLE.to(device), torch.arange(tokens, device=device)
        got = wavejit.q_norm_rope(q.to(device), *where, eps=0.0, preset=preset).cpu()
        assert bool((got[tokens // 2, 4].view(torch.int16) == 0x7FC0).all())
        assert int(got.isnan().sum()) == 512


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 299), st.integers(0, 1 << 30), st.sampled_from(DIMS))
def test_a_heads_length_is_kept(position: int, seed: int, dim: int) -> None:
    """Rotation keeps lengths and the norm makes them sqrt(dim), within bf16's step."""
    q = inputs.normal(seed, (2, 3, dim), 5.0).bfloat16()
    got = wavejit.q_norm_rope(q, TABLE, torch.full((2,), position), eps=0.0)
    length = got.double().square().sum(-1).sqrt()
    assert bool(((length / dim**0.5) - 1).abs().max() < 2.0**-8)


def test_no_tokens(device: str) -> None:
    for shape in ((0, 4, 128), (3, 0, 128)):
        q = torch.empty(shape, dtype=torch.bfloat16, device=device)
        positions = torch.zeros(shape[0], dtype=torch.int64, device=device)
        assert wavejit.q_norm_rope(q, TABLE.to(device), positions, eps=1e-6).shape == q.shape


def test_heads_far_apart(tmp_path: Any) -> None:
    """As far as operations of 32 bits reach, and an error one vector further; a sparse file."""
    reach, rows = 8 << 32, torch.tensor([7, 299])
    whole = torch.from_file(str(tmp_path / "q"), shared=True, size=reach + 520, dtype=BF16)
    near = whole.as_strided((2, 1, 512), (reach - 512, 512, 1))
    near.copy_(queries(2, 1, 512))
    expected = reference.q_norm_rope(near, TABLE, rows, eps=1e-6)
    assert_same_bytes(run("cpu", near, rows), expected)
    run("cpu", near, rows, out=near)
    assert_same_bytes(near, expected)
    far = whole.as_strided((2, 1, 512), (reach - 504, 512, 1))
    with pytest.raises(ValueError, match=r"q: expected heads within 64 GiB, got 68719476752 bytes"):
        run("cpu", far, rows)


def test_wrong_arguments() -> None:
    q, positions = queries(3, 2, 128), torch.arange(3)
    wide = queries(3, 2, 136)
    cases: list[tuple[tuple[Any, ...], dict[str, Any], type[Exception], str]] = [
        ((q[..., :96], TABLE, positions), {}, ValueError, "q's head dim: .* 128, 192, 256, 512"),
        ((q.double(), TABLE, positions), {}, ValueError, "q dtype: expected one of bfloat16"),
        ((q[0], TABLE, positions), {}, ValueError, "q: wrong rank"),
        ((wide[..., 4:132], TABLE, positions), {}, ValueError, "q: wrong alignment"),
        ((q, TABLE[:, :5], positions), {}, ValueError, "freqs_cis: wrong shape"),
        ((q, TABLE[:0], positions), {}, ValueError, "freqs_cis: .*at least one position"),
        ((q, TABLE, positions[:2]), {}, ValueError, "positions: wrong shape"),
        ((q, TABLE, positions.float()), {}, TypeError, "positions: wrong dtype"),
        ((q, TABLE, None), {}, TypeError, "positions: expected a torch tensor, got NoneType"),
        ((q, TABLE, positions), {"eps": -1.0}, ValueError, "eps: expected a finite number"),
        ((q, TABLE, positions), {"eps": 1e39}, ValueError, "eps: expected a finite number"),
        ((q, TABLE, positions), {"eps": "1"}, TypeError, "eps: expected a number"),
        ((q, TABLE, positions), {"preset": None}, ValueError, "preset: .* default, .*got None"),
        ((q, TABLE, positions), {"out": 3}, TypeError, "out: expected a torch tensor, got int"),
        ((q, TABLE, positions), {"out": q[:2]}, ValueError, "out: wrong shape"),
        ((q, TABLE, positions), {"out": q.float()}, TypeError, "out: wrong dtype"),
        ((q, TABLE, positions), {"out": q[:1].expand(3, 2, 128)}, ValueError, "out: .*overlap"),
        ((q[:1].expand(3, 2, 128), TABLE, positions), {"out": q}, ValueError, "out: .*q itself"),
    ]
    for wrong, options, error, text in cases:
        with pytest.raises(error, match=text):
            wavejit.q_norm_rope(*wrong, **{"eps": 1e-6, **options})
