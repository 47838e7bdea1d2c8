"""Plain text for people: aligned columns and readable sizes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns two spaces apart, numbers to the right; the header is underlined."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *cells)]
    right = [bool(cells) and all(map(_is_number, column)) for column in zip(*cells)]
    rule = ["-" * width for width in widths]
    rule[-1] = "-" * len(header[-1])  # the last column may be a sentence
    lines = [header, rule, *cells]
    return "\n".join(_line(line, widths, right or [False] * len(widths)) for line in lines)


def _line(cells: Sequence[str], widths: list[int], right: list[bool]) -> str:
    padded = [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cells, widths, right)]
    return "  ".join(padded).rstrip()


def _is_number(cell: str) -> bool:
    return cell == "-" or re.fullmatch(r"-?[\d.]+(e[-+]?\d+)?( ?[KMGi]*B)?", cell) is not None


def size(count: int) -> str:
    """Bytes as 512 B, 31.4 KiB or 2.0 MiB."""
    if count < 1024:
        return f"{count} B"
    value, unit = count / 1024, "KiB"
    for larger in ("MiB", "GiB"):
        if value >= 1024:
            value, unit = value / 1024, larger
    return f"{value:.1f} {unit}"


def parse_size(text: str) -> int:
    """Bytes of 1000, 500M or 1.5G (powers of 1024); ValueError otherwise."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMG]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if not found:
        raise ValueError(f"size: expected a number with K, M or G, got {text!r}")
    return int(float(found[1]) * _UNITS[found[2].upper()])


def emit(
    as_json: bool,
    rows: Any,
    *,
    columns: Sequence[str] | None = None,
    **formats: Callable[[Any], str],
) -> None:
    """Print `rows` (dicts of one shape) as a table of `columns`, or anything as JSON."""
    if as_json:
        print(json.dumps(rows, indent=1))
    elif rows:
        chosen = columns or tuple(rows[0])
        cells = [[formats.get(name, str)(row[name]) for name in chosen] for row in rows]
        print(table([name.replace("_", " ") for name in chosen], cells))
