"""Registers, shared memory and scratch of every kernel, read from the compiled code objects."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from wavejit import cli
from wavejit.jit import api
from wavejit.jit import arch as archs
from wavejit.jit.lookup import compilers, look
from wavejit.jit.render import TEMPLATES
from wavejit.ops import modules, q_norm_rope
from wavejit.resources import Resources, resources

sys.path.insert(0, str(Path(__file__).parent / "jit"))
import tiny

LIMIT = 64 << 10  # bytes of shared memory that a block may use on every GPU
AMD, NVIDIA = ("gfx942", "gfx950"), ("sm_90",)


def units(arches: tuple[str, ...]) -> list[Any]:
    return [
        pytest.param(arch, spec, id=f"{arch}-{spec.label}")
        for arch in arches
        for module in modules().values()
        for spec in module.variants(archs.load(arch), "flash")
    ]


def library_of(arch: str, spec: Any) -> Path:
    """The compiled library, from this run's cache."""
    tiny.require_compiler(arch)
    api.warm(spec, arch)
    row = archs.load(arch)
    entry = look(spec, row, compilers(row)).entry
    assert entry
    return entry.library


def named(spec: Any) -> set[str]:
    """The kernels that the template launches."""
    text = (TEMPLATES / f"{spec.template}.cuh.j2").read_text()
    return set(re.findall(r"WAVEJIT_KERNEL\((\w+)\)", text))


@pytest.mark.parametrize(("arch", "spec"), units(AMD))
def test_amd_kernels_have_no_scratch(arch: str, spec: Any) -> None:
    found = resources(library_of(arch, spec))
    assert {kernel.kernel for kernel in found} == named(spec)
    for kernel in found:
        assert (kernel.scratch, kernel.spills) == (0, 0), kernel
        assert kernel.shared <= LIMIT, kernel
        assert 4 <= kernel.registers <= 256, kernel


@pytest.mark.parametrize(("arch", "spec"), units(NVIDIA))
def test_nvidia_kernels(arch: str, spec: Any) -> None:
    found = resources(library_of(arch, spec))
    assert {kernel.kernel for kernel in found} == named(spec)
    for kernel in found:
        assert kernel.scratch <= 64, kernel  # what calls save; nothing is spilled
        assert kernel.shared <= LIMIT, kernel
        assert 8 <= kernel.registers <= 128, kernel


@pytest.mark.parametrize("arch", [*AMD[:1], *NVIDIA])
@pytest.mark.parametrize("dim", q_norm_rope.DIMS)
def test_queries_of_every_head_dim_stay_in_registers(arch: str, dim: int) -> None:
    """Not only those that a model serves: 192 dims are three pieces of a head a lane."""
    for kernel in resources(library_of(arch, q_norm_rope.spec("bfloat16", dim))):
        assert (kernel.scratch, kernel.spills) == (0, 0), kernel


def test_as_the_compiler_says(tmp_path: Path) -> None:
    """The note read by LLVM's own tool: the same numbers."""
    tool = shutil.which("llvm-readelf-22") or shutil.which("llvm-readelf")
    if not tool:
        pytest.skip("needs llvm-readelf")
    library = library_of("gfx942", modules()["c128_compress"].variants(archs.load("gfx942"), "")[0])
    data = library.read_bytes()
    code = tmp_path / "code.o"
    code.write_bytes(data[data.index(b"\x7fELF", 4) :])
    said = subprocess.run([tool, "--notes", str(code)], capture_output=True, text=True).stdout
    lanes = re.findall(r"^ {4}\.max_flat_workgroup_size: +(\d+)$", said, re.MULTILINE)
    assert sorted(lanes) == ["128", *["256"] * 4]  # registers as blocks of these sizes may have
    fields = ("name", "vgpr_count", "group_segment_fixed_size", "private_segment_fixed_size")
    columns = [re.findall(rf"^ {{4}}\.{field}: +(\S+)$", said, re.MULTILINE) for field in fields]
    rows = sorted(zip(*columns, strict=True))
    assert len(rows) == 5
    for kernel, row in zip(resources(library), rows, strict=True):
        assert (kernel.kernel, *map(str, (kernel.registers, kernel.shared, kernel.scratch))) == row


def test_scratch_is_seen(tmp_path: Path) -> None:
    """A kernel that needs scratch says so: the checks above can fail."""
    tiny.require_compiler("gfx942")
    from wavejit.jit import toolchain

    found = toolchain.find(archs.load("gfx942"))
    assert found.device
    source = tmp_path / "spill.cpp"
    source.write_text(
        "__attribute__((global)) void hungry(float* x, int n) {\n"
        "  volatile float a[64]; for (int i = 0; i < 64; ++i) a[i] = x[i];\n"
        "  x[0] = a[n]; }\n"
    )
    flags = toolchain.flags(archs.load("gfx942"))[1]
    command = [found.device.path, *flags, "-c", "-o", str(tmp_path / "spill.o"), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    library = tmp_path / "kernel.so"
    library.write_bytes(b"host part" + (tmp_path / "spill.o").read_bytes())
    (kernel,) = resources(library)
    assert kernel.scratch >= 256


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    tiny.require_compiler("gfx942")
    given = ["show", "c128_compress", "--arch", "gfx942", "--resources"]
    assert cli.main(given) == 0
    said = capsys.readouterr().out
    assert said.split()[:5] == ["kernel", "registers", "shared", "scratch", "spills"]
    assert re.search(r"^c128_decode +\d+ +\d+ +0 +0$", said, re.MULTILINE)
    assert cli.main([*given[:3], "host_w32", "--resources"]) == 1
    assert "no device code" in capsys.readouterr().err


def test_no_device_code(tmp_path: Path) -> None:
    library = tmp_path / "kernel.so"
    library.write_bytes(b"\x7fELF" + bytes(100))
    with pytest.raises(ValueError, match="no device code"):
        resources(library)
    assert Resources("k", 1, 2, 3, 4).scratch == 3
