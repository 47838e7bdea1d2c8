"""What a layer's compressors see: projection rows that any (request, position) gives again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_STEP = 0x9E3779B97F4A7C15


@dataclass(frozen=True)
class Stream:
    """One c4 compressor of a layer: its rows' seed, width and how its state is addressed."""

    name: str
    head_dim: int
    seed: int
    request_ring: bool = False

    @property
    def row_width(self) -> int:
        return 4 * self.head_dim


STREAMS = (
    Stream("c4 attention 512", 512, seed=1),
    Stream("c4 indexer 128", 128, seed=2),
    Stream("c4 indexer 128, request ring", 128, seed=2, request_ring=True),
)


def rows(stream: Stream, requests: Any, positions: Any) -> Any:
    """fp32 [n, row_width]: values in [-2, 2), scores in [-8, 8), from counters alone.

    requests, positions: integer arrays [n]. Every element is a 24-bit integer times a power of two,
    so all machines and all ways of asking give the same bits.
    """
    import numpy as np

    where = np.asarray(requests, np.uint64) << np.uint64(32) | np.asarray(positions, np.uint64)
    start = _mixed(where + np.uint64(stream.seed * _STEP & (1 << 64) - 1))
    steps = np.arange(1, stream.row_width // 2 + 1, dtype=np.uint64) * np.uint64(_STEP)
    words = _mixed(start[:, None] + steps)
    out = (words.view("<i4") >> 8).astype(np.float32)
    out[:, : 2 * stream.head_dim] *= np.float32(2.0**-22)
    out[:, 2 * stream.head_dim :] *= np.float32(2.0**-20)
    return out


def position_bias(stream: Stream) -> Any:
    """The learned bias `ape` fp32 [8, head_dim], in [-1, 1)."""
    import numpy as np

    count = 8 * stream.head_dim
    words = _mixed(np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_STEP + 2 * stream.seed))
    halves = (words >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)
    return halves.reshape(8, stream.head_dim)


def _mixed(words: Any) -> Any:
    """splitmix64's output function, in place on fresh words."""
    import numpy as np

    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        words ^= words >> np.uint64(shift)
        words *= np.uint64(factor)
    words ^= words >> np.uint64(31)
    return words
