"""AMD's launch against a runtime that only writes down: what would reach a real libamdhip64."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

from wavejit.jit import api, toolchain
from wavejit.jit import arch as archs

ROCM, CUDA = 10, 2  # DLPack's device types; torch for ROCm may use either
E_MACHINE_AMDGPU = 224
GFX942_FLAG = 0x4C


class OnDevice:
    """A CPU tensor that says through DLPack that it lies on another device."""

    def __init__(self, tensor: torch.Tensor, device_type: int, device_id: int = 0) -> None:
        self.tensor, self.device = tensor, (device_type, device_id)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device

    def __dlpack__(self, **_: Any) -> Any:
        capsule = torch.utils.dlpack.to_dlpack(self.tensor)
        pointer = ctypes.pythonapi.PyCapsule_GetPointer
        pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
        address = pointer(capsule, b"dltensor")  # {void* data; {int type; int id} device; ...}
        ctypes.memmove(address + 8, (ctypes.c_int32 * 2)(*self.device), 8)
        return capsule


def tagged(tensor: torch.Tensor, device_type: int, device_id: int = 0) -> Any:
    import tvm_ffi

    return tvm_ffi.from_dlpack(OnDevice(tensor, device_type, device_id))


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    path = tmp_path / "libamdhip64.so.7"
    compiler = toolchain.locate(archs.load("host_w32"))[0]
    source = str(Path(__file__).with_name("fake_hip.cpp"))
    flags = ["-shared", "-fPIC", "-Wl,-soname,libamdhip64.so.7", "-o", str(path)]
    subprocess.run([compiler, "-std=c++20", *flags, source], check=True)
    return path


@pytest.fixture
def hip(engine: Path) -> Path:
    """`engine` with tiny for gfx942 in its cache."""
    tiny.require_compiler("gfx942")
    api.warm(tiny.spec(), "gfx942")
    return engine


def in_process(work: Any) -> Any:
    (result,) = tiny.processes(1, lambda _: work())
    return result


@pytest.mark.parametrize("device_type", [ROCM, CUDA], ids=["rocm", "cuda"])
@pytest.mark.usefixtures("hip")
def test_what_reaches_the_runtime(fake: Path, device_type: int) -> None:
    def work() -> tuple[str, int]:
        library = ctypes.CDLL(str(fake))
        library.what_was_said.restype = ctypes.c_char_p
        out = torch.zeros(7, dtype=torch.int32)
        run = api.get(tiny.spec(), "gfx942").answer
        run(tagged(out, device_type))
        run(tagged(out[:3], device_type))
        run(tagged(out[:0], device_type))  # nothing to launch
        run(tagged(out, device_type, 1))
        return library.what_was_said().decode(), out.data_ptr()

    said, address = in_process(work)
    elf = f"load 7fELF machine {E_MACHINE_AMDGPU} flags {GFX942_FLAG:02x} aligned 0"
    launch = f"block 64 1 1 shared 0 stream 0 extra 0 params {address:x}"
    assert said.splitlines() == [
        f"{elf} on 0",
        "function answer_kernel",
        f"launch 1 grid 7 1 1 {launch} on 0",
        f"launch 1 grid 3 1 1 {launch} on 0",
        "set 1",
        f"{elf} on 1",
        "function answer_kernel",
        "set 0",
        "set 1",
        f"launch 1 grid 7 1 1 {launch} on 1",
        "set 0",
    ]


@pytest.mark.usefixtures("hip")
def test_code_loads_before_the_first_launch(fake: Path) -> None:
    def work() -> tuple[list[str], list[str]]:
        library = ctypes.CDLL(str(fake))
        library.what_was_said.restype = ctypes.c_char_p
        module = api.get(tiny.spec(), "gfx942")
        module.load_code(0)
        loaded = library.what_was_said().decode().splitlines()
        module.load_code(0)
        module.answer(tagged(torch.zeros(7, dtype=torch.int32), ROCM))
        with pytest.raises(ValueError, match="device: expected 0 to 63, got 64"):
            module.load_code(64)
        return loaded, library.what_was_said().decode().splitlines()[1:]

    loaded, after = in_process(work)
    assert len(loaded) == 1 and loaded[0].startswith("load 7fELF")
    assert [line.split()[0] for line in after] == ["function", "launch"]


@pytest.mark.usefixtures("hip")
def test_a_failing_launch_names_kernel_grid_and_reason(fake: Path) -> None:
    def work() -> str:
        ctypes.c_int.in_dll(ctypes.CDLL(str(fake)), "fail_at_launch").value = 98
        with pytest.raises(RuntimeError) as caught:
            api.get(tiny.spec(), "gfx942").answer(tagged(torch.zeros(5, dtype=torch.int32), ROCM))
        return str(caught.value)

    said = in_process(work)
    assert "answer_kernel: launch of 5 x 1 blocks of 64 lanes" in said
    assert "HIP error 98 (invalid function)" in said


@pytest.mark.usefixtures("hip")
def test_a_runtime_that_is_too_old_is_named(tmp_path: Path) -> None:
    old = tmp_path / "libamdhip64.so.5"
    compiler = toolchain.locate(archs.load("host_w32"))[0]
    made = [compiler, "-shared", "-x", "c++", "/dev/null", "-o", str(old)]
    subprocess.run(made, check=True)

    def work() -> str:
        ctypes.CDLL(str(old))
        with pytest.raises(RuntimeError) as caught:
            api.get(tiny.spec(), "gfx942").answer(tagged(torch.zeros(5, dtype=torch.int32), ROCM))
        return str(caught.value)

    assert f"{old} has no hipGetDevice" in in_process(work)


@pytest.mark.usefixtures("hip")
def test_without_a_runtime_the_error_says_what_to_do() -> None:
    def work() -> str:
        with pytest.raises(RuntimeError) as caught:
            api.get(tiny.spec(), "gfx942").answer(tagged(torch.zeros(5, dtype=torch.int32), ROCM))
        return str(caught.value)

    assert "no libamdhip64 is loaded in this process: import a torch for ROCm" in in_process(work)


@pytest.mark.usefixtures("hip")
def test_tensors_of_the_wrong_device_are_refused(fake: Path) -> None:
    def work() -> list[str]:
        library = ctypes.CDLL(str(fake))
        library.what_was_said.restype = ctypes.c_char_p
        said = []
        cases = [("gfx942", torch.zeros(2, dtype=torch.int32))]
        cases += [("host_w32", tagged(torch.zeros(2, dtype=torch.int32), ROCM))]
        for arch, tensor in cases:
            with pytest.raises(ValueError) as caught:
                api.get(tiny.spec(), arch).answer(tensor)
            said.append(str(caught.value))
        return [*said, library.what_was_said().decode()]

    gpu, host, calls = in_process(work)
    assert gpu == "out: expected a tensor on a GPU (this is the gfx942 library), got one on cpu:0"
    assert "expected a tensor on the CPU" in host and "host_w32" in host and "rocm:0" in host
    assert calls == ""
