"""The cache as a whole: listing, verifying, collecting, and archives that are not believed."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny

from wavejit.jit import api, cache, store
from wavejit.jit.errors import CacheError


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def full(engine: Path, kept: Path) -> Path:
    """A cache with tiny=1 for both hosts and tiny=2 for host_w32, the last one the youngest."""
    if (kept / "cache").exists():
        shutil.copytree(kept / "cache", engine, symlinks=True)
    for value, arch in ((1, "host_w32"), (1, "host_w64"), (2, "host_w32")):
        api.warm(tiny.spec(value), arch)
    if not (kept / "cache").exists():
        shutil.copytree(engine, kept / "cache", symlinks=True)
    for days, (value, arch) in ((30, (1, "host_w32")), (10, (1, "host_w64"))):
        folder = tiny.place(value, arch).folder
        for path in (folder, *folder.iterdir()):
            os.utime(path, (path.stat().st_mtime - days * 86400,) * 2)
    return engine


def name_of(value: int, arch: str = "host_w32") -> str:
    return f"{arch}/{tiny.place(value, arch).name}"


def test_an_empty_or_missing_cache(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "none"):
        assert store.entries(root) == [] and store.verify(root) == []
        assert store.collect(root, max_bytes=0) == []
    assert not (tmp_path / "none").exists()
    assert store.export(tmp_path, tmp_path / "a.tar") == 0
    assert store.import_(tmp_path / "other", tmp_path / "a.tar") == 0


def test_listing(full: Path) -> None:
    rows = {f"{row.arch}/{row.name}": row for row in store.entries(full)}
    assert set(rows) == {name_of(1), name_of(2), name_of(1, "host_w64")}
    row = rows[name_of(1)]
    files = list(tiny.place(1).folder.iterdir())
    assert row.label == "tiny-value_1" and row.size == sum(p.stat().st_size for p in files)
    assert 29.9 < row.age_days < 30.1 and rows[name_of(2)].age_days < 1
    assert row.built_by and row.problem == ""
    (tiny.place(2).folder / "manifest.json").write_text("{")
    broken = {f"{row.arch}/{row.name}": row for row in store.entries(full)}[name_of(2)]
    assert "manifest.json cannot be read" in broken.problem and broken.label == "?"


def edit_manifest(folder: Path, **changes: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def log_changed(folder: Path) -> None:
    (folder / "compiler.log").write_text("all is well\n")


def source_changed(folder: Path) -> None:
    (folder / "kernel.cuh").write_text("// nothing")


def source_and_hash_changed(folder: Path) -> None:
    source_changed(folder)
    files = json.loads((folder / "manifest.json").read_text())["files"]
    edit_manifest(folder, files={**files, "kernel.cuh": cache.file_digest(folder / "kernel.cuh")})


def made_from_something_else(folder: Path) -> None:
    parts = json.loads((folder / "manifest.json").read_text())["components"]
    edit_manifest(folder, components={**parts, "headers": "0" * 64})


def made_by_someone_else(folder: Path) -> None:
    edit_manifest(folder, identity="gcc 99")


def without_components(folder: Path) -> None:
    edit_manifest(folder, components=None)


def with_another_file(folder: Path) -> None:
    (folder / "more.so").write_text("")


def without_library(folder: Path) -> None:
    (folder / "kernel.so").unlink()


DAMAGES = [
    log_changed,
    source_changed,
    source_and_hash_changed,
    made_from_something_else,
    made_by_someone_else,
    without_components,
    with_another_file,
    without_library,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda f: f.__name__)
def test_every_damage_is_found_removed_and_never_exported(
    full: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    assert store.verify(full) == []
    damage(tiny.place(1).folder)
    ((name, problem),) = store.verify(full)
    assert name == name_of(1) and str(tiny.place(1).folder) in problem
    with pytest.raises(CacheError, match="wavejit cache gc"):
        store.export(full, tmp_path / "a.tar")
    assert not list(tmp_path.glob("*.tar")) and not list(tmp_path.glob(".a.tar*"))
    assert store.collect(full) == [name_of(1)]
    assert store.verify(full) == []
    assert len(store.entries(full)) == 2


def test_collecting_by_age_and_by_size(full: Path) -> None:
    assert store.collect(full, max_age_days=365, max_bytes=1 << 30) == []
    assert store.collect(full, max_age_days=20) == [name_of(1)]
    size = {f"{row.arch}/{row.name}": row.size for row in store.entries(full)}
    assert store.collect(full, max_bytes=size[name_of(2)]) == [name_of(1, "host_w64")]
    assert store.collect(full, max_bytes=size[name_of(2)] - 1) == [name_of(2)]
    assert store.entries(full) == [] and not list((full / "index").iterdir())
    assert api.warm(tiny.spec(1), "host_w32").path == "compiled"


def test_collecting_removes_traces_but_not_what_is_young(full: Path) -> None:
    old, young = full / "failed/old", full / "failed/young"
    for folder in (old, young, full / "tmp/left"):
        folder.mkdir(parents=True)
    (full / "locks/none.lock").write_text("")
    (full / "locks/young.lock").write_text("")
    notes = len(list((full / "index").iterdir()))
    for path in (old, full / "tmp/left", full / "locks/none.lock"):
        os.utime(path, (0, 0))
    assert store.collect(full) == []
    assert young.exists() and not old.exists() and not (full / "tmp/left").exists()
    locks = {path.name for path in (full / "locks").iterdir()}
    assert "young.lock" in locks and "none.lock" not in locks
    assert len(list((full / "index").iterdir())) == notes
    assert api.warm(tiny.spec(1), "host_w32").reason == "unchanged since it was noted"


def test_a_removed_library_stays_loaded(full: Path) -> None:
    import torch

    module = api.get(tiny.spec(1), "host_w32")
    assert len(store.collect(full, max_bytes=0)) == 3
    out = torch.zeros(1, dtype=torch.int32)
    module.answer(out)
    assert int(out[0]) == 1


def test_an_archive_fills_another_cache(
    full: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = tmp_path / "one.tar", tmp_path / "two.tar"
    assert store.export(full, one) == store.export(full, two) == 3
    assert one.read_bytes() == two.read_bytes()
    other = tmp_path / "other"
    monkeypatch.setenv("WAVEJIT_CACHE_DIR", str(other))
    monkeypatch.setenv("WAVEJIT_NO_COMPILE", "1")
    assert store.import_(other, one) == 3
    assert store.verify(other) == [] and not list((other / "tmp").iterdir())
    assert tiny.answer(1) == 1 and tiny.answer(2) == 2 and tiny.answer(1, "host_w64") == 1
    assert store.import_(other, one) == 0
    shutil.rmtree(tiny.place(2).folder)
    assert store.import_(other, one) == 1


def test_an_archive_of_one_architecture(full: Path, tmp_path: Path) -> None:
    assert store.export(full, tmp_path / "a.tar", arch="host_w64") == 1
    assert store.import_(tmp_path / "other", tmp_path / "a.tar") == 1
    assert [row.arch for row in store.entries(tmp_path / "other")] == ["host_w64"]


def test_an_import_replaces_a_broken_entry(full: Path, tmp_path: Path) -> None:
    store.export(full, tmp_path / "a.tar")
    without_library(tiny.place(1).folder)
    assert store.import_(full, tmp_path / "a.tar") == 1
    assert store.verify(full) == []


def member(name: str, data: bytes = b"x", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


NAME = "tiny-" + "0" * 20 + "-" + "0" * 8
BAD_MEMBERS = [
    member("../outside"),
    member("/tmp/outside"),
    member("entries/../../outside/kernel.so"),
    member(f"entries/host_w32/{NAME}/../kernel.so"),
    member("entries/host_w32/../kernel.so"),
    member(f"entries/no_such/{NAME}/kernel.so"),
    member(f"entries/host_w32/{NAME}/more.so"),
    member(f"entries/host_w32/{NAME}\n/kernel.so"),
    member("locks/x"),
    member(f"entries/host_w32/{NAME}/kernel.so", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    member(f"entries/host_w32/{NAME}/kernel.so", b"", type=tarfile.LNKTYPE, linkname="/etc/passwd"),
    member(f"entries/host_w32/{NAME}", b"", type=tarfile.DIRTYPE),
    member(f"entries/host_w32/{NAME}/kernel.so", b"", type=tarfile.FIFOTYPE),
    member(f"entries/host_w32/{NAME}/kernel.so"),  # alone: no manifest
]


@pytest.mark.parametrize("bad", BAD_MEMBERS, ids=range(len(BAD_MEMBERS)))
def test_an_archive_writes_nowhere_else(
    full: Path, tmp_path: Path, bad: tuple[tarfile.TarInfo, bytes]
) -> None:
    path = tmp_path / "a.tar"
    store.export(full, path)
    with tarfile.open(path, "a") as archive:
        archive.addfile(bad[0], io.BytesIO(bad[1]))
    place = tmp_path / "below" / "other"
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(CacheError):
        store.import_(place, path)
    assert store.entries(place) == []  # not even the good ones
    after = {p for p in tmp_path.rglob("*") if place.parent not in (p, *p.parents)}
    assert sorted(after) == before
    assert not list((place / "tmp").iterdir())


def test_a_changed_library_in_an_archive_is_refused(full: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    store.export(full, path)
    data = path.read_bytes()
    library = tiny.place(1).folder / "kernel.so"
    at = data.index(library.read_bytes())
    path.write_bytes(data[: at + 500] + b"\xff" + data[at + 501 :])
    with pytest.raises(CacheError, match=r"kernel\.so has SHA-256"):
        store.import_(tmp_path / "other", path)
    assert store.entries(tmp_path / "other") == []


@pytest.mark.parametrize("cut", [100, 5000, 20000])
def test_a_cut_archive_and_no_archive(full: Path, tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.tar"
    store.export(full, path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(CacheError):
        store.import_(tmp_path / "other", path)
    path.write_text("hello")
    with pytest.raises(CacheError, match="not an archive"):
        store.import_(tmp_path / "other", path)
    assert store.entries(tmp_path / "other") == []


def test_the_same_file_twice_in_an_archive(full: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    store.export(full, path)
    with tarfile.open(path, "a") as archive:
        archive.addfile(
            *(lambda m: (m[0], io.BytesIO(m[1])))(member(f"entries/{name_of(1)}/kernel.so"))
        )
    with pytest.raises(CacheError):
        store.import_(tmp_path / "other", path)
