"""The peer, sglang's JIT kernels, on the same tensors.

Optional: WAVEJIT_PEER names a folder that holds its package `sglang/kernels` alone and a module
`stub` that stands in for its server (README.md beside this file).
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any


class Peer:
    """The peer's functions as zero-argument calls."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def decode(
        self,
        state: Any,
        kv: Any,
        ape: Any,
        out: Any,
        slots: Any,
        lengths: Any,
        rings: Any,
        dim: int,
        ratio: int = 4,
    ) -> Callable[[], object]:
        plan = self._module.CompressorDecodePlan.generate(
            ratio,
            slots,
            rings.req_to_token,
            rings.full_to_swa,
            lengths,
            rings.swa_page_size,
            rings.ring_size,
        )
        return self._compress(state, kv, ape, plan, out, dim, ratio)

    def prefill(
        self,
        state: Any,
        kv: Any,
        ape: Any,
        out: Any,
        slots: Any,
        lengths: Any,
        rings: Any,
        dim: int,
        tokens: int,
        ratio: int = 4,
    ) -> Callable[[], object]:
        plan = self.plan(slots, lengths, lengths, rings, tokens, ratio)()
        return self._compress(state, kv, ape, plan, out, dim, ratio)

    def decode_store(self, *given: Any) -> Callable[[], object]:
        """`decode`, whose plan and rows then go into a cache: arguments, and what finishes them."""
        *_, slots, lengths, rings, _, ratio, finishing = given
        plan = self._module.CompressorDecodePlan.generate(
            ratio,
            slots,
            rings.req_to_token,
            rings.full_to_swa,
            lengths,
            rings.swa_page_size,
            rings.ring_size,
        )
        return self._both(self.decode(*given[:-1]), plan, given[3], finishing)

    def prefill_store(self, *given: Any) -> Callable[[], object]:
        *_, slots, lengths, rings, _, tokens, ratio, finishing = given
        plan = self.plan(slots, lengths, lengths, rings, tokens, ratio)()
        return self._both(self.prefill(*given[:-1]), plan, given[3], finishing)

    def _both(
        self, compress: Callable[[], object], plan: Any, out: Any, finishing: dict[str, Any]
    ) -> Callable[[], object]:
        layout = finishing["layout"]

        def run() -> None:
            compress()
            self._module.compress_norm_rope_store(
                out,
                plan,
                norm_weight=finishing["norm_weight"],
                norm_eps=finishing["eps"],
                freq_cis=finishing["freqs_cis"],
                out_loc=finishing["out_loc"],
                kvcache=finishing["cache"],
                page_size=layout.slots,
            )

        return run

    def plan(
        self, slots: Any, lengths: Any, extends: Any, rings: Any, tokens: int, ratio: int = 4
    ) -> Callable[[], Any]:
        return lambda: self._module.CompressorPrefillPlan.generate(
            ratio,
            slots,
            lengths,
            extends,
            rings.req_to_token,
            rings.full_to_swa,
            rings.swa_page_size,
            rings.ring_size,
            tokens,
        )

    def hash_topk(
        self, logits: Any, ids: Any, table: Any, shared: int, factor: float
    ) -> Callable[[], Any]:
        module = importlib.import_module("sglang.kernels.ops.moe.dsv4")
        return lambda: module.hash_topk(logits, ids, table, shared, factor)

    def topk(
        self, scores: Any, lengths: Any, table: Any, out: Any, page: int, version: int
    ) -> Callable[[], object]:
        module = importlib.import_module("sglang.kernels.ops.attention.dsv4.topk")
        if version == 1:
            return lambda: module.topk_transform_paged(scores, lengths, table, out, page)
        plan = module.plan_topk_v2(lengths)
        return lambda: module.topk_transform_paged_v2(scores, lengths, table, out, page, plan)

    def silu(
        self, x: Any, counts: Any, codes: Any, scale: Any, limit: float
    ) -> Callable[[], object]:
        module = importlib.import_module("sglang.kernels.ops.moe.dsv4")
        return lambda: module.silu_and_mul_masked_post_quant(
            x, codes, scale, 128, counts, swiglu_limit=limit
        )

    def _compress(
        self, state: Any, kv: Any, ape: Any, plan: Any, out: Any, dim: int, ratio: int
    ) -> Callable[[], object]:
        return lambda: self._module.compress_forward(
            state, kv, ape, plan, head_dim=dim, compress_ratio=ratio, out=out
        )

    def store_cache(
        self, x: Any, cache: Any, loc: Any, page_size: int, kind: str
    ) -> Callable[[], object]:
        store = _module("attn").fused_store_cache
        return lambda: store(x, cache, loc, page_size=page_size, type=kind)

    def k_norm_rope_store(
        self,
        kv: Any,
        weight: Any,
        table: Any,
        positions: Any,
        cache: Any,
        loc: Any,
        eps: float,
        page_size: int,
    ) -> Callable[[], object]:
        store = _module("norm_rope").fused_k_norm_rope_flashmla
        return lambda: store(kv, weight, eps, table, positions, loc, cache, page_size)

    def load_cache(self, cache: Any, loc: Any, page_size: int, out: Any) -> Callable[[], object]:
        load_rows = _module("dequant_k_cache").dequantize_k_cache_paged_dsv4
        return lambda: load_rows(cache, loc, page_size, out=out[:, None])

    def q_norm_rope(
        self, q: Any, out: Any, eps: float, table: Any, positions: Any
    ) -> Callable[[], object]:
        turn = _module("norm_rope").fused_q_norm_rope
        return lambda: turn(q, out, eps, table, positions)

    def q_indexer(
        self, q: Any, weight: Any, scale: float, table: Any, positions: Any, format: str
    ) -> Callable[[], Any]:
        names = {"fp8": "hadamard_quant", "fp4": "hadamard_fp4_quant"}
        quantise = getattr(_module("norm_rope"), f"fused_q_indexer_rope_{names[format]}")
        return lambda: quantise(q, weight, scale, table, positions)

    def rope_inplace(self, q: Any, table: Any, positions: Any) -> Callable[[], object]:
        turn = _module("norm_rope").fused_rope_inplace
        return lambda: turn(q, None, table, positions, inverse=True)


def _module(name: str) -> Any:
    """One of the peer's modules of this model."""
    return importlib.import_module(f"sglang.kernels.ops.attention.dsv4.{name}")


def load() -> Peer | None:
    """The peer, or None where WAVEJIT_PEER is not set."""
    folder = os.environ.get("WAVEJIT_PEER")
    if not folder:
        return None
    sys.path.insert(0, folder)
    importlib.import_module("stub")
    return Peer(_module("compress"))
