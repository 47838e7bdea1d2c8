"""Machine code as text, by llvm-objdump: addresses, encodings and instructions."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from dataclasses import dataclass

from wavejit.gcn.code_object import CodeObject
from wavejit.gcn.errors import CodeObjectError

_LINE = re.compile(r"\t(\S+)(?: +(.*?))? *// ([0-9A-F]{12}): ([0-9A-F ]+?)(?:<.*>)?$")


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction: its mnemonic and the rest of its text, where it is, its encoding."""

    mnemonic: str
    operands: str
    pc: int
    words: tuple[int, ...]

    @property
    def text(self) -> str:
        return f"{self.mnemonic} {self.operands}".strip()


def disassemble(code_object: CodeObject, objdump: str) -> list[Instruction]:
    """Every instruction of the object's code, in order."""
    with tempfile.TemporaryDirectory(prefix="wavejit-gcn-") as folder:
        path = os.path.join(folder, "object.co")
        with open(path, "wb") as file:
            file.write(code_object.data)
        said = run([objdump, "-d", "--section=.text", path])
    found = []
    for line in said.splitlines():
        if match := _LINE.match(line):
            mnemonic, operands, pc, words = match.groups()
            encoding = tuple(int(word, 16) for word in words.split())
            found.append(Instruction(mnemonic, operands or "", int(pc, 16), encoding))
    if not found:
        raise CodeObjectError(f"{objdump} found no instructions in the {code_object.arch} object")
    return found


def run(command: list[str]) -> str:
    """What `command` prints; RuntimeError with its complaint if it fails."""
    plain = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=plain)
    if done.returncode != 0:
        raise RuntimeError(
            f"{command[0]} ended with {done.returncode}: {done.stderr.strip()[:400]}"
        )
    return done.stdout
