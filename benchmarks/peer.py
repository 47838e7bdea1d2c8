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


def load() -> Peer | None:
    """The peer, or None where WAVEJIT_PEER is not set."""
    folder = os.environ.get("WAVEJIT_PEER")
    if not folder:
        return None
    sys.path.insert(0, folder)
    importlib.import_module("stub")
    return Peer(importlib.import_module("sglang.kernels.ops.attention.dsv4.compress"))
