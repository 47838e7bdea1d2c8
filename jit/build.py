"""Text -> shared library, in a private folder, through `torch.utils.cpp_extension.load`.

`load` is used as a compiler driver only: it never loads, never waits on its lock file (the folder
is fresh) and never runs hipify. ninja sees one compiler, `driver.sh`, which sends `device.cpp` to
the device compiler and everything else to the host's; the device's code object becomes part of
the library by `.incbin`, so both compile at the same time and one library holds everything.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
import threading
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from wavejit.jit import env
from wavejit.jit.errors import CacheError, CompileError, ToolchainError, WavejitError
from wavejit.jit.render import TEMPLATES
from wavejit.jit.toolchain import flags

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wavejit.jit.spec import Arch
    from wavejit.jit.toolchain import Toolchain

INCLUDE = (TEMPLATES.parent / "include").resolve()
if not INCLUDE.is_dir():  # an installed package
    INCLUDE = TEMPLATES.parent / "_include"
LIBRARY = "kernel.so"
SOURCE = "kernel.cuh"
LOG = "compiler.log"
# Variables that add flags, headers or libraries to a compiler's command: they are not in the key.
_UNWANTED = (
    "CPATH",
    "C_INCLUDE_PATH",
    "CPLUS_INCLUDE_PATH",
    "LIBRARY_PATH",
    "LD_RUN_PATH",
    "CCC_OVERRIDE_OPTIONS",
    "NVCC_APPEND_FLAGS",
    "NVCC_PREPEND_FLAGS",
    "SOURCE_DATE_EPOCH",
)
_LINK = ("-shared", "-Wl,--build-id=none")
_environment_lock = threading.Lock()


def _unlock_in_child() -> None:
    global _environment_lock
    _environment_lock = threading.Lock()


os.register_at_fork(after_in_child=_unlock_in_child)
_EMBED = """\
    .section .rodata
    .balign 4096
    .globl wavejit_code_object
    .hidden wavejit_code_object
wavejit_code_object:
    .incbin "device.bin"
    .globl wavejit_code_object_end
    .hidden wavejit_code_object_end
wavejit_code_object_end:
    .byte 0
    .section .note.GNU-stack,"",@progbits
"""


def binding_include() -> str:
    """The folder of tvm-ffi's C headers."""
    import tvm_ffi.libinfo

    return str(tvm_ffi.libinfo.find_include_path())


def _dlpack_include() -> str:
    import tvm_ffi.libinfo

    return str(tvm_ffi.libinfo.find_dlpack_include_path())


def compile_library(text: str, arch: Arch, toolchain: Toolchain, folder: Path) -> None:
    """Compile `text` inside the existing, fresh `folder`.

    Leaves kernel.so, kernel.cuh (the text) and compiler.log. A failure is a `CompileError` with the
    first real message; the folder is then kept.
    """
    if signs := set(str(folder)) & set("$:|\n"):
        raise CacheError(
            f"ninja cannot name {folder} because of {' '.join(map(repr, sorted(signs)))}: "
            "set WAVEJIT_CACHE_DIR (or TMPDIR) to another folder"
        )
    (folder / SOURCE).write_text(text)
    (folder / "host.cpp").write_text(f'#include "{SOURCE}"\n')
    sources = ["host.cpp"]
    if toolchain.device:
        (folder / "device.cpp").write_text(f'#include "{SOURCE}"\n')
        (folder / "embed.s").write_text(_EMBED)
        sources.append("device.cpp")
    command = _write_driver(arch, toolchain, folder, sources)
    (folder / LOG).touch()
    try:
        _run_load(folder, [str(folder / source) for source in sources])
    except (RuntimeError, OSError, ImportError) as error:
        _raise_compile_error(error, folder, command)


