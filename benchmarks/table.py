"""The README's table from recorded runs: `python benchmarks/table.py --write` puts it in place."""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
RESULTS = [  # the first has the overheads too
    ROOT / f"benchmarks/results/h200{group}.json"
    for group in ("", "_caches", "_queries", "_routing")
]
README = ROOT / "README.md"
START, END = "<!-- table: h200 -->\n", "<!-- end -->"


def table() -> str:
    """The rows and overheads of the recorded runs as Markdown."""
    records = [json.loads(path.read_text()) for path in RESULTS]
    lines = ["| | us | peer us | ours / peer | share |", "| --- | --- | --- | --- | --- |"]
    for row in (row for record in records for row in record["rows"]):
        share = f"{row['share']:.0%}" if row["share"] else "-"
        cells = [row[key] for key in ("us", "peer_us", "ratio")]
        numbers = " | ".join("-" if cell is None else f"{cell:.2f}" for cell in cells)
        lines.append(f"| {row['name']} | {numbers} | {share} |")
    lines += ["", "| | |", "| --- | --- |"]
    lines += [f"| {name} | {value:.2f} |" for name, value in records[0]["overheads"].items()]
    return "\n".join(lines) + "\n"


def current() -> str:
    """The table as the README has it now."""
    text = README.read_text()
    return text[text.index(START) + len(START) : text.index(END)]


if __name__ == "__main__":
    print(table())
    if "--write" in sys.argv:
        README.write_text(
            README.read_text().replace(START + current() + END, START + table() + END)
        )
