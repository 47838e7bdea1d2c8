"""What the documents say is there: paths, variables, tables and the README's example."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "benchmarks/README.md",
]
PATHS = re.compile(
    r"(?<![\w/.])((?:docs|tests|include|templates|python|jit|benchmarks|scripts)/[\w./*-]*)"
)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_named_paths_exist(document: Path) -> None:
    named = {match.rstrip(".") for match in PATHS.findall(document.read_text())}
    missing = [name for name in named if "x.json" not in name and not list(ROOT.glob(name))]
    assert not missing, missing


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
        assert (document.parent / target).exists(), target


def test_the_readme_example_runs() -> None:
    block = re.search(
        r"```python\n(import torch, wavejit.*?)```", (ROOT / "README.md").read_text(), re.S
    )
    assert block
    names: dict[str, object] = {}
    exec(block.group(1), names)
    assert list(names["rows"].shape) == [10, 512]  # type: ignore[attr-defined]
    assert bool(names["rows"].isfinite().all())  # type: ignore[attr-defined]


def test_the_variables_are_those_of_env() -> None:
    from wavejit.jit import env

    assert env.table() in (ROOT / "docs/environment.md").read_text()


def test_every_variable_is_tested() -> None:
    from wavejit.jit import env

    text = "".join(p.read_text() for p in (ROOT / "tests").rglob("*.py"))
    missing = [v.name for v in env.VARIABLES if f'"{v.name}"' not in text and v.name not in text]
    assert not missing, missing


def test_the_readme_shows_the_recorded_run() -> None:
    spec = importlib.util.spec_from_file_location("table", ROOT / "benchmarks/table.py")
    assert spec and spec.loader
    table = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(table)
    text = table.README.read_text()
    card, start, end = table.place(text)
    assert text[start:end] == table.table(card), "run `python benchmarks/table.py --write`"
