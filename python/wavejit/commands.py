"""The handlers of the command line: each prints its result and returns the exit code."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wavejit.check import one_of
from wavejit.jit import arch as archs
from wavejit.jit import env
from wavejit.jit.errors import WavejitError
from wavejit.tables import emit, size

if TYPE_CHECKING:
    from wavejit.jit.lookup import Difference, Found
    from wavejit.jit.spec import KernelSpec
    from wavejit.warming import Outcome

Options = argparse.Namespace


def doctor(options: Options) -> int:
    from wavejit.doctor import checks

    found = checks()
    emit(options.json, [asdict(check) for check in found], columns=("name", "status", "detail"))
    failed = [check for check in found if check.fails]
    for check in [] if options.json else [check for check in found if check.remedy]:
        print(f"{check.name}: {check.remedy}", file=sys.stderr if check.fails else sys.stdout)
    return 1 if failed else 0


def list_(options: Options) -> int:
    from wavejit.warming import variants

    found = variants(options.arch, model=options.model)
    rows = [
        {
            "kernel": name,
            "variant": spec.label,
            "exports": list(spec.exports),
            "params": spec.params,
        }
        for name, specs in found.items()
        for spec in specs
    ]
    emit(options.json, rows, columns=("kernel", "variant", "exports"), exports=", ".join)
    return 0


def status(options: Options) -> int:
    rows = [
        {
            "kernel": found.spec.label,
            "arch": found.arch,
            "state": found.state,
            "bytes": found.size,
            "built_by": found.built_by,
            "reason": found.reason,
        }
        for arch in _arches(options.arch or ["all"])
        for found in _look(arch, options.model)
    ]
    emit(options.json, rows, bytes=size, columns=("kernel", "arch", "state", "bytes"))
    return 0


def prebuild(options: Options) -> int:
    from wavejit.warming import build

    progress = _progress if sys.stderr.isatty() else None
    outcomes = build(
        _arches(options.arch),
        model=options.model,
        kernels=options.kernel,
        jobs=options.jobs,
        report=progress,
    )
    rows = [_built(outcome) for outcome in outcomes]
    emit(options.json, rows, seconds="{:.2f}".format, bytes=size, columns=tuple(rows[0])[:-1])
    failed = [outcome for outcome in outcomes if outcome.error]
    for outcome in failed:
        print(f"{outcome.spec.label} for {outcome.arch}: {outcome.error}", file=sys.stderr)
    if not options.json:
        paths = [row["path"] for row in rows]
        total = sum(outcome.size for outcome in outcomes)
        print(
            f"{len(rows)} kernels: {paths.count('compiled')} compiled, {paths.count('cached')} "
            f"cached, {len(failed)} failed, {size(total)}"
        )
    return 1 if failed else 0


def _built(outcome: Outcome) -> dict[str, Any]:
    return {
        "kernel": outcome.spec.label,
        "arch": outcome.arch,
        "path": outcome.event.path if outcome.event else "FAILED",
        "seconds": outcome.event.seconds if outcome.event else 0.0,
        "bytes": outcome.size,
        "error": str(outcome.error) if outcome.error else None,
    }


def _progress(outcome: Outcome, done: int, total: int) -> None:
    row = _built(outcome)
    print(
        f"[{done}/{total}] {row['kernel']} {row['arch']} {row['path']} {row['seconds']:.2f} s",
        file=sys.stderr,
    )


def show(options: Options) -> int:
    from wavejit.jit.render import render

    spec, arch = _spec(options), archs.load(options.arch)
    if not options.resources:
        print(render(spec, arch), end="")
        return 0
    from wavejit.jit.api import warm
    from wavejit.resources import resources

    warm(spec, options.arch)
    (found,) = _look(options.arch, options.model, [spec])
    if found.entry is None:
        raise ValueError(f"{spec.label} for {options.arch} is {found.state}: {found.reason}")
    emit(options.json, [asdict(kernel) for kernel in resources(found.entry.library)])
    return 0


def why(options: Options) -> int:
    from wavejit.jit.lookup import nearest

    (found,) = _look(options.arch, options.model, [_spec(options)])
    near = None if found.entry else nearest(found)
    folder, differences = near or (None, [])
    if options.json:
        said = {"kernel": found.spec.label, "arch": found.arch, "state": found.state}
        said |= {"reason": found.reason, "nearest": str(folder) if folder else None}
        emit(True, {**said, "differences": [asdict(difference) for difference in differences]})
        return 0
    print(f"{found.spec.label} for {found.arch} is {found.state}: {found.reason}")
    if found.entry:
        print(f"  {found.entry.folder}\n  built by {found.built_by}")
    elif not folder:
        print("  the cache has no entry of this kernel for this architecture to compare with")
    else:
        print(f"  nearest entry: {folder}")
    for difference in differences:
        print(f"  {difference.part}:", *_sides(difference), sep="\n    ")
    return 0


def _sides(difference: Difference) -> list[str]:
    """Both values of a part of the key; of a text, the lines that differ."""
    if difference.part == "text":
        return difference.now.splitlines()
    return [f"here:  {difference.now}", f"there: {difference.then}"]


def cache_ls(options: Options) -> int:
    from wavejit.jit import store

    rows = [asdict(row) for row in store.entries(env.cache_dir())]
    columns = ("label", "arch", "size", "age_days", "problem")
    emit(options.json, rows, size=size, age_days="{:.1f}".format, columns=columns)
    if not options.json:
        print(f"{len(rows)} entries, {size(sum(row['size'] for row in rows))}: {env.cache_dir()}")
    return 0


def cache_verify(options: Options) -> int:
    from wavejit.jit import store

    count = len(store.entries(env.cache_dir()))
    found = [{"entry": entry, "problem": why} for entry, why in store.verify(env.cache_dir())]
    if options.json:
        emit(True, found)
    for row in [] if options.json else found:
        print(f"{row['entry']}: {row['problem']}", file=sys.stderr)
    if not options.json:
        print(f"{count} entries, {len(found)} broken{' (wavejit cache gc)' if found else ''}")
    return 1 if found else 0


def cache_gc(options: Options) -> int:
    from wavejit.jit import store

    removed = store.collect(
        env.cache_dir(), max_bytes=options.max_bytes, max_age_days=options.max_age_days
    )
    if options.json:
        emit(True, removed)
    else:
        print(*removed, f"{len(removed)} entries removed", sep="\n")
    return 0


def cache_export(options: Options) -> int:
    from wavejit.jit import store

    if options.arch:
        archs.load(options.arch)
    count = store.export(env.cache_dir(), options.path, options.arch)
    print(f"{count} entries, {size(options.path.stat().st_size)}: {options.path}")
    return 0


def cache_import(options: Options) -> int:
    from wavejit.jit import store

    print(f"{store.import_(env.cache_dir(), options.path)} new entries: {env.cache_dir()}")
    return 0


def parity(options: Options) -> int:
    from wavejit.targets import emulated, on, targets
    from wavejit.testing import parity as cases

    chosen = (
        _arches(options.arch) if options.arch else list(dict.fromkeys([*targets(), *emulated()]))
    )
    found: dict[str, dict[str, str]] = {name: {} for name in cases.cases()}
    for arch in chosen:
        with on(arch) as device:
            for name, digests in found.items():
                digests[arch] = cases.run(name, device)
    expected = cases.golden()
    rows = []
    for name, digests in found.items():
        compared = {*digests.values(), *([expected[name]] if name in expected else [])}
        rows.append({"op": name, **digests, "agree": len(compared) == 1})
    short = {arch: lambda digest: digest[:16] for arch in chosen}
    emit(options.json, rows, agree=lambda same: "yes" if same else "NO", **short)
    wrong = sum(not row["agree"] for row in rows)
    if not options.json:
        print(f"{len(rows)} ops on {', '.join(chosen)} and the golden file: {wrong} differ")
    return 1 if wrong else 0


def trace(options: Options) -> int:
    from wavejit.ops import modules
    from wavejit.testing import traces

    one_of("kernel", options.kernel, tuple(sorted(modules())))
    rows = traces.rows(options.arch, options.kernel, options.case)
    if options.lines:
        emit(options.json, traces.lines(options.arch, options.kernel, options.case, options.lines))
        return 0
    emit(options.json, rows, columns=traces.COLUMNS, coalescing="{:.2f}".format)
    return 0


def bench(options: Options) -> int:
    import subprocess
    import tomllib

    folder = Path(__file__).resolve().parents[2] / "benchmarks"
    if not (folder / "run.py").is_file():
        raise WavejitError(
            f"bench: no {folder / 'run.py'}: the benchmarks belong to the source tree, not to an "
            "installed package; run it in a clone"
        )
    if options.list:
        shapes = tomllib.loads((folder / "shapes.toml").read_text())
        rows = [{"kind": kind, "shape": shape} for kind, group in shapes.items() for shape in group]
        emit(options.json, rows)
        return 0
    if options.json and not options.out:
        raise ValueError("--json: expected with --list, or with --out FILE, which gets JSON")
    out = ["--out", str(options.out.resolve())] if options.out else []
    return subprocess.run([sys.executable, str(folder / "run.py"), *out]).returncode


def explain(options: Options) -> int:
    found = [f for arch in _arches(options.arch or [archs.detect()]) for f in _look(arch, "flash")]
    rows = [{"kernel": f.spec.label, "arch": f.arch, "first_call": _first_call(f)} for f in found]
    emit(options.json, rows)
    return 0


def _first_call(found: Found) -> str:
    """What the first call of a process will do."""
    if found.entry:
        return f"loads what was built by {found.built_by}"
    if env.flag("WAVEJIT_NO_COMPILE") or not found.identity:
        return f"fails: {found.reason}"
    return f"compiles with {'; '.join(found.identity.splitlines())}: {found.reason}"


def env_(options: Options) -> int:
    if options.json:
        emit(True, [{**asdict(v), "value": os.environ.get(v.name)} for v in env.VARIABLES])
    else:
        print(env.table())
    return 0


def demo(options: Options) -> int:
    from wavejit.demo import run

    arches = _arches(options.arch) if options.arch else None
    report = run(options.requests, options.generated, arches)
    if options.json:
        emit(True, report.rows())
    else:
        print(report.text())
    return 1 if report.disagreements else 0


def _arches(names: Sequence[str]) -> list[str]:
    """The architectures' names, `all` for every one; ArchError for an unknown one."""
    chosen = archs.names() if "all" in names else names
    return [archs.load(name).name for name in dict.fromkeys(chosen)]


