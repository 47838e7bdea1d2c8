"""What the demo prints: the table, whether all digests agree, what was replayed."""

from __future__ import annotations

import resource
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wavejit.demo.replay import Run
from wavejit.demo.server import PREFILL_BUDGET
from wavejit.demo.trace import ATTRIBUTION, Request
from wavejit.tables import table

_HEADER = (
    "kernel",
    "architecture",
    "path",
    "first call s",
    "next prefill ms",
    "next decode ms",
    "rows",
    "largest error",
    "digest",
)


@dataclass(frozen=True)
class Report:
    """The requests and the runs, one an architecture."""

    requests: Sequence[Request]
    runs: Sequence[Run]

    @property
    def disagreements(self) -> list[str]:
        """The kernels whose digest is not the same on all architectures."""
        first = self.runs[0].kernels
        return [
            kernel.name
            for i, kernel in enumerate(first)
            if len({run.kernels[i].digest for run in self.runs}) > 1
        ]

    def rows(self) -> list[dict[str, Any]]:
        """The table's lines, by kernel and then architecture, as plain values."""
        pairs = [(kernel, run) for run in self.runs for kernel in run.kernels]
        order = [kernel.name for kernel in self.runs[0].kernels]
        return [
            {
                "kernel": kernel.name,
                "arch": run.arch,
                "path": kernel.path,
                "first_call_s": kernel.first_call,
                "next_prefill_ms": kernel.median_ms("prefill"),
                "next_decode_ms": kernel.median_ms("decode"),
                "rows": kernel.rows,
                "largest_error": kernel.error,
                "digest": kernel.digest,
            }
            for kernel, run in sorted(pairs, key=lambda pair: order.index(pair[0].name))
        ]

    def text(self) -> str:
        """Everything that the demo prints."""
        return "\n".join(
            (table(_HEADER, [_cells(row) for row in self.rows()]), "", *self._sentences())
        )

    def _sentences(self) -> list[str]:
        names = ", ".join(run.arch for run in self.runs)
        wrong = self.disagreements
        checked = sum(row["rows"] for row in self.rows() if row["largest_error"] is not None)
        said = f"the digests DIFFER between {names}: {'; '.join(wrong)}"
        if not wrong:
            said = f"the digests agree on {names}"
        batches = self.runs[0].batches
        seconds = ", ".join(f"{run.arch} {run.seconds:.1f} s" for run in self.runs)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)
        return [
            f"{said}; each of {checked} compressed rows was compared with its float64 definition",
            f"replayed {len(self.requests)} requests: {sum(r.context for r in self.requests)} "
            f"prompt and {sum(r.generated for r in self.requests)} generated tokens in "
            f"{self.runs[0].steps} steps, at most {PREFILL_BUDGET} prompt tokens of up to "
            f"{max(batches['prefill'])} requests and up to {max(batches['decode'], default=0)} "
            "decoding requests a step",
            f"took {seconds}; peak memory {peak:.2f} GiB",
            ATTRIBUTION,
        ]


def _cells(row: dict[str, Any]) -> list[str]:
    error = row["largest_error"]
    return [
        row["kernel"],
        row["arch"],
        row["path"],
        f"{row['first_call_s']:.3f}",
        f"{row['next_prefill_ms']:.3f}",
        f"{row['next_decode_ms']:.3f}",
        str(row["rows"]),
        "-" if error is None else f"{error:.1e}",
        row["digest"][:16],
    ]
