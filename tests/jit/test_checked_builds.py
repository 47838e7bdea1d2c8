"""Checked builds in the engine: their text, key and table, and what is the same without them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

from wavejit.jit import api, index, key
from wavejit.jit import arch as archs
from wavejit.jit.checked import IndexReport, Reports
from wavejit.jit.errors import WavejitError
from wavejit.jit.render import render
from wavejit.jit.spec import kernel_spec

HOST = "host_w32"


@pytest.mark.usefixtures("engine")
def test_only_the_variable_makes_a_build_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WAVEJIT_CHECKED", raising=False)
    plain = tiny.spec()
    monkeypatch.setenv("WAVEJIT_CHECKED", "0")
    assert tiny.spec() == plain and not plain.checked
    monkeypatch.setenv("WAVEJIT_CHECKED", "1")
    checked = tiny.spec()
    assert checked.checked and checked.label == f"{plain.label}-checked"
    text, other = (render(spec, archs.load(HOST)) for spec in (plain, checked))
    assert "CHECKED" not in text and "checked" not in text
    assert other == "#define WAVEJIT_CHECKED 1\n" + text.replace(plain.label, checked.label)
    keys = [key.source_key(key.components(t, archs.load(HOST))) for t in (text, other)]
    assert keys[0] != keys[1]
    notes = {index.situation(spec, archs.load(HOST)) for spec in (plain, checked)}
    assert len(notes) == 2


def test_both_lie_in_the_cache(engine: Path) -> None:
    assert tiny.answer() == 42
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WAVEJIT_CHECKED", "1")
        assert tiny.answer() == 42 and tiny.last_event().path == "compiled"
        assert tiny.last_event().label == "tiny-value_42-checked"
    assert tiny.answer() == 42
    assert len(list((engine / "entries" / HOST).iterdir())) == 2


def test_a_wrong_value_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAVEJIT_CHECKED", "some")
    with pytest.raises(WavejitError, match="WAVEJIT_CHECKED='some': expected 0 or 1"):
        kernel_spec("tiny", ("answer",))


@pytest.mark.usefixtures("engine")
def test_a_library_refuses_a_table_of_another_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAVEJIT_CHECKED", "1")
    module = api.get(tiny.spec(), HOST)
    report_to = module._function("report_to", module._library)
    names = torch.zeros(32, 48, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"reports: .*\[32, 16, 5\]"):
        report_to(torch.zeros(32, 16, 4, dtype=torch.int64), names, names[:16])


def table_of(report_to: Any) -> tuple[Reports, Any]:
    """Reports whose library is a function of this test, and its table on the CPU."""
    found: list[Any] = []

    def called(table: Any, kernels: Any, indices: Any) -> None:
        found.append(table)
        kernels[3, :4] = torch.tensor(list(b"some"))
        indices[2, :5] = torch.tensor(list(b"place"))
        report_to()

    reports = Reports(called, on_cpu=True)
    reports.prepare("cpu")
    return reports, found[0]


@pytest.mark.parametrize("value", [0, 1, -1, 1 << 40, -(1 << 63), (1 << 63) - 1])
@pytest.mark.parametrize("row", [0, 7, (1 << 32) - 1])
def test_a_record_is_read_back(value: int, row: int) -> None:
    """core/report.cuh: row, element and 16 bits of the value in each word, complemented."""
    reports, table = table_of(lambda: None)
    words = [~(row << 32 | 5 << 16 | value >> 16 * i & 0xFFFF) & (1 << 64) - 1 for i in range(4)]
    signed = [word - (1 << 64) if word >> 63 else word for word in words]
    table[3, 2] = torch.tensor([9, *signed])
    (report,) = reports.take("cpu")
    assert isinstance(report, IndexReport)
    assert (report.kernel, report.index, report.count) == ("some", "place", 9)
    assert (report.row, report.value) == (row, value)
    assert not table.any() and reports.take("cpu") == []


def test_a_call_of_gpu_tensors_by_a_host_function_needs_no_table() -> None:
    """compress_plan's `count` of a library for GPUs takes the CPU's tensors."""

    def refuse(*_: Any) -> None:
        raise AssertionError

    reports = Reports(refuse, on_cpu=False)
    assert reports.around(lambda tensor: tensor.sum())(torch.ones(3)) == 3
    assert reports.memory() == []
