"""Golden cases of the ops that finalise compressed rows: every layout, both steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from typing import Any

from wavejit.testing import inputs
from wavejit.testing.bits import digest

# Tokens after a chunk and in it, of requests in slots 0, 1, ...: every phase of a group.
_CHUNKS = {4: ((11, 11), (9, 6), (8, 1), (30, 13)), 128: ((140, 140), (256, 20), (128, 1))}
_LENGTHS = {4: (4, 8, 9, 400), 128: (128, 384, 5)}
# Invalid rows before those of a step, for the kernels of many requests.
_BEFORE_MANY = {(4, 512): 130, (4, 128): 513, (128, 512): 256}
_EPS = 1e-6


def finishing_cases() -> dict[str, Callable[[Any], str]]:
    """compress_norm_rope_store: in a decode step and a chunk, into every layout."""
    found: dict[str, Callable[[Any], str]] = {}
    for name, layout in _layouts().items():
        for step in ("decode", "prefill"):
            found[f"finish-{step}-{name}"] = partial(_finish, step, layout, "float32")
    found["finish-decode-FlashMLA-fn-bfloat16"] = partial(
        _finish, "decode", _layouts()["FlashMLA-fn"], "bfloat16"
    )
    return found


def fused_cases(ratio: int) -> dict[str, Callable[[Any], str]]:
    """compress_store of one ratio: a step and a chunk, the latent and the indexer's keys."""
    layouts = _layouts()
    names = ("FlashMLA-fn", "Indexer-fn", "IndexerFp4") if ratio == 4 else ("FlashMLA-fn",)
    found: dict[str, Callable[[Any], str]] = {}
    for name in names:
        for step in ("decode", "prefill"):
            found[f"store{ratio}-{step}-{name}"] = partial(_fused, ratio, step, layouts[name], 0)
    for name in names[:2]:
        before = _BEFORE_MANY[ratio, layouts[name].DIMS]
        many = partial(_fused, ratio, "decode", layouts[name], before)
        found[f"store{ratio}-decode-many-{name}"] = many
    return found


def _layouts() -> dict[str, Any]:
    from wavejit.layouts import Bf16Rows, FlashMLA, Indexer, IndexerFp4, TwoPool

    return {
        "FlashMLA-fn": FlashMLA(4, "fn"),
        "FlashMLA-fnuz": FlashMLA(2, "fnuz"),
        "Bf16Rows": Bf16Rows(flavour="fn"),
        "TwoPool-fnuz": TwoPool(flavour="fnuz"),
        "Indexer-fn": Indexer(16, "fn"),
        "Indexer-fnuz-preshuffled": Indexer(16, "fnuz", preshuffled=True),
        "IndexerFp4": IndexerFp4(5),
    }


def _plan(ratio: int, step: str, device: Any, before: int = 0) -> tuple[Any, int]:
    """By the references, so that one kernel makes one digest; and the rows of its input. A step's
    rows are behind `before` invalid ones."""
    import torch

    from wavejit import reference
    from wavejit.ring import RequestRing

    ring = RequestRing(2 * ratio)
    if step == "decode":
        lengths = torch.tensor(_LENGTHS[ratio])
        slots, rows = torch.arange(len(lengths)), before + len(lengths)
        plan = reference.compress_plan_decode(ratio, slots, lengths, scheme=ring)
        invalid = torch.full((before, 16), 0xFF, dtype=torch.uint8)
        plan = replace(plan, plan_d=torch.cat((invalid, plan.plan_d)))
    else:
        seqs, extends = torch.tensor(_CHUNKS[ratio]).t().contiguous()
        slots, rows = torch.arange(len(seqs)), int(extends.sum())
        plan = reference.compress_plan_prefill(
            ratio, slots, seqs, extends, scheme=ring, num_q_tokens=rows
        )
    names = [field.name for field in fields(plan) if field.name.startswith("plan")]
    return replace(plan, **{name: getattr(plan, name).to(device) for name in names}), rows


def _finishing(layout: Any, rows: int, weight: str, device: Any) -> dict[str, Any]:
    import torch

    cache = layout.empty(rows + 3, device=device)
    return {
        "norm_weight": inputs.normal(51, (layout.DIMS,)).to(getattr(torch, weight)).to(device),
        "eps": _EPS,
        "freqs_cis": inputs.uniform(52, (400, 64), -1, 1).to(device),
        "out_loc": inputs.permutation(53, rows + 3)[:rows].to(device),
        "cache": cache,
        "layout": layout,
    }


def _finish(step: str, layout: Any, dtype: str, device: Any) -> str:
    import torch

    from wavejit.ops.compress_norm_rope_store import compress_norm_rope_store

    plan, rows = _plan(4, step, device)
    entries = len(plan.plan_d if step == "decode" else plan.plan_c)
    kv = inputs.normal(54, (entries, layout.DIMS)).to(getattr(torch, dtype)).to(device)
    given = _finishing(layout, rows, dtype, device)
    compress_norm_rope_store(kv, plan, ratio=4, **given)
    return _digest(given["cache"])


def _fused(ratio: int, step: str, layout: Any, before: int, device: Any) -> str:
    from wavejit.fused import compress_store

    plan, rows = _plan(ratio, step, device, before)
    dim = layout.DIMS
    width, window = (4 * dim, 8) if ratio == 4 else (2 * dim, 128)
    state = inputs.normal(55, (8 * ratio, width)).reshape(-1, ratio, width).to(device)
    kv_input = inputs.normal(56, (rows, width)).to(device)
    ape = inputs.normal(57, (window, dim)).to(device)
    given = _finishing(layout, rows, "float32", device)
    compress_store(state, kv_input, ape, plan, head_dim=dim, ratio=ratio, **given)
    return _digest(given["cache"], state)


def _digest(cache: Any, *others: Any) -> str:
    return digest(*(cache if isinstance(cache, tuple) else (cache,)), *others)
