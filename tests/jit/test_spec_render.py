"""Specs and the text they become: the same everywhere, and errors that name the template's line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import tiny

import wavejit
from wavejit.jit import api, render
from wavejit.jit import arch as archs
from wavejit.jit.errors import CompileError, TemplateError
from wavejit.jit.spec import kernel_spec


def test_keywords_in_any_order_are_one_spec() -> None:
    first = kernel_spec("t", ("a",), x=1, y="b")
    second = kernel_spec("t", ("a",), y="b", x=1)
    assert first == second and hash(first) == hash(second)
    assert first.label == "t-x_1-y_b"


def test_rendering_twice_gives_one_text(engine: Path) -> None:
    arch = archs.load("gfx942")
    first = render.render(tiny.spec(), arch)
    render._environment.cache_clear()
    assert render.render(tiny.spec(), arch) == first
    assert "constexpr int32_t kValue = 42;" in first
    assert "kWaveSize = 64" in first and str(engine) not in first


@pytest.mark.usefixtures("engine")
def test_every_part_starts_with_its_own_line_number() -> None:
    text = render.render(tiny.spec(), archs.load("host_w32"))
    parts = re.findall(r'^#line 1 "templates/(.*)"$', text, re.MULTILINE)
    assert parts == ["arch.cuh.j2", "tiny.cuh.j2", "_entry.j2"]
    assert text.startswith("#line 1 ")


@pytest.mark.parametrize("name", wavejit.kernels())
def test_no_kernel_has_a_loop_or_branch_of_jinja(name: str) -> None:
    text = (tiny.REPOSITORY / f"templates/{name}.cuh.j2").read_text()
    assert "{%" not in text


@pytest.mark.usefixtures("engine")
def test_a_missing_parameter_names_template_line_and_name() -> None:
    empty = kernel_spec("tiny", ("answer",))
    with pytest.raises(TemplateError, match=r"tiny\.cuh\.j2:5: 'value' is undefined"):
        render.render(empty, archs.load("host_w32"))


@pytest.mark.usefixtures("engine")
def test_a_missing_template_is_named() -> None:
    with pytest.raises(TemplateError, match=r"nothing\.cuh\.j2"):
        api.get(kernel_spec("nothing", ("answer",)), "host_w32")


@pytest.mark.usefixtures("engine")
def test_broken_jinja_names_its_line() -> None:
    (render.TEMPLATES / "tiny.cuh.j2").write_text("// one\n// two {{ value\n")
    with pytest.raises(TemplateError, match=r"tiny\.cuh\.j2:2: "):
        render.render(tiny.spec(), archs.load("host_w32"))


@pytest.mark.parametrize("arch", ["host_w32", "gfx942", "sm_90"])
@pytest.mark.usefixtures("needs_compiler")
def test_a_compile_error_names_line_command_and_kept_folder(engine: Path, arch: str) -> None:
    text = tiny.TEMPLATE.replace("p.out[block_x()] = kValue;", "p.out[block_x()] = kWrongName;")
    line = 1 + text[: text.index("kWrongName")].count("\n")
    (render.TEMPLATES / "tiny.cuh.j2").write_text(text)
    with pytest.raises(CompileError) as caught:
        api.warm(tiny.spec(), arch)
    error = caught.value
    assert re.search(rf"templates/tiny\.cuh\.j2[:(]{line}\b.*error", str(error))
    assert "kWrongName" in str(error).splitlines()[0]
    assert f"command: {error.command}" in str(error) and "kernel.cuh" in str(error)
    folder = Path(error.folder)
    assert str(folder) in str(error) and folder.parent == engine / "failed"
    assert (folder / "kernel.cuh").read_text() == render.render(tiny.spec(), archs.load(arch))
    assert (folder / "compiler.log").read_text() == error.log
    assert "kWrongName" in error.log


@pytest.mark.usefixtures("engine")
def test_a_repaired_template_compiles_and_a_second_failure_is_the_same() -> None:
    (render.TEMPLATES / "tiny.cuh.j2").write_text("#error deliberate\n" + tiny.TEMPLATE)
    messages = []
    for _ in range(2):
        with pytest.raises(CompileError, match="deliberate") as caught:
            tiny.answer()
        messages.append(str(caught.value).splitlines()[0])
    assert messages[0] == messages[1]
    (render.TEMPLATES / "tiny.cuh.j2").write_text(tiny.TEMPLATE)
    assert tiny.answer() == 42
