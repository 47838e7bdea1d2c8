"""The definition of a c4 entry in float64, from a request's rows, and the comparison with it.

Shares no code with the kernels or with `wavejit.reference`: no ring, no plan, no chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wavejit.demo.streams import Stream, position_bias, rows
from wavejit.demo.trace import Request
from wavejit.jit.errors import WavejitError

TOLERANCE = 2e-5  # of max(1, |value|)


class Mismatch(WavejitError):
    """A compressed row that is not what the definition says."""


@dataclass(frozen=True)
class Expected:
    """A stream's entries: `values` float64 [entries, head_dim], a request's from `first` on."""

    values: Any
    first: dict[int, int]

    @classmethod
    def of(cls, stream: Stream, requests: Sequence[Request]) -> Expected:
        import numpy as np

        first, parts, total = {}, [], 0
        for request in requests:
            first[request.index] = total
            total += request.entries
            parts.append(entries(stream, request))
        return cls(np.concatenate(parts), first)

    def largest_error(self, values: Any, what: str) -> float:
        """Of fp32 [entries, head_dim]; Mismatch with the place if it is beyond TOLERANCE."""
        import numpy as np

        error = np.abs(values - self.values) / np.maximum(1.0, np.abs(self.values))
        wrong = ~(error <= TOLERANCE)  # a NaN, too, is wrong
        if wrong.any():
            row, channel = (int(i) for i in np.argwhere(wrong)[0])
            request = max(i for i, start in self.first.items() if start <= row)
            raise Mismatch(
                f"{what}: {int(wrong.any(axis=1).sum())} of {len(values)} compressed rows are "
                f"wrong, the first is entry {row - self.first[request]} of request {request}, "
                f"channel {channel}: {float(values[row, channel])!r}, by the definition "
                f"{float(self.values[row, channel])!r} (tolerance {TOLERANCE:g})"
            )
        return float(error.max(initial=0.0))


def entries(stream: Stream, request: Request) -> Any:
    """float64 [request.entries, head_dim]: softmax-weighted means over eight tokens."""
    import numpy as np

    dim, count = stream.head_dim, request.entries
    positions = np.arange(4 * count)
    given = rows(stream, np.full(4 * count, request.index), positions).astype(np.float64)
    groups = given.reshape(count, 4, 4, dim)  # entry, token, column block, channel
    bias = position_bias(stream).astype(np.float64)
    values = np.empty((count, 8, dim))
    scores = np.empty((count, 8, dim))
    values[1:, :4], scores[1:, :4] = groups[:-1, :, 0], groups[:-1, :, 2] + bias[:4]
    values[:1, :4], scores[:1, :4] = 0.0, -np.inf  # no group before the first
    values[:, 4:], scores[:, 4:] = groups[:, :, 1], groups[:, :, 3] + bias[4:]
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return (weights * values).sum(axis=1) / weights.sum(axis=1)
