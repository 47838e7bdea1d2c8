"""docs/defects.md: every defect of the ledger and every invalid entry has tests, which exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/defects.md").read_text()
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
DEFECTS, ENTRIES = 25, 13


@cache
def named_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def rows() -> list[str]:
    lines = [line for line in PAGE.splitlines() if line.startswith("| ")]
    return [line for line in lines if not line.startswith(("| #", "| ---", "| entry"))]


def test_the_ledger_is_complete() -> None:
    numbers = [int(m.group(1)) for row in rows() if (m := re.match(r"\| (\d+) \|", row))]
    assert numbers == list(range(1, DEFECTS + 1))
    assert len(rows()) == DEFECTS + ENTRIES


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.split("|")[1].strip())
def test_every_row_names_tests_that_exist(row: str) -> None:
    found = NAMED.findall(row.split("|")[-2])
    assert found, "no test is named"
    missing = [f"{path}::{name}" for path, name in found if name not in named_in(path)]
    assert not missing, missing
