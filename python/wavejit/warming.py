"""Compile before anyone waits: `prebuild` for any architecture, `warmup` for this machine's device.

Builds run in forked processes, because a build sets variables of its process: torch is imported
once, by the parent, and a process that dies takes one kernel with it.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from typing import Any

from wavejit.check import one_of
from wavejit.jit import arch as archs
from wavejit.jit import env
from wavejit.jit.api import Event, get, warm
from wavejit.jit.errors import CacheError, WavejitError
from wavejit.jit.lookup import Compilers, compilers, look
from wavejit.jit.spec import KernelSpec
from wavejit.ops import modules

MODELS = ("flash", "pro")
_MEMORY_OF_A_BUILD = 1 << 30  # bytes that a compiler may need


@dataclass(frozen=True)
class Outcome:
    """One kernel for one architecture: an event or the error; `size` in bytes of its entry."""

    spec: KernelSpec
    arch: str
    event: Event | None
    error: Exception | None
    size: int


def variants(
    arch: str, *, model: str = "flash", kernels: Sequence[str] | None = None
) -> dict[str, list[KernelSpec]]:
    """kernel -> what `model` calls of it on `arch`; ValueError for unknown names."""
    one_of("model", model, MODELS)
    row, found = archs.load(arch), modules()
    for name in kernels or ():
        one_of("kernels", name, tuple(found))
    chosen = found if kernels is None else kernels
    return {name: found[name].variants(row, model) for name in chosen}


def prebuild(
    arch: str,
    *,
    model: str = "flash",
    kernels: Sequence[str] | None = None,
    jobs: int | None = None,
) -> list[Event]:
    """Compile every kernel of `model` for `arch` that the cache lacks; needs no GPU.

    jobs: builds at a time, `default_jobs()` unless given. Returns how each kernel came to be.
    All are tried; then the first failure is raised.
    """
    outcomes = build([arch], model=model, kernels=kernels, jobs=jobs)
    for outcome in outcomes:
        if outcome.error:
            raise outcome.error
    return [outcome.event for outcome in outcomes if outcome.event]


def warmup(
    model: str = "flash", *, device: Any = None, kernels: Sequence[str] | None = None
) -> None:
    """Load every kernel of `model` for `device` (default: the current one) into this process.

    What the cache lacks is compiled first, in parallel. After it nothing is compiled or loaded in
    a call, so that a CUDA or HIP graph may capture the first one. Raises as `prebuild` does.
    """
    arch = archs.detect(device)
    for outcome in build([arch], model=model, kernels=kernels):
        if isinstance(outcome.error, CacheError):
            break  # nothing can be kept there: `get` compiles for this process alone, or says why
        if outcome.error:
            raise outcome.error
    load_here(_specs(arch, model, kernels), device)


def load_here(specs: Iterable[KernelSpec], device: Any = None) -> None:
    """Load `specs` and their code for `device` (default: the current one) into this process."""
    arch, index = archs.detect(device), _index_of(device)
    for spec in specs:
        get(spec, arch).load_code(index)


def _index_of(device: Any) -> int:
    """Which GPU `device` is, as `archs.detect` reads it; 0 on the CPU."""
    import torch

    if not torch.cuda.is_available():
        return 0
    device = torch.device("cuda" if device is None else getattr(device, "device", device))
    return torch.cuda.current_device() if device.index is None else int(device.index)


def build(
    arches: Iterable[str],
    *,
    model: str = "flash",
    kernels: Sequence[str] | None = None,
    jobs: int | None = None,
    report: Callable[[Outcome, int, int], None] | None = None,
) -> list[Outcome]:
    """Compile what is missing for all of `arches`; `report(outcome, done, total)` as each ends."""
    import tvm_ffi  # noqa: F401 - its seconds belong to no kernel

    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs: expected at least 1, got {jobs}")
    wanted = {arch: _specs(arch, model, kernels) for arch in arches}
    total = sum(map(len, wanted.values()))
    outcomes: dict[tuple[KernelSpec, str], Outcome] = {}

    def end(outcome: Outcome) -> None:
        outcomes[outcome.spec, outcome.arch] = outcome
        if report:
            report(outcome, len(outcomes), total)

    missing = [task for arch, specs in wanted.items() for task in _missing(specs, arch, end)]
    if missing:
        _build_in_processes(missing, jobs or default_jobs(), end)
    return [outcomes[spec, arch] for arch, specs in wanted.items() for spec in specs]


def _specs(arch: str, model: str, kernels: Sequence[str] | None) -> list[KernelSpec]:
    found = variants(arch, model=model, kernels=kernels)
    return [spec for specs in found.values() for spec in specs]


def _missing(
    specs: list[KernelSpec], arch: str, end: Callable[[Outcome], None]
) -> list[tuple[KernelSpec, str, Compilers]]:
    """What has to be compiled, and with what; the cached and the impossible are ended."""
    try:
        tools = compilers(archs.load(arch))
    except WavejitError as error:
        for spec in specs:
            end(Outcome(spec, arch, None, error, 0))
        return []
    outcomes = [(spec, _cached(spec, arch, tools)) for spec in specs]
    for _, outcome in outcomes:
        if outcome:
            end(outcome)
    return [(spec, arch, tools) for spec, outcome in outcomes if not outcome]


def default_jobs() -> int:
    """MAX_JOBS, else a build a core as far as memory reaches (1 GiB each)."""
    given = os.environ.get("MAX_JOBS")
    if given:
        if not given.isdigit() or int(given) < 1:
            raise ValueError(f"MAX_JOBS: expected a positive number, got {given!r}")
        return int(given)
    cores = len(os.sched_getaffinity(0))
    return max(1, min(cores, _free_memory() // _MEMORY_OF_A_BUILD))


def _free_memory() -> int:
    """Bytes that the machine has free, or the container is allowed, whichever is less."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    free = next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable"))
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text().strip()
        used = int((group / "memory.current").read_text())
    except OSError:
        return free
    return min(free, int(limit) - used) if limit.isdigit() else free


