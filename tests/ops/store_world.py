"""A batch that is compressed and stored: its arguments, the same behind sentinels, and the rows of
a cache by exact arithmetic, in the order that docs/numerics.md states.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import plan_loop
import torch

import wavejit
from wavejit.layouts import Bf16Rows, FlashMLA, Indexer, IndexerFp4, TwoPool
from wavejit.testing import check_guards, guarded, inputs

LAYOUTS = {
    "FlashMLA": FlashMLA(64, "fn"),
    "FlashMLA-fnuz-2": FlashMLA(2, "fnuz"),
    "Bf16Rows": Bf16Rows(flavour="fn"),
    "TwoPool": TwoPool(flavour="fnuz"),
    "Indexer": Indexer(48, "fn"),
    "Indexer-shuffled": Indexer(64, "fnuz", preshuffled=True),
    "IndexerFp4": IndexerFp4(7),
}
POSITIONS = 640
EPS = 1e-6


def parts(cache: Any) -> tuple[Any, ...]:
    return cache if isinstance(cache, tuple) else (cache,)


@dataclass
class Batch:
    """A decode step or a chunk of requests in every phase, 30 % of its rows invalid."""

    ratio: int
    layout: Any
    is_decode: bool
    state: Any = torch.float32
    input: Any = torch.float32
    weight_dtype: Any = torch.float32
    loc_dtype: Any = torch.int64
    seed: int = 0
    requests: int = 9
    plan: Any = field(init=False)

    def __post_init__(self) -> None:
        r, dim = self.ratio, self.layout.DIMS
        self.dim, self.width = dim, (4 if r == 4 else 2) * dim
        ring = wavejit.RequestRing(2 * r)
        rng = np.random.default_rng(self.seed)
        count = self.requests
        slots = list(range(count))
        self.kv_buffer = self._rows(1, count * 2 * r).reshape(-1, r, self.width).to(self.state)
        if self.is_decode:
            seqs = [r * int(k) for k in rng.integers(1, 5, count)]
            seqs[3] += 1
            plan, self.tokens = plan_loop.decode_plan("cpu", slots, seqs, ring, ratio=r), count
        else:
            extends = [int(k) for k in rng.integers(1, 2 * r + 3, count)]
            seqs = [extend + int(k) for extend, k in zip(extends, rng.integers(0, 2 * r, count))]
            plan = plan_loop.prefill_plan("cpu", slots, seqs, extends, ring, ratio=r)
            self.tokens = sum(extends)
        self.plan = plan_loop.mapped(plan, lambda rows: self._spoiled(rows, rng))
        self.kv_input = self._rows(2, self.tokens).to(self.input)
        self.ape = inputs.normal(self.seed + 3, (8 if r == 4 else 128, dim)).to(self.input)
        self.norm_weight = inputs.normal(self.seed + 4, (dim,)).to(self.weight_dtype)
        self.angles = inputs.uniform(self.seed + 5, (POSITIONS, 64), -1, 1)
        slots_there = self.layout.capacity(self.layout.empty(self.tokens + 5))
        self.out_loc = torch.from_numpy(rng.permutation(slots_there)[: self.tokens])
        bad = rng.random(self.tokens) < 0.3
        wrong = [-1, -(1 << 31), slots_there, (1 << 31) - 1]
        self.out_loc[torch.from_numpy(bad)] = torch.tensor(rng.choice(wrong, int(bad.sum())))
        self.out_loc = self.out_loc.to(self.loc_dtype)

    def _rows(self, seed: int, count: int) -> Any:
        rows = inputs.normal(self.seed + seed, (count, self.width))
        rows[:, self.width // 2 :] *= 3
        return rows

    @staticmethod
    def _spoiled(rows: Any, rng: Any) -> Any:
        """Three in ten rows of a plan that compresses replaced: marked invalid, or any numbers."""
        if rows.shape[1] != 16:
            return rows
        words = np.ascontiguousarray(rows.numpy()).view("<u4").copy()
        for row in words:
            if rng.random() < 0.15:
                row[0] = 0xFFFFFFFF
            elif rng.random() < 0.15:
                row[1:] = rng.integers(0, 1 << 32, 3, dtype=np.uint32)
        return torch.from_numpy(words.view(np.uint8))

    def cache(self) -> Any:
        """Random bytes, so that what must stay is seen to stay."""
        made = []
        for i, part in enumerate(parts(self.layout.empty(self.tokens + 5))):
            noise = inputs.integers(40 + i, (part.nbytes,), 0, 256, torch.uint8)
            made.append(noise.view(part.dtype).reshape(part.shape))
        return tuple(made) if len(made) > 1 else made[0]

    @property
    def store(self) -> dict[str, Any]:
        """What both ops take to finish rows, but for the cache."""
        return {
            "norm_weight": self.norm_weight,
            "eps": EPS,
            "freqs_cis": self.angles,
            "out_loc": self.out_loc,
            "layout": self.layout,
            "ratio": self.ratio,
        }


def placed(device: str, tree: Any, boxes: list[Any], name: str = "argument") -> Any:
    """The tensors of `tree` on the device, each between sentinels that `boxes` checks."""
    if isinstance(tree, dict):
        return {key: placed(device, one, boxes, key) for key, one in tree.items()}
    if isinstance(tree, tuple):
        return tuple(placed(device, one, boxes, name) for one in tree)
    if hasattr(tree, "is_decode"):
        return plan_loop.mapped(tree, lambda rows: placed(device, rows, boxes, "plan"))
    if not isinstance(tree, torch.Tensor):
        return tree
    boxes.append(guarded(tree, device=device, name=name))
    return boxes[-1].tensor


def run(device: str, op: Any, given: dict[str, Any], changes: tuple[str, ...]) -> dict[str, Any]:
    """Calls `op` with copies of `given` between sentinels; what it changed, on the CPU.

    Everything else must be as it was.
    """
    boxes: list[Any] = []
    there = placed(device, given, boxes)
    result = op(**there)
    check_guards(*boxes)
    for name, value in given.items():
        if name in changes or not isinstance(value, torch.Tensor):
            continue
        assert torch.equal(there[name].cpu(), value), name
    found = {name: there[name] for name in changes}
    found["result"] = result
    return {name: tuple(one.cpu() for one in parts(value)) for name, value in found.items()}


# --- exact arithmetic ---------------------------------------------------------------------------


def finished_exactly(x: Any, weight: Any, angles: Any, layout: Any) -> Any:
    """A pooled fp32 row as it is quantised: every operation rounded to fp32 once, in order."""
    one = np.float32
    row, w = x.float().numpy(), weight.float().numpy()
    groups = row.reshape(-1, 4)
    sums = groups[:, 0] * groups[:, 0]
    for i in range(1, 4):  # 64 bits hold a product of fp32 exactly
        wide = groups[:, i].astype(np.longdouble)
        sums = (wide * wide + sums.astype(np.longdouble)).astype(one)
    while len(sums) > 1:
        sums = sums[0::2] + sums[1::2]
    inverse = one(1) / np.sqrt(sums[0] / one(len(row)) + one(EPS))
    y = (row * inverse) * w
    a, b = y[-64::2].copy(), y[-63::2].copy()
    c, s = angles.numpy()[0::2], angles.numpy()[1::2]
    y[-64::2], y[-63::2] = a * c - b * s, a * s + b * c
    assert y.dtype == one
    if layout.DIMS == 512:
        return torch.from_numpy(y).to(torch.bfloat16).float()
    step = 1
    while step < 128:
        pairs = y.reshape(-1, 2, step)
        y = np.stack((pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]), axis=1).reshape(-1)
        step *= 2
    return torch.from_numpy(y * one(2**-3.5))
