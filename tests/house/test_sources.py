"""The house's rules about sources, as tests."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = (".py", ".h", ".cuh", ".j2", ".cpp")
MAX_LINES = 400
VENDOR_FREE = ("include/wavejit/platform/", "include/wavejit/simt/", "include/wavejit/gcn/")
WAVE_LITERALS = re.compile(r"0x[fF]{8}\b|__shfl|>> ?5\b|& ?(31|0x1f)\b|[%/] ?32\b")
VENDOR_MATH = re.compile(r"\b(__expf|__fdividef|__logf|use_fast_math|expf|logf|log1pf|rsqrtf)\b")
# ptxas moves these above the wait for the previous launch, which may still write what they read.
UNORDERED_LOADS = re.compile(r"ld\.global\.nc|__ldg\b|__restrict")
VENDOR_BRANCH = re.compile(r"#\s*(el)?if.*(__CUDA|__HIP|__NVCC)")


def tracked() -> list[Path]:
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / line for line in listing.stdout.splitlines() if (ROOT / line).is_file()]


def device_sources() -> list[Path]:
    found = [*(ROOT / "include").rglob("*.*"), *(ROOT / "templates").glob("*.j2")]
    assert len(found) > 20
    return [p for p in found if not str(p.relative_to(ROOT)).startswith(VENDOR_FREE)]


@pytest.mark.parametrize("pattern", [WAVE_LITERALS, VENDOR_MATH, VENDOR_BRANCH])
def test_the_vendors_stay_in_platform(pattern: re.Pattern[str]) -> None:
    hits = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in device_sources()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if pattern.search(line)
    ]
    assert not hits, "\n".join(hits)


def test_no_load_may_pass_the_wait_for_the_previous_launch() -> None:
    platform = (ROOT / "include/wavejit/platform").glob("*.cuh")
    hits = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in [*device_sources(), *platform]
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if UNORDERED_LOADS.search(line.split("//")[0])
    ]
    assert not hits, "\n".join(hits)


def test_templates_have_no_control_flow() -> None:
    for path in (ROOT / "templates").glob("*.cuh.j2"):
        assert "{%" not in path.read_text(), path.name


def test_templates_name_their_instance_in_one_block() -> None:
    for path in (ROOT / "templates").glob("*.cuh.j2"):
        if path.name == "arch.cuh.j2":
            continue
        lines = [n for n, line in enumerate(path.read_text().splitlines()) if "{{" in line]
        assert not lines or lines[-1] - lines[0] + 1 == len(lines), path.name


def test_no_file_is_too_long() -> None:
    long = [
        f"{path.relative_to(ROOT)}: {count}"
        for path in tracked()
        if path.suffix in CODE and (count := len(path.read_text().splitlines())) > MAX_LINES
    ]
    assert not long, long


def test_no_path_of_one_machine() -> None:
    pattern = re.compile("/(" + "work|farm|root" + ")/|/tmp/[a-z]+_jobs")
    hits = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in tracked()
        if path.suffix in (*CODE, ".md", ".toml", ".json", "")
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if pattern.search(line)
    ]
    assert not hits, hits


def test_every_kernel_has_its_three_files() -> None:
    templates = {p.name.removesuffix(".cuh.j2") for p in (ROOT / "templates").glob("*.cuh.j2")}
    modules = {p.stem for p in (ROOT / "python/wavejit/ops").glob("*.py")} - {"__init__"}
    tests = {p.stem.removeprefix("test_") for p in (ROOT / "tests/ops").glob("test_*.py")}
    assert templates - {"arch", "gcn_executor"} == modules  # the executor runs kernels, it is none
    assert modules <= tests
