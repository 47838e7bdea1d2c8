"""Compilers that are missing, broken, killed or exchanged; and what they leave in a library."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from pathlib import Path

import pytest
import tiny

from wavejit.jit import api, build, cache, render, toolchain
from wavejit.jit import arch as archs
from wavejit.jit.errors import CacheError, CompileError, NoCompilerError, ToolchainError

ALLOWED = re.compile(r"(libc|libm|libdl|libpthread|libstdc\+\+|libgcc_s|ld-linux.*)\.so\.\d+")
BUILT_FOR = ("host_w32", "sm_90", "gfx942")


@pytest.fixture
def no_tools(engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`engine` whose cache has tiny=42, on a machine without compiler, assembler and ninja."""
    api.warm(tiny.spec(), "host_w32")
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setenv("PATH", str(empty))
    monkeypatch.setattr(build, "_path_with_ninja", lambda: str(empty))
    return engine


@pytest.mark.usefixtures("no_tools")
def test_without_any_tool_what_is_built_works(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tiny.answer() == 42 and tiny.last_event().path == "cached"
    assert re.search(r"prebuilt by (gcc|.*clang).*no C\+\+ compiler", tiny.last_event().reason)
    tiny.forget()
    monkeypatch.setattr(render, "render", None)  # noted: the second time nothing is rendered
    assert tiny.answer() == 42 and "unchanged" in tiny.last_event().reason


@pytest.mark.usefixtures("no_tools")
def test_without_any_tool_a_missing_module_names_the_remedies() -> None:
    with pytest.raises(CacheError, match=r"set CXX.*wavejit prebuild --arch host_w32"):
        tiny.answer(43)


@pytest.mark.usefixtures("no_tools")
def test_without_any_tool_strict_and_force_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.answer()  # a note must not help either of them
    tiny.forget()
    with monkeypatch.context() as patch:
        patch.setenv("WAVEJIT_STRICT", "1")
        with pytest.raises(CacheError, match=r"another compiler.*WAVEJIT_STRICT"):
            tiny.answer()
    monkeypatch.setenv("WAVEJIT_FORCE_COMPILE", "1")
    with pytest.raises(NoCompilerError, match="set CXX"):
        tiny.answer()


@pytest.mark.usefixtures("engine")
def test_no_ninja_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "_path_with_ninja", lambda: "/nowhere")
    with pytest.raises(ToolchainError, match="pip install ninja"):
        tiny.answer()


