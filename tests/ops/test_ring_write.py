"""The ring write behind a chunk of many requests: what the chunk reads is still there."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from compress_world import random_ape, random_rows

import wavejit
from wavejit.layouts import FlashMLA, Indexer
from wavejit.testing import assert_same_bytes, inputs

# Of each request: tokens before the chunk and in it. The chunk's first entries read the ring, and
# its last tokens overwrite what they read.
SIZES = {4: (6, 13), 128: (100, 190)}
# Ratio, head dim, requests on a GPU and on a CPU, where launches do not overlap. Of c4, chunks of
# few entries let the ring write begin at once; behind the others it stores without waiting.
CASES = [(4, 512, 800, 5), (4, 512, 60, 5), (4, 128, 900, 900), (128, 512, 60, 5)]


class Served:
    """Requests side by side, compressed chunk by chunk, each from its own ring."""

    def __init__(self, device: str, ratio: int, dim: int, requests: int, fused: bool) -> None:
        self.device, self.ratio, self.dim, self.fused = device, ratio, dim, fused
        self.requests = requests
        self.length = sum(SIZES[ratio])
        blocks = 4 if ratio == 4 else 2
        ring = 8 if ratio == 4 else 128
        self.scheme = wavejit.RequestRing(ring)
        count = self.requests * ring // ratio
        self.state = torch.full((count, ratio, blocks * dim), float("nan"), device=device)
        rows = random_rows(dim, ratio)[: self.length].to(device)
        scales = inputs.uniform(3, (self.requests, 1, 1), 0.5, 2.0).to(device)
        self.rows = rows * scales  # [requests, length, width]
        self.ape = random_ape(dim, ratio).to(device)
        self.layout = FlashMLA(64, "fn") if dim == 512 else Indexer(64, "fn")
        self.cache = self.layout.empty(self.requests * self.length, device=device)

    def chunk(self, begin: int, end: int) -> Any:
        """Tokens `begin` to `end` of every request: the entries' rows, by request."""
        count = self.requests
        plan = wavejit.compress_plan_prefill(
            self.ratio,
            torch.arange(count, device=self.device),
            torch.full((count,), end),
            torch.full((count,), end - begin),
            scheme=self.scheme,
            num_q_tokens=count * (end - begin),
        )
        given = self.rows[:, begin:end].reshape(count * (end - begin), -1)
        sizes = {"head_dim": self.dim, "ratio": self.ratio}
        if not self.fused:
            out = wavejit.compress(self.state, given, self.ape, plan, **sizes)
            return out.reshape(count, -1, self.dim)
        places = torch.arange(count * self.length, device=self.device).reshape(count, -1)
        wavejit.compress_store(
            self.state,
            given,
            self.ape,
            plan,
            **sizes,
            norm_weight=torch.ones(self.dim, device=self.device),
            eps=1e-6,
            freqs_cis=torch.ones((self.length, 64), device=self.device),
            out_loc=places[:, begin:end].reshape(-1).contiguous(),
            cache=self.cache,
            layout=self.layout,
        )
        return None


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("ratio, dim, on_gpu, on_cpu", CASES)
def test_a_ring_write_leaves_what_its_chunk_reads(
    device: str, ratio: int, dim: int, on_gpu: int, on_cpu: int, fused: bool
) -> None:
    before, _ = SIZES[ratio]
    requests = on_gpu if device == "cuda" else on_cpu
    whole, pieces = (Served(device, ratio, dim, requests, fused) for _ in range(2))
    empty = whole.cache.clone()
    expected = whole.chunk(0, whole.length)
    assert fused != torch.equal(empty, whole.cache)
    first = pieces.chunk(0, before)
    state, cache = pieces.state.clone(), pieces.cache.clone()
    for turn in range(5 if device == "cuda" else 1):
        pieces.state.copy_(state)
        pieces.cache.copy_(cache)
        second = pieces.chunk(before, whole.length)
        if fused:
            assert_same_bytes(pieces.cache, whole.cache, f"cache, turn {turn}")
        else:
            assert_same_bytes(torch.cat([first, second], 1), expected, f"rows, turn {turn}")
