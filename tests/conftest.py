"""One cache of compiled kernels for the whole run, and the two waves that every op is tested on."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator

import pytest
import torch

import wavejit

if "WAVEJIT_CACHE_DIR" not in os.environ:  # xdist's workers inherit the controller's choice
    _folder = tempfile.TemporaryDirectory(prefix="wavejit-tests-")
    os.environ["WAVEJIT_CACHE_DIR"] = _folder.name

# torch's own threads spin when others want the cores: a busy machine made tests ten times slower.
torch.set_num_threads(1)

HOSTS = ("host_w32", "host_w64")
TARGETS = (*HOSTS, "gpu") if torch.cuda.is_available() else HOSTS


def pytest_report_header() -> str:
    return f"ops run on {', '.join(TARGETS)}"


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs the test once on the CPU in waves of 32 and once in waves of 64."""
    with wavejit.arch.using(request.param):
        yield request.param


@pytest.fixture(params=TARGETS)
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    """A torch device's name: "cpu" in both waves, and "cuda" where there is a GPU."""
    if request.param == "gpu":
        yield "cuda"
        return
    with wavejit.arch.using(request.param):
        yield "cpu"