def _run_load(folder: Path, sources: list[str]) -> None:
    from torch.utils import cpp_extension

    # CXX is relative to the folder, where ninja runs: no path that a shell could misread
    with _environment(CXX="./driver.sh", PATH=_path_with_ninja()):
        built = cpp_extension.load(
            name=f"k{uuid.uuid4().hex}.so",  # never seen before: torch's versioner stays out
            sources=sources,
            build_directory=str(folder),
            with_cuda=False,
            is_python_module=False,
            is_standalone=True,
            verbose=False,
        )
    if not os.path.isfile(built):
        with open(folder / LOG, "a") as log:
            log.write("error: the compiler says success and left no library: is it a compiler?\n")
        raise RuntimeError("no library")
    os.replace(built, folder / LIBRARY)


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Variables that torch reads, set for one build: they are the process's, so one at a time."""
    values |= {"TORCH_DONT_CHECK_COMPILER_ABI": "1", "TORCH_NO_COMPILER_WRAPPER": "1"}
    with _environment_lock:
        before = {name: os.environ.get(name) for name in values}
        os.environ.update(values)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def _path_with_ninja() -> str:
    path = os.environ.get("PATH", "")
    try:
        import ninja
    except ImportError:
        return path
    return f"{ninja.BIN_DIR}{os.pathsep}{path}"


def _write_driver(arch: Arch, toolchain: Toolchain, folder: Path, sources: list[str]) -> str:
    """Write driver.sh; returns the command of the device (or only) compiler for messages."""
    launcher = shlex.split(env.text("WAVEJIT_COMPILER_LAUNCHER"))
    ours = ["-I", str(INCLUDE), f"-ffile-prefix-map={INCLUDE}=include"]
    include = [*ours, "-I", binding_include(), "-I", _dlpack_include()]
    host_flags, device_flags = flags(arch)
    host = [*launcher, toolchain.host.path, *host_flags, *include]
    compile_host = shlex.join([*host, "-c", "host.cpp", "-o", "host.o"])
    assemble = shlex.join([toolchain.host.path, "-c", "embed.s", "-o", "device.o"])
    link = shlex.join([toolchain.host.path, *_LINK, *(s[:-4] + ".o" for s in sources)])
    device = "exit 1"
    if toolchain.device:
        command = [*launcher, toolchain.device.path, *device_flags, "-I", str(INCLUDE)]
        device = shlex.join([*command, "-o", "device.bin", "device.cpp"])
    script = f"""#!/bin/sh
# ninja's compiler: runs in this folder, once a source and once to link. Torch's own flags (its
# headers, libraries and run path) are not wanted; of its arguments only the output's name is used.
# Of the environment, only PATH and the like: none of it may change what is built or said.
exec >>{LOG} 2>&1
unset {" ".join(_UNWANTED)}
export LC_ALL=C
for output; do :; done
case " $* " in
  *"/device.cpp "*) {device} && {assemble} ;;
  *"/host.cpp "*) {compile_host} ;;
  *) {link} -o "$output" ;;
esac
status=$?
[ $status -le 128 ] || echo "error: a compiler was ended by signal $((status - 128))"
exit $status
"""
    driver = folder / "driver.sh"
    driver.write_text(script)
    driver.chmod(0o700)
    return device if toolchain.device else compile_host


def _raise_compile_error(error: Exception, folder: Path, command: str) -> None:
    try:
        log = (folder / LOG).read_text(errors="replace")
    except OSError:
        log = ""
    if isinstance(error, ImportError) or "Ninja is required" in str(error):
        raise ToolchainError(
            f"ninja or torch's build support is missing ({error}): pip install ninja setuptools"
        ) from error
    if not log.strip():
        chain = str(error).strip().splitlines()
        log = "\n".join(chain[-20:])
    first = first_error(log)
    raise CompileError(
        f"compiling failed: {first}\n"
        f"  command: {command}\n"
        f"  kept: {folder} (kernel.cuh is the rendered source, {LOG} the compiler's output)"
        f"{_hint(log)}",
        log=log,
        folder=str(folder),
        command=command,
    ) from error


def first_error(log: str) -> str:
    """The first line that is an error, else the last line of the output."""
    lines = [line for line in log.splitlines() if line.strip()]
    for line in lines:
        if re.search(r"\b(fatal )?error\b\s*:|: undefined reference|error:", line, re.IGNORECASE):
            return line.strip()
    return lines[-1].strip() if lines else "the compiler ended without a message"


def _hint(log: str) -> str:
    if re.search(r"\bKilled\b|signal 9", log):
        return "\n  hint: a compiler was killed; is memory short? Set MAX_JOBS=1."
    if "No space left on device" in log:
        return "\n  hint: the disk is full; set WAVEJIT_CACHE_DIR or TMPDIR to another one."
    return ""


def check_platform() -> None:
    """The engine needs Linux: code objects are ELF and locks are the kernel's."""
    if not sys.platform.startswith("linux"):
        raise WavejitError(f"wavejit compiles on Linux only, this is {sys.platform}")
