// Branches, waits, barriers, the end, and the mode register.
#pragma once
#include <wavejit/gcn/memory.h>

namespace wavejit::gcn {

inline void jump(Wave& w, const Op& op) {
  if (op.target == ~0u) {
    raise(FaultKind::kUnknownInstruction, 0, "a branch to where no instruction is");
  }
  w.pc = op.target;
}

enum class When { kAlways, kScc0, kScc1, kVccZero, kVccNotZero, kExecZero, kExecNotZero };

template <When kWhen>
void branch(Wave& w, const Op& op) {
  bool taken = true;
  switch (kWhen) {
    case When::kAlways: break;
    case When::kScc0: taken = w.scc == 0; break;
    case When::kScc1: taken = w.scc != 0; break;
    case When::kVccZero: taken = read_scalar64(w, kVcc) == 0; break;
    case When::kVccNotZero: taken = read_scalar64(w, kVcc) != 0; break;
    case When::kExecZero: taken = w.exec == 0; break;
    case When::kExecNotZero: taken = w.exec != 0; break;
  }
  if (taken) jump(w, op);
}

inline uint64_t address_of_next(const Wave& w, const Op& op) {
  return w.machine->image + op.pc + op.size;
}
inline void jump_to_address(Wave& w, uint64_t address) {
  const Machine& m = *w.machine;
  const uint64_t offset = address - m.image - m.code_begin;
  if (offset >= m.code_bytes || offset % 4 || m.index_of[offset / 4] == ~0u) {
    raise(FaultKind::kOutOfBounds, w.exec, "a jump to 0x%llx, where no instruction is",
          static_cast<unsigned long long>(address));
  }
  w.pc = m.index_of[offset / 4];
}
inline void get_pc(Wave& w, const Op& op) {
  write_scalar64(w, op.operands[0].reg, address_of_next(w, op));
}
inline void set_pc(Wave& w, const Op& op) {
  jump_to_address(w, read_scalar64(w, op.operands[0].reg));
}
inline void swap_pc(Wave& w, const Op& op) {
  const uint64_t to = read_scalar64(w, op.operands[1].reg);
  write_scalar64(w, op.operands[0].reg, address_of_next(w, op));
  jump_to_address(w, to);
}
inline void call(Wave& w, const Op& op) {
  write_scalar64(w, op.operands[0].reg, address_of_next(w, op));
  jump(w, op);
}

inline void end_program(Wave& w, const Op&) { w.stop = Stop::kEnded; }

inline void barrier(Wave& w, const Op& op) {
  check_bypassed(w);
  w.bypassed |= w.lanes & ~w.exec;
  w.bypassed_at = static_cast<uint32_t>(&op - w.machine->ops);
  w.waiting_at = w.bypassed_at;
  w.stop = Stop::kBarrier;
}

// vmcnt in bits 0-3 and 14-15, lgkmcnt in bits 8-11; a full field waits for nothing.
inline void wait_counts(Wave& w, const Op& op) {
  const uint32_t bits = op.word;
  const int memory = static_cast<int>((bits & 0xf) | (bits >> 14 & 3) << 4);
  const int shared = bits >> 8 & 0xf;
  if (memory < 63) wait_memory(w, memory);
  if (shared < 15) wait_shared(w, shared);
}

// ---- the mode register: rounding in bits 0-3, subnormals 4-7, clamp 8, IEEE 9, overflow 23

inline constexpr uint32_t kModeRegister = 1;

inline void set_mode(Wave& w, uint32_t bits) {
  if (bits & 0xfu) {
    raise(FaultKind::kUnknownInstruction, w.exec, "rounding mode 0x%x is not to nearest even",
          bits & 0xfu);
  }
  w.mode.bits = bits;
  w.mode.flush32_in = !(bits & 0x10u);
  w.mode.flush32_out = !(bits & 0x20u);
  w.mode.flush16_64_in = !(bits & 0x40u);
  w.mode.flush16_64_out = !(bits & 0x80u);
  w.mode.clamp_nan = bits & 0x100u;
  w.mode.ieee = bits & 0x200u;
  w.mode.saturate16 = bits & 0x800000u;
}

struct RegisterField {
  uint32_t id, first, mask;
};
inline RegisterField field_named(const Op& op) {
  const uint32_t bits = op.word, width = five_bits(bits, 11) + 1;
  const uint32_t mask = width >= kLanes / 2 ? ~0u : (1u << width) - 1;
  return {bits & 0x3f, five_bits(bits, 6), mask};
}
inline uint32_t hardware_register(const Wave& w, uint32_t id) {
  if (id != kModeRegister) {
    raise(FaultKind::kUnknownInstruction, w.exec, "hardware register %u is not modelled", id);
  }
  return w.mode.bits;
}
inline void get_register(Wave& w, const Op& op) {
  const RegisterField f = field_named(op);
  write_scalar(w, op.operands[0].reg, hardware_register(w, f.id) >> f.first & f.mask);
}
inline void set_register_to(Wave& w, const Op& op, uint32_t value) {
  const RegisterField f = field_named(op);
  const uint32_t before = hardware_register(w, f.id);
  set_mode(w, (before & ~(f.mask << f.first)) | (value & f.mask) << f.first);
}
inline void set_register(Wave& w, const Op& op) {
  set_register_to(w, op, read_uniform(w, op.operands[1]));
}
inline void set_register_immediate(Wave& w, const Op& op) {
  set_register_to(w, op, static_cast<uint32_t>(op.operands[1].value));
}

inline void pass(Wave&, const Op&) {}

inline void trap(Wave& w, const Op&) {
  raise(FaultKind::kUnknownInstruction, w.exec, "the program asked to stop");
}

inline constexpr Entry kControl[] = {
    {"s_branch", &branch<When::kAlways>, {}},
    {"s_cbranch_scc0", &branch<When::kScc0>, {}},
    {"s_cbranch_scc1", &branch<When::kScc1>, {}},
    {"s_cbranch_vccz", &branch<When::kVccZero>, {}},
    {"s_cbranch_vccnz", &branch<When::kVccNotZero>, {}},
    {"s_cbranch_execz", &branch<When::kExecZero>, {}},
    {"s_cbranch_execnz", &branch<When::kExecNotZero>, {}},
    {"s_getpc_b64", &get_pc, {}},
    {"s_setpc_b64", &set_pc, {}},
    {"s_swappc_b64", &swap_pc, {}},
    {"s_call_b64", &call, {}},
    {"s_endpgm", &end_program, {}},
    {"s_barrier", &barrier, {}},
    {"s_waitcnt", &wait_counts, {}},
    {"s_getreg_b32", &get_register, {}},
    {"s_setreg_b32", &set_register, {}},
    {"s_setreg_imm32_b32", &set_register_immediate, {}},
    {"s_trap", &trap, {}},
    {"s_nop", &pass, {}},
    {"s_sleep", &pass, {}},
    {"s_setprio", &pass, {}},
    {"s_sethalt", &pass, {}},
    {"s_inst_prefetch", &pass, {}},
    {"s_icache_inv", &pass, {}},
    {"s_dcache_wb", &pass, {}},
    {"s_dcache_inv", &pass, {}},
    {"s_ttracedata", &pass, {}},
    {"s_code_end", &trap, {}},
    {"buffer_wbl2", &pass, {}},
    {"buffer_inv", &pass, {}},
    {"buffer_wbinvl1", &pass, {}},
    {"buffer_wbinvl1_vol", &pass, {}},
};

}  // namespace wavejit::gcn
