"""The golden cases of c128, its online form and softmax_pool (parity.py runs them)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from typing import Any

from wavejit.testing import inputs
from wavejit.testing.bits import digest

# Requests of a chunk: slot, tokens after it, tokens in it; groups from ring, input and both.
_CHUNK = ((3, 260, 150), (0, 3, 3), (4, 385, 257), (1, 256, 256), (2, 128, 1))
_LENGTHS = (256, 4, 383, 128, 1)  # of the requests of a decode step, with the current token
_RING = 256
_VARIANTS = (
    (512, "float32", "float32", "float32"),
    (512, "bfloat16", "float32", "float32"),
    (128, "float32", "float32", "bfloat16"),
    (64, "bfloat16", "bfloat16", "bfloat16"),
)


def cases() -> dict[str, Callable[[Any], str]]:
    """name -> the digest of its outputs on a device."""
    found: dict[str, Callable[[Any], str]] = {}
    for step in ("decode", "prefill"):
        for dim, *dtypes in _VARIANTS:
            label = f"{step}-d{dim}-{'-'.join(dtypes)}"
            found[f"c128-{label}"] = partial(_c128, step, dim, dtypes, 0)
            if dim == 64:  # launches for many requests: the rows before are padding
                found[f"c128-many-{label}"] = partial(_c128, step, dim, dtypes, 510)
        for state in ("float32", "bfloat16"):
            found[f"online-{step}-d512-{state}"] = partial(_online, step, state)
    for step in ("decode", "prefill", "verify"):
        found[f"online-plan-{step}"] = partial(_online_plan, step)
    for shape in ((5, 8, 128), (3, 128, 64), (2, 300, 37)):
        for dtype in ("float32", "bfloat16"):
            name = "softmax-pool-" + "x".join(map(str, shape)) + f"-{dtype}"
            found[name] = partial(_softmax_pool, shape, dtype)
    return found


def _rows(seed: int, count: int, dim: int) -> Any:
    """Values about 1, scores about 3, one channel in 61 with a score about 90."""
    rows = inputs.normal(seed, (count, 2 * dim))
    rows[:, dim:] *= 3
    rows[:, dim::61] *= 30
    return rows


def _requests() -> tuple[Any, Any, Any]:
    import torch

    slots, seqs, extends = torch.tensor(_CHUNK).t().contiguous()
    return slots, seqs, extends


def _on(plan: Any, device: Any, padding: int = 0) -> Any:
    """The plan's rows on the device, behind `padding` invalid ones."""
    import torch

    names = [field.name for field in fields(plan) if field.name.startswith("plan")]
    changed = {}
    for name in names:
        rows = getattr(plan, name)
        before = torch.full((padding, rows.shape[1]), 0xFF, dtype=torch.uint8)
        changed[name] = torch.cat((before, rows)).to(device)
    return replace(plan, **changed)


def _c128(step: str, dim: int, dtypes: list[str], padding: int, device: Any) -> str:
    import torch

    from wavejit import reference
    from wavejit.front import compress
    from wavejit.ring import RequestRing

    state, given, output = (getattr(torch, name) for name in dtypes)
    slots, seqs, extends = _requests()
    ring, rows = RequestRing(_RING), int(extends.sum())
    if step == "decode":
        plan = reference.compress_plan_decode(128, slots, torch.tensor(_LENGTHS), scheme=ring)
        rows = len(_CHUNK) + padding
    else:
        plan = reference.compress_plan_prefill(
            128, slots, seqs, extends, scheme=ring, num_q_tokens=rows
        )
    plan = _on(plan, device, padding)
    pool = _rows(11, 5 * _RING, dim).reshape(-1, 128, 2 * dim).to(state).to(device)
    entries = len(plan.plan_d if step == "decode" else plan.plan_c)
    out = torch.zeros((entries, dim), dtype=output, device=device)
    ape = inputs.normal(13, (128, dim)).to(given).to(device)
    kv_input = _rows(12, rows, dim).to(given).to(device)
    compress(pool, kv_input, ape, plan, head_dim=dim, ratio=128, out=out)
    return digest(out, pool)


def _online(step: str, state: str, device: Any) -> str:
    import torch

    from wavejit import reference
    from wavejit.ops.c128_online import compress_online

    dim = 512
    slots, seqs, extends = _requests()
    rows = len(_CHUNK) if step == "decode" else int(extends.sum())
    if step == "decode":
        plan = reference.compress_online_plan_decode(slots, torch.tensor(_LENGTHS))
    else:
        plan = reference.compress_online_plan_prefill(slots, seqs, extends, num_q_tokens=rows)
    plan = _on(plan, device)
    pool = torch.cat((inputs.normal(21, (6, dim), 3), inputs.uniform(22, (6, dim), 1, 90)), dim=1)
    pool = torch.cat((pool, inputs.normal(23, (6, dim))), dim=1)
    pool = pool.to(getattr(torch, state)).to(device)
    entries = len(plan.plan_d if step == "decode" else plan.plan_c)
    out = torch.zeros((entries, dim), device=device)
    given, ape = _rows(12, rows, dim).to(device), inputs.normal(13, (128, dim)).to(device)
    compress_online(pool, given, ape, plan, head_dim=dim, out=out)
    return digest(out, pool)


def _online_plan(step: str, device: Any) -> str:
    import torch

    from wavejit.ops import online_plan

    slots, seqs, extends = _requests()
    if step == "decode":
        lengths = torch.tensor(_LENGTHS).to(device)
        return digest(online_plan.compress_online_plan_decode(slots.to(device), lengths).plan_d)
    verifies = step == "verify"
    extends = extends.clamp(max=8) if verifies else extends
    plan = online_plan.compress_online_plan_prefill(
        slots.to(device),
        seqs,
        extends,
        num_q_tokens=int(extends.sum()),
        bank_rows=6 if verifies else None,
    )
    return digest(plan.plan_c, plan.plan_w)


def _softmax_pool(shape: tuple[int, int, int], dtype: str, device: Any) -> str:
    import torch

    from wavejit.ops.softmax_pool import softmax_pool

    rows, candidates, dim = shape
    given = _rows(31, rows * candidates, dim).reshape(rows, candidates, 2 * dim)
    given[0, ::3, dim:] = -torch.inf
    return digest(softmax_pool(given.to(getattr(torch, dtype)).to(device), dim))
