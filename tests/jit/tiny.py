"""A template of a few lines, and processes that need the engine: what the engine's tests share."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import shutil
import stat
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from wavejit.jit import api, cache, key, toolchain
from wavejit.jit import arch as archs
from wavejit.jit.errors import NoCompilerError
from wavejit.jit.render import render
from wavejit.jit.spec import KernelSpec, kernel_spec

REPOSITORY = Path(__file__).resolve().parents[2]
TEMPLATE = """\
// Writes one number to every element.
#include <wavejit/core/vec.cuh>

namespace wavejit {
constexpr int32_t kValue = {{ value }};

struct AnswerParams {
  int32_t* out;
};

extern "C" __global__ void __launch_bounds__(64) answer_kernel(const AnswerParams p) {
  if (thread_x() == 0) p.out[block_x()] = kValue;
}
}  // namespace wavejit

#if !defined(WAVEJIT_DEVICE_PASS)
#include <wavejit/host/arguments.h>
#include <wavejit/host/launch.h>

namespace wavejit {
inline void answer(host::Arguments& arguments) {
  host::Size rows{"rows"};
  host::OnDevice device;
  const AnswerParams p{arguments.dense<int32_t>("out", device, 1, rows)};
  arguments.end();
  host::launch(WAVEJIT_KERNEL(answer_kernel),
               {.grid = rows.value, .block = 64, .device = device}, p);
}
}  // namespace wavejit
#endif
"""


def spec(value: int = 42) -> KernelSpec:
    return kernel_spec("tiny", ("answer",), value=value)


def make_templates(folder: Path, text: str = TEMPLATE) -> Path:
    """The parts that every kernel has, and tiny.cuh.j2."""
    folder.mkdir(exist_ok=True)
    for name in ("arch.cuh.j2", "_entry.j2"):
        shutil.copyfile(REPOSITORY / "templates" / name, folder / name)
    (folder / "tiny.cuh.j2").write_text(text)
    return folder


def copy_tree(folder: Path) -> Path:
    """A second checkout, with tiny.cuh.j2 among its templates."""
    for name in ("jit", "include", "templates", "python"):
        ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(REPOSITORY / name, folder / name, symlinks=True, ignore=ignore)
    make_templates(folder / "templates")
    return folder


def answer(value: int = 42, arch: str = "host_w32") -> int:
    """What the module says: the number that its library was compiled with."""
    out = torch.zeros(1, dtype=torch.int32)
    api.get(spec(value), arch).answer(out)
    return int(out[0])


def place(value: int = 42, arch: str = "host_w32") -> cache.Place:
    """Where the engine keeps this instance now."""
    row = archs.load(arch)
    source = key.source_key(key.components(render(spec(value), row), row))
    tools = key.tool_key(toolchain.find(row))
    root = Path(os.environ["WAVEJIT_CACHE_DIR"])
    return cache.Place(root, arch, f"tiny-{source}-{tools}")


def forget() -> None:
    """What a new process would know."""
    api._loaded.clear()
    api._events.clear()


def last_event() -> api.Event:
    return api.events()[-1]


def count_compiles(root: Path) -> int:
    return len((root / "compiles").read_text().splitlines()) if (root / "compiles").exists() else 0


def wrapper(folder: Path, body: str = "", name: str = "compiler") -> Path:
    """A host compiler that notes every compilation in `folder`/compiles and runs `body` before."""
    real = shutil.which("g++") or shutil.which("c++") or shutil.which("clang++")
    path = folder / name
    path.write_text(
        f"""#!/bin/sh
case " $* " in *" --version "*) exec {real} --version ;; *" host.cpp "*)
  echo x >>{folder}/compiles
  {body or ":"} ;;
esac
exec {real} "$@"
"""
    )
    path.chmod(0o755)
    return path


def processes(
    count: int, work: Callable[[int], Any], *, limit: float = 120.0, unprivileged: bool = False
) -> list[Any]:
    """`work(i)` in `count` forked processes at once; an exception comes back as a value.

    A process that is not done within `limit` seconds fails the test: nothing may hang.
    """
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(count)
    pipes = [context.Pipe(duplex=False) for _ in range(count)]

    def run(i: int) -> None:
        try:
            if unprivileged:
                drop_privileges()
            barrier.wait(limit)
            pipes[i][1].send(work(i))
        except BaseException as error:  # noqa: BLE001 - it is the result
            traceback.print_exc()
            pipes[i][1].send(RuntimeError(f"{type(error).__name__}: {error}"))
        finally:
            os._exit(0)

    children = [context.Process(target=run, args=(i,)) for i in range(count)]
    for child in children:
        child.start()
    results: list[Any] = []
    end = time.monotonic() + limit
    for child, (receive, _) in zip(children, pipes):
        if not receive.poll(max(0.0, end - time.monotonic())):
            for other in children:
                other.kill()
            raise AssertionError(f"a process hung for {limit} s")
        results.append(receive.recv())
        child.join()
    return results


def drop_privileges() -> None:
    """Give up every capability: root, too, is then refused by a folder's mode."""
    if os.geteuid() != 0:
        return
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    none = (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capset(header, none) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def require_compiler(arch: str) -> None:
    """Skip on a user's machine, and fail in CI (CI=true), where `arch` has no compiler."""
    try:
        toolchain.find(archs.load(arch))
    except NoCompilerError as error:
        if os.environ.get("CI", "").lower() in ("1", "true"):
            raise AssertionError(f"CI compiles for {arch}: {error}") from error
        pytest.skip(str(error))


def python(code: str, *, tree: Path = REPOSITORY, **variables: str) -> str:
    """The output of a fresh interpreter that runs `code` with `tree`'s package."""
    given = {**os.environ, "PYTHONPATH": str(tree / "python"), **variables}
    run = subprocess.run(
        [sys.executable, "-c", code], env=given, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def lock_writes(folder: Path) -> None:
    """Take the write permission from a tree."""
    for path in (*folder.rglob("*"), folder):
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))


def unlock_writes(folder: Path) -> None:
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        path.chmod(path.stat().st_mode | stat.S_IWUSR)


def note_files(root: Path) -> list[Path]:
    return sorted((root / "index").glob("*.json"))
