"""Faults of the machine: killed builders, left locks, folders that cannot be written, full disks.

The rule: nothing hangs, nothing wrong is loaded, and what could not be kept is said.
"""

from __future__ import annotations

import fcntl
import logging
import os
import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny

from wavejit.jit import api, cache, claim, render
from wavejit.jit.errors import CacheError, CompileError

SLOW = "sleep 0.6"


def start_build() -> int:
    """A process that builds tiny and waits for its end; its id."""
    child = os.fork()
    if child == 0:
        os.setsid()
        try:
            tiny.answer()
        finally:
            os._exit(0)
    return child


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.usefixtures("engine")
def test_kill_at_any_moment_costs_a_rebuild_and_nothing_else(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", str(tiny.wrapper(tmp_path, SLOW)))
    child = start_build()
    time.sleep(random.Random(seed).uniform(0.0, 1.2))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    start = time.monotonic()
    assert tiny.answer() == 42  # while the orphaned compiler still runs
    assert time.monotonic() - start < 20
    assert cache.check(tiny.place().folder, deep=True)[0]
    time.sleep(0.8)  # the orphans' last words
    tiny.forget()
    assert tiny.answer() == 42 and tiny.last_event().path == "cached"


@pytest.mark.usefixtures("engine")
def test_a_process_that_waits_takes_over_from_a_killed_builder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = tmp_path / "once"
    body = f"[ -e {once} ] || {{ touch {once}; sleep 30; }}"
    monkeypatch.setenv("CXX", str(tiny.wrapper(tmp_path, body)))
    child = start_build()
    while not once.exists():
        time.sleep(0.01)

    def kill_soon() -> None:
        time.sleep(0.3)
        os.killpg(child, signal.SIGKILL)
        os._exit(0)

    killer = os.fork()
    if killer == 0:
        kill_soon()
    start = time.monotonic()
    assert tiny.answer() == 42 and tiny.last_event().path == "compiled"
    assert 0.2 < time.monotonic() - start < 20
    for pid in (child, killer):
        os.waitpid(pid, 0)


def test_left_over_files_of_locks_mean_nothing(engine: Path) -> None:
    (engine / "locks").mkdir(parents=True)
    (engine / "locks" / f"{tiny.place().name}.lock").write_text("12345")
    (engine / "lock").write_text("")  # torch's own lock file
    start = time.monotonic()
    assert tiny.answer() == 42
    assert time.monotonic() - start < 20


def test_a_lock_held_beyond_the_limit_is_not_waited_for(
    engine: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(claim, "LOCK_SECONDS", 0.3)
    (engine / "locks").mkdir(parents=True)
    with open(engine / "locks" / f"{tiny.place().name}.lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with caplog.at_level(logging.WARNING, "wavejit"):
            assert tiny.answer() == 42
    assert tiny.last_event().path == "compiled" and "still locked after" in caplog.text
    assert cache.check(tiny.place().folder)[0]


def test_folders_of_dead_builders_are_swept_and_of_living_ones_kept(engine: Path) -> None:
    tmp = engine / "tmp"
    for name in ("dead", "living", "young", "old", "new-left", "link"):
        if name != "link":
            (tmp / name).mkdir(parents=True)
    for name in ("dead", "living", "new-left"):
        (tmp / name / claim.OWNER).write_text("")
    (tmp / "link").symlink_to("living")
    for name in ("old", "new-left"):
        os.utime(tmp / name, (0, 0))
    with open(tmp / "living" / claim.OWNER) as owner:
        fcntl.flock(owner, fcntl.LOCK_EX)
        assert tiny.answer() == 42
    left = {path.name for path in tmp.iterdir()}
    assert left == {"living", "young", "link"}


def test_a_sweep_never_takes_the_folder_of_a_builder_that_begins(tmp_path: Path) -> None:
    stop = time.monotonic() + 1.0

    def work(i: int) -> int:
        done = 0
        while time.monotonic() < stop:
            if i % 2:
                claim.sweep(tmp_path)
                continue
            with claim.staging(tmp_path) as folder:
                (folder / "file").write_text("x")
                assert (folder / claim.OWNER).exists()
            done += 1
        return done

    assert all(isinstance(done, int) for done in tiny.processes(4, work))
    assert not list(tmp_path.iterdir())


@pytest.fixture(params=["mode", "mount"])
def frozen(request: pytest.FixtureRequest, engine: Path) -> Iterator[Path]:
    """The cache with tiny=42, which cannot be written: by its mode, or on a read-only mount."""
    api.warm(tiny.spec(), "host_w32")
    if request.param == "mode":
        tiny.lock_writes(engine)
        yield engine
        tiny.unlock_writes(engine)
        return
    bound = ["mount", "--bind", str(engine), str(engine)]
    if subprocess.run(bound, capture_output=True).returncode != 0:
        tiny.lock_writes(engine)  # not allowed here: the mode must do
        yield engine
        tiny.unlock_writes(engine)
        return
    subprocess.run(["mount", "-o", "remount,ro,bind", str(engine)], check=True)
    yield engine
    subprocess.run(["umount", "-l", str(engine)], check=True)


def unprivileged(work: object) -> object:
    (result,) = tiny.processes(1, work, unprivileged=True)  # type: ignore[arg-type]
    return result


@pytest.mark.usefixtures("frozen")
def test_a_read_only_cache_serves_what_it_has() -> None:
    assert unprivileged(lambda _: (tiny.answer(), tiny.last_event().path)) == (42, "cached")

    def without_note(_: int) -> tuple[int, str]:
        os.environ["PATH"] = os.environ["PATH"] + ":/nowhere"
        render._environment.cache_clear()
        template = render.TEMPLATES / "tiny.cuh.j2"
        template.write_text(template.read_text())  # another stat: no note fits
        return tiny.answer(), tiny.last_event().reason

    assert unprivileged(without_note) == (42, "same key")


def test_a_read_only_cache_without_the_module_compiles_privately(
    frozen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    before = sorted(path for path in frozen.rglob("*"))
    messages: list[str] = []

    def work(_: int) -> tuple[int, str, list[str]]:
        logging.getLogger("wavejit").addHandler(Collect(messages))
        return tiny.answer(43), tiny.last_event().path, messages

    value, path, said = unprivileged(work)  # type: ignore[misc]
    assert (value, path) == (43, "private")
    assert any("cannot be written" in line and str(frozen) in line for line in said)
    assert sorted(path for path in frozen.rglob("*")) == before
    assert not list(scratch.iterdir())  # nothing is left of it

    def strict(_: int) -> str:
        os.environ["WAVEJIT_STRICT"] = "1"
        with pytest.raises(CacheError) as caught:
            tiny.answer(43)
        return str(caught.value)

    assert "WAVEJIT_STRICT" in str(unprivileged(strict))
    assert "WAVEJIT_CACHE_DIR" in str(unprivileged(strict))


def test_no_folder_at_all_can_be_written(frozen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(frozen / "entries"))

    def work(_: int) -> str:
        with pytest.raises(CacheError) as caught:
            tiny.answer(43)
        return str(caught.value)

    assert "WAVEJIT_CACHE_DIR or TMPDIR" in str(unprivileged(work))


class Collect(logging.Handler):
    def __init__(self, messages: list[str]) -> None:
        super().__init__()
        self.messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@pytest.mark.parametrize("where", ["a file", "below a file", "a broken link", "a loop"])
def test_a_cache_that_cannot_be_a_folder(
    engine: Path, where: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    if where == "a broken link":
        engine.symlink_to("/nowhere/at/all/../../../proc/none")
    elif where == "a loop":
        engine.symlink_to(engine)
    else:
        engine.write_text("a file")
    if where == "below a file":
        monkeypatch.setenv("WAVEJIT_CACHE_DIR", str(engine / "cache"))
    assert tiny.answer() == 42 and tiny.last_event().path == "private"
    assert "cannot be written" in caplog.text


@pytest.fixture(params=[0, 4, 24, 64], ids=lambda size: f"{size}k")
def full(request: pytest.FixtureRequest, engine: Path) -> Iterator[Path]:
    """The cache on a disk with a few kB left; without the right to mount, a compiler says so."""
    engine.mkdir()
    size = f"size={request.param + 4}k"
    mount = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(engine)]
    if subprocess.run(mount, capture_output=True).returncode == 0:
        yield engine
        subprocess.run(["umount", "-l", str(engine)], check=True)
        return
    patch = pytest.MonkeyPatch()
    body = f"case $PWD in {engine}*) echo 'cc1plus: error: No space left on device'; exit 1;; esac"
    patch.setenv("CXX", str(tiny.wrapper(engine.parent, body)))
    yield engine
    patch.undo()


def test_a_full_disk(
    full: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tiny.answer() == 42 and tiny.last_event().path == "private"
    assert "No space left on device" in caplog.text and str(full) in caplog.text
    assert not list((full / "entries").glob("*/*")) if full.exists() else True
    tiny.forget()
    monkeypatch.setenv("WAVEJIT_STRICT", "1")
    with pytest.raises(CacheError, match="WAVEJIT_STRICT"):
        tiny.answer()


def test_a_compiler_that_finds_the_disk_full(
    engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    body = "echo 'fatal error: error writing to x.s: No space left on device' >&2; exit 1"
    one = f"case $PWD in {engine}*) {body};; esac"
    monkeypatch.setenv("CXX", str(tiny.wrapper(tmp_path, one)))
    assert tiny.answer() == 42 and tiny.last_event().path == "private"
    assert "No space left" in caplog.text
    monkeypatch.setenv("CXX", str(tiny.wrapper(tmp_path, body, "both")))
    tiny.forget()
    with pytest.raises(CompileError, match="hint: the disk is full"):
        tiny.answer()


@pytest.mark.usefixtures("engine")
def test_a_cache_without_locks_still_compiles(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert tiny.answer() == 42 and tiny.last_event().path == "compiled"
    assert "cannot be locked" in caplog.text


def test_a_folder_of_someone_else_is_not_written(engine: Path) -> None:
    if os.geteuid() != 0:
        engine.mkdir(mode=0o555)  # only root can give a folder away
    else:
        engine.mkdir()
        os.chown(engine, 65534, 65534)
    result = unprivileged(lambda _: (tiny.answer(), tiny.last_event().path))
    assert result == (42, "private")
    assert not list(engine.iterdir())


def test_dropping_privileges_is_real(tmp_path: Path) -> None:
    """The tests above mean nothing if root is not refused."""
    tmp_path.chmod(0o555)

    def work(_: int) -> bool:
        try:
            (tmp_path / "file").write_text("")
        except PermissionError:
            return True
        return False

    assert unprivileged(work) is True
