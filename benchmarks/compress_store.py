"""compress_store beside the peer's two launches, on the same tensors."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import c4
import c128
import torch
from c4 import FLOAT, Row

import wavejit
from wavejit.layouts import FlashMLA, Indexer

POSITIONS = 1 << 17
EPS = 1e-6


def _layout(ratio: int, head_dim: int) -> Any:
    return Indexer(64, "fn") if head_dim == 128 else FlashMLA(256 // ratio, "fn")


def _finishing(ratio: int, head_dim: int, locs: Any, slots: int) -> tuple[dict[str, Any], Any]:
    """What both finish rows with, and a second cache for the peer."""
    layout = _layout(ratio, head_dim)
    angles = torch.rand(POSITIONS, 32, device="cuda")
    given = {
        "norm_weight": torch.randn(head_dim, device="cuda"),
        "eps": EPS,
        "freqs_cis": torch.polar(torch.ones_like(angles), angles),
        "out_loc": locs,
        "cache": layout.empty(slots, device="cuda"),
        "layout": layout,
        "ratio": ratio,
    }
    return given, layout.empty(slots, device="cuda")


def _row(
    name: str,
    tensors: tuple[Any, Any, Any],
    plan: Any,
    finishing: tuple[dict[str, Any], Any],
    theirs: Callable[..., Callable[[], object]] | None,
    moved: int,
) -> Row:
    given, other = finishing
    dim = given["norm_weight"].shape[0]
    return Row(
        name,
        lambda: wavejit.compress_store(*tensors, plan, head_dim=dim, **given),
        theirs({**given, "cache": other}) if theirs else None,
        moved,
        (given["cache"], other),
    )


def decode(ratio: int, requests: int, head_dim: int, peer: Any) -> Row:
    """A step in which every request ends a group."""
    slots = torch.arange(requests, device="cuda")
    if ratio == 4:
        rings, rows = c4.scheme(requests, c4.PAGE)
        tensors, length = c4.tensors(rows, requests, head_dim), 124
        ours = rings
    else:
        rings, tensors = c128.tables(requests), c128.tensors(requests, requests, head_dim)
        length, ours = 128, wavejit.RequestRing(c128.RING)
    lengths = torch.full((requests,), length, device="cuda")
    plan = wavejit.compress_plan_decode(ratio, slots, lengths, scheme=ours)
    out = torch.zeros(requests, head_dim, device="cuda")
    theirs = peer and partial(
        peer.decode_store, *tensors, out, slots, lengths, rings, head_dim, ratio
    )
    window = 14 * head_dim if ratio == 4 else 254 * head_dim  # beside the own row
    own = 2 * tensors[1].shape[1]
    layout = _layout(ratio, head_dim)
    return _row(
        f"c{ratio} compress+store decode D={head_dim}, {requests} requests",
        tensors,
        plan,
        _finishing(ratio, head_dim, slots, requests + 1),
        theirs or None,
        requests * (FLOAT * (own + window) + layout.page_bytes // layout.slots),
    )


def prefill(ratio: int, tokens: int, head_dim: int, peer: Any) -> Row:
    """One request's whole prompt in one chunk."""
    slots = torch.zeros(1, dtype=torch.int64, device="cuda")
    length = torch.tensor([tokens])
    if ratio == 4:
        rings, rows = c4.scheme(1, -(-tokens // c4.PAGE) * c4.PAGE)
        tensors, ours = c4.tensors(rows, tokens, head_dim), rings
    else:
        rings, tensors = c128.tables(1), c128.tensors(1, tokens, head_dim)
        ours = wavejit.RequestRing(c128.RING)
    plan = wavejit.compress_plan_prefill(
        ratio, slots, length, length, scheme=ours, num_q_tokens=tokens
    )
    out = torch.zeros(tokens // ratio, head_dim, device="cuda")
    locs = torch.arange(tokens, device="cuda") // ratio
    theirs = peer and partial(
        peer.prefill_store, *tensors, out, slots, length, rings, head_dim, tokens, ratio
    )
    layout = _layout(ratio, head_dim)
    stored = tokens // ratio * layout.page_bytes // layout.slots
    return _row(
        f"c{ratio} compress+store prefill D={head_dim}, {tokens} tokens",
        tensors,
        plan,
        _finishing(ratio, head_dim, locs, tokens // ratio + 1),
        theirs or None,
        tokens * FLOAT * tensors[1].shape[1] + stored,
    )


def rows(shapes: dict[str, list[list[int]]], peer: Any) -> list[Callable[[], Row]]:
    """The rows that benchmarks/shapes.toml names, made one at a time."""
    makers: dict[str, Callable[..., Row]] = {
        "compress_store_decode": decode,
        "compress_store_prefill": prefill,
    }
    return [
        partial(maker, *shape, peer) for kind, maker in makers.items() for shape in shapes[kind]
    ]
