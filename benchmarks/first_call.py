"""What a first call costs with nothing cached and from the cache, and what a call costs.

Runs anywhere: `python benchmarks/first_call.py [ARCH ...]` compiles without a GPU too.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile

_PROBE = """
import json, sys, time, torch, tvm_ffi
start = time.perf_counter()
import wavejit
imported = time.perf_counter()
from wavejit.jit import api
from wavejit.ops import c4_compress
spec = c4_compress.spec(512, "float", "float", "float")
arch = sys.argv[1]
before = time.perf_counter()
(api.get if sys.argv[2] == "load" else api.warm)(spec, arch)
after = time.perf_counter()
print(json.dumps({"import_ms": (imported - start) * 1e3, "seconds": after - before}))
"""


def probe(arch: str, how: str, cache: str) -> dict[str, float]:
    """One fresh process that has torch and the binding imported: time to get the c4 module."""
    import os

    run = subprocess.run(
        [sys.executable, "-c", _PROBE, arch, how],
        capture_output=True,
        text=True,
        env={**os.environ, "WAVEJIT_CACHE_DIR": cache},
    )
    if run.returncode:
        raise SystemExit(run.stderr)
    return json.loads(run.stdout)


def first_calls(arch: str, how: str, rounds: int = 3) -> dict[str, float]:
    """Best of several rounds: seconds with an empty cache, milliseconds from a full one."""
    cold, warm = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as cache:
            cold.append(probe(arch, how, cache)["seconds"])
            warm += [probe(arch, how, cache)["seconds"] * 1e3 for _ in range(2)]
    return {f"{arch}_nothing_cached_s": min(cold), f"{arch}_cached_ms": min(warm)}


def call_us() -> dict[str, float]:
    """Microseconds of a call on CPU tensors whose kernel has nothing to do."""
    import time

    import torch

    import wavejit

    ring = wavejit.RequestRing(8)
    empty = torch.empty(0, dtype=torch.int64)
    plan = wavejit.compress_plan_decode(4, empty, empty, scheme=ring)
    state, kv = torch.zeros(4, 4, 2048), torch.empty(0, 2048)
    ape, out = torch.zeros(8, 512), torch.empty(0, 512)
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(10000):
            wavejit.compress(state, kv, ape, plan, head_dim=512, ratio=4, out=out)
        best = min(best, (time.perf_counter() - start) / 10000 * 1e6)
    return {"compress_call_us_cpu": best}


def measure(archs: tuple[str, ...] = ()) -> dict[str, float]:
    """Every figure of this file for `archs`, by default this machine's GPU and the host."""
    import torch

    import wavejit

    results = call_us()
    if not archs:
        gpu = (wavejit.arch.detect(torch.device("cuda")),) if torch.cuda.is_available() else ()
        archs = ("host_w32", *gpu)
    for arch in archs:
        loads = wavejit.arch.load(arch).target == "host" or torch.cuda.is_available()
        results |= first_calls(arch, "load" if loads else "warm")
    return results


if __name__ == "__main__":
    for name, value in measure(tuple(sys.argv[1:])).items():
        print(f"{name:46}{value:10.3f}")
