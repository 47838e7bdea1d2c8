"""Frozen values that the engine passes along: an architecture and one instance of a kernel."""

from __future__ import annotations

from dataclasses import dataclass

from wavejit.jit import env

Param = int | str | bool


@dataclass(frozen=True)
class Arch:
    """One row of `jit/arch/*.toml`: everything the code may know about a target.

    Sizes are bytes; `wave_size` is lanes. `target` is "host", "cuda" or "hip".
    """

    name: str
    target: str
    wave_size: int
    fp8_flavour: str
    shared_memory_bytes: int
    vector_bytes: int
    max_threads: int
    programmatic_launch: bool
    cluster_blocks: int
    flags: tuple[str, ...]

    @property
    def is_gpu(self) -> bool:
        return self.target != "host"


@dataclass(frozen=True)
class KernelSpec:
    """One instance of a template: `templates/<template>.cuh.j2` with `params`, exporting `exports`.

    `params` are the names that the template's instance block reads, as sorted pairs, so that
    the spec is hashable and its text does not depend on the order of the caller's keywords.
    A `checked` instance also reports indices that point outside their tensor (jit/checked.py).
    """

    template: str
    params: tuple[tuple[str, Param], ...]
    exports: tuple[str, ...]
    checked: bool = False

    @property
    def label(self) -> str:
        """A readable name, used in file names, tables and messages."""
        values = "-".join(f"{key}_{value}" for key, value in self.params)
        name = f"{self.template}-{values}".lower() if values else self.template
        return f"{name}-checked" if self.checked else name


def kernel_spec(template: str, exports: tuple[str, ...], **params: Param) -> KernelSpec:
    """A `KernelSpec` from keywords, checked where WAVEJIT_CHECKED asks for it."""
    return KernelSpec(template, tuple(sorted(params.items())), exports, env.flag("WAVEJIT_CHECKED"))
