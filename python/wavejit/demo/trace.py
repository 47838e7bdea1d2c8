"""The excerpt of a production trace: when requests came and how many tokens they had."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

EXCERPT = Path(__file__).resolve().parent.parent / "data" / "azure_llm_2023_excerpt.csv"
ATTRIBUTION = (
    "trace: Azure LLM inference trace 2023, Microsoft, CC-BY 4.0, "
    "https://github.com/Azure/AzurePublicDataset (first requests of the conversation trace)"
)


@dataclass(frozen=True)
class Request:
    """`arrival` in seconds after the first request; `context` and `generated` in tokens."""

    index: int
    arrival: float
    context: int
    generated: int

    @property
    def tokens(self) -> int:
        """Tokens whose rows the compressor sees: the last one generated is never an input."""
        return self.context + self.generated - 1

    @property
    def entries(self) -> int:
        return self.tokens // 4


def read(count: int | None = None, max_generated: int | None = None) -> list[Request]:
    """The first `count` requests (default: all), at most `max_generated` generated tokens each."""
    with open(EXCERPT, newline="") as file:
        rows = list(csv.DictReader(file))
    if count is not None and not 0 < count <= len(rows):
        raise ValueError(f"requests: expected 1 to {len(rows)}, got {count}")
    if max_generated is not None and max_generated < 1:
        raise ValueError(f"generated: expected at least 1, got {max_generated}")
    # seven digits after the second: datetime takes six
    times = [datetime.fromisoformat(row["TIMESTAMP"][:26]) for row in rows]
    return [
        Request(
            index=i,
            arrival=(times[i] - times[0]).total_seconds(),
            context=int(row["ContextTokens"]),
            generated=_cut(int(row["GeneratedTokens"]), max_generated),
        )
        for i, row in enumerate(rows[:count])
    ]


def _cut(tokens: int, limit: int | None) -> int:
    return max(1, tokens if limit is None else min(tokens, limit))
