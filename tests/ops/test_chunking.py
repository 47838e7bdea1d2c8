"""Planner and compressor together: however a request is cut, its entries are the same bytes."""

from __future__ import annotations

from typing import Any

import plan_loop
import pytest
import torch
from compress_world import World, random_ape, random_rows

import wavejit
from wavejit.layouts import FlashMLA
from wavejit.testing import assert_same_bytes, inputs

LENGTH = 4000


def served(device: str, ratio: int, paged: bool, sizes: list[int]) -> Any:
    """All entries of one request of 4,000 tokens in chunks of `sizes` (0: a decode step)."""
    dim, ring = 64, 8 if ratio == 4 else 128
    scheme = wavejit.RequestRing(ring)
    if paged:
        scheme = plan_loop.on(device, plan_loop.paged_ring(2, 4096, 256, ring, seed=3))
    rows = (32 if paged else 2) * ring
    width = (4 if ratio == 4 else 2) * dim
    state = torch.full((rows // ratio, ratio, width), float("nan"), device=device)
    given = random_rows(dim, ratio).repeat(2, 1)[:LENGTH].to(device)
    ape, slot = random_ape(dim, ratio).to(device), torch.tensor([1], device=device)
    options, entries, at = {"head_dim": dim, "ratio": ratio}, [], 0
    for size in sizes:
        end = min(at + max(size, 1), LENGTH)
        seq, extend = torch.tensor([end]), torch.tensor([end - at])
        if size:
            plan = wavejit.compress_plan_prefill(
                ratio, slot, seq, extend, scheme=scheme, num_q_tokens=end - at
            )
        else:
            plan = wavejit.compress_plan_decode(ratio, slot, seq.to(device), scheme=scheme)
        out = wavejit.compress(state, given[at:end], ape, plan, **options)
        if size or end % ratio == 0:
            entries.append(out)
        at = end
    assert at == LENGTH
    return torch.cat(entries)


@pytest.mark.parametrize("paged", [True, False])
@pytest.mark.parametrize("ratio", [4, 128])
def test_four_thousand_tokens_however_cut(device: str, ratio: int, paged: bool) -> None:
    """In one piece, in random pieces, token by token, and both mixed."""
    whole = served(device, ratio, paged, [LENGTH])
    assert len(whole) == LENGTH // ratio
    steps = served(device, ratio, paged, [0] * LENGTH)
    assert_same_bytes(steps, whole, "token by token")
    for seed, most in enumerate((5, 90, 700)):
        sizes = inputs.integers(seed, (LENGTH,), 0, most).tolist()
        total, cut = 0, 0
        while total < LENGTH:
            total, cut = total + max(sizes[cut], 1), cut + 1
        pieces = served(device, ratio, paged, sizes[:cut])
        assert_same_bytes(pieces, whole, f"pieces of less than {most}")


@pytest.mark.parametrize("ratio, length", [(4, 700), (128, 900)])
def test_the_cache_however_cut(device: str, ratio: int, length: int) -> None:
    """compress_store in one piece, in random pieces and token by token: one cache."""
    layout, ring = FlashMLA(64, "fn"), wavejit.RequestRing(2 * ratio)
    width, dim = (4 if ratio == 4 else 2) * 512, 512
    given, ape = random_rows(dim, ratio)[:length].to(device), random_ape(dim, ratio).to(device)
    slot, places = torch.tensor([1], device=device), inputs.permutation(7, length).to(device)
    store = {
        "norm_weight": inputs.normal(5, (dim,)).to(device),
        "eps": 1e-6,
        "freqs_cis": inputs.uniform(6, (length, 64), -1, 1).to(device),
        "layout": layout,
    }

    def served(sizes: list[int]) -> Any:
        cache = layout.empty(length, device=device)
        state = torch.zeros(4, ratio, width, device=device)
        at = 0
        for size in sizes:
            end = at + max(size, 1)
            seq, extend = torch.tensor([end]), torch.tensor([end - at])
            plan: Any = wavejit.compress_plan_decode(ratio, slot, seq.to(device), scheme=ring)
            if size:
                plan = wavejit.compress_plan_prefill(
                    ratio, slot, seq, extend, scheme=ring, num_q_tokens=end - at
                )
            rows = (state, given[at:end], ape, plan)
            where = {"out_loc": places[at:end], "cache": cache, **store}
            wavejit.compress_store(*rows, head_dim=dim, ratio=ratio, **where)
            at = end
        assert at == length
        return cache

    whole = served([length])
    assert int(whole.count_nonzero()) > 500 * (length // ratio)
    assert_same_bytes(served([0] * length), whole, "token by token")
    sizes, total = [], 0
    for size in inputs.integers(3, (length,), 0, 90).tolist():
        sizes.append(min(size, length - total) if size else 0)
        total += max(sizes[-1], 1)
        if total >= length:
            break
    assert_same_bytes(served(sizes), whole, "in pieces")


@pytest.mark.parametrize("paged", [True, False])
@pytest.mark.parametrize("head_dim, length", [(128, 600), (512, 150)])
def test_every_chunking_gives_the_same_bytes(
    device: str, paged: bool, head_dim: int, length: int
) -> None:
    """In one piece, in random pieces and token by token (fp32 state)."""

    def fresh() -> World:
        scheme = wavejit.RequestRing(8)
        if paged:
            scheme = plan_loop.paged_ring(2, 640, 64, 8, seed=3)
        return World(device, head_dim=head_dim, scheme=scheme, with_planner=True)

    rows = random_rows(head_dim)[:length]
    whole = fresh()
    whole.chunk({1: length}, rows=rows)
    assert len(whole.entries[1]) == length // 4
    for seed in range(3):
        pieces = fresh()
        sizes = inputs.integers(seed, (length,), 1, (4, 13, 90)[seed]).tolist()
        while (at := len(pieces.rows[1])) < length:
            end = min(at + sizes[at], length)
            pieces.chunk({1: end - at}, rows=rows[at:end])
        _same_entries(pieces, whole)
    steps = fresh()
    for i in range(length):
        steps.decode([1], rows=rows[i : i + 1])
    _same_entries(steps, whole)


def _same_entries(one: World, other: World) -> None:
    assert one.entries[1].keys() == other.entries[1].keys()
    for end, row in one.entries[1].items():
        assert_same_bytes(row, other.entries[1][end], f"entry that ends at {end}")


def test_a_shared_prefix_starts_at_its_page(device: str) -> None:
    """A request whose first page is another's finds its first own entry's overlap there."""
    scheme = plan_loop.paged_ring(4, 512, 256, 8, seed=3)
    scheme.req_to_token[2, :256] = scheme.req_to_token[0, :256]
    world = World(device, scheme=scheme, with_planner=True)
    world.chunk({0: 300})
    world.rows[2] = world.rows[0][:256]
    assert len(world.chunk({2: 6})) == 1
    assert 260 in world.entries[2]
    world.decode([2])
    world.decode([2])
    assert 264 in world.entries[2]
