// The state of one wave of 64 lanes, and what is known about each register's content.
#pragma once
#include <string.h>
#include <wavejit/gcn/fault.h>
#include <wavejit/gcn/instruction.h>

namespace wavejit::gcn {

inline constexpr int kVectorRegisters = 512;
inline constexpr int kScalarRegisters = 128;
inline constexpr int kVcc = 106;
inline constexpr int kM0 = 124;
inline constexpr int kExec = 126;

enum ScalarState : uint8_t { kReady = 0, kUnwritten = 1, kLoading = 2 };

enum class Stop : uint8_t { kNot, kBarrier, kEnded };

// A memory instruction under way: the registers that may not be touched before its wait.
struct InFlight {
  uint64_t lanes;
  uint16_t reg;
  uint8_t count;  // 0: a store
};

// The instructions of one counter, oldest first.
struct Counter {
  static constexpr int kCapacity = 64;
  InFlight entries[kCapacity];
  int size;
};

// What the hardware's MODE register says about numbers.
struct Mode {
  bool flush32_in, flush32_out, flush16_64_in, flush16_64_out;
  bool ieee;        // min and max make signalling NaN quiet
  bool clamp_nan;   // clamp gives 0 for NaN
  bool saturate16;  // FP16_OVFL: fp16 and fp8 overflow to the largest number
  uint32_t bits;
};

struct Block;
struct Machine;

struct Wave {
  alignas(64) uint32_t vector[kVectorRegisters][kLanes];
  alignas(64) uint32_t active[kLanes];  // EXEC, a mask for each lane
  uint64_t exec;
  uint64_t blocked[kVectorRegisters];  // lanes that may not be read: unwritten, or still loading
  uint64_t pending[kVectorRegisters];  // lanes that are still loading
  uint8_t loading[kVectorRegisters];   // instructions under way that will write the register
  uint32_t scalar[kScalarRegisters];
  uint8_t scalar_state[kScalarRegisters];
  uint32_t unwritten_bits[kScalarRegisters];  // of a register that is kUnwritten
  uint32_t scc;
  uint32_t pc;  // index of the next instruction
  Mode mode;
  Stop stop;
  uint64_t unknown_half[2];  // lanes whose 64-bit operand has an unwritten low or high half
  uint64_t dpp_lanes;        // lanes whose DPP source exists: the others keep their value
  uint64_t lanes;            // those the wave was started with
  uint64_t bypassed;         // lanes that a barrier was passed without
  uint32_t bypassed_at;
  uint32_t waiting_at;  // the barrier's instruction
  uint64_t executed;
  Counter memory;   // vmcnt
  Counter shared;   // the part of lgkmcnt that completes in order: LDS
  Counter scalars;  // the part that does not: scalar loads
  Block* block;
  Machine* machine;
  uint8_t* scratch;  // lane after lane
  uint32_t scratch_bytes;
  uint32_t index;  // in the block
  bool checks;
};

inline void refresh_active(Wave& w) {
  w.exec = w.scalar[kExec] | uint64_t{w.scalar[kExec + 1]} << 32;
  for (int half = 0; half < 2; ++half) {
    const uint32_t bits = w.scalar[kExec + half];
    for (int i = 0; i < kLanes / 2; ++i) {
      w.active[half * (kLanes / 2) + i] = 0u - (bits >> i & 1u);
    }
  }
}

inline bool is_full(const Wave& w) { return w.exec == ~uint64_t{0}; }

// ---- scalar registers

[[noreturn, gnu::cold]] inline void raise_scalar(const Wave& w, int reg) {
  if (w.scalar_state[reg] & kLoading) {
    raise(FaultKind::kMissingWait, w.exec,
          "s%d is used before the s_waitcnt lgkmcnt(0) that guards its load", reg);
  }
  raise(FaultKind::kUninitialisedRead, w.exec, "s%d was never written", reg);
}

inline uint32_t read_scalar(const Wave& w, int reg) {
  if (w.scalar_state[reg]) [[unlikely]]
    raise_scalar(w, reg);
  return w.scalar[reg];
}

inline void write_scalar(Wave& w, int reg, uint32_t value) {
  if (w.scalar_state[reg]) [[unlikely]] {
    if (w.scalar_state[reg] & kLoading) raise_scalar(w, reg);
    w.scalar_state[reg] = kReady;
  }
  w.scalar[reg] = value;
  if (reg >= kExec) refresh_active(w);
}

inline uint64_t read_scalar64(const Wave& w, int reg) {
  return read_scalar(w, reg) | uint64_t{read_scalar(w, reg + 1)} << 32;
}

// As with vectors: what only is passed on, or shifted along with a half that matters, may be
// unknown. The states of both registers; a load under way is an error.
struct PairState {
  uint8_t low, high;
};
inline PairState pair_state(const Wave& w, int reg) {
  const PairState state{w.scalar_state[reg], w.scalar_state[reg + 1]};
  if ((state.low | state.high) & kLoading) [[unlikely]]
    raise_scalar(w, state.low & kLoading ? reg : reg + 1);
  return state;
}

inline void write_scalar64(Wave& w, int reg, uint64_t value) {
  if (w.scalar_state[reg] | w.scalar_state[reg + 1]) [[unlikely]] {
    if ((w.scalar_state[reg] | w.scalar_state[reg + 1]) & kLoading) raise_scalar(w, reg);
    w.scalar_state[reg] = w.scalar_state[reg + 1] = kReady;
  }
  w.scalar[reg] = static_cast<uint32_t>(value);
  w.scalar[reg + 1] = static_cast<uint32_t>(value >> 32);
  if (reg >= kExec) refresh_active(w);
}

inline void set_unwritten(Wave& w, int reg, uint8_t state, uint32_t bits) {
  w.scalar_state[reg] = state;
  w.unwritten_bits[reg] = bits;
}

// ---- vector registers

inline const char* bank_of(int reg) { return reg < 256 ? "v" : "a"; }

[[noreturn, gnu::cold]] inline void raise_vector(const Wave& w, int reg, uint64_t lanes) {
  const uint64_t bad = w.blocked[reg] & lanes;
  if (w.pending[reg] & lanes) {
    raise(FaultKind::kMissingWait, bad, "%s%d is used before the s_waitcnt that guards its load",
          bank_of(reg), reg % 256);
  }
  raise(FaultKind::kUninitialisedRead, bad, "%s%d was never written", bank_of(reg), reg % 256);
}

inline void check_read(const Wave& w, int reg, uint64_t lanes) {
  if (w.blocked[reg] & lanes) [[unlikely]]
    raise_vector(w, reg, lanes);
}
inline void check_read(const Wave& w, int reg) { check_read(w, reg, w.exec); }

// Lanes of EXEC that hold nothing known, for instructions that only pass a value on. Compilers pass
// on what nobody looks at; what is still loading is an error even so.
inline uint64_t unknown_lanes(const Wave& w, int reg) {
  const uint64_t lanes = w.blocked[reg] & w.exec;
  if (lanes & w.pending[reg]) [[unlikely]]
    raise_vector(w, reg, lanes & w.pending[reg]);
  return lanes;
}

// Before an arithmetic instruction writes: nothing under way may write the register later.
inline void note_written(Wave& w, int reg, uint64_t lanes) {
  if (w.loading[reg]) [[unlikely]] {
    if (w.blocked[reg] & lanes) {
      raise(FaultKind::kMissingWait, lanes,
            "%s%d is overwritten before the s_waitcnt that guards its load", bank_of(reg),
            reg % 256);
    }
  }
  w.blocked[reg] &= ~lanes;
}

// ---- what is under way

inline void land(Wave& w, const InFlight& entry) {
  for (int i = 0; i < entry.count; ++i) {
    const int reg = entry.reg + i;
    if (--w.loading[reg] != 0) continue;
    w.blocked[reg] &= ~w.pending[reg];
    w.pending[reg] = 0;
  }
}

inline void land_oldest(Wave& w, Counter& counter, int count) {
  for (int i = 0; i < count; ++i) land(w, counter.entries[i]);
  counter.size -= count;
  memmove(counter.entries, counter.entries + count, sizeof(InFlight) * counter.size);
}

// `count` registers from `reg` are being loaded for the lanes of EXEC; 0 registers for a store.
inline void depart(Wave& w, Counter& counter, int reg, int count) {
  if (!w.checks) return;
  if (counter.size == Counter::kCapacity - 1) land_oldest(w, counter, 1);  // the hardware stalls
  counter.entries[counter.size++] = {w.exec, static_cast<uint16_t>(reg),
                                     static_cast<uint8_t>(count)};
  for (int i = 0; i < count; ++i) {
    ++w.loading[reg + i];
    w.pending[reg + i] |= w.exec;
    w.blocked[reg + i] |= w.exec;
  }
}

inline void depart_scalar(Wave& w, int reg, int count) {
  if (!w.checks) return;
  if (w.scalars.size == Counter::kCapacity - 1) {
    raise(FaultKind::kMissingWait, w.exec, "%d scalar loads without a wait", w.scalars.size);
  }
  w.scalars.entries[w.scalars.size++] = {0, static_cast<uint16_t>(reg),
                                         static_cast<uint8_t>(count)};
  memset(w.scalar_state + reg, kLoading, count);
}

inline void wait_memory(Wave& w, int left) {
  if (w.memory.size > left) land_oldest(w, w.memory, w.memory.size - left);
}

// LDS completes in order, scalar loads in any: only a count of 0 says that those are there.
inline void wait_shared(Wave& w, int left) {
  if (w.shared.size > left) land_oldest(w, w.shared, w.shared.size - left);
  if (left != 0) return;
  for (int i = 0; i < w.scalars.size; ++i) {
    const InFlight& entry = w.scalars.entries[i];
    memset(w.scalar_state + entry.reg, kReady, entry.count);
  }
  w.scalars.size = 0;
}

}  // namespace wavejit::gcn
