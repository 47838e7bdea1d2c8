"""What importing costs: no torch, no process, no folder, few modules; and only one engine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny

WATCH = """
import sys, time
events = []
sys.addaudithook(lambda name, args: events.append((name, str(args))))
before = set(sys.modules)
start = time.perf_counter()
import {module}
seconds = time.perf_counter() - start
loaded = sorted(set(sys.modules) - before)
heavy = [m for m in loaded if m.split(".")[0] in
         ("torch", "tvm_ffi", "jinja2", "numpy", "ninja", "setuptools", "hypothesis")]
assert not heavy, heavy
bad = ("subprocess", "os.fork", "os.posix_spawn", "os.exec", "os.system", "os.mkdir", "os.rename",
       "os.remove", "os.link", "os.symlink", "os.chmod", "shutil", "tempfile", "socket",
       "ctypes.dlopen")
done = [e for e in events if e[0].startswith(bad)]
assert not done, done
writes = [e for e in events if e[0] == "open" and "'w" in e[1]]
assert not writes, writes
print(len(loaded), seconds)
"""


@pytest.mark.parametrize(
    ("module", "most"), [("wavejit", 80), ("wavejit.jit.api", 130), ("wavejit.ops", 80)]
)
def test_importing_starts_and_makes_nothing(module: str, most: int, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    said = tiny.python(
        WATCH.format(module=module),
        HOME=str(home),
        PYTHONDONTWRITEBYTECODE="1",
        WAVEJIT_CACHE_DIR=str(home / "cache"),
    )
    modules, seconds = said.split()
    assert int(modules) <= most, said
    assert float(seconds) < 0.5  # 10 to 30 ms on an idle machine; a busy one must not fail here
    assert not list(home.iterdir())


def test_listing_kernels_loads_no_torch() -> None:
    code = """
import sys, wavejit
assert "c4_compress" in wavejit.kernels()
from wavejit.ops import modules
from wavejit.jit import arch
for module in modules().values():
    assert module.variants(arch.load("gfx942"), "flash")
assert not {"torch", "tvm_ffi", "jinja2"} & set(sys.modules)
"""
    tiny.python(code)


def test_the_engine_has_one_name() -> None:
    given = {**os.environ, "PYTHONPATH": str(tiny.REPOSITORY)}
    run = subprocess.run(
        [sys.executable, "-c", "import jit"], env=given, capture_output=True, text=True
    )
    assert run.returncode != 0 and "import it as 'wavejit.jit'" in run.stderr
