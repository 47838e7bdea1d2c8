"""The same bytes everywhere: every op's digest is the one in the golden file."""

from __future__ import annotations

import pytest
from checked_build import unprepared

from wavejit.jit import api, toolchain
from wavejit.jit import arch as archs
from wavejit.testing import parity

HOSTS = ("host_w32", "host_w64")


def one_of_each_kind() -> list[tuple[str, str]]:
    """A case of every op in one wave width; of the compressors one a beginning (c4-decode)."""
    found = {
        (group, *name.split("-")[: 2 if group == "compressors" else 0]): name
        for group, names in parity.groups().items()
        for name in sorted(names, reverse=True)
    }
    return [(HOSTS[i % 2], name) for i, name in enumerate(found.values())]


@pytest.mark.parametrize("name", parity.cases())
def test_digest(device: str, name: str) -> None:
    assert parity.run(name, device) == parity.golden()[name]


@pytest.mark.parametrize(("device", "name"), one_of_each_kind(), indirect=["device"])
def test_digest_of_the_optimised_code(
    device: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A case of every op as users' compilers optimise it: the level changes no byte."""
    monkeypatch.delenv("WAVEJIT_HOST_OPT", raising=False)
    monkeypatch.setattr(api, "_loaded", {})
    with unprepared():
        assert parity.run(name, device) == parity.golden()[name]
    assert "-O3" in toolchain.flags(archs.load(archs.host()))[0]


def test_the_file_has_every_case_and_no_other() -> None:
    assert sorted(parity.golden()) == parity.cases()


def test_digests_tell_cases_apart() -> None:
    """Two cases with one digest would compute the same thing, or nothing."""
    assert len(set(parity.golden().values())) == len(parity.cases())
