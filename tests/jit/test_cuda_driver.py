"""NVIDIA's launch against a driver that only writes down what would reach a real libcuda."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import pytest
import tiny
import torch
from test_hip_runtime import CUDA, in_process, tagged

from wavejit.jit import api, render, toolchain
from wavejit.jit import arch as archs

MUCH = 64 << 10  # bytes of shared memory, more than a kernel may have unasked


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    path = tmp_path / "libcuda.so.1"
    compiler = toolchain.locate(archs.load("host_w32"))[0]
    source = str(Path(__file__).with_name("fake_cuda.cpp"))
    flags = ["-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o", str(path)]
    subprocess.run([compiler, "-std=c++20", *flags, source], check=True)
    return path


@pytest.mark.skipif(torch.cuda.is_available(), reason="this process has a real driver")
def test_every_library_asks_for_its_own_shared_memory(
    engine: Path, fake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two instances of one template in one process: nothing that the first did is the second's."""
    tiny.require_compiler("sm_90")
    launch = ".block = 64, .device"
    text = tiny.TEMPLATE.replace(launch, f".block = 64, .shared_bytes = {MUCH}, .device")
    assert text != tiny.TEMPLATE
    folder = tiny.make_templates(engine.parent / "much", text)
    monkeypatch.setattr(render, "TEMPLATES", folder)
    render._environment.cache_clear()
    for value in (1, 2):
        api.warm(tiny.spec(value), "sm_90")

    def work() -> list[str]:
        library = ctypes.CDLL(str(fake), mode=ctypes.RTLD_GLOBAL)
        library.what_was_said.restype = ctypes.c_char_p
        out = tagged(torch.zeros(7, dtype=torch.int32), CUDA)
        for value in (1, 2, 1):
            api.get(tiny.spec(value), "sm_90").answer(out)
        return library.what_was_said().decode().splitlines()  # type: ignore[no-any-return]

    assert in_process(work) == [
        "module 1",
        "function 2 of 1 answer_kernel",
        f"attribute 8 of 2 = {MUCH}",
        f"launch 2 shared {MUCH}",
        "module 3",
        "function 4 of 3 answer_kernel",
        f"attribute 8 of 4 = {MUCH}",
        f"launch 4 shared {MUCH}",
        f"launch 2 shared {MUCH}",
    ]
