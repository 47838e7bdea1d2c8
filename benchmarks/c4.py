"""The c4 rows: inputs, our calls, the peer's calls on the same tensors, and the bytes they move."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

import wavejit

PAGE, RING = 256, 8
FLOAT = 4  # bytes


@dataclass
class Row:
    """One line of the table. `theirs` is None without the peer; `bytes` must move in a call.

    outputs: ours and the peer's after a call, or functions of no argument that return them.
    agreement: how far they may be apart; the peer uses fast math.
    """

    name: str
    ours: Callable[[], object]
    theirs: Callable[[], object] | None
    bytes: int
    outputs: tuple[Any, Any]  # or functions that make them
    agreement: float = 2e-3  # the peer uses fast math


def scheme(requests: int, length: int) -> tuple[wavejit.PagedRing, int]:
    """A paged scheme with shuffled pages, and the state rows it addresses."""
    slots = requests * length
    full = torch.arange(slots)
    pages = torch.randperm(slots // PAGE, generator=torch.Generator().manual_seed(1))
    to_swa = pages[full // PAGE] * PAGE + full % PAGE
    table = full.int().reshape(requests, length)
    return wavejit.PagedRing(table.cuda(), to_swa.cuda(), PAGE, RING), slots // PAGE * RING


def tensors(rows: int, tokens: int, head_dim: int) -> tuple[Any, Any, Any]:
    state = torch.randn(rows // 4 + 4, 4, 4 * head_dim, device="cuda")
    return (
        state,
        torch.randn(tokens, 4 * head_dim, device="cuda"),
        torch.randn(8, head_dim, device="cuda"),
    )


def decode(requests: int, head_dim: int, peer: Any) -> Row:
    """A step in which every request ends a group."""
    rings, rows = scheme(requests, PAGE)
    state, kv, ape = tensors(rows, requests, head_dim)
    slots = torch.arange(requests, device="cuda")
    lengths = torch.full((requests,), 124, device="cuda")
    plan = wavejit.compress_plan_decode(4, slots, lengths, scheme=rings)
    out, other = (torch.zeros(requests, head_dim, device="cuda") for _ in range(2))
    theirs = peer and peer.decode(state, kv, ape, other, slots, lengths, rings, head_dim)
    return Row(
        f"c4 decode D={head_dim}, {requests} requests",
        lambda: wavejit.compress(state, kv, ape, plan, head_dim=head_dim, ratio=4, out=out),
        theirs or None,
        # own row read and written, seven rows' two blocks read, one row of output
        requests * FLOAT * (8 * head_dim + 14 * head_dim + head_dim),
        (out, other),
    )


def prefill(tokens: int, head_dim: int, peer: Any) -> Row:
    """One request's whole prompt in one chunk: compress and write."""
    rings, rows = scheme(1, tokens)
    state, kv, ape = tensors(rows, tokens, head_dim)
    slots = torch.zeros(1, dtype=torch.int64, device="cuda")
    length = torch.tensor([tokens])
    plan = wavejit.compress_plan_prefill(
        4, slots, length, length, scheme=rings, num_q_tokens=tokens
    )
    out, other = (torch.zeros(tokens // 4, head_dim, device="cuda") for _ in range(2))
    theirs = peer and peer.prefill(state, kv, ape, other, slots, length, rings, head_dim, tokens)
    return Row(
        f"c4 prefill D={head_dim}, {tokens} tokens",
        lambda: wavejit.compress(state, kv, ape, plan, head_dim=head_dim, ratio=4, out=out),
        theirs or None,
        tokens * FLOAT * 4 * head_dim + tokens // 4 * FLOAT * head_dim,
        (out, other),
    )


def planner(requests: int, extend: int, peer: Any) -> Row:
    """The plan of a chunk from lengths on the GPU."""
    rings, _ = scheme(requests, 512)
    slots = torch.arange(requests, device="cuda")
    lengths = torch.randint(extend, 500, (requests,), device="cuda")
    extends = torch.full((requests,), extend, device="cuda")
    tokens = requests * extend
    theirs = peer and peer.plan(slots, lengths, extends, rings, tokens)
    return Row(
        f"c4 prefill plan, {requests} requests x {extend}",
        lambda: wavejit.compress_plan_prefill(
            4, slots, lengths, extends, scheme=rings, num_q_tokens=tokens
        ),
        theirs or None,
        0,
        (None, None),
    )


def host_plan(tokens: int) -> Callable[[], object]:
    """The plan of one request's prompt from lengths on the CPU."""
    rings, _ = scheme(1, tokens)
    slots = torch.zeros(1, dtype=torch.int64, device="cuda")
    length = torch.tensor([tokens])
    return lambda: wavejit.compress_plan_prefill(
        4, slots, length, length, scheme=rings, num_q_tokens=tokens
    )


def rows(shapes: dict[str, list[list[int]]], peer: Any) -> list[Callable[[], Row]]:
    """The rows that benchmarks/shapes.toml names, made one at a time."""
    makers: dict[str, Callable[..., Row]] = {
        "decode": decode,
        "prefill": prefill,
        "planner": planner,
    }
    return [
        lambda maker=makers[kind], shape=shape: maker(*shape, peer)  # type: ignore[misc]
        for kind, group in shapes.items()
        if kind in makers
        for shape in group
    ]
