"""The ring write behind a chunk of many requests: what the chunk reads is still there."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from compress_world import random_ape, random_rows

import wavejit
from wavejit.layouts import FlashMLA
from wavejit.testing import assert_same_bytes, inputs

DIM = 512
# Of each request: tokens before the chunk and in it. The chunk's first entries read the ring, and
# its last tokens overwrite what they read.
SIZES = {4: (6, 13), 128: (100, 190)}
REQUESTS = {4: 800, 128: 60}  # on a GPU, where launches overlap


class Served:
    """Requests side by side, compressed chunk by chunk, each from its own ring."""

    def __init__(self, device: str, ratio: int, fused: bool) -> None:
        self.device, self.ratio, self.fused = device, ratio, fused
        self.requests = REQUESTS[ratio] if device == "cuda" else 5
        self.length = sum(SIZES[ratio])
        blocks = 4 if ratio == 4 else 2
        ring = 8 if ratio == 4 else 128
        self.scheme = wavejit.RequestRing(ring)
        count = self.requests * ring // ratio
        self.state = torch.full((count, ratio, blocks * DIM), float("nan"), device=device)
        rows = random_rows(DIM, ratio)[: self.length].to(device)
        scales = inputs.uniform(3, (self.requests, 1, 1), 0.5, 2.0).to(device)
        self.rows = rows * scales  # [requests, length, width]
        self.ape = random_ape(DIM, ratio).to(device)
        self.layout = FlashMLA(64, "fn")
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
        sizes = {"head_dim": DIM, "ratio": self.ratio}
        if not self.fused:
            out = wavejit.compress(self.state, given, self.ape, plan, **sizes)
            return out.reshape(count, -1, DIM)
        places = torch.arange(count * self.length, device=self.device).reshape(count, -1)
        wavejit.compress_store(
            self.state,
            given,
            self.ape,
            plan,
            **sizes,
            norm_weight=torch.ones(DIM, device=self.device),
            eps=1e-6,
            freqs_cis=torch.ones((self.length, 64), device=self.device),
            out_loc=places[:, begin:end].reshape(-1).contiguous(),
            cache=self.cache,
            layout=self.layout,
        )
        return None


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("ratio", [4, 128])
def test_a_ring_write_leaves_what_its_chunk_reads(device: str, ratio: int, fused: bool) -> None:
    before, _ = SIZES[ratio]
    whole = Served(device, ratio, fused)
    expected = whole.chunk(0, whole.length)
    pieces = Served(device, ratio, fused)
    first = pieces.chunk(0, before)
    kept = pieces.state.clone()
    for turn in range(5 if device == "cuda" else 1):
        pieces.state.copy_(kept)
        second = pieces.chunk(before, whole.length)
        if fused:
            assert_same_bytes(pieces.cache, whole.cache, f"cache, turn {turn}")
        else:
            assert_same_bytes(torch.cat([first, second], 1), expected, f"rows, turn {turn}")
