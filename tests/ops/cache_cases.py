"""What the tests of the cache ops share: instances of every layout, rows, caches of sentinels."""

from __future__ import annotations

from typing import Any

import torch

from wavejit.layouts import Bf16Rows, FlashMLA, Indexer, IndexerFp4, Layout, TwoPool
from wavejit.testing import guarded, inputs
from wavejit.testing.guard import Guarded

FILL = 0xAB
FLOAT, BF16, HALF = torch.float32, torch.bfloat16, torch.float16
INT_MIN, INT_MAX = -(1 << 31), (1 << 31) - 1

# Every layout, both flavours and maxima, what a NaN becomes, floors, page sizes that are powers of
# two and not, with the dtype of the rows; few enough to compile.
STORES: dict[str, tuple[Layout, Any]] = {
    "flashmla-64": (FlashMLA(64, "fn"), BF16),
    "flashmla-2": (FlashMLA(2, "fn", amax_floor=1e-8), FLOAT),
    "flashmla-100": (FlashMLA(100, "fnuz", nan="code"), BF16),
    "flashmla-1": (FlashMLA(1, "fnuz", fp8_max=224), HALF),
    "rows": (Bf16Rows(), BF16),
    "rows-fp32": (Bf16Rows(), FLOAT),
    "two-pool": (TwoPool(flavour="fn", nan="code"), BF16),
    "two-pool-fnuz": (TwoPool(flavour="fnuz"), FLOAT),
    "indexer-64": (Indexer(64, "fn"), BF16),
    "indexer-7": (Indexer(7, "fnuz", fp8_max=224, nan="code"), FLOAT),
    "indexer-shuffled-48": (Indexer(48, "fnuz", preshuffled=True), BF16),
    "indexer-fp4-64": (IndexerFp4(64), BF16),
    "indexer-fp4-7": (IndexerFp4(7, amax_floor=1e-10), FLOAT),
}


def settled(name: str) -> Layout:
    found: Layout = STORES[name][0].at()
    return found


def rows(seed: int, count: int, layout: Layout, dtype: Any) -> Any:
    """Ordinary rows; every third has NaN, infinities and numbers of every size among them."""
    x = inputs.normal(seed, (count, layout.DIMS), 3.0)
    scale = 2.0 ** inputs.integers(seed + 1, (count, layout.DIMS // 64), -30, 12).float()
    x = x * scale.repeat_interleave(64, dim=1)
    wild = inputs.any_float(seed + 2, (count, layout.DIMS))
    rare = inputs.integers(seed + 3, (count, layout.DIMS), 0, 40) == 0
    rare &= (torch.arange(count) % 3 == 0)[:, None]
    return torch.where(rare, wild, x).to(dtype)


def filled(layout: Layout, slots: int, device: str) -> tuple[Any, list[Guarded]]:
    """A cache whose every byte is FILL, between sentinels, its pages further apart than need be."""
    found = []
    made = layout.empty(slots)
    for pool in made if isinstance(made, tuple) else (made,):
        content = pool.view(torch.uint8).fill_(FILL).view(pool.dtype)
        apart = pool.shape[1] + 64 // pool.element_size()
        found.append(guarded(content, device=device, row_stride=apart, name="cache"))
    tensors = tuple(guard.tensor for guard in found)
    return tensors[0] if len(tensors) == 1 else tensors, found


def on_cpu(cache: Any) -> Any:
    """A copy of the cache's pools on the CPU."""
    if isinstance(cache, tuple):
        return tuple(pool.cpu().clone() for pool in cache)
    return cache.cpu().clone()


def raw(cache: Any) -> list[Any]:
    """The pools' bytes on the CPU."""
    pools = cache if isinstance(cache, tuple) else (cache,)
    return [pool.cpu().contiguous().view(torch.uint8) for pool in pools]
