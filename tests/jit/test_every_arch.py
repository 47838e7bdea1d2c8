"""Every kernel compiles for every architecture, and every instance for one of each kind."""

from __future__ import annotations

from typing import Any

import pytest
import tiny

from wavejit.jit import api
from wavejit.jit import arch as archs
from wavejit.ops import modules

# Chips that differ in wave width, fp8 flavour or compiler; the others have one instance a kernel.
WHOLE = ("gfx942", "gfx950", "gfx1100", "sm_90")


def instances(arch: str, module: Any) -> list[Any]:
    row = archs.load(arch)
    found = {spec for model in ("flash", "pro") for spec in module.variants(row, model)}
    return sorted(found, key=lambda spec: spec.label)[: None if arch in WHOLE else 1]


UNITS = [
    pytest.param(arch, spec, id=f"{arch}-{spec.label}")
    for arch in archs.names()
    for module in modules().values()
    for spec in instances(arch, module)
]


@pytest.mark.parametrize(("arch", "spec"), UNITS)
def test_compiles(arch: str, spec: object) -> None:
    tiny.require_compiler(arch)
    event = api.warm(spec, arch)  # type: ignore[arg-type]
    assert event.path in ("compiled", "cached")
