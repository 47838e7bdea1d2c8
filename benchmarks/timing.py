"""Times on a GPU: microseconds a call from graph replays, CPU time a call, the copy rate.

A call is timed inside a CUDA graph of CALLS calls, so that launch gaps are those of a serving
loop; several candidates are replayed in turn, so that they meet the same clocks and caches.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

CALLS = 20
REPLAYS = 40
COPY_BYTES = 1 << 32


def warm_clocks(seconds: float = 2.0) -> None:
    """Matrix products until the chip runs at its working clocks."""
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    end = time.time() + seconds
    while time.time() < end:
        _ = a @ a
        torch.cuda.synchronize()


def captured(call: Callable[[], object]) -> torch.cuda.CUDAGraph:
    """A graph of CALLS calls, captured after two warm ones."""
    stream = torch.cuda.Stream()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.stream(stream):
        call()
        call()
        torch.cuda.synchronize()
        with torch.cuda.graph(graph, stream=stream):
            for _ in range(CALLS):
                call()
    return graph


def _replay_us(graph: torch.cuda.CUDAGraph) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    graph.replay()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) * 1e3 / CALLS


def graph_us(*calls: Callable[[], object]) -> list[float]:
    """Median microseconds a call of each candidate, replayed in turn."""
    graphs = [captured(call) for call in calls]
    for _ in range(5):
        for graph in graphs:
            graph.replay()
    samples: list[list[float]] = [[] for _ in graphs]
    for _ in range(REPLAYS):
        for graph, sample in zip(graphs, samples, strict=True):
            sample.append(_replay_us(graph))
    return [statistics.median(sample) for sample in samples]


def wall_us(call: Callable[[], object], count: int = 200) -> float:
    """Microseconds a call, eager, until the device is done with all of them."""
    for _ in range(20):
        call()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(count):
        call()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / count * 1e6


def cpu_us(call: Callable[[], object], count: int = 400) -> float:
    """Microseconds of CPU time a call without waiting for the device; the best of five rounds."""
    best = float("inf")
    for _ in range(5):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(count):
            call()
        best = min(best, (time.perf_counter() - start) / count * 1e6)
    return best


def copy_rate() -> float:
    """Bytes a second of a large device-to-device copy, read plus written."""
    source = torch.empty(COPY_BYTES // 4, device="cuda")
    target = torch.empty_like(source)
    times = []
    for _ in range(13):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        target.copy_(source)
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
    return 2 * COPY_BYTES / statistics.median(times[3:])
