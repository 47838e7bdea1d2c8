"""Expert ids of rows without a token become -1 (templates/mask_topk_ids.cuh.j2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wavejit.bind import module_for
from wavejit.check import taken
from wavejit.jit.spec import Arch, KernelSpec, kernel_spec

__all__ = ["mask_topk_ids"]


def spec() -> KernelSpec:
    """The only instance."""
    return kernel_spec("mask_topk_ids", ("run",))


def variants(arch: Arch, model: str) -> list[KernelSpec]:
    """The only one there is."""
    return [spec()]


def mask_topk_ids(ids: Any, num_valid: Any) -> Any:
    """Writes -1 into the rows of `ids` from `num_valid` on, in place.

    ids: [n, K] int32, rows may lie apart. num_valid: an int, or a tensor of one int32 or int64 on
    the device of `ids` (read when the kernel runs, so that a captured graph follows it) or on the
    CPU. A count below 0 is 0, one beyond n masks nothing.

    Returns `ids`. Raises ValueError or TypeError naming the argument.
    """
    (rows,) = taken(ids=ids)
    run = module_for(spec(), rows).run
    if isinstance(num_valid, int) and not isinstance(num_valid, bool):
        run(rows, None, min(max(num_valid, 0), 1 << 62))
        return ids
    (num_valid,) = taken(num_valid=num_valid)
    if num_valid.numel() != 1:
        raise ValueError(f"num_valid: expected one number, got shape {list(num_valid.shape)}")
    if num_valid.is_cpu and not rows.is_cpu:
        return mask_topk_ids(ids, int(num_valid))
    run(rows, num_valid.reshape(1), 0)
    return ids


def mask_topk_ids_reference(ids: Any, num_valid: Any) -> Any:
    """`mask_topk_ids` by slicing."""
    ids[max(int(num_valid), 0) :] = -1
    return ids


def golden_cases() -> dict[str, Callable[[Any], str]]:
    """One matrix, its count on the device."""
    return {"mask_topk_ids": _golden}


def _golden(device: Any) -> str:
    import torch

    from wavejit.testing import digest, inputs

    ids = inputs.integers(1, (45, 7), 0, 384, torch.int32).to(device)
    return digest(mask_topk_ids(ids, torch.tensor([31], dtype=torch.int32, device=device)))
