"""ROCm's tensors arrive as DLPack's device 10 or 2: every op takes both, and both in one call."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from test_hip_runtime import CUDA, ROCM, fake, in_process, tagged

import wavejit
from wavejit import emulation
from wavejit.jit import api
from wavejit.ops import modules
from wavejit.testing import parity

__all__ = ["fake"]  # a fixture
ARCH = "gfx942"
STARTS = ("c4-decode-d128", "c4-prefill-d128", "c128-decode-d64", "c128-prefill-d64", "online-")
STARTS = (*STARTS, "plan-decode-r4-g8", "plan-prefill-r4-g8", "softmax-pool-3")


class Retagged:
    """A library for AMD whose functions get their CPU tensors as tensors of a GPU."""

    def __init__(self, module: Any, kinds: tuple[int, ...], seen: set[str]) -> None:
        self._module, self._kinds, self._seen = module, kinds, seen

    def __getattr__(self, name: str) -> Callable[..., Any]:
        function = getattr(self._module, name)
        if name == "count":  # of compress_plan: a function of the host
            return function  # type: ignore[no-any-return]

        def call(*arguments: Any) -> None:
            self._seen.add(self._module.spec.template)
            function(*(self._tagged(i, value) for i, value in enumerate(arguments)))

        return call

    def _tagged(self, i: int, value: Any) -> Any:
        if not hasattr(value, "data_ptr"):
            return value
        tensor = value if isinstance(value, torch.Tensor) else torch.from_dlpack(value)
        return tagged(tensor, self._kinds[i % len(self._kinds)])


def cases() -> list[str]:
    """Few cases, in which every kernel is called."""
    groups = parity.groups()
    found = [min(names) for group, names in groups.items() if group != "compressors"]
    starts = (min(n for n in groups["compressors"] if n.startswith(s)) for s in STARTS)
    return [*starts, *(n for n in groups["compressors"] if n.startswith("online-")), *found]


@pytest.mark.parametrize("kinds", [(ROCM,), (CUDA,), (CUDA, ROCM)], ids=["10", "2", "both"])
def test_every_op_takes_either_spelling(
    fake: Path, kinds: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.require_compiler(ARCH)
    seen: set[str] = set()
    monkeypatch.setattr(
        emulation, "emulated", lambda spec, arch: Retagged(api.get(spec, arch), kinds, seen)
    )

    def work() -> tuple[set[str], str]:
        from checked_build import unprepared

        library = ctypes.CDLL(str(fake))
        library.what_was_said.restype = ctypes.c_char_p
        with wavejit.arch.using(ARCH), unprepared():
            for name in cases():
                parity.run(name)  # nothing is computed: the runtime only writes down
        return seen, library.what_was_said().decode()

    called, said = in_process(work)
    assert called == set(modules())
    assert "launch 1" in said
