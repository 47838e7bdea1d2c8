"""For references: torch's rounding to a dtype with the one quiet NaN that kernels write."""

from __future__ import annotations

from typing import Any


def rounded(x: Any, dtype: Any) -> Any:
    """`x` to the nearest of `dtype` (float32, bfloat16, float16), every NaN the quiet one."""
    import torch

    bits = {torch.float32: 0x7FC00000, torch.bfloat16: 0x7FC0, torch.float16: 0x7E00}[dtype]
    integer = torch.int32 if dtype.itemsize == 4 else torch.int16
    quiet = torch.tensor(bits, dtype=integer).view(dtype)
    return torch.where(x.isnan(), quiet, x.to(dtype))
