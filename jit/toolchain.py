"""The compilers: where they are, who they are, and the flags that keep every target's bits equal.

No contraction and no fast math anywhere (docs/numerics.md); a fused multiply-add is written.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

from wavejit.jit import env
from wavejit.jit.errors import NoCompilerError, ToolchainError
from wavejit.jit.spec import Arch

_STANDARD = "-std=c++20"
_DEVICE = (_STANDARD, "-O3")
_HOST = (
    "-fPIC",
    "-ffp-contract=off",
    "-fno-tree-vectorize",  # g++ 12 makes a*c - b*s, a*s + b*c one vfmaddsub, contract or not
    "-fno-strict-aliasing",
    "-fvisibility=hidden",
    "-Wall",
    "-Wno-unknown-pragmas",
    "-pthread",
)
_CUDA = (*_DEVICE, "-x", "cu", "-cubin", "-fmad=false", "-DWAVEJIT_DEVICE_PASS=1")
_HIP = (
    *_DEVICE,
    "-x",
    "hip",
    "--offload-device-only",
    "--no-gpu-bundle-output",
    "-fno-gpu-rdc",
    "-cuid=wavejit",
    "-nogpuinc",
    "-nogpulib",
    "-fdeclspec",
    "-ffp-contract=off",
    "-Wall",
    "-DWAVEJIT_DEVICE_PASS=1",
)
_CLANG_VERSIONS = ("22", "23", "24", "21", "20")
REMEDY = {
    "host": "install a C++20 compiler (Debian: apt-get install g++) or set CXX",
    "cuda": "install CUDA's nvcc 12.8 or newer, or set CUDA_HOME to its folder",
    "hip": "run `make toolchain-hip` (Debian's clang-22), or set ROCM_HOME to a ROCm installation",
}


@dataclass(frozen=True)
class Compiler:
    """One compiler: its path (this machine's) and its identity (the same text on any machine)."""

    path: str
    identity: str


@dataclass(frozen=True)
class Toolchain:
    """What one architecture is built with. `device` is None for the host's targets."""

    host: Compiler
    device: Compiler | None

    @property
    def identity(self) -> str:
        return "\n".join(c.identity for c in (self.host, self.device) if c)


def locate(arch: Arch) -> list[str]:
    """The paths of the compilers for `arch`: the host's, and a GPU's own.

    One that CXX, CUDA_HOME or ROCM_HOME asks for and is not there is a `ToolchainError`; none at
    all is its subclass `NoCompilerError`.
    """
    found = [_host_path()]
    if arch.target == "cuda":
        found.append(_cuda_path())
    elif arch.target == "hip":
        found.append(_hip_path())
    return found


def find(arch: Arch) -> Toolchain:
    """The compilers for `arch`."""
    remedies = (REMEDY["host"], REMEDY[arch.target])
    found = zip(locate(arch), remedies)
    host, *device = [Compiler(path, identity(path, remedy)) for path, remedy in found]
    return Toolchain(host=host, device=device[0] if device else None)


def flags(arch: Arch) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The flags of the host's and of the device's compiler; they do not depend on who compiles."""
    target = f"-DWAVEJIT_TARGET_{arch.target.upper()}=1"
    host = (_STANDARD, "-O" + env.level("WAVEJIT_HOST_OPT"), *_HOST)
    if arch.target == "host":
        return (*host, *_machine_flags(), target), ()
    device = _CUDA if arch.target == "cuda" else _HIP
    return (*host, target), (*device, *arch.flags, target)


def identity(path: str, remedy: str) -> str:
    """What `path --version` says of itself, without names, folders and language of this machine."""
    command = [path, "--version"]
    plain = {**os.environ, "LC_ALL": "C"}
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=60, env=plain)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolchainError(f"{path} --version does not run: {error}; {remedy}") from error
    if run.returncode != 0:
        said = run.stderr.strip()[:200] or "without a message"
        raise ToolchainError(f"{path} --version ended with {run.returncode}, {said}; {remedy}")
    kept = [line for line in run.stdout.splitlines() if _says_who(line)]
    if not kept:
        raise ToolchainError(f"{path} --version says nothing: is it a compiler? {remedy}")
    first = re.sub(r"^(?!nvcc)\S*(g\+\+|c\+\+|gcc|cc)\S* ", "gcc ", kept[0])
    return "\n".join([first, *kept[1:]])


def _says_who(line: str) -> bool:
    noise = ("InstalledDir", "Configuration file", "Copyright", "This is free", "warranty")
    return bool(line.strip()) and not any(word in line for word in noise)


def _which(name: str) -> str | None:
    found = shutil.which(name)
    return os.path.abspath(found) if found else None


def _host_path() -> str:
    wanted = os.environ.get("CXX")
    if wanted:
        found = _which(wanted)
        if not found:
            raise ToolchainError(
                f"CXX={wanted}: no such program (its name or path alone is expected; a launcher "
                f"such as ccache goes to WAVEJIT_COMPILER_LAUNCHER); {REMEDY['host']}"
            )
        return found
    for name in ("g++", "c++", "clang++"):
        if found := _which(name):
            return found
    raise NoCompilerError(f"no C++ compiler: looked for g++, c++, clang++; {REMEDY['host']}")


def _cuda_path() -> str:
    home = os.environ.get("CUDA_HOME")
    if home:
        found = _which(os.path.join(home, "bin", "nvcc"))
        if not found:
            raise ToolchainError(f"CUDA_HOME={home} has no bin/nvcc; {REMEDY['cuda']}")
        return found
    found = _which("nvcc") or _which("/usr/local/cuda/bin/nvcc")
    if not found:
        raise NoCompilerError(f"no nvcc on PATH or in /usr/local/cuda; {REMEDY['cuda']}")
    return found


def _hip_path() -> str:
    home = os.environ.get("ROCM_HOME") or os.environ.get("ROCM_PATH")
    if home:
        found = _which(os.path.join(home, "llvm", "bin", "clang++"))
        if not found:
            raise ToolchainError(f"ROCM_HOME={home} has no llvm/bin/clang++; {REMEDY['hip']}")
        return found
    candidates = [
        *(f"clang++-{version}" for version in _CLANG_VERSIONS),
        "/opt/rocm/llvm/bin/clang++",
    ]
    for name in candidates:
        if found := _which(name):
            return found
    looked = ", ".join(candidates)
    raise NoCompilerError(f"no clang for HIP: looked for {looked}; {REMEDY['hip']}")


@cache
def _machine_flags() -> tuple[str, ...]:
    """Hardware fma where the CPU has it: the software one gives the same bits, slowly."""
    if os.uname().machine != "x86_64":
        return ()
    flags: list[str] = []
    with suppress(OSError), open("/proc/cpuinfo", "rb", 0) as cpu:
        first = cpu.read(16384).decode(errors="replace")  # one processor's part: the rest is slow
        flags = next((line.split() for line in first.split("\n") if line.startswith("flags")), [])
    wanted = {"avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"}
    return ("-march=x86-64-v3",) if wanted <= set(flags) else ()