def _look(arch: str, model: str, specs: Sequence[KernelSpec] | None = None) -> list[Found]:
    from wavejit.jit.lookup import compilers, look
    from wavejit.warming import variants

    row = archs.load(arch)
    tools = compilers(row)
    every = [spec for found in variants(arch, model=model).values() for spec in found]
    return [look(spec, row, tools) for spec in (specs or every)]


def _spec(options: Options) -> KernelSpec:
    """The kernel's first variant, with the parameters that --param names set to other values."""
    from wavejit.ops import modules
    from wavejit.warming import variants

    given = variants(options.arch, model=options.model, kernels=[options.kernel])
    if not options.param:
        return given[options.kernel][0]
    params = dict(given[options.kernel][0].params)
    for pair in options.param:
        name, _, value = pair.partition("=")
        if name not in params:
            known = ", ".join(params) or "none"
            raise ValueError(f"--param {pair}: {options.kernel} has the parameters {known}")
        params[name] = _typed(name, value, type(params[name]))
    return modules()[options.kernel].spec(**params)


def _typed(name: str, value: str, kind: type) -> Any:
    if kind is bool and value.lower() in ("true", "false"):
        return value.lower() == "true"
    try:
        return value if kind is str else int(value)
    except ValueError:
        raise ValueError(f"--param {name}: expected {kind.__name__}, got {value!r}") from None
