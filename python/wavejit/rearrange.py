"""What comes before a compressor: a checkpoint's bias, and overlapped windows in plain torch."""

from __future__ import annotations

from typing import Any

from wavejit.check import one_of, positive

OVERLAP = {4: 2, 128: 1}  # column blocks of head_dim in a checkpoint's ape


def rearrange_ape(ape: Any, *, ratio: int, head_dim: int) -> Any:
    """A checkpoint's bias as `compress` takes it.

    ape: [ratio, 2 * head_dim] for ratio 4, whose first columns belong to the overlap's tokens and
    the others to the group's own; [128, head_dim] for ratio 128. Returns [8, head_dim] or
    [128, head_dim], contiguous. Raises ValueError for another shape, a re-arranged one included.
    """
    one_of("ratio", ratio, tuple(OVERLAP))
    stored = [ratio, OVERLAP[ratio] * positive("head_dim", head_dim)]
    if list(ape.shape) != stored:
        raise ValueError(
            f"ape: expected a checkpoint's {stored}, got {list(ape.shape)}"
            f"{'; is it re-arranged already?' if list(ape.shape) == [8, head_dim] else ''}"
        )
    import torch

    return torch.cat(ape.split(head_dim, dim=1)).contiguous()


def refuse_unarranged(ape: Any, ratio: int, head_dim: int) -> None:
    """ValueError for a checkpoint's ape of ratio 4, as it is or only viewed as [8, head_dim].

    A view is recognised where torch knows the tensor that it views.
    """
    stored = (4, 2 * head_dim)
    base = getattr(ape, "_base", None)
    viewed = base is not None and tuple(base.shape) == stored and tuple(ape.shape) == (8, head_dim)
    if ratio == 4 and (viewed or tuple(ape.shape) == stored):
        raise ValueError(
            f"ape: expected a re-arranged shape [8, {head_dim}], got a checkpoint's "
            f"{list(stored)}{' viewed so' if viewed else ''}: call wavejit.rearrange_ape first"
        )


def overlap_transform(rows: Any, head_dim: int) -> Any:
    """The windows of ratio 4 as `softmax_pool` takes them.

    rows: [groups, 4, 4 * head_dim], consecutive groups of one request from its first one on, bias
    added to the scores. Returns [groups, 8, 2 * head_dim]: candidates 0..3 are the overlap columns
    of the group before (value 0, score -inf for the first group), 4..7 the group's own columns.
    """
    positive("head_dim", head_dim)
    if rows.dim() != 3 or list(rows.shape[1:]) != [4, 4 * head_dim]:
        raise ValueError(f"rows: expected [groups, 4, {4 * head_dim}], got {list(rows.shape)}")
    import torch

    blocks = rows.unflatten(2, (4, head_dim))
    before, own = (
        torch.cat((blocks[..., 0, :], blocks[..., 2, :]), dim=2),
        torch.cat((blocks[..., 1, :], blocks[..., 3, :]), dim=2),
    )
    first = torch.zeros_like(before[:1])
    first[..., head_dim:] = -torch.inf
    return torch.cat((torch.cat((first, before))[: len(rows)], own), dim=1)
