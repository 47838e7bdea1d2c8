"""The cache as processes meet it: compiled once, found again, believed only when it is whole."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny

from wavejit.jit import api, cache, render, trust
from wavejit.jit.errors import CacheError, CompileError, WavejitError


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


def damage_library(folder: Path) -> None:
    library = bytearray((folder / "kernel.so").read_bytes())
    library[-100] ^= 1
    (folder / "kernel.so").write_bytes(library)


def truncate_library(folder: Path) -> None:
    (folder / "kernel.so").write_bytes(b"")


def remove_library(folder: Path) -> None:
    (folder / "kernel.so").unlink()


def library_is_a_pipe(folder: Path) -> None:
    remove_library(folder)
    os.mkfifo(folder / "kernel.so", 0o644)


def library_is_a_link(folder: Path) -> None:
    os.rename(folder / "kernel.so", folder / "other.so")
    (folder / "kernel.so").symlink_to("other.so")


def entry_is_a_link(folder: Path) -> None:
    os.rename(folder, folder.parent / "elsewhere")
    folder.symlink_to("elsewhere")


def entry_is_a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("no folder")


def entry_is_empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def truncate_manifest(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_bytes(path.read_bytes()[:100])


def manifest_is_a_list(folder: Path) -> None:
    (folder / "manifest.json").write_text("[]")


def manifest_is_deep(folder: Path) -> None:
    (folder / "manifest.json").write_text("[" * 100_000)


def manifest_is_of_another_format(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 0}))


def library_for_all_to_write(folder: Path) -> None:
    (folder / "kernel.so").chmod(0o757)


def folder_for_the_group_to_write(folder: Path) -> None:
    folder.chmod(0o775)


def manifest_for_all_to_write(folder: Path) -> None:
    (folder / "manifest.json").chmod(0o666)


DAMAGES = [
    damage_library,
    truncate_library,
    remove_library,
    library_is_a_pipe,
    library_is_a_link,
    entry_is_a_link,
    entry_is_a_file,
    entry_is_empty,
    truncate_manifest,
    manifest_is_a_list,
    manifest_is_deep,
    manifest_is_of_another_format,
    library_for_all_to_write,
    folder_for_the_group_to_write,
    manifest_for_all_to_write,
]


@pytest.mark.parametrize("noted", [True, False], ids=["noted", "not noted"])
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda f: f.__name__)
def test_a_damaged_entry_is_not_loaded_but_rebuilt(
    built: Path, damage: Callable[[Path], None], noted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny.place().folder
    damage(folder)
    assert cache.check(folder)[0] is None
    if not noted:
        shutil.rmtree(built / "index")
    with monkeypatch.context() as patch:
        patch.setenv("WAVEJIT_NO_COMPILE", "1")
        with pytest.raises(CacheError, match="not in the cache"):
            tiny.answer()
    assert tiny.answer() == 42 and tiny.last_event().path == "compiled"
    assert cache.check(folder, deep=True)[0]
    tiny.forget()
    assert tiny.answer() == 42 and tiny.last_event().path == "cached"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def built(engine: Path, kept: Path) -> Path:
    """`engine` whose cache has tiny for host_w32, compiled once for all tests of this file."""
    stored = kept / "cache"
    if stored.exists():
        shutil.copytree(stored, engine, symlinks=True)
    api.warm(tiny.spec(), "host_w32")  # not loaded: a test may overwrite what it is made of
    if not stored.exists():
        shutil.copytree(engine, stored, symlinks=True)
    return engine


@pytest.mark.usefixtures("built")
def test_an_entry_of_another_architecture_in_its_place_is_not_loaded() -> None:
    other = tiny.place(arch="host_w64").folder
    other.parent.mkdir()
    shutil.copytree(tiny.place().folder, other)
    assert "another entry" in cache.check(other)[1]
    shutil.rmtree(other)
    shutil.copytree(tiny.place().folder, other.parent / tiny.place().name)
    assert "another entry" in cache.check(other.parent / tiny.place().name)[1]
    assert tiny.answer(arch="host_w64") == 42 and tiny.last_event().path == "compiled"


@pytest.mark.usefixtures("built")
def test_another_kernels_library_in_its_place_is_not_loaded() -> None:
    tiny.answer(43)
    shutil.copyfile(tiny.place(43).folder / "kernel.so", tiny.place(42).folder / "kernel.so")
    tiny.forget()
    assert tiny.answer(42) == 42 and tiny.last_event().path == "compiled"


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000, '{"entry": 1}', '{"entry": "../../x"}'])
def test_a_damaged_note_costs_only_time(built: Path, text: str) -> None:
    notes = list((built / "index").iterdir())
    assert notes
    for note in notes:
        if text.startswith("{"):
            text = json.dumps({**json.loads(note.read_text()), **json.loads(text)})
        note.write_text(text)
    assert tiny.answer() == 42 and tiny.last_event().path == "cached"


@pytest.mark.parametrize("what", ["kernel.so", "manifest.json", ".", "..", "../.."])
@pytest.mark.usefixtures("built")
def test_what_another_user_owns_is_refused_and_never_loaded(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny.place().folder
    path = folder / what
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
    else:  # only root can give a file away: look through another user's eyes instead
        mine = os.lstat(path).st_ino
        real = Path.lstat

        def foreign(self: Path) -> os.stat_result:
            status = real(self)
            return (
                status
                if status.st_ino != mine
                else os.stat_result((*status[:4], 65534, *status[5:]))
            )

        monkeypatch.setattr(Path, "lstat", foreign)
    entry, reason = cache.check(folder)
    assert entry is None and "belongs to user 65534" in reason
    assert tiny.answer() == 42
    assert tiny.last_event().path in ("compiled", "private")
    assert (tiny.last_event().path == "private") == (what in ("..", "../.."))


def test_trust_is_about_owner_mode_and_kind(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    path.chmod(0o644)
    me = path.stat().st_uid
    assert trust.distrust(path) is None
    assert me == 0 or "belongs to user" in str(trust.distrust(path, uid=me + 1))
    assert "No such file" in str(trust.distrust(tmp_path / "none"))


@pytest.mark.usefixtures("built")
def test_force_compiles_again_and_publishes(monkeypatch: pytest.MonkeyPatch) -> None:
    before = tiny.place().folder.stat().st_ino
    monkeypatch.setenv("WAVEJIT_FORCE_COMPILE", "1")
    assert tiny.answer() == 42 and tiny.last_event().path == "compiled"
    assert tiny.place().folder.stat().st_ino != before
    monkeypatch.setenv("WAVEJIT_NO_COMPILE", "1")
    tiny.forget()
    with pytest.raises(WavejitError, match="unset one"):
        tiny.answer()


@pytest.mark.usefixtures("built")
def test_no_compile_takes_what_is_there_and_names_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WAVEJIT_NO_COMPILE", "1")
    assert tiny.answer() == 42 and tiny.last_event().path == "cached"
    with pytest.raises(CacheError, match=r"WAVEJIT_NO_COMPILE is set.*wavejit prebuild --arch"):
        tiny.answer(43)


def test_a_header_that_changes_during_the_compilation_is_compiled_again(
    engine: Path, tmp_path: Path
) -> None:
    tree = tiny.copy_tree(tmp_path / "tree")
    header = tree / "include/wavejit/core/vec.cuh"
    body = f"[ -e {tmp_path}/once ] || echo '// changed' >>{header}; touch {tmp_path}/once"
    code = f"""
