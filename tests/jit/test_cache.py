"""The cache as processes meet it: compiled once, found again, believed only when it is whole."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import tiny

from wavejit.jit import api, cache, render
from wavejit.jit.errors import CompileError


def test_one_compile_then_the_cache(counted: Path, engine: Path) -> None:
    assert not engine.exists()
    assert tiny.answer() == 42 and tiny.last_event().path == "compiled"
    tiny.forget()
    assert tiny.answer() == 42 and tiny.last_event().path == "cached"
    assert tiny.count_compiles(counted) == 1
    folder = tiny.place().folder
    files = {path.name for path in folder.iterdir()}
    assert files == {"kernel.so", "kernel.cuh", "compiler.log", "manifest.json"}
    assert not list((engine / "tmp").iterdir())
    entry, _ = cache.check(folder, deep=True)
    assert entry and entry.manifest["label"] == "tiny-value_42"


@pytest.mark.usefixtures("engine")
def test_a_warm_start_renders_nothing_and_starts_no_process() -> None:
    tiny.answer()
    code = f"""
import sys, torch, tvm_ffi
sys.path.append({str(Path(tiny.__file__).parent)!r})
events = []
sys.addaudithook(lambda name, args: events.append(name))
from pathlib import Path
from wavejit.jit import api, render
from wavejit.jit.spec import kernel_spec
render.TEMPLATES = Path({str(render.TEMPLATES)!r})
before = set(sys.modules)
events.clear()
module = api.get(kernel_spec("tiny", ("answer",), value=42), "host_w32")
assert api.events()[-1].reason == "unchanged since it was noted", api.events()
out = torch.zeros(2, dtype=torch.int32)
module.answer(out)
assert out.tolist() == [42, 42]
assert not {{"jinja2", "torch.utils.cpp_extension", "ninja"}} & set(sys.modules)
bad = ("subprocess", "os.fork", "os.posix_spawn", "os.exec")
started = [e for e in events if e.startswith(bad)]
assert not started, started
made = [e for e in events if e in ("os.mkdir", "os.rename", "os.remove")]
assert not made, made
"""
    tiny.python(code)


def test_eight_processes_compile_once(counted: Path) -> None:
    def work(_: int) -> tuple[int, str]:
        return tiny.answer(), tiny.last_event().path

    results = tiny.processes(8, work)
    assert [value for value, _ in results] == [42] * 8
    assert sorted(path for _, path in results) == ["cached"] * 7 + ["compiled"]
    assert tiny.count_compiles(counted) == 1


def test_every_process_gets_the_real_error_of_one_failing_compile(counted: Path) -> None:
    text = "#error this one is deliberate\n" + tiny.TEMPLATE
    (render.TEMPLATES / "tiny.cuh.j2").write_text(text)

    def work(_: int) -> tuple[str, str, str]:
        try:
            tiny.answer()
        except CompileError as error:
            return str(error), error.log, error.command
        raise AssertionError("it compiled")

    results = tiny.processes(8, work)
    for message, log, command in results:
        assert "templates/tiny.cuh.j2:1:" in message and "deliberate" in message
        assert "deliberate" in log and "host.cpp" in command
    assert tiny.count_compiles(counted) < 8  # those that waited do not compile it again


@pytest.mark.usefixtures("engine")
def test_a_changed_header_with_any_date_is_noticed(tmp_path: Path) -> None:
    tree = tiny.copy_tree(tmp_path / "tree")
    header = tree / "include/wavejit/core/vec.cuh"
    code = f"""
import os, sys
sys.path.append({str(Path(tiny.__file__).parent)!r})
import tiny
from wavejit.jit import api
from pathlib import Path
header = Path({str(header)!r})
print(api.warm(tiny.spec(), "host_w32").path)
print(api.warm(tiny.spec(), "host_w32").path)
for date in (0, 10**9, 4 * 10**9):  # 1970, 2001 and 2096
    header.write_text(header.read_text() + "// changed" + chr(10))
    os.utime(header, (date, date))
    print(api.warm(tiny.spec(), "host_w32").path)  # in the same process
"""
    assert tiny.python(code, tree=tree).split() == ["compiled", "cached"] + ["compiled"] * 3


def test_flipping_the_architecture_keeps_both_entries(counted: Path, engine: Path) -> None:
    for _ in range(3):
        for arch in ("host_w32", "host_w64"):
            tiny.forget()
            assert tiny.answer(arch=arch) == 42
    assert tiny.count_compiles(counted) == 2
    assert {path.name for path in (engine / "entries").iterdir()} == {"host_w32", "host_w64"}


@pytest.mark.usefixtures("engine")
def test_two_checkouts_share_a_cache(tmp_path: Path) -> None:
    code = f"""
import sys
sys.path.append({str(Path(tiny.__file__).parent)!r})
import tiny
from wavejit.jit import api
print(api.warm(tiny.spec(), "host_w32").path)
"""
    trees = [tiny.copy_tree(tmp_path / name) for name in ("one", "two")]
    said = [tiny.python(code, tree=tree).strip() for tree in (*trees, trees[0])]
    assert said == ["compiled", "cached", "cached"]


def test_a_cache_deleted_under_a_running_process(engine: Path) -> None:
    import torch

    module = api.get(tiny.spec(), "host_w32")
    shutil.rmtree(engine)
    out = torch.zeros(3, dtype=torch.int32)
    module.answer(out)
    assert out.tolist() == [42] * 3
    assert tiny.answer(43) == 43 and tiny.last_event().path == "compiled"
    tiny.forget()
    assert tiny.answer() == 42 and tiny.last_event().path == "compiled"


def test_a_cache_deleted_during_the_compilation(
    engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = tiny.wrapper(tmp_path, f"[ -e {engine} ] && rm -rf {engine}; cd /")
    monkeypatch.setenv("CXX", str(compiler))
    with pytest.raises(CompileError):  # this compiler cannot even compile for itself
        tiny.answer()
    monkeypatch.delenv("CXX")
    assert tiny.answer() == 42
