"""One cache of compiled kernels for the whole run, and the targets that every op is tested on."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator

import pytest
import torch

import wavejit

if "WAVEJIT_CACHE_DIR" not in os.environ:  # xdist's workers inherit the controller's choice
    _folder = tempfile.TemporaryDirectory(prefix="wavejit-tests-")
    os.environ["WAVEJIT_CACHE_DIR"] = _folder.name

# Tests compile more than they compute; test_golden.py has the level that users get as well.
os.environ.setdefault("WAVEJIT_HOST_OPT", "g")

# torch's own threads spin when others want the cores: a busy machine made tests ten times slower.
torch.set_num_threads(1)

HOSTS = ("host_w32", "host_w64")
TARGETS = (*HOSTS, "gpu") if torch.cuda.is_available() else HOSTS


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--target",
        action="append",
        choices=(*HOSTS, *wavejit.arch.EMULATED, "gpu"),
        help="run the ops' tests here instead of on both waves and the GPU: gfx942 and gfx950 are "
        "executed by the interpreter",
    )


def _targets(config: pytest.Config) -> tuple[str, ...]:
    return tuple(config.getoption("--target") or TARGETS)


def pytest_report_header(config: pytest.Config) -> str:
    return f"ops run on {', '.join(_targets(config))}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marks = metafunc.definition.iter_markers("parametrize")
    named = {name for mark in marks for name in re.findall(r"\w+", str(mark.args[0]))}
    if "device" in metafunc.fixturenames and "device" not in named:  # a test may name its own
        metafunc.parametrize("device", _targets(metafunc.config), indirect=True)


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs the test once on the CPU in waves of 32 and once in waves of 64."""
    with wavejit.arch.using(request.param):
        yield request.param


@pytest.fixture
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    """A torch device's name: "cuda" for the GPU, and "cpu" for everything that this CPU runs."""
    if request.param == "gpu":
        yield "cuda"
        return
    chosen = wavejit.emulate if request.param in wavejit.arch.EMULATED else wavejit.arch.using
    with chosen(request.param):
        yield "cpu"
