"""One architecture's run: the server's steps, the kernels they call, and what came of it."""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from wavejit.demo.check import Expected, Mismatch
from wavejit.demo.server import PAGE, SLOTS, SWA_PAGES, Chunk, Server, Step
from wavejit.demo.streams import STREAMS, Stream, position_bias, rows
from wavejit.demo.trace import Request
from wavejit.targets import on

RING = 8
PLAN, RING_PLAN = "c4 plan", "c4 plan, request ring"


@dataclass
class Kernel:
    """A line of the table: a kernel with its calls' seconds, and what it computed."""

    name: str
    path: str = ""  # how its module was come by; "loaded" if an earlier kernel has the same
    first_call: float = 0.0
    calls: dict[str, list[float]] = field(default_factory=lambda: {"prefill": [], "decode": []})
    rows: int = 0
    error: float | None = None
    digest: str = ""

    def median_ms(self, phase: str) -> float:
        return 1e3 * statistics.median(self.calls[phase] or [0.0])


@dataclass
class Run:
    """What one architecture did. `batches`: requests in each prefill and decode batch."""

    arch: str
    kernels: list[Kernel]
    batches: dict[str, list[int]]
    seconds: float
    steps: int


def replay(arch: str, requests: Sequence[Request], expected: Mapping[str, Expected]) -> Run:
    """Run every step on `arch` and check every compressed row; Mismatch if one is wrong."""
    start = time.perf_counter()
    with on(arch) as device:
        engine = _Engine(arch, device, requests, expected)
        server = Server(requests)
        count = 0
        for step in server.steps():
            engine.run(step, server)
            count += 1
        kernels = engine.finish()
    return Run(arch, kernels, engine.batches, time.perf_counter() - start, count)


class _Engine:
    """The device's side of the server: tables, one state pool a stream, the kernels' calls."""

    def __init__(
        self,
        arch: str,
        device: str,
        requests: Sequence[Request],
        expected: Mapping[str, Expected],
    ) -> None:
        import numpy as np
        import torch

        self.arch, self.device, self.expected = arch, torch.device(device), expected
        self.batches: dict[str, list[int]] = {"prefill": [], "decode": []}
        self.kernels = {name: Kernel(name) for name in (PLAN, RING_PLAN, *_names())}
        self.pools = {stream.name: _pool(stream, self.device) for stream in STREAMS}
        self.ape = {s.name: torch.from_numpy(position_bias(s)).to(self.device) for s in STREAMS}
        self.plans = {name: hashlib.sha256() for name in (PLAN, RING_PLAN)}
        total = sum(request.entries for request in requests)
        self.results = {s.name: np.full((total, s.head_dim), np.nan, np.float32) for s in STREAMS}

    def run(self, step: Step, server: Server) -> None:
        """Prefill, then decode: the two batches have no request in common."""
        import torch

        for stream in STREAMS:
            if stream.request_ring and step.new_slots:
                self.pools[stream.name].clear_requests(torch.tensor(step.new_slots).to(self.device))
        for phase, chunks in (("prefill", step.prefill), ("decode", step.decode)):
            if chunks:
                self.batches[phase].append(len(chunks))
                self._batch(phase, chunks, _schemes(server, self.device))

    def _batch(self, phase: str, chunks: list[Chunk], schemes: dict[str, Any]) -> None:
        plans = {name: self._plan(name, phase, chunks, schemes[name]) for name in schemes}
        given: dict[int, Any] = {}
        for stream in STREAMS:
            if stream.seed not in given:
                given[stream.seed] = _given(stream, chunks, self.device)
            plan = plans[RING_PLAN if stream.request_ring else PLAN]
            self._compress(stream, phase, chunks, plan, given[stream.seed])

    def _plan(self, name: str, phase: str, chunks: list[Chunk], scheme: Any) -> Any:
        import torch

        import wavejit

        slots = torch.tensor([chunk.slot for chunk in chunks]).to(self.device)
        ends = torch.tensor([chunk.end for chunk in chunks])
        kernel = self.kernels[name]
        if phase == "decode":
            lengths = ends.to(self.device)
            with self._timed(kernel, phase):
                plan = wavejit.compress_plan_decode(4, slots, lengths, scheme=scheme)
            parts = [plan.plan_d]
        else:
            counts = torch.tensor([chunk.count for chunk in chunks])
            tokens = int(counts.sum())
            with self._timed(kernel, phase):
                plan = wavejit.compress_plan_prefill(
                    4, slots, ends, counts, scheme=scheme, num_q_tokens=tokens
                )
            parts = [plan.plan_c, plan.plan_w]
        for part in parts:
            kernel.rows += part.shape[0]
            self.plans[name].update(part.cpu().numpy().tobytes())
        return plan

    def _compress(
        self, stream: Stream, phase: str, chunks: list[Chunk], plan: Any, given: Any
    ) -> None:
        import torch

        import wavejit

        kernel, dim = self.kernels[stream.name], stream.head_dim
        pool, ape = self.pools[stream.name].kv_buffer, self.ape[stream.name]
        count = plan.plan_d.shape[0] if phase == "decode" else plan.plan_c.shape[0]
        out = torch.full((count, dim), float("nan"), device=self.device)
        with self._timed(kernel, phase):
            wavejit.compress(pool, given, ape, plan, head_dim=dim, ratio=4, out=out)
        here, there = _destinations(chunks, phase, self.expected[stream.name].first)
        if phase == "prefill" and len(here) != count:
            raise Mismatch(
                f"{self.arch}: a plan of {count} entries for chunks that have {len(here)}"
            )
        self.results[stream.name][there] = out.cpu().numpy()[here]
        kernel.rows += len(here)

    @contextmanager
    def _timed(self, kernel: Kernel, phase: str) -> Iterator[None]:
        from wavejit.jit.api import events

        before = len(events())
        wait = _synchroniser(self.device)
        wait()
        start = time.perf_counter()
        yield
        wait()
        seconds = time.perf_counter() - start
        if kernel.path:
            kernel.calls[phase].append(seconds)
            return
        kernel.first_call = seconds
        new = events()[before:]
        kernel.path = new[0].path if new else "loaded"

    def finish(self) -> list[Kernel]:
        """Check and digest what was computed."""
        for name, values in self.results.items():
            kernel = self.kernels[name]
            kernel.error = self.expected[name].largest_error(values, f"{name} on {self.arch}")
            kernel.digest = hashlib.sha256(values.astype("<f4").tobytes()).hexdigest()
        for name, state in self.plans.items():
            self.kernels[name].digest = state.hexdigest()
        return list(self.kernels.values())


