// What a launch runs on: the memory it may touch, its limits and its counts; and a block's state.
#pragma once
#include <wavejit/gcn/wave.h>

namespace wavejit::gcn {

inline constexpr int kMaxWaves = 16;  // of a block
inline constexpr uint32_t kSegmentBytes = 64;

// Memory that kernels may touch. Python packs the same layout.
struct Region {
  uint64_t address, bytes;
  uint32_t writable;
  uint32_t name;  // index in Python's list
};

// What one instruction of the program did in a launch. Python reads the same layout.
struct Count {
  uint64_t runs, bytes, segments;
};

struct Machine {
  const Op* ops;
  uint32_t op_count;
  const uint32_t* index_of;  // by a quarter of the offset from the code's start; ~0 for none
  uint64_t code_begin;       // offset in the image
  uint64_t code_bytes;
  uint64_t image;         // address of the code object's memory
  const Region* regions;  // sorted by address
  uint32_t region_count;
  uint32_t last_region;
  Count* counts;
  int perturbation;
  bool checks;
  bool fnuz;
  uint32_t wave_limit_slice;
  uint64_t instruction_limit;
};

// Who touched a byte of shared memory since the last barrier.
struct SharedByte {
  uint32_t written_in, read_in, atomic_in;  // barrier epochs, 0 for never
  uint16_t readers;                         // waves, as a mask
  uint8_t writer, atomic_writer;
  bool ever_written;
};

struct Block {
  uint8_t* shared;
  SharedByte* history;
  uint32_t shared_bytes;
  uint32_t epoch;
  uint32_t wave_count;
  uint32_t id[3];
};

inline int perturbation(const Wave& w) { return w.machine->perturbation; }
inline Count& count_of(Wave& w, const Op& op) { return w.machine->counts[&op - w.machine->ops]; }

// ---- global memory

[[noreturn, gnu::cold]] inline void raise_bounds(uint64_t lanes, uint64_t address, int bytes,
                                                 const char* what) {
  raise(FaultKind::kOutOfBounds, lanes, "%s of %d bytes at address 0x%llx", what, bytes,
        static_cast<unsigned long long>(address));
}

inline bool covers(const Region& region, uint64_t first, uint64_t end) {
  return region.address <= first && end <= region.address + region.bytes && first <= end;
}

// The region that holds [first, end), or null.
inline const Region* find_region(Machine& m, uint64_t first, uint64_t end) {
  if (m.last_region < m.region_count && covers(m.regions[m.last_region], first, end)) {
    return &m.regions[m.last_region];
  }
  for (uint32_t i = 0; i < m.region_count; ++i) {
    if (!covers(m.regions[i], first, end)) continue;
    m.last_region = i;
    return &m.regions[i];
  }
  return nullptr;
}

inline void check_address(Wave& w, uint64_t address, int bytes, bool writes, uint64_t lanes) {
  const Region* region = find_region(*w.machine, address, address + bytes);
  if (!region) raise_bounds(lanes, address, bytes, writes ? "store" : "load");
  if (writes && !region->writable) raise_bounds(lanes, address, bytes, "store to read-only memory");
}

// ---- shared memory

inline void check_shared(const Wave& w, uint32_t address, int bytes, int lane, const char* what) {
  if (uint64_t{address} + bytes <= w.block->shared_bytes) [[likely]]
    return;
  raise(FaultKind::kOutOfBounds, uint64_t{1} << lane,
        "%s of %d bytes at byte %u of shared memory, of which the block has %u", what, bytes,
        address, w.block->shared_bytes);
}

// Whether another wave has done so since the last barrier.
inline bool other_wave_wrote(const Wave& w, const SharedByte& byte) {
  return byte.written_in == w.block->epoch && byte.writer != w.index;
}
inline bool other_wave_changed(const Wave& w, const SharedByte& byte) {
  return byte.atomic_in == w.block->epoch && byte.atomic_writer != w.index;
}
inline bool other_wave_read(const Wave& w, const SharedByte& byte) {
  return byte.read_in == w.block->epoch && byte.readers & ~(1u << w.index);
}

[[noreturn, gnu::cold]] inline void raise_race(const Wave& w, const SharedByte& byte,
                                               uint32_t address, int lane, const char* what) {
  const bool wrote = other_wave_wrote(w, byte), changed = other_wave_changed(w, byte);
  const unsigned readers = byte.readers & ~(1u << w.index);
  const int other = wrote ? byte.writer : changed ? byte.atomic_writer : __builtin_ctz(readers);
  raise(FaultKind::kSharedRace, uint64_t{1} << lane,
        "%s of byte %u of shared memory, which wave %d has %s since the last barrier", what,
        address, other, wrote || changed ? "written" : "read");
}

inline void check_shared_order(const Wave& w, const SharedByte& byte, uint32_t address, int lane,
                               const char* what) {
  if (other_wave_wrote(w, byte) || other_wave_changed(w, byte)) {
    raise_race(w, byte, address, lane, what);
  }
}

inline void note_shared_read(Wave& w, uint32_t address, int bytes, int lane) {
  if (!w.checks) return;
  Block& block = *w.block;
  for (uint32_t i = address; i < address + bytes; ++i) {
    SharedByte& byte = block.history[i];
    if (!byte.ever_written) {
      raise(FaultKind::kUninitialisedRead, uint64_t{1} << lane,
            "byte %u of shared memory was never written", i);
    }
    check_shared_order(w, byte, i, lane, "read");
    if (byte.read_in != block.epoch) byte.readers = 0;
    byte.read_in = block.epoch;
    byte.readers |= static_cast<uint16_t>(1u << w.index);
  }
}

inline void note_shared_write(Wave& w, uint32_t address, int bytes, int lane) {
  if (!w.checks) return;
  Block& block = *w.block;
  for (uint32_t i = address; i < address + bytes; ++i) {
    SharedByte& byte = block.history[i];
    check_shared_order(w, byte, i, lane, "write");
    if (other_wave_read(w, byte)) raise_race(w, byte, i, lane, "write");
    byte.written_in = block.epoch;
    byte.writer = static_cast<uint8_t>(w.index);
    byte.ever_written = true;
  }
}

// Atomics of several waves need no barrier between each other.
inline void note_shared_atomic(Wave& w, uint32_t address, int bytes, int lane) {
  if (!w.checks) return;
  Block& block = *w.block;
  for (uint32_t i = address; i < address + bytes; ++i) {
    SharedByte& byte = block.history[i];
    if (!byte.ever_written) {
      raise(FaultKind::kUninitialisedRead, uint64_t{1} << lane,
            "byte %u of shared memory was never written", i);
    }
    if (other_wave_wrote(w, byte) || other_wave_read(w, byte)) {
      raise_race(w, byte, i, lane, "atomic change");
    }
    byte.atomic_in = block.epoch;
    byte.atomic_writer = static_cast<uint8_t>(w.index);
  }
}

// A store or a barrier by lanes that a barrier was passed without.
[[noreturn, gnu::cold]] inline void raise_bypassed(const Wave& w) {
  raise(FaultKind::kDivergentBarrier, w.bypassed & w.exec,
        "these lanes did not reach the barrier at pc 0x%x that the rest of their wave passed",
        w.machine->ops[w.bypassed_at].pc);
}
inline void check_bypassed(const Wave& w) {
  if (w.bypassed & w.exec) [[unlikely]]
    raise_bypassed(w);
}

}  // namespace wavejit::gcn
