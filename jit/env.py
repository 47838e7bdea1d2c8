"""Every WAVEJIT_* variable: name, type, default, meaning. The documentation prints this table."""

from __future__ import annotations

import os
from dataclasses import dataclass

from wavejit.jit.errors import WavejitError


@dataclass(frozen=True)
class Variable:
    name: str
    kind: str
    default: str
    meaning: str


VARIABLES = (
    Variable(
        "WAVEJIT_CACHE_DIR",
        "path",
        "$XDG_CACHE_HOME/wavejit or ~/.cache/wavejit",
        "Folder of compiled kernels.",
    ),
    Variable(
        "WAVEJIT_ARCH",
        "name",
        "",
        "Architecture for CPU tensors: host_w32, host_w64, or without a GPU gfx942 or gfx950: "
        "the CPU then executes their compiled code; for a GPU it must be the device's own.",
    ),
    Variable(
        "WAVEJIT_NO_COMPILE",
        "flag",
        "0",
        "A kernel that is not in the cache is an error instead of a compilation.",
    ),
    Variable("WAVEJIT_FORCE_COMPILE", "flag", "0", "Compile even what the cache has."),
    Variable(
        "WAVEJIT_CHECKED",
        "flag",
        "0",
        "Kernels report indices that point outside their tensor, as wavejit.IndexReport warnings; "
        "every call then waits for its end. To be set before the process starts.",
    ),
    Variable(
        "WAVEJIT_STRICT",
        "flag",
        "0",
        "Every fallback (private folder, entry of another compiler) is an error.",
    ),
    Variable("WAVEJIT_LOG", "level", "warning", "Level of the logger `wavejit`: debug ... error."),
    Variable(
        "WAVEJIT_HOST_OPT",
        "level",
        "3",
        "Optimisation of what the CPU runs, as its compiler's -O takes it: 0, 1, 2, 3 or g. "
        "Results' bytes do not depend on it; the tests take g, which compiles faster.",
    ),
    Variable(
        "WAVEJIT_COMPILER_LAUNCHER",
        "command",
        "",
        "Put before every compiler command, for example ccache.",
    ),
)
_BY_NAME = {variable.name: variable for variable in VARIABLES}
_LEVELS = ("0", "1", "2", "3", "g")
_FLAG_VALUES = {"": False, "0": False, "1": True, "false": False, "true": True}


def text(name: str) -> str:
    """The variable's value, or "" when it is not set."""
    return os.environ.get(_BY_NAME[name].name, "")


def flag(name: str) -> bool:
    """The variable as a yes or no; anything but 0, 1, true, false is an error."""
    value = text(name).lower()
    if value not in _FLAG_VALUES:
        raise WavejitError(f"{name}={value!r}: expected 0 or 1")
    return _FLAG_VALUES[value]


def level(name: str) -> str:
    """The variable as an optimisation level, its default when it is not set."""
    value = text(name) or _BY_NAME[name].default
    if value not in _LEVELS:
        raise WavejitError(f"{name}={value!r}: expected one of {', '.join(_LEVELS)}")
    return value


def cache_dir() -> str:
    """The cache's folder as an absolute path; it is not made here."""
    chosen = text("WAVEJIT_CACHE_DIR")
    if not chosen:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        chosen = os.path.join(base, "wavejit")
    return os.path.abspath(os.path.expanduser(chosen))


def table() -> str:
    """The variables as a Markdown table, as the documentation shows them."""
    rows = ["| variable | kind | default | meaning |", "| --- | --- | --- | --- |"]
    rows += [f"| `{v.name}` | {v.kind} | {v.default or '-'} | {v.meaning} |" for v in VARIABLES]
    return "\n".join(rows)
