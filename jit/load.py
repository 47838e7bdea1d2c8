"""Library -> functions, through tvm-ffi's calling convention."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from wavejit.jit.errors import CacheError
from wavejit.jit.spec import KernelSpec


class Module:
    """A loaded library; its exported functions are attributes and take torch or DLPack tensors."""

    def __init__(self, spec: KernelSpec, arch: str, library: Path) -> None:
        import tvm_ffi

        self.spec = spec
        self._library = library
        self.arch = arch
        self._module = tvm_ffi.load_module(str(library))
        for name in spec.exports:
            setattr(self, name, self._function(name, library))

    def load_code(self, device_index: int) -> None:
        """Load the code onto a GPU now instead of at the first launch there; on the CPU nothing."""
        self._function("load_code", self._library)(device_index)

    def _function(self, name: str, library: Path) -> Callable[..., Any]:
        try:
            return self._module.get_function(name)
        except AttributeError as error:
            raise CacheError(
                f"{library} does not export {name!r}: run `wavejit cache verify`"
            ) from error

    def __getattr__(self, name: str) -> Callable[..., Any]:
        exports = ", ".join(self.spec.exports)
        raise AttributeError(f"{self.spec.label} for {self.arch} has no {name!r}: it has {exports}")
