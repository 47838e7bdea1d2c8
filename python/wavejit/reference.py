"""The definition of every op in plain torch: `wavejit.reference.<op>` has the op's signature."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    from wavejit.front import compress_reference
    from wavejit.fused import compress_store_reference
    from wavejit.ops import modules

    wanted = f"{name}_reference"
    if name == "compress":
        return compress_reference
    if name == "compress_store":
        return compress_store_reference
    for module in modules().values():
        if hasattr(module, wanted):
            return getattr(module, wanted)
    raise AttributeError(f"no reference for {name!r}")