def _cached(spec: KernelSpec, arch: str, tools: Compilers) -> Outcome | None:
    """The outcome if nothing has to be compiled; an error that comes before any compiler too."""
    start = time.perf_counter()
    try:
        found = look(spec, archs.load(arch), tools)
    except WavejitError as error:
        return Outcome(spec, arch, None, error, 0)
    if not found.entry or env.flag("WAVEJIT_FORCE_COMPILE"):
        return None
    event = Event(spec.label, arch, "cached", found.reason, time.perf_counter() - start)
    return Outcome(spec, arch, event, None, found.size)


def _build_in_processes(
    missing: Iterable[tuple[KernelSpec, str, Compilers]], jobs: int, end: Callable[[Outcome], None]
) -> None:
    import torch.utils.cpp_extension  # noqa: F401 - once, here, for all the children

    waiting = deque(missing)
    running: dict[Any, _Build] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                build = _Build(*waiting.popleft())
                running[build.pipe] = build
            for pipe in connection.wait(list(running)):
                end(running.pop(pipe).outcome())
    finally:
        for build in running.values():
            build.process.terminate()


class _Build:
    """One build in a process of its own."""

    def __init__(self, spec: KernelSpec, arch: str, tools: Compilers) -> None:
        self.spec, self.arch, self.tools = spec, arch, tools
        context = multiprocessing.get_context("fork")
        self.pipe, send = context.Pipe(duplex=False)
        self.process = context.Process(target=_child, args=(spec, arch, send), daemon=True)
        self.process.start()
        send.close()

    def outcome(self) -> Outcome:
        """What the child said, or that it died."""
        event, failure = None, None
        with suppress(EOFError):
            event, failure = self.pipe.recv()
        self.pipe.close()
        self.process.join()
        if failure:
            return Outcome(self.spec, self.arch, None, _revived(*failure), 0)
        if not event:
            return Outcome(self.spec, self.arch, None, WavejitError(self._death()), 0)
        found = look(self.spec, archs.load(self.arch), self.tools)
        return Outcome(self.spec, self.arch, event, None, found.size)

    def _death(self) -> str:
        status = self.process.exitcode or 0
        how = f"signal {-status}" if status < 0 else f"status {status}"
        return (
            f"{self.spec.label} for {self.arch}: its build process ended with {how}; is memory "
            "short? Use fewer jobs (MAX_JOBS=1)."
        )


def _child(spec: KernelSpec, arch: str, send: connection.Connection) -> None:
    try:
        send.send((warm(spec, arch), None))
    except Exception as error:  # noqa: BLE001 - the parent raises or prints it
        send.send((None, (type(error), error.args, vars(error))))


def _revived(kind: type[Exception], args: tuple[Any, ...], state: dict[str, Any]) -> Exception:
    """An exception of a child, whatever its constructor asks for."""
    error = kind.__new__(kind, *args)
    error.args = args
    vars(error).update(state)
    return error
