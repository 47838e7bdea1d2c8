"""Where this machine can run kernels, and how to run there: the CPU in both waves, its GPU, and the
GPUs whose compiled code the CPU executes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from wavejit import emulate
from wavejit.jit import arch as archs
from wavejit.jit.errors import ToolchainError

HOSTS = ("host_w32", "host_w64")


def targets() -> list[str]:
    """The architectures' names; the GPU is the current device."""
    import torch

    return [*HOSTS, *([archs.detect("cuda")] if torch.cuda.is_available() else [])]


def emulated() -> list[str]:
    """The architectures whose code this machine can compile and execute on the CPU."""
    from wavejit.executor import objdump

    try:
        objdump()
    except ToolchainError:
        return []
    return list(archs.EMULATED)


@contextmanager
def on(arch: str) -> Iterator[str]:
    """The torch device ("cpu" or "cuda") whose tensors run on `arch` inside the `with` block."""
    import torch

    if not archs.load(arch).is_gpu:
        with archs.using(arch):
            yield "cpu"
        return
    if arch in archs.EMULATED and not (torch.cuda.is_available() and archs.detect("cuda") == arch):
        with emulate(arch):
            yield "cpu"
        return
    if not torch.cuda.is_available():
        raise ValueError(f"arch: {arch} cannot run here, torch sees no GPU")
    if archs.detect("cuda") != arch:
        raise ValueError(f"arch: {arch} cannot run here, the GPU is a {archs.detect('cuda')}")
    yield "cuda"
