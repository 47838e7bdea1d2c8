"""Is this machine ready? One check after another, each with what to do if it is not."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wavejit.jit import arch as archs
from wavejit.jit import env, toolchain
from wavejit.jit.errors import NoCompilerError, WavejitError
from wavejit.jit.trust import distrust

REINSTALL = "pip install ninja setuptools 'apache-tvm-ffi>=0.1.15,<0.2'"


@dataclass(frozen=True)
class Check:
    """`status`: ok, missing, read-only or broken; `needed`: nothing works without it."""

    name: str
    status: str
    detail: str
    remedy: str = ""
    needed: bool = False

    @property
    def fails(self) -> bool:
        return self.status == "broken" or (self.needed and self.status != "ok")


def checks() -> list[Check]:
    """Every check, in the order in which a first call needs the things."""
    host = _compiler("host compiler", "host_w32", needed=True)
    gpus = (("CUDA compiler", "sm_90"), ("HIP compiler", "gfx942"))
    return [
        host,
        *(_compiler(*gpu) if host.status == "ok" else _blocked(*gpu) for gpu in gpus),
        _try("ninja", REINSTALL, _ninja),
        _try("torch", "install torch for this machine: pytorch.org", _torch),
        _try("binding", REINSTALL, _binding),
        _gpu(),
        _cache(),
    ]


def _compiler(name: str, arch: str, needed: bool = False) -> Check:
    row = archs.load(arch)
    remedy = toolchain.REMEDY[row.target]
    try:
        path = toolchain.locate(row)[-1]
        who = toolchain.identity(path, remedy).replace("\n", "; ")
    except NoCompilerError as error:
        return Check(name, "missing", str(error), remedy, needed)
    except WavejitError as error:
        return Check(name, "broken", str(error), remedy, needed)
    return Check(name, "ok", f"{path}: {who}", needed=needed)


def _blocked(name: str, arch: str) -> Check:
    detail = "not looked for: it needs the host compiler"
    return Check(name, "missing", detail, toolchain.REMEDY[archs.load(arch).target])


def _try(name: str, remedy: str, ask: Callable[[], str]) -> Check:
    try:
        return Check(name, "ok", ask(), needed=True)
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        return Check(name, "missing", str(error), remedy, needed=True)


def _ninja() -> str:
    from shutil import which

    try:
        import ninja
    except ImportError:
        found = which("ninja")
        if not found:
            raise
        return found
    return os.path.join(ninja.BIN_DIR, "ninja")


def _torch() -> str:
    import torch
    import torch.utils.cpp_extension  # the builds' door

    kind = torch.version.cuda or torch.version.hip
    return f"{torch.__version__}, for {'the CPU' if not kind else f'GPUs ({kind})'}"


def _binding() -> str:
    import tvm_ffi
    import tvm_ffi.libinfo

    return f"tvm-ffi {tvm_ffi.__version__}, headers in {tvm_ffi.libinfo.find_include_path()}"


def _gpu() -> Check:
    remedy = "only if this machine has one: install its driver and the torch for it"
    try:
        import torch

        if not torch.cuda.is_available():
            return Check("GPU", "missing", "torch sees none: host targets only", remedy)
        detail = f"{torch.cuda.get_device_name()}: {archs.detect('cuda')}"
    except (ImportError, RuntimeError, OSError) as error:
        return Check("GPU", "broken", str(error), remedy)
    return Check("GPU", "ok", detail)


def _cache() -> Check:
    """Whether the cache's folder, or the nearest one that exists above it, can be written."""
    root = Path(env.cache_dir())
    for path in (root / "entries", root / "tmp", root / "locks"):
        if path.exists() and (reason := distrust(path)):
            return Check("cache", "broken", reason, "set WAVEJIT_CACHE_DIR to a folder of your own")
    above = next(path for path in (root, *root.parents) if path.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        remedy = "what it lacks compiles anew in every process: set WAVEJIT_CACHE_DIR"
        return Check("cache", "read-only", f"{root}: {above} cannot be written", remedy)
    return Check("cache", "ok", f"{root}{'' if root.exists() else ' (not made yet)'}")
