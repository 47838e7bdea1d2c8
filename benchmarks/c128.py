"""The c128 rows: request rings, the peer's calls on the same tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from c4 import FLOAT, Row

import wavejit

PAGE, RING = 256, 128


def tables(requests: int) -> wavejit.PagedRing:
    """What the peer's planner asks for beside request rings, and does not use."""
    table = torch.zeros(requests, PAGE, dtype=torch.int32, device="cuda")
    return wavejit.PagedRing(table, torch.zeros(1, dtype=torch.int64, device="cuda"), PAGE, RING)


def tensors(requests: int, tokens: int, head_dim: int) -> tuple[Any, Any, Any]:
    return (
        torch.randn(requests + 1, 128, 2 * head_dim, device="cuda"),
        torch.randn(tokens, 2 * head_dim, device="cuda"),
        torch.randn(128, head_dim, device="cuda"),
    )


def decode(requests: int, head_dim: int, ending: int, peer: Any) -> Row:
    """A step in which `ending` of the requests end a group, spread evenly."""
    state, kv, ape = tensors(requests, requests, head_dim)
    slots = torch.arange(requests, device="cuda")
    ends = slots % (requests // ending) == 0
    lengths = torch.where(ends, 128, 1 + slots % 127)
    ring = wavejit.RequestRing(RING)
    plan = wavejit.compress_plan_decode(128, slots, lengths, scheme=ring)
    out, other = (torch.zeros(requests, head_dim, device="cuda") for _ in range(2))
    theirs = peer and peer.decode(
        state, kv, ape, other, slots, lengths, tables(requests), head_dim, 128
    )
    rest = "" if ending == requests else f", {ending} end a group"
    return Row(
        f"c128 decode D={head_dim}, {requests} requests{rest}",
        lambda: wavejit.compress(state, kv, ape, plan, head_dim=head_dim, ratio=128, out=out),
        theirs or None,
        # own row read and written; 127 rows read and one row of output where a group ends
        FLOAT * head_dim * (requests * 4 + ending * (127 * 2 + 1)),
        (out, other),
    )


def prefill(tokens: int, head_dim: int, peer: Any) -> Row:
    """One request's whole prompt in one chunk: compress and write."""
    state, kv, ape = tensors(1, tokens, head_dim)
    slots = torch.zeros(1, dtype=torch.int64, device="cuda")
    length = torch.tensor([tokens])
    plan = wavejit.compress_plan_prefill(
        128, slots, length, length, scheme=wavejit.RequestRing(RING), num_q_tokens=tokens
    )
    out, other = (torch.zeros(tokens // 128, head_dim, device="cuda") for _ in range(2))
    theirs = peer and peer.prefill(
        state, kv, ape, other, slots, length, tables(1), head_dim, tokens, 128
    )
    return Row(
        f"c128 prefill D={head_dim}, {tokens} tokens",
        lambda: wavejit.compress(state, kv, ape, plan, head_dim=head_dim, ratio=128, out=out),
        theirs or None,
        FLOAT * head_dim * (tokens * 2 + tokens // 128),
        (out, other),
    )


def rows(shapes: dict[str, list[list[int]]], peer: Any) -> list[Callable[[], Row]]:
    """The rows that benchmarks/shapes.toml names, made one at a time."""
    makers: dict[str, Callable[..., Row]] = {"c128_decode": decode, "c128_prefill": prefill}
    return [
        lambda maker=maker, shape=shape: maker(*shape, peer)  # type: ignore[misc]
        for kind, maker in makers.items()
        for shape in shapes[kind]
    ]
