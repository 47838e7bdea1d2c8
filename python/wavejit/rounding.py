"""For references: rounding to a dtype with the one quiet NaN that kernels write, and the norm."""

from __future__ import annotations

from typing import Any


def rounded(x: Any, dtype: Any) -> Any:
    """`x` to the nearest of `dtype` (float32, bfloat16, float16), every NaN the quiet one."""
    import torch

    bits = {torch.float32: 0x7FC00000, torch.bfloat16: 0x7FC0, torch.float16: 0x7E00}[dtype]
    integer = torch.int32 if dtype.itemsize == 4 else torch.int16
    quiet = torch.tensor(bits, dtype=integer).view(dtype)
    return torch.where(x.isnan(), quiet, x.to(dtype))


def normalised(x: Any, eps: float) -> Any:
    """Rows `x` by their root mean square, before any weight, in fp32: x * (1 / sqrt(mean + eps)).

    The sum of squares as kernels state it: groups of four by fused multiply-adds, then a tree.
    """
    import numpy as np
    import torch

    x = x.float()
    groups = x.reshape(*x.shape[:-1], -1, 4)
    sums = groups[..., 0] * groups[..., 0]
    for i in range(1, 4):
        sums = fused(groups[..., i], groups[..., i], sums)
    while sums.shape[-1] > 1:
        if sums.shape[-1] % 2:
            sums = torch.nn.functional.pad(sums, (0, 1))
        sums = sums[..., 0::2] + sums[..., 1::2]
    mean = sums / torch.tensor(float(x.shape[-1])) + torch.tensor(eps, dtype=torch.float32)
    root = torch.from_numpy(np.sqrt(mean.numpy()))  # torch's own is not always the nearest
    return x * (torch.tensor(1.0) / root)


def fused(a: Any, b: Any, c: Any) -> Any:
    """a * b + c of fp32 rounded once: the product is exact in float64, and their sum is rounded
    to odd there, so that the rounding to fp32 is the only one that counts."""
    import torch

    product, addend = a.double() * b.double(), c.double()
    total = product + addend
    back = total - product
    error = (product - (total - back)) + (addend - back)  # exact: Knuth's two-sum
    bits = total.view(torch.int64)
    up = (error > 0) == (total >= 0)
    odd = torch.where(bits % 2 != 0, bits, torch.where(up, bits + 1, bits - 1))
    inexact = (error != 0) & error.isfinite() & total.isfinite()
    return torch.where(inexact, odd, bits).view(torch.float64).float()
