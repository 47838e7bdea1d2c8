"""Every kernel compiles for the four architectures that differ most, every instance for three of
them, a few kernels for each other one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import tiny

from wavejit.jit import api
from wavejit.jit import arch as archs
from wavejit.ops import modules

WHOLE = ("gfx942", "gfx950", "sm_90")  # every instance
KERNELS = (*WHOLE, "gfx1100")  # every kernel


def instances(arch: str, module: Any) -> list[Any]:
    row = archs.load(arch)
    found = {spec for model in ("flash", "pro") for spec in module.variants(row, model)}
    return sorted(found, key=lambda spec: spec.label)[: None if arch in WHOLE else 1]


UNITS = [
    pytest.param(arch, spec, id=f"{arch}-{spec.label}")
    for turn, arch in enumerate(archs.names())
    for index, module in enumerate(modules().values())
    if arch in KERNELS or index % 6 == turn % 6
    for spec in instances(arch, module)
]


# Checked builds of every kernel, each for one of the four.
CHECKED = [
    pytest.param(arch, replace(instances(arch, module)[0], checked=True), id=f"{arch}-{name}")
    for index, (name, module) in enumerate(modules().items())
    for arch in KERNELS[index % 4 : index % 4 + 1]
]


@pytest.mark.parametrize(("arch", "spec"), [*UNITS, *CHECKED])
def test_compiles(arch: str, spec: object) -> None:
    tiny.require_compiler(arch)
    event = api.warm(spec, arch)  # type: ignore[arg-type]
    assert event.path in ("compiled", "cached")
