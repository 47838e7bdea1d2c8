"""Damaged, foreign and exchanged entries are never loaded; what chooses among entries."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny

from wavejit.jit import api, cache, trust
from wavejit.jit.errors import CacheError, WavejitError


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
