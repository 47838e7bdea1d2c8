"""The c128 compressor and what follows it: one launch, two for chunks and for many requests.

templates/c128_compress_store.cuh.j2
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wavejit import finishing
from wavejit.jit.spec import Arch, KernelSpec

__all__: list[str] = []  # users call wavejit.compress_store(..., ratio=128)
RATIO = 128


def spec(layout: Any, state: str, input: str, weight: str, **constants: Any) -> KernelSpec:
    """One instance: a layout whose page size and flavour are known, and the dtypes."""
    return finishing.store_spec("c128_compress_store", layout, state, input, weight, **constants)


def variants(arch: Arch, model: str) -> list[KernelSpec]:
    """What a server of any DeepSeek-V4 calls, with both states."""
    return [
        spec(layout, state, "float", "float")
        for ratio, layout in finishing.served_layouts(arch)
        for state in finishing.DTYPES
        if ratio == RATIO
    ]


def golden_cases() -> dict[str, Callable[[Any], str]]:
    from wavejit.testing import parity_store

    return parity_store.fused_cases(RATIO)
