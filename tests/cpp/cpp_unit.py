"""Test units: a .cuh file here, rendered and built like a kernel for the test's device."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from wavejit.bind import arch_of
from wavejit.jit import arch as archs
from wavejit.jit import toolchain
from wavejit.jit.build import INCLUDE, compile_library
from wavejit.jit.render import TEMPLATES

HERE = Path(__file__).parent


def preamble(arch: str) -> str:
    """The architecture's constants, as every rendered text starts."""
    template = (TEMPLATES / "arch.cuh.j2").read_text()
    return jinja2.Template(template).render(arch=archs.load(arch), label="test") + "\n"


def unit_text(unit: str, arch: str, exports: tuple[str, ...]) -> str:
    """The unit's whole text for one architecture."""
    entry = (TEMPLATES / "_entry.j2").read_text()
    body = (HERE / f"{unit}.cuh").read_text()
    return preamble(arch) + body + jinja2.Template(entry).render(exports=exports) + "\n"


def includes() -> list[str]:
    """The folders of this project's headers and of tvm-ffi's and DLPack's C headers."""
    import tvm_ffi.libinfo

    binding = tvm_ffi.libinfo.find_include_path(), tvm_ffi.libinfo.find_dlpack_include_path()
    return [str(path) for path in (INCLUDE, *binding)]


@cache
def built(unit: str, arch: str, exports: tuple[str, ...]) -> Any:
    """The loaded module, compiled once a process."""
    import tvm_ffi

    name = archs.load(arch)
    with tempfile.TemporaryDirectory(prefix="wavejit-unit-") as folder:
        compile_library(unit_text(unit, arch, exports), name, toolchain.find(name), Path(folder))
        return tvm_ffi.load_module(str(Path(folder) / "kernel.so"))


def load(unit: str, device: str, *exports: str) -> Any:
    """The unit for a torch device: its exported functions are attributes."""
    import torch

    return built(unit, arch_of(torch.empty(0, device=device)), exports)
