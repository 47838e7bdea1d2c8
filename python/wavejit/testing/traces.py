"""What the parity cases execute on gfx942 and gfx950, and the kept tables of it.

`measure(arch, cases)` runs cases through the interpreter; `kept(group)` reads the table of a group
of cases, which is a file of traces/. Rewrite files, with a word on why in the commit, by
`python -m wavejit.testing.traces --update [GROUP ...]`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wavejit import emulate
from wavejit.emulation import Emulation
from wavejit.jit import arch as archs
from wavejit.testing import parity

KEPT = Path(__file__).parent / "traces"
COLUMNS = (
    *("case", "kernel", "waves", "instructions", "vector", "scalar", "cross_lane", "lds", "global"),
    *("wait", "branch", "other", "bytes_loaded", "bytes_stored", "segments", "coalescing"),
)


def run_case(arch: str, case: str) -> Emulation:
    """One parity case on the interpreter; the result has its traces. KeyError for no such case."""
    with emulate(arch) as run:
        parity.run(case)
    return run


def measure(arch: str, cases: Sequence[str] | None = None) -> dict[str, dict[str, dict[str, int]]]:
    """case -> kernel -> counts, as `Trace.row` has them."""
    found = {}
    for case in cases or parity.cases():
        traces = run_case(arch, case).traces
        found[case] = {kernel: trace.row() for kernel, trace in sorted(traces.items())}
    return found


def rows(arch: str, kernel: str, cases: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """A row a case and device function of the op `kernel`."""
    found = []
    for case in cases or parity.cases():
        run = run_case(arch, case)
        for name, trace in sorted(run.traces.items()):
            if run.lines[name].spec.template == kernel:
                row = {"case": case, "kernel": name, **trace.row()}
                found.append({**row, "coalescing": trace.coalescing})
    return found


def lines(arch: str, kernel: str, cases: Sequence[str] | None, count: int) -> list[dict[str, Any]]:
    """The `count` source lines of the op `kernel` that execute most, over all cases."""
    runs: Counter[str] = Counter()
    for case in cases or parity.cases():
        run = run_case(arch, case)
        for name, trace in run.traces.items():
            if run.lines[name].spec.template != kernel:
                continue
            places = list(trace.places)
            for source, place in zip(run.lines[name].sources_of(places), places):
                runs[source or "?"] += trace.places[place]
    total = sum(runs.values()) or 1
    return [
        {"line": line, "instructions": n, "share": f"{n / total:.1%}"}
        for line, n in runs.most_common(count)
    ]


def kept(group: str) -> dict[str, Any]:
    """A kept table: `compiler`, and for each architecture what `measure` gave. {} for none."""
    path = KEPT / f"{group}.json"
    return dict(json.loads(path.read_text())) if path.exists() else {}


def compiler() -> str:
    """Who compiles for these architectures here: counts are its work too."""
    from wavejit.jit import toolchain

    found = toolchain.find(archs.load("gfx942")).device
    assert found
    return found.identity


def main(arguments: list[str] | None = None) -> int:
    """Compare with the kept tables, or with --update write them."""
    parser = argparse.ArgumentParser(prog="python -m wavejit.testing.traces", description=__doc__)
    parser.add_argument("--update", action="store_true", help="write what is executed now")
    parser.add_argument("group", nargs="*", help="a file of traces/ without .json (default: all)")
    wrong = []
    options = parser.parse_args(arguments)
    for group in options.group or parity.groups():
        cases = sorted(parity.groups()[group])
        found: dict[str, Any] = {arch: measure(arch, cases) for arch in archs.EMULATED}
        if options.update:
            KEPT.mkdir(exist_ok=True)
            (KEPT / f"{group}.json").write_text(text_of({"compiler": compiler(), **found}))
        wrong += differences(found, kept(group))
    print(*wrong, f"{len(wrong)} differences", sep="\n")
    return 1 if wrong else 0


def differences(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """Each case whose counts are not the kept ones."""
    return [
        f"{arch}: {case}"
        for arch in found
        for case in sorted({*found[arch], *expected.get(arch, {})})
        if found[arch].get(case) != expected.get(arch, {}).get(case)
    ]


def text_of(table: dict[str, Any]) -> str:
    """JSON with a line a case, so that a difference is readable."""
    parts = [f'"compiler": {json.dumps(table["compiler"])}']
    for arch in archs.EMULATED:
        cases = [f"  {json.dumps(case)}: {json.dumps(row)}" for case, row in table[arch].items()]
        parts.append(f'"{arch}": {{\n' + ",\n".join(cases) + "\n }")
    return "{\n " + ",\n ".join(parts) + "\n}\n"


if __name__ == "__main__":
    sys.exit(main())
