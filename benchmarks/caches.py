"""The cache rows: stores, loads and conversions, and the peer's on the same rows and locations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from c4 import Row

import wavejit
from wavejit.layouts import FlashMLA, Indexer, IndexerFp4, Layout

LAYOUTS: dict[str, Layout] = {
    "flashmla": FlashMLA(256, "fn"),
    "indexer": Indexer(64, "fn"),
    "indexer-fp4": IndexerFp4(64),  # the peer stores it only after pooling
}
SCATTERED = 512  # so many tokens are a decode step's, each of another request

EPS = 1e-6
A_CODE_APART = 1.0  # where the peer's fast math rounds a value between 8 and 16 the other way


def locations(tokens: int, page_size: int) -> Any:
    """Of a decode step anywhere; of a longer batch side by side in shuffled pages."""
    generator = torch.Generator().manual_seed(1)
    pages = -(-tokens // page_size) if tokens > SCATTERED else tokens
    order = torch.randperm(pages, generator=generator) * page_size
    if tokens <= SCATTERED:
        return (order + torch.randint(page_size, (tokens,), generator=generator)).cuda()
    return (order[:, None] + torch.arange(page_size)).flatten()[:tokens].cuda()


def _moved(layout: Layout) -> int:
    """Bytes of one slot's fields that are written."""
    return sum(part.size for part in layout.parts if part.name not in ("pad", "unused"))


def caches_of(tokens: int, layout: Layout) -> tuple[Any, Any, Any]:
    """Locations, and two caches that hold them."""
    loc = locations(tokens, layout.slots)
    slots = int(loc.max()) + 1
    return loc, layout.empty(slots, device="cuda"), layout.empty(slots, device="cuda")


def _values(cache: Any, loc: Any, layout: Layout) -> Callable[[], Any]:
    return lambda: wavejit.load_cache(cache, loc, layout=layout).float()


def store(tokens: int, kind: str, peer: Any) -> Row:
    """bf16 rows, quantised."""
    layout = LAYOUTS[kind]
    loc, cache, other = caches_of(tokens, layout)
    x = torch.randn(tokens, layout.DIMS, device="cuda", dtype=torch.bfloat16)
    theirs = (
        peer and kind != "indexer-fp4" and peer.store_cache(x, other, loc.int(), layout.slots, kind)
    )
    return Row(
        f"store {kind}, {tokens} tokens",
        lambda: wavejit.store_cache(x, cache, loc, layout=layout),
        theirs or None,
        tokens * (x.element_size() * layout.DIMS + _moved(layout)),
        (_values(cache, loc, layout), _values(other, loc, layout)),
    )


def load(tokens: int, kind: str, peer: Any) -> Row:
    """Stored rows as bf16; the peer has FlashMLA's."""
    layout = LAYOUTS[kind]
    loc, cache, _ = caches_of(tokens, layout)
    x = torch.randn(tokens, layout.DIMS, device="cuda", dtype=torch.bfloat16)
    wavejit.store_cache(x, cache, loc, layout=layout)
    out, other = torch.zeros_like(x), torch.zeros_like(x)
    theirs = peer and kind == "flashmla" and peer.load_cache(cache, loc, layout.slots, other)
    return Row(
        f"load {kind}, {tokens} tokens",
        lambda: wavejit.load_cache(cache, loc, layout=layout, out=out),
        theirs or None,
        tokens * (x.element_size() * layout.DIMS + _moved(layout)),
        (out, other),
    )


def convert(tokens: int, kind: str, _: Any) -> Row:
    """A whole cache to the other flavour, into another one; the peer has no such thing."""
    layout = LAYOUTS[kind]
    other = replace(layout, flavour="fnuz")
    cache, out = (layout.empty(tokens, device="cuda") for _ in range(2))
    return Row(
        f"convert {kind}, {tokens} slots",
        lambda: wavejit.convert_cache(cache, layout, other, out=out),
        None,
        2 * tokens * _moved(layout),
        (None, None),
    )


def key(tokens: int, peer: Any) -> Row:
    """Keys normalised, rotated and stored, quantised from fp32 as the peer does."""
    layout = LAYOUTS["flashmla"]
    loc, cache, other = caches_of(tokens, layout)
    kv = torch.randn(tokens, 512, device="cuda", dtype=torch.bfloat16)
    weight = torch.randn(512, device="cuda", dtype=torch.bfloat16)
    table = wavejit.rope_table(8192, base=10000.0, device="cuda")
    positions = torch.arange(tokens, device="cuda") % 8192
    given = kv, weight, table, positions
    theirs = peer and peer.k_norm_rope_store(*given, other, loc.int(), EPS, layout.slots)
    return Row(
        f"k norm+rope+store, {tokens} tokens",
        lambda: wavejit.k_norm_rope_store(
            *given, loc, cache, eps=EPS, layout=layout, preset="cuda"
        ),
        theirs or None,
        tokens * (kv.element_size() * 512 + _moved(layout)),
        (_values(cache, loc, layout), _values(other, loc, layout)),
        A_CODE_APART,
    )


def rows(shapes: dict[str, list[list[Any]]], peer: Any) -> list[Callable[[], Row]]:
    """The rows that benchmarks/shapes.toml names, made one at a time."""
    makers: dict[str, Callable[..., Row]] = {"store": store, "load": load, "convert": convert}
    made = [
        lambda maker=maker, shape=shape: maker(*shape, peer)  # type: ignore[misc]
        for kind, maker in makers.items()
        for shape in shapes[f"cache_{kind}"]
    ]
    keys = [lambda count=count: key(count, peer) for (count,) in shapes["keys"]]  # type: ignore[misc]
    return made + keys
