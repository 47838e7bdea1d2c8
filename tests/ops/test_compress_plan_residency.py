"""What a later compression reads is in the ring: simulated rings, moved along by plans."""

from __future__ import annotations

import numpy as np
import plan_loop
import pytest
import torch
from plan_loop import C_ROW, INVALID, W_ROW, launch_prefill

import wavejit
from wavejit.testing import inputs


class Rings:
    """Which token each state row holds, moved along by plans; counts reads of anything else.

    A token is its position and the step it came with: a rejected draft is not what comes after it.
    """

    def __init__(self, device: str, ratio: int, ring: int, requests: int, keep: int | None) -> None:
        self.device, self.ratio, self.keep = device, ratio, keep
        self.scheme = wavejit.RequestRing(ring)
        self.holds = np.full(requests * ring, -1, np.int64)
        self.prefix = np.zeros(requests, np.int64)
        self.came = np.zeros((requests, 1 << 14), np.int64)  # the step of every accepted token
        self.step = 0

    def chunk(self, extends: np.ndarray, accepted: np.ndarray) -> np.ndarray:
        """Plans one chunk of every request; how many rows each request misses."""
        requests = len(extends)
        seqs = self.prefix + extends
        total = int(extends.sum())
        batch = tuple(map(torch.from_numpy, (np.arange(requests), seqs, extends)))
        plans = launch_prefill(
            self.device, self.ratio, batch, self.scheme, tokens=total, rows=total, keep=self.keep
        )
        starts = np.cumsum(extends) - extends
        owner = np.repeat(np.arange(requests), extends)
        missing = np.zeros(requests, np.int64)
        entries = plan_loop.as_rows(plans[0], C_ROW)
        entries = entries[entries["seq"] != INVALID]
        window = 8 if self.ratio == 4 else 128
        ragged, from_ring = entries["where"] & 0xFFFF, entries["where"] >> 16
        seq = entries["seq"].astype(np.int64)
        for i in range(window):
            position = seq - window + i
            second = self.ratio == 4 and i >= 4
            page = entries["page1"] if second or self.ratio == 128 else entries["page0"]
            reads = (from_ring > i) & (position >= 0)
            row = page.astype(np.int64) * self.ratio + i % self.ratio
            of = owner[ragged]
            wanted = self.came[of, np.where(reads, position, 0)] << 32 | position
            lost = reads & (self.holds[np.where(reads, row, 0)] != wanted)
            np.add.at(missing, of[lost], 1)
        writes = plan_loop.as_rows(plans[1], W_ROW)
        writes = writes[writes["ragged"] != INVALID]
        of = owner[writes["ragged"]]
        position = self.prefix[of] + writes["ragged"] - starts[of]
        self.holds[writes["loc"]] = self.step << 32 | position
        for i, (prefix, count) in enumerate(zip(self.prefix, accepted, strict=True)):
            self.came[i, prefix : prefix + count] = self.step
        self.prefix += accepted
        self.step += 1
        return missing


def lost_rows(
    device: str, ratio: int, ring: int, widths: list[int], *, keep: int | None = None
) -> set[int]:
    """The verify widths that miss a row, after 24 steps with several ways of accepting."""
    policies = ("one", "all", "random", "random", "most")
    width = np.repeat(np.array(widths), len(policies))
    policy = list(policies) * len(widths)
    rings = Rings(device, ratio, ring, len(width), keep)
    missing = np.zeros(len(width), np.int64)
    for step in range(24):
        random = inputs.integers(1000 * ring + step, (len(width),), 0, 1 << 30).numpy()
        if step < 3:  # a prompt in chunks of any size
            extends = 1 + random % (3 * 128 // ratio + 40)
            if step == 2:  # that ends shortly before a group does
                extends += (-(rings.prefix + extends) - 1 - random % 12) % ratio
            accepted = extends
        else:
            extends = width
            choice = {"one": 1 + 0 * width, "all": width, "most": np.maximum(width - 1, 1)}
            accepted = np.array(
                [choice.get(p, 1 + random % width)[i] for i, p in enumerate(policy)]
            )
        missing += rings.chunk(extends, accepted)
    return set(width[missing > 0].tolist())


@pytest.mark.parametrize("ratio, ring", [(4, 16), (128, 256)])
def test_every_row_a_verify_may_need_is_resident(device: str, ratio: int, ring: int) -> None:
    window = 8 if ratio == 4 else 128
    widest = ring - window + 2
    assert widest == {16: 10, 256: 130}[ring]
    widths = list(range(1, widest + 1))
    assert lost_rows(device, ratio, ring, widths) == set()
    assert lost_rows(device, ratio, ring, [widest + 1]) == {widest + 1}


@pytest.mark.parametrize("ratio, ring, widths", [(4, 16, [5, 10]), (128, 256, [10, 100])])
def test_without_the_kept_rows_verifies_lose_rows(
    device: str, ratio: int, ring: int, widths: list[int]
) -> None:
    assert lost_rows(device, ratio, ring, widths, keep=0) == set(widths)
    capped = min(ring - ratio, 4)  # an earlier rule, which fails beyond 4 drafts
    assert lost_rows(device, ratio, ring, widths, keep=capped) == set(widths)


def test_the_smallest_ring_serves_chunks_and_decode(device: str) -> None:
    """Without speculation (everything accepted) 8 rows and 128 rows are enough."""
    for ratio, ring in ((4, 8), (128, 128)):
        rings = Rings(device, ratio, ring, 1, None)
        for step in range(60):
            extend = 1 + inputs.integers(step, (1,), 0, (1, 9, 300)[step % 3]).numpy()
            assert rings.chunk(extend, extend).tolist() == [0]
