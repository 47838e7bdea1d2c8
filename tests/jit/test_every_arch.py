"""Every instance of every kernel compiles for every architecture: no GPU and no ROCm needed."""

from __future__ import annotations

import pytest
import tiny

from wavejit.jit import api
from wavejit.jit import arch as archs
from wavejit.ops import modules

UNITS = [
    pytest.param(arch, spec, id=f"{arch}-{spec.label}")
    for arch in archs.names()
    for module in modules().values()
    for spec in sorted(
        {s for model in ("flash", "pro") for s in module.variants(archs.load(arch), model)},
        key=lambda spec: spec.label,
    )
]


@pytest.mark.parametrize(("arch", "spec"), UNITS)
def test_compiles(arch: str, spec: object) -> None:
    tiny.require_compiler(arch)
    event = api.warm(spec, arch)  # type: ignore[arg-type]
    assert event.path in ("compiled", "cached")
