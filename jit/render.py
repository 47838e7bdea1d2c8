"""(spec, arch) -> the text that is compiled. Pure: the same values give the same text everywhere."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from wavejit.jit.spec import Arch, KernelSpec

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = (Path(__file__).resolve().parent / "../templates").resolve()
if not TEMPLATES.is_dir():  # an installed package: the engine lies inside it
    TEMPLATES = Path(__file__).resolve().parent.parent / "_templates"
_PARTS = ("arch.cuh.j2", "{template}.cuh.j2", "_entry.j2")


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
    )


def templates_of(spec: KernelSpec) -> list[Path]:
    """The template files that the text of `spec` is made of."""
    return [TEMPLATES / part.format(template=spec.template) for part in _PARTS]


def render(spec: KernelSpec, arch: Arch) -> str:
    """The C++ text of one instance for one architecture.

    Each part starts with `#line`, so a compiler error names the template and its line.
    """
    values = {**dict(spec.params), "arch": arch, "exports": spec.exports, "label": spec.label}
    parts = []
    for part in _PARTS:
        name = part.format(template=spec.template)
        body = _environment().get_template(name).render(values)
        parts.append(f'#line 1 "templates/{name}"\n{body}')
    return "".join(parts)
