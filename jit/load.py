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
        self.arch = arch
        self._module = tvm_ffi.load_module(str(library))
        for name in spec.exports:
            setattr(self, name, self._function(name, library))

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
