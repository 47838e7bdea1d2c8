"""Library -> functions, through tvm-ffi's calling convention."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from wavejit.jit import arch as archs
from wavejit.jit.checked import Reports
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
        self._reports: Reports | None = None
        if spec.checked:
            self._reports = Reports(
                self._function("report_to", library), on_cpu=not archs.load(arch).is_gpu
            )
        for name in spec.exports:
            function = self._function(name, library)
            setattr(self, name, self._reports.around(function) if self._reports else function)

    def load_code(self, device_index: int) -> None:
        """Load the code onto a GPU now instead of at the first launch there; on the CPU nothing."""
        if self._reports and not self._reports.on_cpu:
            self._reports.prepare(f"cuda:{device_index}")
        self._function("load_code", self._library)(device_index)

    def emulate_with(self, functions: int) -> None:
        """Run CPU tensors through the functions at this address (launch_hip.h has their order)."""
        self._function("emulate_with", self._library)(functions)
        if self._reports:
            self._reports.on_cpu = True

    def report_memory(self) -> list[tuple[int, int, str]]:
        """What a checked kernel writes beside the call's tensors, for an emulator."""
        return self._reports.memory() if self._reports else []

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
