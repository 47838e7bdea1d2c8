"""The kernels: one module each, found by their files and imported when first asked for."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from types import ModuleType


@cache
def modules() -> dict[str, ModuleType]:
    """Every kernel's module by its name, which is also its template's."""
    names = sorted(info.name for info in pkgutil.iter_modules(__path__))
    return {name: importlib.import_module(f"{__name__}.{name}") for name in names}


@cache
def public() -> dict[str, object]:
    """What the kernels' modules offer to users: the names in their `__all__`."""
    return {name: getattr(module, name) for module in modules().values() for name in module.__all__}
