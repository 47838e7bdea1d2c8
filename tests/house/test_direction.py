"""The engine's modules import only from their left, and know no kernel."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ENGINE = Path(__file__).parents[2] / "jit"
LAYERS = """
    errors env spec log arch trust render toolchain build key claim cache
    index lookup checked load api store
"""
ORDER = LAYERS.split()


def imports_of(path: Path) -> set[str]:
    """The engine modules that a module imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "wavejit.jit":
                found |= {alias.name for alias in node.names}
            elif node.module.startswith("wavejit.jit."):
                found.add(node.module.split(".")[2])
            elif node.module.startswith("wavejit"):
                found.add(node.module)
    return found


def modules() -> list[Path]:
    return [
        p
        for p in [*ENGINE.glob("*.py"), ENGINE / "arch/__init__.py"]
        if p.parent != ENGINE or p.stem != "__init__"
    ]


@pytest.mark.parametrize("path", modules(), ids=lambda p: p.parent.name + "." + p.stem)
def test_a_module_imports_only_from_its_left(path: Path) -> None:
    name = "arch" if path.stem == "__init__" else path.stem
    assert name in ORDER, f"{name} has no place in the engine's order"
    allowed = set(ORDER[: ORDER.index(name)]) | ({"Arch"} if name == "arch" else set())
    assert imports_of(path) <= allowed, imports_of(path) - allowed


def test_only_render_imports_jinja() -> None:
    users = [p.stem for p in ENGINE.rglob("*.py") if "jinja2" in p.read_text()]
    assert users == ["render"]
