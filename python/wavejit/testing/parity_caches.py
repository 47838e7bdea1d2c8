"""The golden cases of the cache ops: every layout and both flavours, shared out among the ops."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from wavejit.layouts import Bf16Rows, FlashMLA, Indexer, IndexerFp4, Layout, TwoPool
from wavejit.testing import digest, inputs

_ROWS, _SLOTS = 13, 32
LAYOUTS: dict[str, Layout] = {
    "flashmla-64-fn": FlashMLA(64, "fn"),
    "flashmla-2-fnuz": FlashMLA(2, "fnuz"),
    "flashmla-5-fnuz-224": FlashMLA(5, "fnuz", fp8_max=224, amax_floor=1e-8, nan="code"),
    "rows": Bf16Rows(),
    "two-pool-fn": TwoPool(flavour="fn"),
    "two-pool-fnuz": TwoPool(flavour="fnuz"),
    "indexer-64-fn": Indexer(64, "fn"),
    "indexer-7-fnuz": Indexer(7, "fnuz"),
    "indexer-shuffled-16-fnuz": Indexer(16, "fnuz", preshuffled=True),
    "indexer-shuffled-32-fn": Indexer(32, "fn", preshuffled=True),
    "indexer-fp4-64": IndexerFp4(64),
    "indexer-fp4-7": IndexerFp4(7, amax_floor=1e-8),
}
# Each case is four compilations in every run of the tests; together the ops have every layout.
_STORED = (
    *("flashmla-64-fn", "flashmla-5-fnuz-224", "rows", "two-pool-fn", "indexer-7-fnuz"),
    *("indexer-shuffled-16-fnuz", "indexer-fp4-64"),
)
_LOADED = (
    *("flashmla-64-fn", "flashmla-2-fnuz", "rows", "two-pool-fnuz", "indexer-64-fn"),
    *("indexer-shuffled-32-fn", "indexer-fp4-7"),
)
_CONVERTED = (
    *("flashmla-64-fn", "flashmla-2-fnuz", "two-pool-fn", "indexer-shuffled-32-fn"),
    "indexer-7-fnuz",
)
_DTYPES = {
    "flashmla-2-fnuz": "float32",
    "indexer-7-fnuz": "float32",
    "indexer-fp4-7": "float32",
    "two-pool-fn": "float16",
}


def places(count: int) -> Any:
    """Locations of which some lie outside of the cache."""
    import torch

    loc = inputs.permutation(3, _SLOTS)[:count].to(torch.int32)
    loc[4], loc[7], loc[9] = -1, (1 << 31) - 1, 1 << 20
    return loc


def rows(count: int, dims: int) -> Any:
    """fp32 of every size, a few of them NaN, infinite or denormal."""
    import torch

    x = inputs.normal(1, (count, dims)) * 2.0 ** inputs.integers(2, (count, dims), -9, 9).float()
    rare = inputs.integers(4, (count, dims), 0, 60) == 0
    return torch.where(rare, inputs.any_float(5, (count, dims)), x)


def any_cache(layout: Layout, device: Any) -> Any:
    """A cache of random bytes: every code and scale, NaN among them."""
    import torch

    made = layout.empty(_SLOTS)
    for seed, pool in enumerate(made if isinstance(made, tuple) else (made,)):
        raw = pool.view(torch.uint8)
        raw.copy_(inputs.integers(seed + 6, tuple(raw.shape), 0, 256))
    return tuple(pool.to(device) for pool in made) if isinstance(made, tuple) else made.to(device)


def whole_digest(cache: Any) -> str:
    """Of every byte of every pool."""
    return str(digest(*cache) if isinstance(cache, tuple) else digest(cache))


def store_cases() -> dict[str, Any]:
    found = {f"store_cache-{name}": partial(_store, name, 0) for name in _STORED}
    many = (("flashmla-64-fn", 2048), ("flashmla-64-fn", 32_768), ("indexer-7-fnuz", 131_072))
    for name, before in many:  # rows go to other kernels from so many on
        found[f"store_cache-{before}-{name}"] = partial(_store, name, before)
    return found


def load_cases() -> dict[str, Any]:
    return {
        f"load_cache-{name}-{dtype}": partial(_load, name, dtype)
        for name in _LOADED
        for dtype in (("float32",) if _DTYPES.get(name) else ("bfloat16",))
    }


def convert_cases() -> dict[str, Any]:
    return {f"convert_cache-{name}": partial(_convert, name) for name in _CONVERTED}


def _store(name: str, before: int, device: Any) -> str:
    """Some rows behind `before` that go nowhere."""
    import torch

    from wavejit.ops.store_cache import store_cache

    layout = LAYOUTS[name].at()
    dtype = getattr(torch, _DTYPES.get(name, "bfloat16"))
    nowhere = torch.full((before,), -1, dtype=torch.int32)
    x = torch.cat((torch.zeros(before, layout.DIMS), rows(_ROWS, layout.DIMS))).to(dtype)
    loc = torch.cat((nowhere, places(_ROWS).roll(before.bit_length())))  # each case its own bytes
    cache = any_cache(layout, device)
    return whole_digest(store_cache(x.to(device), cache, loc.to(device), layout=layout))


def _load(name: str, dtype: str, device: Any) -> str:
    import torch

    from wavejit.ops.load_cache import load_cache

    layout = LAYOUTS[name].at()
    out = torch.empty((_ROWS, layout.DIMS), dtype=getattr(torch, dtype), device=device)
    cache = any_cache(layout, device)
    return str(digest(load_cache(cache, places(_ROWS).to(device), layout=layout, out=out)))


def _convert(name: str, device: Any) -> str:
    from wavejit.ops.convert_cache import convert_cache

    layout = LAYOUTS[name].at()
    to = "fn" if layout.flavour == "fnuz" else "fnuz"
    converted = replace(layout, flavour=to, fp8_max=None)
    return whole_digest(convert_cache(any_cache(layout, device), layout, converted))
