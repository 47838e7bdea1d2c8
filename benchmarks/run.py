"""Times the kernels on this machine's GPU, beside the peer where there is one.

    python benchmarks/run.py [--out results.json]

Prints a table and writes the same numbers with the machine, the versions, the command and the day.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import platform
import shlex
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import c4
import c128
import caches
import compress_store
import first_call
import peer
import queries
import routing
import timing
import torch

FOLDER = Path(__file__).parent
GROUPS = {
    module.__name__: module for module in (c4, c128, compress_store, caches, queries, routing)
}
OVERHEADS = "overheads"  # what a call costs before and around the kernel
PLACEMENTS = 5
L2_BYTES = 100 << 20  # twice what an H200 has
AGREEING_BYTES = 0.01  # of a cache may differ: rounding ties of nearly equal rows


def machine() -> dict[str, str]:
    """What the numbers were measured on and with."""
    import tvm_ffi

    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    driver = subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
    nvcc = subprocess.run(["nvcc", "--version"], capture_output=True, text=True, check=True).stdout
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True)
    return {
        "gpu": torch.cuda.get_device_name(),
        "driver": driver.splitlines()[0],
        "torch": torch.__version__,
        "tvm_ffi": tvm_ffi.__version__,
        "nvcc": nvcc.strip().splitlines()[-1],
        "python": platform.python_version(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": shlex.join(["python", *sys.argv]),
        "commit": commit.stdout.strip() if commit.returncode == 0 else "unknown",
    }


def check(row: c4.Row) -> float:
    """The largest difference between our result and the peer's on the same inputs."""
    if row.theirs is None or row.outputs[0] is None:
        return 0.0
    row.ours()
    row.theirs()
    ours, theirs = (one() if callable(one) else one for one in row.outputs)
    if ours.dtype == torch.uint8:
        worst, limit = (ours != theirs).float().mean().item(), AGREEING_BYTES
    else:
        worst, limit = (ours - theirs).abs().max().item(), row.agreement
    if not worst <= limit:
        raise SystemExit(f"{row.name}: ours and the peer's differ by {worst}")
    return worst


def measure(make: Callable[[], c4.Row], rate: float) -> dict[str, Any]:
    """Our time, the peer's, and our share of the copy rate.

    Where tensors lie changes a row that fits into L2 by several percent, of one candidate as of the
    other: such a row is made anew at PLACEMENTS places, and the times are means over them.
    """

    def times() -> list[float]:
        return timing.graph_us(row.ours, *([row.theirs] if row.theirs else []))

    row = make()
    check(row)
    samples, kept = [times()], [row]  # so that the next row lies elsewhere
    while row.bytes < L2_BYTES and len(samples) < PLACEMENTS:
        row = make()
        samples.append(times())
        kept.append(row)
    ours, *theirs = (statistics.mean(of_one) for of_one in zip(*samples, strict=True))
    return {
        "name": row.name,
        "us": round(ours, 3),
        "peer_us": round(theirs[0], 3) if theirs else None,
        "ratio": round(ours / theirs[0], 3) if theirs else None,
        "share": round(row.bytes / ours / 1e-6 / rate, 3),
    }


def main() -> None:
    choices = [*GROUPS, OVERHEADS]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="where to write the results as JSON")
    parser.add_argument(
        "--only", nargs="+", choices=choices, help="these groups of rows, or overheads"
    )
    options = parser.parse_args()
    out: Path | None = options.out
    if not torch.cuda.is_available():
        raise SystemExit("bench: no GPU here; the wave executor is for correctness, not for timing")
    other = peer.load()
    print("peer:", "beside ours" if other else "WAVEJIT_PEER is not set, ours alone")
    timing.warm_clocks()
    rate = timing.copy_rate()
    print(f"copy rate {rate / 1e12:.3f} TB/s")
    print(f"{'':46}{'ours us':>9}{'peer us':>9}{'ratio':>8}{'share':>8}")
    results = []
    shapes = tomllib.loads((FOLDER / "shapes.toml").read_text())
    wanted = options.only or choices
    chosen = [GROUPS[name] for name in wanted if name != OVERHEADS]
    for make in [make for group in chosen for make in group.rows(shapes, other)]:
        line = measure(make, rate)
        results.append(line)
        print(
            f"{line['name']:46}{line['us']:9.2f}{line['peer_us'] or math.nan:9.2f}"
            f"{line['ratio'] or math.nan:8.3f}{line['share']:8.1%}",
            flush=True,
        )
    overheads = _overheads() if OVERHEADS in wanted else {}
    for name, value in overheads.items():
        print(f"{name:46}{value:10.3f}")
    if out:
        record = {
            "machine": machine(),
            "copy_rate": rate,
            "rows": results,
            "overheads": overheads,
        }
        out.write_text(json.dumps(record, indent=1) + "\n")


def _overheads() -> dict[str, float]:
    """What a call costs before and around the kernel."""
    overheads = first_call.measure()
    overheads["plan_2048_tokens_cpu_lengths_wall_us"] = timing.wall_us(c4.host_plan(2048))
    overheads["plan_16384_tokens_cpu_lengths_wall_us"] = timing.wall_us(c4.host_plan(16384))
    overheads["compress_call_cpu_us_cuda"] = timing.cpu_us(c4.decode(1, 512, None).ours)
    return overheads


if __name__ == "__main__":
    main()
