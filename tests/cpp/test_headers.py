"""Every header compiles by itself for every kind of target that can be compiled here.

Only the architecture's constants come before it. So do the units that use every core function.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import cpp_unit
import pytest

from wavejit.jit import arch as archs
from wavejit.jit import toolchain
from wavejit.jit.build import INCLUDE
from wavejit.jit.errors import ToolchainError

HEADERS = sorted(str(path.relative_to(INCLUDE)) for path in INCLUDE.rglob("*.*h"))
HEADERS = [name for name in HEADERS if name.endswith((".h", ".cuh"))]
UNITS = ("warp_unit", "math_unit", "tensor_unit")
OF_ONE_TARGET = {
    "wavejit/platform/host.cuh": "host",
    "wavejit/platform/cuda.cuh": "cuda",
    "wavejit/platform/hip.cuh": "hip",
    "wavejit/host/launch_host.h": "host",
    "wavejit/host/launch_cuda.h": "cuda",
    "wavejit/host/launch_hip.h": "hip",
}
WARNINGS = ("-Wall", "-Wextra", "-Werror", "-Wno-unused-function", "-Wno-unknown-pragmas")


def device_headers(target: str) -> list[str]:
    """What kernels include: everything but the call boundary and what only the CPU executes."""
    inner = [name for name in HEADERS if name.split("/")[1] not in ("host", "simt", "gcn")]
    inner.remove("wavejit/platform/declare.cuh")
    return [name for name in inner if OF_ONE_TARGET.get(name, target) == target]


def host_headers(target: str) -> list[str]:
    """What the host's compiler sees of a target."""
    out = ["simt", "gcn"] if target != "host" else []
    found = [name for name in HEADERS if name.split("/")[1] not in out]
    found = [name for name in found if OF_ONE_TARGET.get(name, target) == target]
    if target == "host":
        found.remove("wavejit/platform/declare.cuh")
        found.remove("wavejit/host/code_object.h")
    else:
        found = [name for name in found if not name.endswith(("/cuda.cuh", "/hip.cuh"))]
    return found


def compile_alone(command: list[str], text: str, folder: Path) -> None:
    """Runs `command` on a source of `text`; AssertionError with what the compiler says."""
    source = folder / "alone.cpp"
    source.write_text('#include "text.cuh"\n')
    (folder / "text.cuh").write_text(text)
    command = [*command, *(f"-I{path}" for path in cpp_unit.includes()), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr[:3000]}"


def host_command(arch: str) -> list[str]:
    flags, _ = toolchain.flags(archs.load(arch))
    return [toolchain.find(archs.load("host_w32")).host.path, *flags, "-fsyntax-only", *WARNINGS]


def device_command(arch: str, folder: Path) -> list[str]:
    try:
        tools = toolchain.find(archs.load(arch))
    except ToolchainError as missing:
        pytest.skip(str(missing))
    assert tools.device
    _, flags = toolchain.flags(archs.load(arch))
    command = [tools.device.path, *flags]
    if archs.load(arch).target == "cuda":  # nvcc has no check of the syntax alone
        return [*command, "-o", str(folder / "alone.cubin")]
    return [*command, "-fsyntax-only", "-Werror"]


def include(*headers: str) -> str:
    return "".join(f"#include <{name}>\n" for name in headers)


def test_there_are_headers() -> None:
    assert len(HEADERS) > 20
    assert set(OF_ONE_TARGET) <= set(HEADERS)


@pytest.mark.parametrize("name", host_headers("host"))
def test_alone_on_the_cpu(tmp_path: Path, name: str) -> None:
    compile_alone(host_command("host_w32"), cpp_unit.preamble("host_w32") + include(name), tmp_path)


@pytest.mark.parametrize("arch", ["gfx942", "sm_90"])
def test_call_boundary_of_a_gpu(tmp_path: Path, arch: str) -> None:
    """The host's pass over a GPU's text: each header of the boundary alone, the others together."""
    headers = host_headers(archs.load(arch).target)
    boundary = [name for name in headers if "/host/" in name]
    for name in boundary:
        compile_alone(host_command(arch), cpp_unit.preamble(arch) + include(name), tmp_path)
    rest = [name for name in headers if name not in boundary]
    compile_alone(host_command(arch), cpp_unit.preamble(arch) + include(*rest), tmp_path)


@pytest.mark.parametrize("arch", ["gfx942", "gfx1100"])
@pytest.mark.parametrize("name", device_headers("hip"))
def test_alone_on_amd(tmp_path: Path, arch: str, name: str) -> None:
    compile_alone(device_command(arch, tmp_path), cpp_unit.preamble(arch) + include(name), tmp_path)


@pytest.mark.parametrize("name", device_headers("cuda"))
def test_alone_on_nvidia(tmp_path: Path, name: str) -> None:
    compile_alone(
        device_command("sm_90", tmp_path), cpp_unit.preamble("sm_90") + include(name), tmp_path
    )


@pytest.mark.parametrize("unit", UNITS)
def test_units_on_the_other_wave(tmp_path: Path, unit: str) -> None:
    text = cpp_unit.preamble("host_w64") + (cpp_unit.HERE / f"{unit}.cuh").read_text()
    compile_alone(host_command("host_w64"), text, tmp_path)


@pytest.mark.parametrize("arch", ["gfx942", "gfx1100", "sm_90"])
@pytest.mark.parametrize("unit", ["warp_unit", "math_unit"])
def test_units_on_gpus(tmp_path: Path, arch: str, unit: str) -> None:
    """Every width of every function, instantiated."""
    text = cpp_unit.preamble(arch) + (cpp_unit.HERE / f"{unit}.cuh").read_text()
    compile_alone(device_command(arch, tmp_path), text, tmp_path)
