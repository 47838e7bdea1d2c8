"""Where this machine can run kernels, and how to run there: the CPU in both waves, and its GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from wavejit.jit import arch as archs

HOSTS = ("host_w32", "host_w64")


def targets() -> list[str]:
    """The architectures' names; the GPU is the current device."""
    import torch

    return [*HOSTS, *([archs.detect("cuda")] if torch.cuda.is_available() else [])]


@contextmanager
def on(arch: str) -> Iterator[str]:
    """The torch device ("cpu" or "cuda") whose tensors run on `arch` inside the `with` block."""
    import torch

    if not archs.load(arch).is_gpu:
        with archs.using(arch):
            yield "cpu"
        return
    if not torch.cuda.is_available():
        raise ValueError(f"arch: {arch} cannot run here, torch sees no GPU")
    if archs.detect("cuda") != arch:
        raise ValueError(f"arch: {arch} cannot run here, the GPU is a {archs.detect('cuda')}")
    yield "cuda"
