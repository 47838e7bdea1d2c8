"""The rows of norms, rotations and conversions, and the peer's on the same tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import caches
import torch
from c4 import Row

import wavejit

EPS = 1e-6
POSITIONS = 8192
A_STEP = 0.04  # of bf16 at the largest values, where the peer's fast math rounds the other way
A_CODE = 33.0  # of e4m3 there
BF16, FLOAT = 2, 4  # bytes


def _table(tokens: int) -> tuple[Any, Any]:
    table = wavejit.rope_table(POSITIONS, base=10000.0, device="cuda")
    return table, torch.arange(tokens, device="cuda") % POSITIONS


def _normal(*shape: int) -> Any:
    return torch.randn(*shape, device="cuda", dtype=torch.bfloat16)


def q_norm_rope(tokens: int, heads: int, dim: int, peer: Any) -> Row:
    """Queries normalised and rotated into another tensor."""
    q, (table, positions) = _normal(tokens, heads, dim), _table(tokens)
    out, other = torch.zeros_like(q), torch.zeros_like(q)
    theirs = peer and peer.q_norm_rope(q, other, EPS, table, positions)
    return Row(
        f"q norm+rope D={dim}, {tokens} tokens x {heads}",
        lambda: wavejit.q_norm_rope(q, table, positions, eps=EPS, out=out),
        theirs or None,
        2 * q.numel() * BF16,
        (out, other),
        A_STEP,
    )


def _queries_and_keys(tokens: int, heads: int, peer: Any) -> tuple[Any, ...]:
    """Arguments and options of one launch for both; that as a call, and the two, and the peer's."""
    layout = caches.LAYOUTS["flashmla"]
    loc, cache, other = caches.caches_of(tokens, layout)
    q, kv, weight, (table, positions) = (
        *(_normal(tokens, heads, 512), _normal(tokens, 512), _normal(512)),
        _table(tokens),
    )
    rows = kv, weight, table, positions
    out, theirs = torch.zeros_like(q), torch.zeros_like(q)
    options: dict[str, Any] = {"layout": layout, "preset": "cuda"}

    def one() -> None:
        wavejit.qk_norm_rope_store(q, *rows, loc, cache, q_eps=EPS, kv_eps=EPS, out=out, **options)

    def two() -> None:
        wavejit.q_norm_rope(q, table, positions, eps=EPS, out=out)
        wavejit.k_norm_rope_store(*rows, loc, cache, eps=EPS, **options)

    if not peer:
        return one, two, None, (out, theirs)
    peer_q = peer.q_norm_rope(q, theirs, EPS, table, positions)
    peer_k = peer.k_norm_rope_store(*rows, other, loc.int(), EPS, layout.slots)
    return one, two, lambda: (peer_q(), peer_k()), (out, theirs)


def qk_norm_rope(tokens: int, heads: int, launches: int, peer: Any) -> Row:
    """Queries, and keys into a cache: in one launch or in our two, beside the peer's two."""
    one, two, theirs, outputs = _queries_and_keys(tokens, heads, peer)
    moved = tokens * (2 * heads * 512 * BF16 + 512 * BF16 + 448 + 64 * BF16 + 7)
    how = "q+k norm+rope+store" if launches == 1 else "q+k in two launches"
    name = f"{how}, {tokens} tokens x {heads}"
    return Row(name, one if launches == 1 else two, theirs, moved, outputs, A_STEP)


def q_indexer(tokens: int, heads: int, format: str, peer: Any) -> Row:
    """The indexer's queries and weights."""
    q, weight, (table, positions) = (
        _normal(tokens, heads, 128),
        _normal(tokens, heads),
        _table(tokens),
    )
    out = wavejit.q_indexer_rope_hadamard_quant(q, weight, 0.011, table, positions, format=format)
    theirs = peer and peer.q_indexer(q, weight, 0.011, table, positions, format)
    codes = (lambda: out[0].float(), lambda: theirs()[0].float()) if theirs else (None, None)
    return Row(
        f"indexer q {format}, {tokens} tokens x {heads}",
        lambda: wavejit.q_indexer_rope_hadamard_quant(
            q, weight, 0.011, table, positions, format=format, out=out
        ),
        theirs or None,
        q.numel() * BF16 + tokens * heads * (BF16 + FLOAT) + sum(o.nbytes for o in out[:-1]),
        codes if format == "fp8" else (None, None),
        A_CODE,
    )


def rope_inplace(tokens: int, heads: int, peer: Any) -> Row:
    """The last 64 dims of heads of 512 turned back, as on the attention's output."""
    whole, (table, positions) = _normal(tokens, heads, 512), _table(tokens)
    o = whole[..., 448:]
    theirs = peer and peer.rope_inplace(o.clone(), table, positions)
    return Row(
        f"rope in place, {tokens} tokens x {heads}",
        lambda: wavejit.rope_inplace(o, None, table, positions, inverse=True),
        theirs or None,
        2 * o.numel() * BF16,
        (None, None),
    )


def norm_rope(tokens: int, _: Any) -> Row:
    """Latent rows in place."""
    kv, weight, (table, positions) = _normal(tokens, 512), _normal(512), _table(tokens)
    return Row(
        f"norm+rope in place, {tokens} tokens",
        lambda: wavejit.norm_rope_inplace(kv, weight, table, positions, eps=EPS),
        None,
        2 * kv.numel() * BF16,
        (None, None),
    )


def rmsnorm(rows: int, width: int, scale_format: str, _: Any) -> Row:
    """Rows before an fp8 product: read once, written as bf16 and as codes."""
    x, weight = _normal(rows, width), _normal(width)
    return Row(
        f"rmsnorm+fp8 {scale_format}, {rows} x {width}",
        lambda: wavejit.rmsnorm_fp8_quant(x, weight, EPS, scale_format=scale_format),
        None,
        x.numel() * (2 * BF16 + 1) + x.numel() // 128 * (FLOAT if scale_format == "fp32" else 1),
        (None, None),
    )


def rows(shapes: dict[str, list[list[Any]]], peer: Any) -> list[Callable[[], Row]]:
    """The rows that benchmarks/shapes.toml names, made one at a time."""
    makers: dict[str, Callable[..., Row]] = {
        "q_norm_rope": q_norm_rope,
        "qk_norm_rope": qk_norm_rope,
        "q_indexer": q_indexer,
        "rope_inplace": rope_inplace,
        "norm_rope": norm_rope,
        "rmsnorm": rmsnorm,
    }
    return [
        lambda maker=maker, shape=shape: maker(*shape, peer)  # type: ignore[misc]
        for kind, maker in makers.items()
        for shape in shapes[kind]
    ]
