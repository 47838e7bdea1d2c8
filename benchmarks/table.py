"""The README's table from a recorded run: `python benchmarks/table.py --write` puts it in place."""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks/results/h200.json"
README = ROOT / "README.md"
START, END = "<!-- table: h200 -->\n", "<!-- end -->"


def table() -> str:
    """The rows and overheads of the recorded run as Markdown."""
    record = json.loads(RESULTS.read_text())
    lines = ["| | us | peer us | ours / peer | share |", "| --- | --- | --- | --- | --- |"]
    for row in record["rows"]:
        share = f"{row['share']:.0%}" if row["share"] else "-"
        numbers = " | ".join(f"{row[key]:.2f}" for key in ("us", "peer_us", "ratio"))
        lines.append(f"| {row['name']} | {numbers} | {share} |")
    lines += ["", "| | |", "| --- | --- |"]
    lines += [f"| {name} | {value:.2f} |" for name, value in record["overheads"].items()]
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
