"""Planted mistakes: each is reported by its own error, and its correct twin is not."""

from __future__ import annotations

import numpy as np
import pytest
from assembly import ARCHES, ENTRY, assemble, launch

from wavejit import gcn

AT = "v_lshlrev_b32 v1, 2, v0\n"
LOAD = "global_load_dword v2, v1, s[4:5]\n"
WAIT, LGKM = "s_waitcnt vmcnt(0)\n", "s_waitcnt lgkmcnt(0)\n"
STORE = "global_store_dword v1, v2, s[6:7]\n"
SHARE = "ds_write_b32 v1, v0\n" + LGKM
OTHER = "v_xor_b32 v3, 64, v0\nv_lshlrev_b32 v3, 2, v3\n"
READ = "ds_read_b32 v2, v3\n" + LGKM + STORE
SPLIT = "v_readfirstlane_b32 s8, v0\ns_cmp_eq_u32 s8, 0\ns_cbranch_scc0 .L{n}\n"
HALF = "v_cmp_gt_u32 vcc, 32, v0\ns_and_saveexec_b64 s[8:9], vcc\n"
THREADS = 128

# name -> (what is wrong, its correct twin, the error, part of the message)
PLANTED = {
    "load_before": (
        "global_load_dword v2, v1, s[4:5] offset:-4\n" + WAIT,
        LOAD + WAIT,
        gcn.OutOfBounds,
        "load of 4 bytes.*4 bytes before given",
    ),
    "load_past": (
        "global_load_dword v2, v1, s[4:5] offset:4\n" + WAIT,
        LOAD + WAIT,
        gcn.OutOfBounds,
        "0 bytes past the end of given",
    ),
    "store_past": (
        LOAD + WAIT + "global_store_dword v1, v2, s[6:7] offset:4\n",
        LOAD + WAIT + STORE,
        gcn.OutOfBounds,
        "store of 4 bytes",
    ),
    "store_to_read_only": (
        LOAD + WAIT + "global_store_dword v1, v2, s[4:5]\n",
        LOAD + WAIT + STORE,
        gcn.OutOfBounds,
        "read-only",
    ),
    "shared_past": (
        "v_add_u32 v3, 4, v1\nds_write_b32 v3, v0 offset:1020\n",
        "ds_write_b32 v1, v0 offset:512\n",
        gcn.OutOfBounds,
        "of shared memory, of which the block has 1024",
    ),
    "scratch_past": (
        "scratch_store_dword off, v0, off offset:16\n",
        "scratch_store_dword off, v0, off offset:12\n",
        gcn.OutOfBounds,
        "scratch",
    ),
    "register_unwritten": (
        "v_add_u32 v2, v3, v0\n",
        "v_mov_b32 v3, 1\nv_add_u32 v2, v3, v0\n",
        gcn.UninitialisedRead,
        "v3 was never written",
    ),
    "scalar_unwritten": (
        "s_add_u32 s9, s30, 1\n",
        "s_mov_b32 s30, 1\ns_add_u32 s9, s30, 1\n",
        gcn.UninitialisedRead,
        "s30 was never written",
    ),
    "lane_unwritten": (
        HALF + "v_mov_b32 v2, 1\ns_mov_b64 exec, s[8:9]\n" + STORE,
        HALF + "v_mov_b32 v2, 1\n" + STORE,
        gcn.UninitialisedRead,
        "lanes 32-63",
    ),
    "shared_unwritten": (
        "ds_read_b32 v2, v1\n" + LGKM,
        SHARE + "ds_read_b32 v2, v1\n" + LGKM,
        gcn.UninitialisedRead,
        "byte 0 of shared memory",
    ),
    "no_vmcnt": (LOAD + STORE, LOAD + WAIT + STORE, gcn.MissingWait, "v2 is used before"),
    "too_early_vmcnt": (
        LOAD + "global_load_dword v4, v1, s[4:5]\ns_waitcnt vmcnt(1)\nv_mov_b32 v5, v4\n",
        LOAD + "global_load_dword v4, v1, s[4:5]\ns_waitcnt vmcnt(1)\nv_mov_b32 v5, v2\n",
        gcn.MissingWait,
        "v4 is used before",
    ),
    "overwritten_early": (
        LOAD + "v_mov_b32 v2, 0\n",
        LOAD + WAIT + "v_mov_b32 v2, 0\n",
        gcn.MissingWait,
        "v2 is overwritten",
    ),
    "no_lgkmcnt_scalar": (
        "s_load_dword s8, s[4:5], 0\nv_mov_b32 v2, s8\n",
        "s_load_dword s8, s[4:5], 0\n" + LGKM + "v_mov_b32 v2, s8\n",
        gcn.MissingWait,
        "s8 is used before",
    ),
    "no_lgkmcnt_shared": (
        SHARE + "ds_read_b32 v2, v1\n" + STORE,
        SHARE + "ds_read_b32 v2, v1\n" + LGKM + STORE,
        gcn.MissingWait,
        "v2 is used before",
    ),
    "race_read": (
        OTHER + SHARE + "s_barrier\n" + SHARE + READ,
        OTHER + SHARE + "s_barrier\n" + READ,
        gcn.SharedRace,
        "wave 0 has read since the last barrier",
    ),
    "race_write": (
        "v_and_b32 v3, 63, v0\nv_lshlrev_b32 v3, 2, v3\nds_write_b32 v3, v0\n",
        SHARE,
        gcn.SharedRace,
        "write of byte 0",
    ),
    "barrier_without_half": (
        HALF + "s_barrier\ns_or_b64 exec, exec, s[8:9]\nv_mov_b32 v2, 1\n" + STORE,
        HALF + "s_or_b64 exec, exec, s[8:9]\ns_barrier\nv_mov_b32 v2, 1\n" + STORE,
        gcn.DivergentBarrier,
        "did not reach the barrier",
    ),
    "two_barriers": (
        SPLIT.format(n="a") + "s_barrier\ns_branch .Lb\n.La:\ns_barrier\n.Lb:\n",
        SPLIT.format(n="c") + "s_nop 0\n.Lc:\ns_barrier\n",
        gcn.DivergentBarrier,
        "different barriers",
    ),
    "endless": (
        ".Ld:\ns_branch .Ld\n",
        "s_mov_b32 s8, 9\n.Le:\ns_sub_u32 s8, s8, 1\ns_cmp_lg_u32 s8, 0\ns_cbranch_scc1 .Le\n",
        gcn.RunawayLoop,
        "has executed 20000 instructions",
    ),
    "unknown": (
        "s_sendmsg sendmsg(MSG_INTERRUPT)\n",
        "s_nop 0\n",
        gcn.UnknownInstruction,
        "s_sendmsg",
    ),
    "rounding_mode": (
        "s_setreg_imm32_b32 hwreg(HW_REG_MODE, 0, 2), 1\n",
        "s_setreg_imm32_b32 hwreg(HW_REG_MODE, 4, 2), 1\n",
        gcn.UnknownInstruction,
        "rounding mode",
    ),
}


