"""Softmax pooling of rows that carry their scores (templates/softmax_pool.cuh.j2)."""

from __future__ import annotations

from typing import Any

from wavejit.bind import dtype_name, module_for
from wavejit.check import one_of, positive, taken
from wavejit.jit.spec import Arch, KernelSpec, kernel_spec

__all__ = ["softmax_pool"]
DTYPES = ("float", "bfloat16")
TILES = (4, 1)


def spec(element: str, tile: int) -> KernelSpec:
    """One instance: the dtype of input and output (float, bfloat16), and channels a lane."""
    one_of("kv_score dtype", element, DTYPES)
    one_of("tile", tile, TILES)
    return kernel_spec("softmax_pool", ("pool",), element=element, tile=tile)


def variants(arch: Arch, model: str) -> list[KernelSpec]:
    return [spec("float", 4)]


def softmax_pool(kv_score: Any, head_dim: int, out: Any = None) -> Any:
    """The mean of each row's values, weighted by the softmax of their scores, channel by channel.

    kv_score: [rows, candidates, 2 * head_dim] fp32 or bf16, contiguous: values, then scores with
    their bias added; -inf masks a candidate. Returns `out` [rows, head_dim] in the same dtype:
    fp32 sums, 0 where every candidate is masked, NaN where a score is. 8 candidates give the bytes
    of the c4 compressor, 128 those of c128. Raises ValueError or TypeError naming the argument.
    """
    positive("head_dim", head_dim)
    (kv_score,) = taken(kv_score=kv_score)
    if kv_score.dim() != 3 or kv_score.shape[1] == 0:
        raise ValueError(
            f"kv_score: expected [rows, candidates, {2 * head_dim}] with candidates, got "
            f"{list(kv_score.shape)}"
        )
    if out is None:
        out = kv_score.new_empty((kv_score.shape[0], head_dim))
    tile = 4 if head_dim % 4 == 0 else 1
    module_for(spec(dtype_name(kv_score.dtype), tile), kv_score).pool(kv_score, head_dim, out)
    return out


def softmax_pool_reference(kv_score: Any, head_dim: int, out: Any = None) -> Any:
    """`softmax_pool` in float64, one rounding at the end."""
    import torch

    values, scores = kv_score.double().split(head_dim, dim=2)
    weights = torch.softmax(scores, dim=1)
    masked = (scores == -torch.inf).all(dim=1, keepdim=True)
    mean = (weights.where(~masked, weights.new_zeros(())) * values).sum(dim=1).to(kv_score.dtype)
    return mean if out is None else out.copy_(mean)