def _names() -> list[str]:
    return [stream.name for stream in STREAMS]


def _pool(stream: Stream, device: Any) -> Any:
    import wavejit

    return wavejit.CompressStatePool(
        (SLOTS if stream.request_ring else SWA_PAGES) * RING,
        ratio=4,
        head_dim=stream.head_dim,
        swa_page_size=PAGE,
        ring_size=RING,
        device=device,
        request_scoped=stream.request_ring,
    )


def _schemes(server: Server, device: Any) -> dict[str, Any]:
    """The tables as they are now, on the device, and the request rings, which have none."""
    import torch

    import wavejit

    tables = (torch.from_numpy(t).to(device) for t in (server.req_to_token, server.full_to_swa))
    return {PLAN: wavejit.PagedRing(*tables, PAGE, RING), RING_PLAN: wavejit.RequestRing(RING)}


def _given(stream: Stream, chunks: list[Chunk], device: Any) -> Any:
    """The projection's rows of a batch, request after request."""
    import numpy as np
    import torch

    requests = np.concatenate([np.full(chunk.count, chunk.request.index) for chunk in chunks])
    positions = np.concatenate([np.arange(chunk.start, chunk.end) for chunk in chunks])
    return torch.from_numpy(rows(stream, requests, positions)).to(device)


def _destinations(chunks: list[Chunk], phase: str, first: dict[int, int]) -> tuple[Any, Any]:
    """Which rows of an output are entries, and which entries of the whole replay they are."""
    here: list[int] = []
    there: list[int] = []
    for i, chunk in enumerate(chunks):
        found = range(chunk.start // 4, chunk.end // 4)
        here += [i] * len(found) if phase == "decode" else range(len(here), len(here) + len(found))
        there += [first[chunk.request.index] + n for n in found]
    return here, there


def _synchroniser(device: Any) -> Callable[[], None]:
    import torch

    return torch.cuda.synchronize if device.type == "cuda" else lambda: None
