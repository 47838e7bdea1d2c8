"""The golden digests: fixed inputs, every op and variant, one SHA-256 of all output bytes each.

`cases()` names them, `run(name, device)` computes one, `golden()` reads what they must be. An op's
module brings its own by `golden_cases()`: name -> function of a torch device that returns a digest;
golden/<kernel>.json has what they must be, golden/compressors.json that of the compressors.
Rewrite files, with a word on why in the commit, by
`python -m wavejit.testing.parity --update [KERNEL ...]`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from wavejit.testing import inputs, parity_c128
from wavejit.testing.bits import digest

GOLDEN = Path(__file__).parent / "golden"
_PAGE, _MAX_LEN, _SLOTS = 256, 1024, 5
# Requests of a prefill chunk: slot, tokens after it, tokens in it; all phases of a group and page.
_CHUNK = ((3, 260, 8), (0, 3, 3), (4, 777, 130), (1, 256, 256), (2, 5, 1))
_LENGTHS = (260, 4, 777, 8, 1)  # of the requests of a decode step, with the current token


def cases() -> list[str]:
    """Every case's name, in the golden file's order."""
    return sorted(name for group in groups().values() for name in group)


def run(name: str, device: Any = "cpu") -> str:
    """The digest of the case's outputs, computed on `device`; KeyError for an unknown name."""
    import torch

    return _every()[name](torch.device(device))


def golden() -> dict[str, str]:
    """name -> digest, from the files in golden/ beside this one."""
    return {
        name: digest
        for path in sorted(GOLDEN.glob("*.json"))
        for name, digest in json.loads(path.read_text()).items()
    }


@cache
def groups() -> dict[str, dict[str, Callable[[Any], str]]]:
    """Golden file -> the cases in it."""
    from wavejit.ops import modules

    own = {name: module for name, module in modules().items() if hasattr(module, "golden_cases")}
    return {
        "compressors": _cases(),
        **{name: module.golden_cases() for name, module in own.items()},
    }


@cache
def _every() -> dict[str, Callable[[Any], str]]:
    return {name: case for group in groups().values() for name, case in group.items()}


def _cases() -> dict[str, Callable[[Any], str]]:
    found: dict[str, Callable[[Any], str]] = dict(parity_c128.cases())
    for ratio, rings in ((4, (8, 16)), (128, (128, 256))):
        for ring in rings:
            for kind in ("paged", "request"):
                label = f"r{ratio}-g{ring}-{kind}"
                for step in ("decode", "prefill"):
                    found[f"plan-{step}-{label}"] = partial(_plan, step, ratio, ring, kind)
    for step in ("decode", "prefill"):
        for dim, state, given, out in _VARIANTS:
            label = f"{step}-d{dim}-{state}-{given}-{out}"
            dtypes = (state, given, out)
            found[f"c4-{label}"] = partial(_compress, _few, step, dim, dtypes)
            if given == out == "float32":
                found[f"c4-many-{label}"] = partial(_compress, _many, step, dim, dtypes)
    return found


_VARIANTS = (
    *(
        (dim, state, "float32", "float32")
        for dim in (512, 128)
        for state in ("float32", "bfloat16")
    ),
    (128, "float32", "float32", "bfloat16"),
    (128, "bfloat16", "bfloat16", "bfloat16"),
)


