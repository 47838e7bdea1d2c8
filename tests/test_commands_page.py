"""Every example of docs/commands.md, in order: it succeeds and prints the lines that it shows."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest
from fake_compiler import fake_compiler

from wavejit import cli

PAGE = Path(__file__).resolve().parents[1] / "docs" / "commands.md"
LOADING = (
    "parity",
    "demo",
    "trace",
)  # these load what they compile: a real compiler, the session's cache


def examples() -> list[tuple[str, list[str]]]:
    """Commands and the lines shown below each."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"^```\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line.removeprefix("$ wavejit "), []))
            else:
                found[-1][1].append(line)
    return found


def _matches(shown: str, said: str) -> bool:
    """Whether a printed line is the shown one; runs of spaces are alike, `...` is anything."""
    words = [re.escape(" ".join(part.split())) for part in shown.split("...")]
    return (
        re.fullmatch(r".*?".join(words).replace(r"\ ", r"\s*"), " ".join(said.split())) is not None
    )


def test_every_example(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    session = os.environ["WAVEJIT_CACHE_DIR"]
    real = os.environ.get("CXX")
    fake = str(fake_compiler(tmp_path))
    monkeypatch.chdir(tmp_path)
    for command, shown in examples():
        loads = command.split()[0] in LOADING
        monkeypatch.setenv("WAVEJIT_CACHE_DIR", session if loads else str(tmp_path / "cache"))
        monkeypatch.setenv("CXX", real or "") if loads else monkeypatch.setenv("CXX", fake)
        assert cli.main(shlex.split(command)) == 0, command
        said = iter(capsys.readouterr().out.splitlines())
        for line in shown:
            assert any(_matches(line, candidate) for candidate in said), (command, line)


def test_every_command_is_on_the_page() -> None:
    shown = " ".join(command for command, _ in examples())
    for command in cli.COMMANDS:
        assert command.name in shown, f"{command.name} has no example in {PAGE.name}"
