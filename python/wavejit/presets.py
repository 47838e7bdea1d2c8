"""Where implementations of the model round queries and keys (include/wavejit/cache/preset.cuh)."""

from __future__ import annotations

from typing import NamedTuple


class Preset(NamedTuple):
    """source: what becomes fp8 is rounded to bf16 first; angles: so are the table's rows;
    head_first: a query's head is rounded before it is rotated, and not only after it."""

    source: bool
    angles: bool
    head_first: bool


# What else implementations differ by is the layout's: amax_floor (1e-8 for "amd"), fp8_max.
PRESETS = {
    "default": Preset(source=True, angles=False, head_first=True),
    "cuda": Preset(source=False, angles=False, head_first=True),
    "amd": Preset(source=True, angles=True, head_first=False),
}