@pytest.mark.parametrize("cached", [True, False], ids=["cached", "empty cache"])
@pytest.mark.parametrize(
    ("variable", "value", "arch", "said"),
    [
        ("CXX", "/bin/false", "host_w32", "--version ended with 1.*set CXX"),
        ("CXX", "/nowhere/g++", "host_w32", "CXX=/nowhere/g.*set CXX"),
        ("CXX", "ccache g++", "host_w32", "WAVEJIT_COMPILER_LAUNCHER"),
        ("CXX", "/bin/false", "gfx942", "--version ended with 1.*set CXX"),
        ("CUDA_HOME", "/nowhere", "sm_90", "CUDA_HOME=/nowhere has no bin/nvcc.*set CUDA_HOME"),
        ("ROCM_HOME", "/nowhere", "gfx942", "ROCM_HOME=/nowhere.*make toolchain-hip"),
    ],
)
def test_a_compiler_that_was_asked_for_is_never_passed_over(
    engine: Path,
    variable: str,
    value: str,
    arch: str,
    said: str,
    cached: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if cached or variable == "CXX":
        tiny.require_compiler(arch)
    if cached:
        api.warm(tiny.spec(), arch)
    monkeypatch.setenv(variable, value)
    with pytest.raises(ToolchainError, match=said):
        api.warm(tiny.spec(), arch)
    assert cached or not list(engine.glob("entries/*/*"))


@pytest.mark.parametrize("name", ["nvcc", "clang"])
@pytest.mark.usefixtures("engine")
def test_a_machine_without_a_gpu_compiler_is_told_how_to_get_one(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("CUDA_HOME", "ROCM_HOME", "ROCM_PATH"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("CXX", str(tiny.wrapper(tmp_path)))
    monkeypatch.setattr(
        toolchain, "_which", lambda wanted: wanted if wanted == os.environ["CXX"] else None
    )
    arch = "sm_90" if name == "nvcc" else "gfx942"
    remedy = "CUDA_HOME" if name == "nvcc" else "make toolchain-hip"
    with pytest.raises(CacheError, match=f"no {name}.*{remedy}.*wavejit prebuild --arch {arch}"):
        api.warm(tiny.spec(), arch)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("kill -9 $$", "ended by signal 9.*\n(.*\n)*.*hint: a compiler was killed.*MAX_JOBS"),
        ("kill -11 $$", "ended by signal 11"),
        ("exit 1", "compiling failed"),
        ("exec /bin/false", "compiling failed"),
        ("exit 0", "compiling failed"),  # it says that all is well and leaves nothing
    ],
)
@pytest.mark.usefixtures("engine")
def test_a_compiler_that_dies_is_an_error_with_its_reason(
    tmp_path: Path, body: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", str(tiny.wrapper(tmp_path, body)))
    with pytest.raises(CompileError, match=said) as caught:
        tiny.answer()
    assert Path(caught.value.folder).is_dir()
    monkeypatch.setenv("CXX", str(tiny.wrapper(tmp_path)))
    assert tiny.answer() == 42


@pytest.mark.usefixtures("engine")
def test_a_program_that_is_no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\n")
    silent.chmod(0o755)
    monkeypatch.setenv("CXX", str(silent))
    with pytest.raises(ToolchainError, match=r"is it a compiler.*set CXX"):
        tiny.answer()
    silent.write_text("#!/bin/sh\necho some words\n")
    with pytest.raises(CompileError, match="left no library"):
        tiny.answer()


def test_an_exchanged_compiler_has_its_own_entry(
    engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tiny.wrapper(tmp_path)
    monkeypatch.setenv("CXX", str(path))
    paths = []
    for version in ("99.1", "99.2", "99.1"):
        tiny.wrapper(tmp_path)
        said = f'echo "g++ (Some) {version}"; exit 0'
        path.write_text(
            path.read_text().replace('*" --version "*) exec', f'*" --version "*) {said};')
        )
        tiny.forget()
        assert tiny.answer() == 42
        paths.append(tiny.last_event().path)
    assert paths == ["compiled", "compiled", "cached"]
    assert len(list((engine / "entries/host_w32").iterdir())) == 2


@pytest.mark.usefixtures("engine")
def test_no_compile_takes_another_compilers_entry_unless_strict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.warm(tiny.spec(), "host_w32")
    other = tmp_path / "c++"
    other.write_text('#!/bin/sh\necho "g++ (Other) 99"\n')
    other.chmod(0o755)
    monkeypatch.setenv("CXX", str(other))
    monkeypatch.setenv("WAVEJIT_NO_COMPILE", "1")
    for _ in range(2):
        tiny.forget()
        assert tiny.answer() == 42 and "prebuilt by" in tiny.last_event().reason
    tiny.forget()
    monkeypatch.setenv("WAVEJIT_STRICT", "1")
    with pytest.raises(CacheError, match="WAVEJIT_STRICT"):
        tiny.answer()


@pytest.mark.usefixtures("engine")
def test_the_environment_changes_nothing_of_what_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = tmp_path / "bad"
    (bad / "wavejit/core").mkdir(parents=True)
    for name in ("stdint.h", "string.h", "wavejit/core/vec.cuh"):
        (bad / name).write_text("#error taken from the environment\n")
    for name in ("CPATH", "CPLUS_INCLUDE_PATH", "C_INCLUDE_PATH"):
        monkeypatch.setenv(name, str(bad))
    monkeypatch.setenv("CFLAGS", "-nonsense")
    monkeypatch.setenv("LDFLAGS", "-nonsense")
    monkeypatch.setenv("NVCC_APPEND_FLAGS", "--nonsense")
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    for arch in BUILT_FOR:
        try:
            toolchain.find(archs.load(arch))
        except NoCompilerError:
            continue
        assert api.warm(tiny.spec(), arch).path == "compiled"


@pytest.mark.parametrize("arch", BUILT_FOR)
@pytest.mark.usefixtures("engine", "needs_compiler")
def test_a_library_is_the_same_bytes_in_any_folder_and_names_no_other(
    tmp_path: Path, arch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = archs.load(arch)
    text = render.render(tiny.spec(), row)
    tools = toolchain.find(row)
    digests = set()
    for i, include in enumerate((build.INCLUDE, tiny.copy_tree(tmp_path / "tree") / "include")):
        folder = tmp_path / f"folder {'x' * i}"
        folder.mkdir()
        with monkeypatch.context() as patch:
            patch.setattr(build, "INCLUDE", include)
            build.compile_library(text, row, tools, folder)
        library = (folder / "kernel.so").read_bytes()
        digests.add(hashlib.sha256(library).hexdigest())
        for path in (tmp_path, tiny.REPOSITORY, Path(os.path.expanduser("~"))):
            assert str(path).encode() not in library
    assert len(digests) == 1
    dynamic = subprocess.run(
        ["readelf", "-dW", str(folder / "kernel.so")], capture_output=True, text=True, check=True
    ).stdout
    assert "RPATH" not in dynamic and "RUNPATH" not in dynamic
    needed = re.findall(r"NEEDED.*\[(.*)\]", dynamic)
    assert needed and all(ALLOWED.fullmatch(name) for name in needed), needed


@pytest.mark.usefixtures("engine")
def test_a_launcher_is_put_before_every_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = tmp_path / "my launcher"
    launcher.write_text(f'#!/bin/sh\necho "$1" >>{tmp_path}/launched\nexec "$@"\n')
    launcher.chmod(0o755)
    monkeypatch.setenv("WAVEJIT_COMPILER_LAUNCHER", f"'{launcher}'")
    assert tiny.answer() == 42
    assert cache.check(tiny.place().folder)[0]
    assert (tmp_path / "launched").read_text().split() == [
        toolchain.locate(archs.load("host_w32"))[0]
    ]
