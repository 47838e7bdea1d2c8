"""What ops that rotate share: the table as kernels take it, the definition of a rotation."""

from __future__ import annotations

from typing import Any

from wavejit.check import taken

ROPE_DIMS = 64  # the last dims of a head, which alone are rotated


def angles_of(freqs_cis: Any) -> Any:
    """complex64 [positions, pairs] as fp32 [positions, 2 * pairs] without a copy; fp32 as is."""
    if not hasattr(freqs_cis, "is_complex"):
        (freqs_cis,) = taken(freqs_cis=freqs_cis)
    if not freqs_cis.is_complex():
        return freqs_cis
    import torch

    return torch.view_as_real(freqs_cis).flatten(-2)


def rotated(x: Any, angles: Any, inverse: bool = False) -> Any:
    """fp32 [..., dims] turned by the row cos, sin, cos, sin, ...: every operation rounded once."""
    import torch

    a, b = x[..., 0::2], x[..., 1::2]
    c, s = angles[0::2], -angles[1::2] if inverse else angles[1::2]
    return torch.stack([a * c - b * s, a * s + b * c], dim=-1).flatten(-2)


def clamped(positions: Any, rows: int) -> list[int]:
    """Positions, those outside a table of `rows` as the nearest in it."""
    return [min(max(position, 0), rows - 1) for position in positions.tolist()]
