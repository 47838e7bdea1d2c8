"""The door between the interpreter of AMD code (wavejit.gcn) and the engine: its compiled part,
built for this CPU like any kernel, and the disassembler that belongs to the compiler in use.
"""

from __future__ import annotations

import os
import re
import shutil
from functools import cache

from wavejit.jit import arch as archs
from wavejit.jit import toolchain
from wavejit.jit.api import get
from wavejit.jit.errors import ToolchainError
from wavejit.jit.load import Module
from wavejit.jit.spec import KernelSpec

_WHERE = "host_w64"


@cache
def module() -> Module:
    """The executor's functions, compiled or loaded at the first use."""
    return get(KernelSpec("gcn_executor", (), ("make", "release", "run")), _WHERE)


@cache
def objdump() -> str:
    """The path of llvm-objdump from the package that compiles for gfx942."""
    return tool("llvm-objdump")


def tool(name: str) -> str:
    """The path of an LLVM tool beside the compiler for gfx942; ToolchainError without one."""
    compiler = toolchain.locate(archs.load("gfx942"))[1]
    version = re.search(r"-\d+$", compiler)
    candidates = [
        os.path.join(folder, f"{name}{version.group() if version else ''}")
        for folder in (os.path.dirname(compiler), os.path.dirname(os.path.realpath(compiler)))
    ]
    candidates.append(os.path.join(os.path.dirname(os.path.realpath(compiler)), name))
    for candidate in candidates:
        if found := shutil.which(candidate):
            return found
    raise ToolchainError(
        f"{name} is not beside {compiler}: looked for {', '.join(candidates)}; "
        "run `make toolchain-hip`"
    )
