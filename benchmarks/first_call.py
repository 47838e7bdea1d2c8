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
from wavejit.ops import c4_compress, compress_plan
spec = c4_compress.spec(512, "float", "float", "float")
arch, how = sys.argv[1:]
gpu = how == "load" and wavejit.arch.load(arch).is_gpu
if gpu:  # the process has a context, and a plan that comes from another module
    index = torch.cuda.current_device()
    slots, lengths = torch.zeros(1, dtype=torch.int64).cuda(), torch.full((1,), 8).cuda()
    plan = wavejit.compress_plan_decode(4, slots, lengths, scheme=wavejit.RequestRing(8))
    state, kv = torch.zeros(4, 4, 2048).cuda(), torch.zeros(1, 2048).cuda()
    ape, out = torch.zeros(8, 512).cuda(), torch.zeros(1, 512).cuda()
    torch.cuda.synchronize()
before = time.perf_counter()
if how == "load":
    module = api.get(spec, arch)
else:
    api.warm(spec, arch)
after = time.perf_counter()
figures = {"import_ms": (imported - start) * 1e3, "seconds": after - before}
if gpu:  # the code onto the device, and the first launch
    wavejit.compress(state, kv, ape, plan, head_dim=512, ratio=4, out=out)
    torch.cuda.synchronize()
    figures["launch_ms"] = (time.perf_counter() - after) * 1e3
print(json.dumps(figures))
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
    """Best of several rounds: seconds with an empty cache, milliseconds from a full one.

    "cached" is until the verified library is there; "first_launch" is what a GPU's first call
    takes beyond it: its code is loaded onto the device, and the kernel runs.
    """
    cold, warm = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as cache:
            cold.append(probe(arch, how, cache))
            warm += [probe(arch, how, cache) for _ in range(2)]
    figures = {
        f"{arch}_nothing_cached_s": min(run["seconds"] for run in cold),
        f"{arch}_cached_ms": min(run["seconds"] for run in warm) * 1e3,
        f"{arch}_import_ms": min(run["import_ms"] for run in warm),
    }
    if "launch_ms" in warm[0]:
        figures[f"{arch}_first_launch_ms"] = min(run["launch_ms"] for run in warm)
    return figures


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
