"""The command line: what it prints, for people and for programs, and how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_compiler import compiles, fake_compiler

from wavejit import cli
from wavejit.jit import env, key, toolchain
from wavejit.testing import parity
from wavejit.warming import variants

REPOSITORY = Path(__file__).resolve().parents[1]
PREBUILD = ["prebuild", "--arch", "host_w32", "--kernel", "compress_plan"]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache and a compiler that compiles nothing."""
    monkeypatch.setenv("WAVEJIT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("CXX", str(fake_compiler(tmp_path)))
    return tmp_path


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A fresh `python -m wavejit`."""
    given = {**os.environ, "PYTHONPATH": str(REPOSITORY / "python"), **variables}
    command = [sys.executable, "-m", "wavejit", *arguments]
    return subprocess.run(command, env=given, capture_output=True, text=True, timeout=120)


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """The JSON that a command prints; it must succeed."""
    assert cli.main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_list_needs_no_torch(capsys: pytest.CaptureFixture[str]) -> None:
    code = "import sys; from wavejit.cli import main; main(['list']); print('torch' in sys.modules)"
    given = {**os.environ, "PYTHONPATH": str(REPOSITORY / "python")}
    command = [sys.executable, "-c", code]
    said = subprocess.run(command, env=given, capture_output=True, text=True, check=True).stdout
    assert "compress_plan" in said and said.endswith("False\n")
    rows = answer(capsys, "list", "--arch", "gfx942", "--model", "pro")
    assert {"kernel", "variant", "exports", "params"} == set(rows[0])


def test_an_error_is_a_message_and_debug_a_traceback() -> None:
    quiet = run("prebuild", "--arch", "sm_1")
    assert quiet.returncode == 1 and quiet.stdout == ""
    assert quiet.stderr.startswith("wavejit: unknown architecture 'sm_1': expected one of")
    loud = run("prebuild", "--arch", "sm_1", WAVEJIT_LOG="debug")
    assert loud.returncode == 1 and "Traceback" in loud.stderr


def test_a_reader_that_leaves_is_no_error() -> None:
    command = (
        f"'{sys.executable}' -m wavejit show compress_plan | head -n 1; exit ${{PIPESTATUS[0]}}"
    )
    given = {**os.environ, "PYTHONPATH": str(REPOSITORY / "python")}
    ended = subprocess.run(
        ["bash", "-c", command], env=given, capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_prebuild_status_and_cache(fake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (before,) = answer(capsys, "status", "--arch", "host_w32")[-1:]
    assert before["state"] == "missing" and before["bytes"] == 0
    assert cli.main(PREBUILD) == 0
    assert "1 kernels: 1 compiled, 0 cached, 0 failed" in capsys.readouterr().out
    (row,) = answer(capsys, *PREBUILD)
    assert (row["path"], row["error"], compiles(fake)) == ("cached", None, 1)
    states = {row["kernel"]: row for row in answer(capsys, "status", "--arch", "host_w32")}
    assert states["compress_plan"]["state"] == "cached"
    assert states["compress_plan"]["bytes"] == row["bytes"] > 1000
    (entry,) = answer(capsys, "cache", "ls")
    assert (entry["label"], entry["arch"]) == ("compress_plan", "host_w32")
    assert answer(capsys, "cache", "verify") == []
    (library,) = (fake / "cache" / "entries").glob("*/*/kernel.so")
    library.write_text("replaced")
    states = {row["kernel"]: row for row in answer(capsys, "status", "--arch", "host_w32")}
    assert states["compress_plan"]["state"] == "broken"
    assert "kernel.so has SHA-256" in states["compress_plan"]["reason"]


def test_prebuild_fails_with_every_error(
    fake: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CXX", str(fake_compiler(fake, fails_on="kHeadDim = 128")))
    assert cli.main(["prebuild", "--arch", "host_w64"]) == 1
    said = capsys.readouterr()
    assert said.out.count("FAILED") == said.err.count("kHeadDim = 128 is refused") == 2
    assert "2 failed" in said.out
    assert compiles(fake) == sum(map(len, variants("host_w64").values()))


@pytest.mark.usefixtures("fake")
def test_prebuild_without_a_working_compiler(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CXX", "/bin/false")
    assert cli.main(PREBUILD) == 1
    assert "install a C++20 compiler" in capsys.readouterr().err


def test_doctor(fake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checks = {check["name"]: check for check in answer(capsys, "doctor")}
    assert next(iter(checks)) == "host compiler" and checks["cache"]["status"] == "ok"
    assert str(fake / "fake-compiler") in checks["host compiler"]["detail"]
    assert not (fake / "cache").exists()


def test_doctor_names_what_is_missing(
    fake: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", str(fake / "nothing"))
    assert cli.main(["doctor"]) == 1
    said = capsys.readouterr()
    assert "apt-get install g++" in said.err
    (fake / "cache" / "entries").mkdir(parents=True)
    (fake / "cache" / "entries").chmod(0o777)
    assert cli.main(["doctor"]) == 1
    assert "set WAVEJIT_CACHE_DIR" in capsys.readouterr().err


def test_show_prints_what_is_compiled(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["show", "c4_compress", "--arch", "gfx942", "--param", "head_dim=192"]
    assert cli.main(arguments) == 0
    text = capsys.readouterr().out
    assert "kWaveSize = 64" in text and "kHeadDim = 192" in text
    assert cli.main([*arguments, "--param", "color=red"]) == 1
    assert "has the parameters head_dim" in capsys.readouterr().err
    assert cli.main(["show", "c4_compress", "--param", "head_dim=wide"]) == 1
    assert "head_dim: expected int, got 'wide'" in capsys.readouterr().err


def test_why_names_the_part_that_differs(
    fake: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    why = ("why", "compress_plan", "--arch", "host_w32")
    assert answer(capsys, *why)["nearest"] is None
    cli.main(PREBUILD)
    capsys.readouterr()
    assert answer(capsys, *why)["state"] == "cached"

    real = toolchain.flags
    with monkeypatch.context() as changed:
        changed.setattr(key, "flags", lambda arch: ((*real(arch)[0], "-DNEW=1"), real(arch)[1]))
        (flags,) = answer(capsys, *why)["differences"]
    assert (flags["part"], flags["now"], flags["then"]) == ("flags", "-DNEW=1", "-")

    monkeypatch.setenv("CXX", str(fake_compiler(fake, version="gcc (Elsewhere) 99.1")))
    (compiler,) = answer(capsys, *why)["differences"]
    assert compiler["part"] == "compilers" and "99.1" in compiler["now"]
    assert cli.main(list(why)) == 0
    assert "here:  gcc (Elsewhere) 99.1" in capsys.readouterr().out


@pytest.mark.usefixtures("fake")
def test_a_changed_text_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from wavejit.jit import lookup

    cli.main(PREBUILD)
    real = lookup.render
    monkeypatch.setattr(lookup, "render", lambda *given: real(*given) + "// one line more\n")
    capsys.readouterr()
    assert cli.main(["why", "compress_plan"]) == 0
    assert "+// one line more" in capsys.readouterr().out


def test_cache_moves_and_is_verified(
    fake: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.main(PREBUILD)
    archive = str(fake / "kernels.tar")
    assert cli.main(["cache", "export", archive, "--arch", "host_w32"]) == 0
    monkeypatch.setenv("WAVEJIT_CACHE_DIR", str(fake / "other"))
    assert cli.main(["cache", "import", archive]) == 0
    assert "1 new entries" in capsys.readouterr().out
    (library,) = (fake / "other" / "entries").glob("*/*/kernel.so")
    library.write_text("replaced")
    assert cli.main(["cache", "verify"]) == 1
    assert "kernel.so" in capsys.readouterr().err
    assert len(answer(capsys, "cache", "gc")) == 1
    assert answer(capsys, "cache", "ls") == []
    assert cli.main(["cache", "import", str(fake / "nothing.tar")]) == 1
    with pytest.raises(SystemExit, match="2"):
        cli.main(["cache", "gc", "--max-bytes", "lots"])
    assert "expected a number with K, M or G, got 'lots'" in capsys.readouterr().err


@pytest.mark.usefixtures("fake")
def test_explain_says_what_a_first_call_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.main(PREBUILD)
    capsys.readouterr()

    def said() -> dict[str, str]:
        rows = answer(capsys, "explain", "--arch", "host_w32")
        return {row["kernel"].split("-")[0]: row["first_call"] for row in rows}

    assert said()["compress_plan"].startswith("loads what was built by gcc")
    assert said()["c4_compress"].startswith("compiles with gcc")
    monkeypatch.setenv("WAVEJIT_NO_COMPILE", "1")
    assert said()["c4_compress"].startswith("fails: not in the cache")


@pytest.mark.parametrize(("other", "status"), [("a" * 64, 0), ("b" * 64, 1)])
def test_parity_ends_with_whether_all_agree(
    other: str, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from wavejit.jit import arch

    monkeypatch.setattr(parity, "cases", lambda: ["case"])
    monkeypatch.setattr(parity, "golden", lambda: {"case": "a" * 64})
    digests = {"host_w32": "a" * 64, "host_w64": other}
    monkeypatch.setattr(parity, "run", lambda *_: digests[arch.host()])
    assert cli.main(["parity", "--arch", "host_w32", "--arch", "host_w64"]) == status
    assert f"1 ops on host_w32, host_w64 and the golden file: {status} differ" in (
        capsys.readouterr().out
    )


def test_parity_on_the_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    rows = answer(capsys, "parity", "--arch", "host_w64")
    assert [row["op"] for row in rows] == parity.cases()
    assert {row["op"]: row["host_w64"] for row in rows} == parity.golden()


def test_env_lists_every_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WAVEJIT_STRICT", "1")
    values = {row["name"]: row["value"] for row in answer(capsys, "env")}
    assert list(values) == [variable.name for variable in env.VARIABLES]
    assert values["WAVEJIT_STRICT"] == "1"
    assert cli.main(["env"]) == 0
    assert capsys.readouterr().out == env.table() + "\n"