import sys
sys.path.append({str(Path(tiny.__file__).parent)!r})
import tiny
from wavejit.jit import api, cache
print(api.warm(tiny.spec(), "host_w32").path, cache.check(tiny.place().folder)[1])
"""
    said = tiny.python(code, tree=tree, CXX=str(tiny.wrapper(tmp_path, body)))
    assert said.split() == ["compiled", "cached"]
    assert tiny.count_compiles(tmp_path) == 2
    assert len(list((engine / "entries/host_w32").iterdir())) == 1


@pytest.mark.parametrize("name", ["with space", "it's", "ä", "a;b&c", "%41"])
def test_a_cache_folder_with_an_unusual_name(
    engine: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAVEJIT_CACHE_DIR", str(engine / name))
    assert tiny.answer() == 42 and tiny.last_event().path == "compiled"


@pytest.mark.parametrize("sign", "$:|")
def test_a_cache_folder_that_ninja_cannot_name_is_refused(
    engine: Path, sign: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAVEJIT_CACHE_DIR", str(engine / f"a{sign}b"))
    with pytest.raises(CacheError, match="ninja cannot"):
        tiny.answer()


def test_an_entry_removed_between_check_and_load(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = cache.check

    def check_and_remove(folder: Path, **options: bool) -> object:
        found = real(folder, **options)
        monkeypatch.setattr(cache, "check", real)
        shutil.rmtree(built)
        return found

    monkeypatch.setattr(cache, "check", check_and_remove)
    assert tiny.answer() == 42 and tiny.last_event().path == "compiled"
