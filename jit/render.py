"""(spec, arch) -> the text that is compiled. Pure: equal values give equal text everywhere."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from wavejit.jit.errors import TemplateError
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


def templates_of(spec: KernelSpec) -> list[str]:
    """The paths of the template files that the text of `spec` is made of."""
    return [f"{TEMPLATES}/{part.format(template=spec.template)}" for part in _PARTS]


def render(spec: KernelSpec, arch: Arch) -> str:
    """The C++ text of one instance for one architecture.

    Each part starts with `#line`, so a compiler error names the template and its line. A template
    that is missing, or needs a name that `spec.params` lacks, is a `TemplateError`.
    """
    import jinja2

    values = {**dict(spec.params), "arch": arch, "exports": spec.exports, "label": spec.label}
    parts = ["#define WAVEJIT_CHECKED 1\n"] if spec.checked else []
    for part in _PARTS:
        name = part.format(template=spec.template)
        try:
            body = _environment().get_template(name).render(values)
        except jinja2.TemplateError as error:
            raise TemplateError(
                f"templates/{name}{_line_of(error, name)}: {error} ({spec.label}; the template has "
                f"the names {', '.join(values)})"
            ) from error
        parts.append(f'#line 1 "templates/{name}"\n{body}')
    return "".join(parts)


def _line_of(error: Exception, name: str) -> str:
    """`:<line>` of the template that raised `error`: Jinja's frames carry the template's lines."""
    lines = [getattr(error, "lineno", None)]
    trace = error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_filename.endswith(name):
            lines.append(trace.tb_lineno)
        trace = trace.tb_next
    return f":{lines[-1]}" if lines[-1] else ""
