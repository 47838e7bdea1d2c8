"""Experts by token id with weights from the router's logits (templates/hash_topk.cuh.j2)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from wavejit.bind import dtype_name, module_for
from wavejit.check import one_of, taken
from wavejit.jit import arch as archs
from wavejit.jit.spec import Arch, KernelSpec, kernel_spec

__all__ = ["hash_topk"]
DTYPES = ("float", "bfloat16")
MAX_COLUMNS = 64
EPSILON = 1e-20
_ready: dict[Any, Callable[..., Any]] = {}


def spec(input: str, chosen: int, shared: int = 0) -> KernelSpec:
    """One instance: the logits' dtype, experts a token, shared experts beside them."""
    one_of("logits dtype", input, DTYPES)
    if chosen < 1 or shared < 0 or chosen + shared > MAX_COLUMNS:
        raise ValueError(
            f"tid2eid and shared_experts: expected 1 to {MAX_COLUMNS} columns together, got "
            f"{chosen} and {shared}"
        )
    return kernel_spec("hash_topk", ("run",), input=input, chosen=chosen, shared=shared)


def variants(arch: Arch, model: str) -> list[KernelSpec]:
    """Six experts a token (both models), with and without the shared expert fused."""
    return [spec(input, 6, shared) for input in DTYPES for shared in (0, 1)]


def hash_topk(
    logits: Any,
    token_ids: Any,
    tid2eid: Any,
    *,
    shared_experts: int = 0,
    routed_scaling_factor: float = 1.0,
    out: tuple[Any, Any] | None = None,
) -> tuple[Any, Any]:
    """The experts of each token by a table and their weights: sqrt(softplus(logit)), normalised.

    logits: [n, E] fp32 or bf16, rows may lie apart. token_ids: [n] int32 or int64; an id outside of
    the table counts as its nearest row. tid2eid: [vocab, K] int32, contiguous; an expert outside
    [0, E) counts as the nearest. shared_experts: S columns more, with the ids E, E + 1, ... and the
    weight 1 / routed_scaling_factor, K + S <= 64. Where all logits are below -87, e^x is subnormal
    and weights lose digits. The sum in the divisor has 1e-20 added, so that
    weights are finite where all are 0; a logit of +inf counts as the largest number, NaN makes the
    token's routed weights NaN.

    Returns (weights fp32, ids int32), each [n, K + S] and contiguous, or `out`. Raises ValueError
    or TypeError naming the argument.
    """
    logits, token_ids, tid2eid = taken(logits=logits, token_ids=token_ids, tid2eid=tid2eid)
    key = logits.dtype, tid2eid.shape, shared_experts, logits.get_device(), archs._host
    run = _ready.get(key)
    if run is None:
        run = _prepare(logits, tid2eid, shared_experts)
        key = (*key[:-1], archs._host)
        _ready[key] = run
    if out is None:
        import torch

        shape = token_ids.shape[0], tid2eid.shape[1] + shared_experts
        weights = torch.empty(shape, dtype=torch.float32, device=logits.device)
        out = weights, torch.empty(shape, dtype=torch.int32, device=logits.device)
    run(logits, token_ids, tid2eid, *out, _bits_of_inverse(routed_scaling_factor))
    return out


def _prepare(logits: Any, tid2eid: Any, shared: Any) -> Any:
    if isinstance(shared, bool) or not isinstance(shared, int):
        raise TypeError(f"shared_experts: expected an int, got {shared!r}")
    for name, matrix in (("logits", logits), ("tid2eid", tid2eid)):
        if matrix.dim() != 2:
            raise ValueError(f"{name}: expected 2 dimensions, got shape {list(matrix.shape)}")
    return module_for(spec(dtype_name(logits.dtype), tid2eid.shape[1], shared), logits).run


def _bits_of_inverse(factor: float) -> int:
    """1 / factor rounded once to fp32, as an integer."""
    if not isinstance(factor, (int, float)) or isinstance(factor, bool) or not 0 < factor < 1e38:
        raise ValueError(f"routed_scaling_factor: expected a positive number, got {factor!r}")
    return int(struct.unpack("<I", struct.pack("<f", min(1.0 / factor, 3.4e38)))[0])


def hash_topk_reference(
    logits: Any,
    token_ids: Any,
    tid2eid: Any,
    *,
    shared_experts: int = 0,
    routed_scaling_factor: float = 1.0,
    out: tuple[Any, Any] | None = None,
) -> tuple[Any, Any]:
    """`hash_topk` in float64, rounded once at the end."""
    import torch

    n, experts = logits.shape
    rows = tid2eid[token_ids.long().clamp(0, tid2eid.shape[0] - 1)].long()
    chosen = rows.clamp(0, experts - 1)
    top = torch.finfo(torch.float32).max
    x = logits.double().gather(1, chosen).clamp(max=top)
    w = torch.logaddexp(x, torch.zeros_like(x)).sqrt()
    weights = w / (w.sum(dim=1, keepdim=True) + EPSILON)
    shared = torch.arange(experts, experts + shared_experts, device=logits.device)
    inverse = weights.new_full((n, shared_experts), 1.0 / routed_scaling_factor)
    found = (
        torch.cat([weights, inverse], dim=1).float(),
        torch.cat([chosen, shared.expand(n, -1)], dim=1).int(),
    )
    if out is None:
        return found
    return out[0].copy_(found[0]), out[1].copy_(found[1])


def golden_cases() -> dict[str, Callable[[Any], str]]:
    """Both dtypes; few and many columns, with and without shared experts."""
    from functools import partial

    shapes = [("float32", 6, 1), ("bfloat16", 6, 0), ("float32", 61, 3)]
    return {f"hash_topk-{d}-{k}+{s}": partial(_golden, d, k, s) for d, k, s in shapes}


def _golden(dtype: str, chosen: int, shared: int, device: Any) -> str:
    import torch

    from wavejit.testing import digest, inputs

    n, experts, vocabulary = 67, 384, 500
    logits = inputs.normal(1, (n, experts), 9.0)
    logits[3] = -200.0
    logits[5] = inputs.any_float(2, (experts,))
    logits = logits.to(getattr(torch, dtype)).to(device)
    ids = inputs.integers(3, (n,), -20, vocabulary + 20).to(device)
    table = inputs.integers(4, (vocabulary, chosen), -2, experts + 2, torch.int32).to(device)
    found = hash_topk(
        logits, ids, table, shared_experts=shared, routed_scaling_factor=2.5 if shared else 1.0
    )
    return digest(*found)
