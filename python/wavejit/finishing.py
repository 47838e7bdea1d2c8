"""What the ops that finalise compressed rows share: checks, served layouts, the definition."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from wavejit.check import one_of, taken
from wavejit.jit.spec import Arch, KernelSpec, kernel_spec
from wavejit.layouts import FlashMLA, Indexer, IndexerFp4, from_params

DTYPES = ("float", "bfloat16")
RATIOS = (4, 128)
ROTATED = 64  # the last dims of a row
_INVALID = 0xFFFFFFFF


def served_layouts(arch: Arch) -> list[tuple[int, Any]]:
    """(ratio, layout) of what a server of DeepSeek-V4 writes: pages of 256 tokens, keys in fp8 or
    in fp4."""
    shuffled = arch.target == "hip" and arch.wave_size == 64
    keys = Indexer(64, preshuffled=shuffled)
    flavour = arch.fp8_flavour
    found = ((4, FlashMLA(64)), (128, FlashMLA(2)), (4, keys), (4, IndexerFp4(64)))
    return [(ratio, layout.at(flavour=flavour)) for ratio, layout in found]


def store_spec(
    name: str, layout: Any, state: str, input: str, weight: str, **constants: Any
) -> KernelSpec:
    """An instance of a kernel that compresses and stores."""
    layout = from_params(layout, constants)
    for what, dtype in (("kv_buffer", state), ("kv_input", input), ("norm_weight", weight)):
        one_of(f"{what} dtype", dtype, DTYPES)
    dtypes = {"state": state, "input": input, "weight": weight}
    return kernel_spec(name, ("decode", "prefill"), **layout.params(), **layout.rules(), **dtypes)


def room_of(plan: Any, head_dim: int) -> tuple[Any, Any]:
    """Where the blocks of an entry hand over: fp32 [plan rows, head_dim] and int32 [plan rows].

    Kept with the plan, for all layers that use it one after another: one fill for each new plan.
    Between launches all of its bits are set (include/wavejit/core/arrival.cuh).
    """
    import torch

    rooms: dict[int, tuple[Any, Any]] = plan.__dict__.setdefault("_rooms", {})
    room = rooms.get(head_dim)
    if room is None:
        rows = plan.plan_d if plan.is_decode else plan.plan_c
        count, device = rows.shape[0], rows.device
        words = torch.full((count * (head_dim + 1),), -1, dtype=torch.int32, device=device)
        pooled = words[: count * head_dim].view(torch.float32).reshape(count, head_dim)
        room = rooms[head_dim] = (pooled, words[count * head_dim :])
    return room


def forget_room(plan: Any) -> None:
    """The next call makes a new one."""
    plan.__dict__.pop("_rooms", None)


def retaken(plan: Any, **given: Any) -> list[Any]:
    """The arguments as torch's after they were not; TypeError for what is no tensor or no plan."""
    found = taken(**given)
    if not hasattr(plan, "is_decode"):
        raise TypeError(
            "plan: expected what compress_plan_decode or compress_plan_prefill returns, "
            f"got {type(plan).__name__}"
        )
    return found


def check_ratio(plan: Any, ratio: int) -> None:
    one_of("ratio", ratio, RATIOS)
    if plan.ratio != ratio:
        raise ValueError(f"plan: expected one of ratio {ratio}, got one of ratio {plan.ratio}")


def check_locations(out_loc: Any, rows: int) -> None:
    """Each request of a step, or token of a chunk, has a location; else ValueError."""
    if getattr(out_loc, "ndim", 0) == 1 and out_loc.shape[0] < rows:
        raise ValueError(
            f"out_loc: expected a location for each of {rows} rows, got {out_loc.shape[0]}"
        )


def entries_of(
    plan: Any, ratio: int, out_loc: list[int], positions: int
) -> Iterator[tuple[int, int, int]]:
    """(plan row, location, position) of each entry that is stored, wherever the cache ends."""
    import numpy as np

    rows = plan.plan_d if plan.is_decode else plan.plan_c
    words = np.ascontiguousarray(rows.numpy()).view("<u4").tolist()
    for row, (seq_len, where, _, _) in enumerate(words):
        index = row if plan.is_decode else where & (0xFFFFFF if plan.wide else 0xFFFF)
        if seq_len == _INVALID or seq_len < ratio or index >= len(out_loc):
            continue
        if plan.is_decode and seq_len % ratio:
            continue
        if seq_len - ratio < positions:
            yield row, out_loc[index], seq_len - ratio


def finished(x: Any, norm_weight: Any, eps: float, angles: Any, layout: Any) -> Any:
    """The row [dims] as it is quantised, fp32: norm, rotation, Hadamard with their roundings."""
    import torch

    x = x.double()
    mean = (x * x).mean()
    y = x / torch.sqrt(mean + eps) * norm_weight.double()
    a, b = y[-ROTATED::2].clone(), y[1 - ROTATED :: 2].clone()
    c, s = angles[0::2].double(), angles[1::2].double()
    y[-ROTATED::2], y[1 - ROTATED :: 2] = a * c - b * s, a * s + b * c
    if layout.DIMS == 512:
        return y.to(torch.bfloat16).float()
    return (_hadamard_matrix() @ y).float()


def _hadamard_matrix() -> Any:
    """128 x 128 in Sylvester's order, orthonormal, float64."""
    import torch

    matrix = torch.ones((1, 1), dtype=torch.float64)
    for _ in range(7):
        top = torch.cat((matrix, matrix), dim=1)
        matrix = torch.cat((top, torch.cat((matrix, -matrix), dim=1)))
    return matrix / 128**0.5
