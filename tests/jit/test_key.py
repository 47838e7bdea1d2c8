"""What the key depends on (every header, flag, compiler, binding), and what it does not."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny

from wavejit.jit import arch as archs
from wavejit.jit import key, toolchain
from wavejit.jit.build import INCLUDE
from wavejit.jit.render import render

HEADERS = sorted(
    path.relative_to(INCLUDE).as_posix() for path in INCLUDE.rglob("*") if path.is_file()
)
PRINT_KEYS = """
import json, pathlib
import tiny
from wavejit.jit import key, toolchain, arch as archs
from wavejit.jit.render import render
keys = {}
for name in ("host_w32", "host_w64", "sm_90", "gfx942"):
    row = archs.load(name)
    keys[name] = key.source_key(key.components(render(tiny.spec(), row), row))
keys["tools"] = key.tool_key(toolchain.find(archs.load("host_w32")))
print(json.dumps(keys))
"""


def source_key(arch: str = "host_w32") -> str:
    row = archs.load(arch)
    return key.source_key(key.components(render(tiny.spec(), row), row))


@pytest.fixture(scope="module")
def copied_headers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.copy_tree(tmp_path_factory.mktemp("checkout")) / "include"


def test_there_are_headers_and_all_are_found() -> None:
    found = [Path(stat[0]).relative_to(INCLUDE).as_posix() for stat in key.header_stats()]
    assert sorted(found) == HEADERS, "a file below include/ has a suffix that the key overlooks"
    assert "wavejit/platform/hip.cuh" in found


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.usefixtures("engine")
def test_a_comment_in_any_header_changes_every_key(
    copied_headers: Path, header: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key, "INCLUDE", copied_headers)
    path = copied_headers / header
    text = path.read_text()
    arches = ("host_w32", "sm_90", "gfx942")
    before = [source_key(arch) for arch in arches]
    stamp = path.stat()
    try:
        path.write_text(text + "// a comment\n")
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns - 10**12))  # and an older date
        after = [source_key(arch) for arch in arches]
    finally:
        path.write_text(text)
    assert not set(before) & set(after)
    assert [source_key(arch) for arch in arches] == before


def test_checkout_user_locale_hash_seed_and_folder_change_no_key(tmp_path: Path) -> None:
    tests = str(tiny.REPOSITORY / "tests/jit")
    seen = []
    for i, seed in enumerate(("0", "1")):
        tree = tiny.copy_tree(tmp_path / f"checkout number {i}")
        home = tmp_path / f"home{i}"
        home.mkdir()
        prefix = f"import sys, os; sys.path.append({tests!r}); os.chdir({str(home)!r})\n"
        variables = {"HOME": str(home), "PYTHONHASHSEED": seed, "USER": f"user{i}"}
        variables |= {"LC_ALL": ("C", "de_DE.UTF-8")[i], "LANGUAGE": ("", "de")[i]}
        seen.append(json.loads(tiny.python(prefix + PRINT_KEYS, tree=tree, **variables)))
    assert seen[0] == seen[1]
    assert len(set(seen[0].values())) == len(seen[0])


def test_a_compiler_that_speaks_another_language_is_the_same_compiler(tmp_path: Path) -> None:
    compiler = tmp_path / "g++"
    compiler.write_text(
        '#!/bin/sh\necho "g++ (Debian 12) 12.2.0"\n'
        '[ "$LC_ALL" = C ] && echo "This is free software" || echo "Dies ist freie Software"\n'
    )
    compiler.chmod(0o755)
    assert toolchain.identity(str(compiler), "") == "gcc (Debian 12) 12.2.0"


@pytest.mark.usefixtures("engine")
def test_flags_arch_text_binding_and_machine_change_the_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import tvm_ffi

    keys = {source_key(arch) for arch in archs.names()}
    assert len(keys) == len(archs.names())
    row = archs.load("host_w32")
    keys.add(key.source_key(key.components(render(tiny.spec(7), row), row)))
    with monkeypatch.context() as patch:
        patch.setattr(toolchain, "_HOST", (*toolchain._HOST, "-g"))
        keys.add(source_key())
    with monkeypatch.context() as patch:
        patch.setattr(tvm_ffi, "__version__", "0.0.0")
        keys.add(source_key())
    with monkeypatch.context() as patch:  # a cache that machines of two kinds share
        patch.setattr(os, "uname", lambda: SimpleNamespace(machine="aarch64"))
        keys.add(source_key("gfx942"))
    assert len(keys) == len(archs.names()) + 4


def test_the_compilers_identity_is_the_tool_key() -> None:
    def tools(host: str, device: str | None) -> str:
        def compiler(identity: str) -> toolchain.Compiler:
            return toolchain.Compiler(path="/anywhere", identity=identity)

        return key.tool_key(
            toolchain.Toolchain(host=compiler(host), device=device and compiler(device))
        )

    keys = {tools("gcc 12", None), tools("gcc 13", None), tools("gcc 12", "clang 22")}
    assert len({*keys, tools("gcc 12", "clang 23")}) == 4
    elsewhere = toolchain.Toolchain(toolchain.Compiler("/other/g++", "gcc 12"), None)
    assert key.tool_key(elsewhere) == tools("gcc 12", None)
