"""The README's table from recorded runs: `python benchmarks/table.py --write` puts it in place."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
GROUPS = ("c4", "c128", "compress_store", "caches", "queries", "routing", "overheads")
README = ROOT / "README.md"
START, END = re.compile("<!-- table: (\\w+) -->\n"), "<!-- end -->"


def table(card: str) -> str:
    """The rows and overheads of the card's recorded runs as Markdown."""
    paths = [ROOT / f"benchmarks/results/{card}_{group}.json" for group in GROUPS]
    records = [json.loads(path.read_text()) for path in paths if path.exists()]
    if not records:
        names = ", ".join(path.name for path in paths)
        raise SystemExit(f"{paths[0].parent}: expected one of {names} for the README's table")
    lines = ["| | us | peer us | ours / peer | share |", "| --- | --- | --- | --- | --- |"]
    for row in (row for record in records for row in record["rows"]):
        share = f"{row['share']:.0%}" if row["share"] else "-"
        cells = [row[key] for key in ("us", "peer_us", "ratio")]
        numbers = " | ".join("-" if cell is None else f"{cell:.2f}" for cell in cells)
        lines.append(f"| {row['name']} | {numbers} | {share} |")
    lines += ["", "| | |", "| --- | --- |"]
    overheads = {name: value for record in records for name, value in record["overheads"].items()}
    lines += [f"| {name} | {value:.2f} |" for name, value in overheads.items()]
    return "\n".join(lines) + "\n"


def place(text: str) -> tuple[str, int, int]:
    """Whose table the README's text has, and where."""
    start = START.search(text)
    if start is None:
        raise SystemExit(f"{README}: expected a line <!-- table: CARD -->, found none")
    return start[1], start.end(), text.index(END)


if __name__ == "__main__":
    readme = README.read_text()
    card, start, end = place(readme)
    print(table(card))
    if "--write" in sys.argv:
        README.write_text(readme[:start] + table(card) + readme[end:])
