"""The rows of routing, selection and activation, beside the peer's on the same tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from c4 import FLOAT, Row

import wavejit

PAGE = 64
VOCABULARY = 129_280


def hash_topk(tokens: int, experts: int, peer: Any) -> Row:
    """Six experts a token and the shared one."""
    logits = torch.randn(tokens, experts, device="cuda")
    ids = torch.randint(VOCABULARY, (tokens,), device="cuda")
    table = torch.randint(experts, (VOCABULARY, 6), device="cuda", dtype=torch.int32)
    outputs = (
        torch.zeros(tokens, 7, device="cuda"),
        torch.zeros(tokens, 7, device="cuda", dtype=torch.int32),
    )
    options: dict[str, Any] = {"shared_experts": 1, "routed_scaling_factor": 1.5}
    theirs = peer and peer.hash_topk(logits, ids, table, 1, 1.5)
    return Row(
        f"hash_topk {experts} experts, {tokens} tokens",
        lambda: wavejit.hash_topk(logits, ids, table, **options, out=outputs),
        theirs or None,
        # an id, a row of the table, six logits; seven weights and ids
        tokens * (8 + 6 * FLOAT + 6 * FLOAT + 14 * FLOAT),
        (outputs[0], theirs()[0] if theirs else None),
    )


def topk(rows: int, columns: int, k: int, peer: Any, version: int = 2) -> Row:
    """Full rows of normal scores; the peer's plan is made outside of the timing."""
    scores = torch.randn(rows, columns, device="cuda")
    lengths = torch.full((rows,), columns, device="cuda", dtype=torch.int32)
    pages = columns // PAGE
    table = torch.randperm(rows * pages, device="cuda").reshape(rows, pages).int()
    out, other = (torch.zeros(rows, k, device="cuda", dtype=torch.int32) for _ in range(2))

    def ours() -> Any:
        return wavejit.topk_page_table(scores, lengths, table, k, page_size=PAGE, out=out)

    theirs = peer and peer.topk(scores, lengths, table, other, PAGE, version)
    if theirs:
        ours()
        theirs()
        _same_slots(out, other)
    return Row(
        f"topk {rows}x{columns}, k={k} (peer v{version})",
        ours,
        theirs or None,
        rows * (columns + 2 * k) * FLOAT,
        (None, None),
    )


def _same_slots(ours: Any, theirs: Any) -> None:
    """SystemExit unless both chose the same; the peer may break ties at the last score anyhow."""
    for row, (one, other) in enumerate(zip(ours.tolist(), theirs.tolist(), strict=True)):
        if len(set(one) - set(other)) > 5:
            raise SystemExit(f"topk: row {row} differs from the peer's in more than ties")


def silu(experts: int, rows: int, width: int, valid: int, peer: Any) -> Row:
    """`valid` rows of each expert; bf16 to e4m3 with fp32 scales in rows."""
    x = torch.randn(experts, rows, 2 * width, device="cuda").bfloat16()
    counts = torch.full((experts,), valid, device="cuda", dtype=torch.int32)
    codes, other_codes = (
        torch.zeros(experts, rows, width, device="cuda", dtype=torch.float8_e4m3fn)
        for _ in range(2)
    )
    scale, other = (torch.zeros(experts, rows, width // 128, device="cuda") for _ in range(2))
    theirs = peer and peer.silu(x, counts, other_codes, other, 10.0)
    return Row(
        f"silu_mul_quant {experts} experts, {valid} rows, H={width}",
        lambda: wavejit.silu_mul_quant(x, counts, limit=10.0, flavour="fn", out=(codes, scale)),
        theirs or None,
        experts * valid * (width * 5 + width // 128 * FLOAT),
        (scale, other),
    )


def rows(shapes: dict[str, list[list[int]]], peer: Any) -> list[Callable[[], Row]]:
    """The rows that benchmarks/shapes.toml names, made one at a time."""
    makers: dict[str, Callable[..., Row]] = {
        "hash_topk": hash_topk,
        "topk": topk,
        "silu": silu,
        "topk_v1": lambda *shape: topk(*shape, version=1),
    }
    return [
        lambda maker=maker, shape=shape: maker(*shape, peer)  # type: ignore[misc]
        for kind, maker in makers.items()
        for shape in shapes[kind]
    ]
