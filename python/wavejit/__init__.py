"""Kernels for serving DeepSeek-V4: one source, the same bytes on NVIDIA, on AMD and on the CPU.

`wavejit.<op>` is found when it is first used; importing this package loads neither torch nor a
compiler and touches no file outside itself. `wavejit.kernels()` lists what there is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wavejit.emulation import Emulation
    from wavejit.jit.api import Event
    from wavejit.jit.checked import IndexReport

__version__ = "0.1.0"
_SUBMODULES = {
    "arch": "wavejit.jit.arch",
    "gcn": "wavejit.gcn",
    "layouts": "wavejit.layouts",
    "ops": "wavejit.ops",
    "reference": "wavejit.reference",
    "testing": "wavejit.testing",
}


def kernels() -> list[str]:
    """The kernels' names, sorted."""
    from wavejit.ops import modules

    return sorted(modules())


def prebuild(
    arch: str, *, model: str = "flash", kernels: list[str] | None = None, jobs: int | None = None
) -> list[Event]:
    """Compile every kernel of `model` for `arch` into the cache, without a GPU or its driver.

    Returns how each came to be. Raises the first failure after trying all.
    """
    from wavejit.warming import prebuild as run

    return run(arch, model=model, kernels=kernels, jobs=jobs)


def warmup(model: str = "flash", *, device: Any = None, kernels: list[str] | None = None) -> None:
    """Load every kernel of `model` for `device` (default: the current one).

    A server calls it at its start: after it, no request waits for a compiler.
    """
    from wavejit.warming import warmup as run

    run(model, device=device, kernels=kernels)


def explain() -> list[dict[str, Any]]:
    """How every kernel used so far was come by: cached, compiled or private, why and how long."""
    from dataclasses import asdict

    from wavejit.jit.api import events

    return [asdict(event) for event in events()]


def index_reports() -> list[IndexReport]:
    """With WAVEJIT_CHECKED=1, what the kernels of replayed graphs reported since the last time.

    Other calls warn of it themselves, as `wavejit.IndexReport`. Waits for the devices.
    """
    from wavejit.jit.checked import index_reports as read

    return read()


def emulate(arch: str = "gfx942", *, checks: bool = True, perturb: int = 0) -> Emulation:
    """Execute the compiled code of `arch` (gfx942 or gfx950) for CPU tensors, instruction by
    instruction: `with wavejit.emulate("gfx950") as run:`, or `wavejit.emulate()(function)(...)`.

    checks: report reads of what was never written, missing waits, races, divergent barriers.
    perturb: +1 or -1 moves the results of approximate instructions by so many units in the last
    place. `run.traces` has what each kernel executed.
    """
    from wavejit.emulation import Emulation as make

    return make(arch, checks=checks, perturb=perturb)


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(name)
    import importlib

    if name in _SUBMODULES:
        value: object = importlib.import_module(_SUBMODULES[name])
    else:
        value = _public(name)
    globals()[name] = value
    return value


def _public(name: str) -> object:
    from wavejit.front import OFFERED, load
    from wavejit.ops import public

    if name in OFFERED:
        return load(name)
    if name == "IndexReport":
        from wavejit.jit.checked import IndexReport

        return IndexReport
    offered = public()
    if name not in offered:
        known = ", ".join(sorted([*OFFERED, *offered]))
        raise AttributeError(f"wavejit has no {name!r}: it has {known}")
    return offered[name]
