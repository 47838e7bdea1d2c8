"""The same bytes everywhere: every op's digest is the one in the golden file."""

from __future__ import annotations

import pytest

from wavejit.testing import parity


@pytest.mark.parametrize("name", parity.cases())
def test_digest(device: str, name: str) -> None:
    assert parity.run(name, device) == parity.golden()[name]


def test_the_file_has_every_case_and_no_other() -> None:
    assert sorted(parity.golden()) == parity.cases()


def test_digests_tell_cases_apart() -> None:
    """Two cases with one digest would compute the same thing, or nothing."""
    assert len(set(parity.golden().values())) == len(parity.cases())
