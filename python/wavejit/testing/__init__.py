"""For tests of kernels, here and in programs that use them: bits, seeded inputs, guarded memory."""

from __future__ import annotations

from typing import Any

_HOME = {
    "any_float": "inputs",
    "assert_same_bytes": "bits",
    "digest": "bits",
    "guarded": "guard",
    "check_guards": "guard",
    "bits": "inputs",
    "integers": "inputs",
    "normal": "inputs",
    "permutation": "inputs",
    "uniform": "inputs",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"wavejit.testing has no {name!r}: it has {', '.join(__all__)}")
    import importlib

    module = importlib.import_module(f"{__name__}.{_HOME[name]}")
    return getattr(module, name)