def _scheme(kind: str, ring: int, device: Any) -> Any:
    """Request rings, or pages in fixed random places with a few slots that do not resolve."""
    import torch

    from wavejit.ring import PagedRing, RequestRing

    if kind == "request":
        return RequestRing(ring)
    full = _SLOTS * _MAX_LEN
    pages = full // _PAGE
    tokens = inputs.permutation(1, full)
    position = torch.arange(_MAX_LEN)
    homes = inputs.permutation(2, pages).reshape(_SLOTS, -1)
    table = torch.empty(full, dtype=torch.int64)
    table[tokens] = (homes[:, position // _PAGE] * _PAGE + position % _PAGE).reshape(-1)
    table[inputs.integers(3, (full // 64,), 0, full)] = -1
    tokens = tokens.int().reshape(_SLOTS, _MAX_LEN)
    return PagedRing(tokens.to(device), table.to(device), _PAGE, ring)


def _plan_of(ops: Any, step: str, ratio: int, ring: int, kind: str, device: Any) -> Any:
    """The plan that `ops` makes: the kernels' module or the references."""
    import torch

    scheme = _scheme(kind, ring, device)
    slots, seqs, extends = torch.tensor(_CHUNK).t().contiguous()
    if step == "decode":
        lengths = torch.tensor(_LENGTHS).to(device)
        return ops.compress_plan_decode(ratio, slots.to(device), lengths, scheme=scheme)
    return ops.compress_plan_prefill(
        ratio, slots.to(device), seqs, extends, scheme=scheme, num_q_tokens=int(extends.sum())
    )


def _plan(step: str, ratio: int, ring: int, kind: str, device: Any) -> str:
    from wavejit.ops import compress_plan

    plan = _plan_of(compress_plan, step, ratio, ring, kind, device)
    return digest(plan.plan_d) if step == "decode" else digest(plan.plan_c, plan.plan_w)


# A c4 case's plan, made by the references so that one kernel makes one digest, and the rows of its
# input and of its pool.
def _few(step: str, _: int) -> tuple[Any, int, int]:
    from wavejit import reference

    plan = _plan_of(reference, step, 4, 16, "paged", "cpu")
    rows = len(_CHUNK) if step == "decode" else sum(extend for *_, extend in _CHUNK)
    return plan, rows, _SLOTS * _MAX_LEN // _PAGE * 16 + 4


def _many(step: str, dim: int) -> tuple[Any, int, int]:
    """More requests, entries and writes than the launches for small batches take."""
    from wavejit import reference

    count = 65536 // dim + 20
    ring = _scheme("request", 8, "cpu")
    slots, extends = inputs.permutation(7, count), inputs.integers(8, (count,), 1, 14)
    seqs = extends + inputs.integers(9, (count,), 0, 9)
    if step == "decode":
        return reference.compress_plan_decode(4, slots, seqs, scheme=ring), count, 8 * count
    rows = int(extends.sum())
    plan = reference.compress_plan_prefill(4, slots, seqs, extends, scheme=ring, num_q_tokens=rows)
    return plan, rows, 8 * count


def _compress(
    make: Callable[[str, int], tuple[Any, int, int]],
    step: str,
    dim: int,
    dtypes: tuple[str, str, str],
    device: Any,
) -> str:
    """Outputs and state of one call on a pool of random rows, a few scores beyond every scale."""
    import torch

    from wavejit.front import compress

    state, given, output = (getattr(torch, name) for name in dtypes)
    plan, rows, pool_rows = make(step, dim)
    names = [field.name for field in fields(plan) if field.name.startswith("plan")]
    plan = replace(plan, **{name: getattr(plan, name).to(device) for name in names})
    pool = _rows(11, pool_rows, dim).reshape(-1, 4, 4 * dim).to(state).to(device)
    entries = rows if step == "decode" else plan.plan_c.shape[0]
    out = torch.zeros((entries, dim), dtype=output, device=device)
    ape = inputs.normal(13, (8, dim)).to(given).to(device)
    kv_input = _rows(12, rows, dim).to(given).to(device)
    compress(pool, kv_input, ape, plan, head_dim=dim, ratio=4, out=out)
    return digest(out, pool)


def _rows(seed: int, count: int, dim: int) -> Any:
    """Values about 1, scores about 3, one channel in 61 with a score about 90."""
    rows = inputs.normal(seed, (count, 4 * dim))
    rows[:, 2 * dim :] *= 3
    rows[:, 2 * dim :: 61] *= 30
    return rows


def main(arguments: list[str] | None = None) -> int:
    """Compare on the CPU's both waves, or with --update write what they agree on."""
    from wavejit.jit import arch

    parser = argparse.ArgumentParser(prog="python -m wavejit.testing.parity", description=__doc__)
    parser.add_argument("--update", action="store_true", help="write what both waves agree on")
    parser.add_argument("kernel", nargs="*", help="a file of golden/ without .json (default: all)")
    options = parser.parse_args(arguments)
    chosen = {name: groups()[name] for name in options.kernel or groups()}
    waves: dict[str, dict[str, str]] = {}
    for name in ("host_w32", "host_w64"):
        with arch.using(name):
            waves[name] = {case: run(case) for group in chosen.values() for case in group}
    digests = waves["host_w32"]
    if options.update and digests == waves["host_w64"]:
        for name, group in chosen.items():
            found = {case: digests[case] for case in sorted(group)}
            (GOLDEN / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
    expected = {name: digest for name, digest in golden().items() if name in digests}
    wrong = [
        f"{name}: {case}"
        for name, found in waves.items()
        for case in sorted({*found, *expected})
        if found.get(case) != expected.get(case)
    ]
    print(*wrong, f"{len(digests)} cases, {len(wrong)} differences", sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