@pytest.fixture(scope="module", params=ARCHES)
def machine(request: pytest.FixtureRequest) -> gcn.Machine:
    bodies = {}
    for name, (wrong, right, *_) in PLANTED.items():
        bodies |= {name: ENTRY + AT + wrong, f"{name}_right": ENTRY + AT + right}
    bodies["early_exit"] = ENTRY + SPLIT.format(n="z") + "s_barrier\n.Lz:\n"
    code = assemble(bodies, request.param, shared=1024, scratch=16)
    return gcn.Machine(code, instruction_limit=20_000)


def run(machine: gcn.Machine, kernel: str) -> None:
    given = np.arange(THREADS, dtype="u4")
    launch(machine, kernel, given, np.zeros(THREADS, "u4"), threads=THREADS, blocks=2)


@pytest.mark.parametrize("name", PLANTED)
def test_a_mistake_is_reported_with_its_place(machine: gcn.Machine, name: str) -> None:
    _, _, kind, message = PLANTED[name]
    with pytest.raises(gcn.EmulationError, match=message) as caught:
        run(machine, name)
    error = caught.value
    assert type(error) is kind
    assert error.kernel == name and error.block == (0, 0, 0) and error.pc > 0
    assert error.wave in (0, 1) and all(lane < 64 for lane in error.lanes)
    assert error.lanes or kind is gcn.UnknownInstruction
    for part in (name, f"`{error.instruction}`", f"pc {error.pc:#x}", "block (0, 0, 0)", "wave "):
        assert part in str(error)


@pytest.mark.parametrize("name", [*PLANTED, "early_exit"])
def test_what_is_right_is_not_reported(machine: gcn.Machine, name: str) -> None:
    run(machine, name if name == "early_exit" else f"{name}_right")


def test_without_checks_only_bounds_are_kept() -> None:
    bodies = {n: ENTRY + AT + PLANTED[n][0] for n in ("no_vmcnt", "race_read", "load_past")}
    machine = gcn.Machine(assemble(bodies, ARCHES[0], shared=1024), checks=False)
    run(machine, "no_vmcnt")
    run(machine, "race_read")
    with pytest.raises(gcn.OutOfBounds):
        run(machine, "load_past")
