// Where a memory instruction's lanes reach: the address of each, checked, noted and counted.
#pragma once
#include <wavejit/gcn/lanes.h>
#include <wavejit/gcn/machine.h>

namespace wavejit::gcn {

// The lanes of one access. `at` is where a lane's bytes are; lanes that reach nowhere (switched
// off, or outside a buffer's records) are at bytes of nobody.
struct Reach {
  uint64_t address[kLanes];
  uint64_t global, shared, scratch;  // lanes by the memory they reach
  uint8_t* at[kLanes];
  alignas(16) uint8_t nobody[16];
};

// Distinct segments of 64 bytes that the lanes' accesses touch, counted from `origin`: a GPU's
// allocations begin with one.
inline uint32_t segments_of(const uint64_t* address, uint64_t lanes, int bytes, uint64_t origin) {
  uint64_t seen[2 * kLanes];
  uint32_t count = 0;
  bool sorted = true;
  for (uint64_t rest = lanes; rest; rest &= rest - 1) {
    const uint64_t first = address[__builtin_ctzll(rest)] - origin;
    for (uint64_t s = first / kSegmentBytes; s <= (first + bytes - 1) / kSegmentBytes; ++s) {
      if (count && seen[count - 1] == s) continue;
      sorted &= !count || seen[count - 1] < s;
      seen[count++] = s;
    }
  }
  if (sorted) return count;
  uint32_t distinct = 0;
  for (uint32_t i = 0; i < count; ++i) {
    bool repeated = false;
    for (uint32_t j = 0; j < i && !repeated; ++j) repeated = seen[j] == seen[i];
    distinct += !repeated;
  }
  return distinct;
}

// Lane by lane: the first that reaches outside is named, with all others that do.
inline void check_each(Wave& w, const Reach& reach, int bytes, bool writes) {
  uint64_t bad = 0;
  for (uint64_t rest = reach.global; rest; rest &= rest - 1) {
    const int lane = __builtin_ctzll(rest);
    const uint64_t first = reach.address[lane];
    const Region* region = find_region(*w.machine, first, first + bytes);
    if (!region || (writes && !region->writable)) bad |= uint64_t{1} << lane;
  }
  if (bad) check_address(w, reach.address[__builtin_ctzll(bad)], bytes, writes, bad);
}

inline void reach_global(Wave& w, const Op& op, int bytes, bool writes, Reach& reach) {
  uint64_t lowest = ~uint64_t{0}, highest = 0;
  for (uint64_t rest = reach.global; rest; rest &= rest - 1) {
    const int lane = __builtin_ctzll(rest);
    const uint64_t address = reach.address[lane];
    lowest = address < lowest ? address : lowest;
    highest = address > highest ? address : highest;
    reach.at[lane] = reinterpret_cast<uint8_t*>(address);
  }
  const Region* region = find_region(*w.machine, lowest, highest + bytes);
  if (!region || (writes && !region->writable)) check_each(w, reach, bytes, writes);
  Count& count = count_of(w, op);
  count.bytes += static_cast<uint64_t>(bytes) * __builtin_popcountll(reach.global);
  const uint64_t origin = region ? region->address : 0;
  count.segments += segments_of(reach.address, reach.global, bytes, origin);
}

inline uint8_t* reach_shared(Wave& w, uint32_t address, int bytes, bool writes, int lane) {
  check_shared(w, address, bytes, lane, writes ? "store" : "load");
  if (writes) {
    note_shared_write(w, address, bytes, lane);
  } else {
    note_shared_read(w, address, bytes, lane);
  }
  return w.block->shared + address;
}

inline uint8_t* reach_scratch(Wave& w, uint32_t address, int bytes, int lane) {
  if (uint64_t{address} + bytes > w.scratch_bytes) {
    raise(FaultKind::kOutOfBounds, uint64_t{1} << lane,
          "access of %d bytes at byte %u of the lane's scratch, of which it has %u", bytes, address,
          w.scratch_bytes);
  }
  return w.scratch + static_cast<size_t>(lane) * w.scratch_bytes + address;
}

// ---- the addresses

inline uint64_t vector_word(Wave& w, const Operand& o, int lane) {
  const uint64_t low = w.vector[o.reg][lane];
  return o.count == 2 ? low | uint64_t{w.vector[o.reg + 1][lane]} << 32 : low;
}
inline void check_vector(Wave& w, const Operand& o) {
  for (int i = 0; i < o.count; ++i) check_read(w, o.reg + i);
}

inline void locate_global(Wave& w, const Op& op, const Operand& vector, const Operand& base,
                          Reach& reach) {
  check_vector(w, vector);
  const uint64_t start = base.kind == OperandKind::kScalar ? read_scalar64(w, base.reg) : 0;
  for (int i = 0; i < kLanes; ++i) {
    reach.address[i] =
        start + vector_word(w, vector, i) + static_cast<uint64_t>(int64_t{op.offset});
  }
  reach.global = w.exec;
}

// The high half of a flat address says which memory it is in.
inline void locate_flat(Wave& w, const Op& op, const Operand& vector, Reach& reach) {
  check_vector(w, vector);
  for (int i = 0; i < kLanes; ++i) {
    const uint64_t base = vector_word(w, vector, i);
    const uint64_t bit = w.exec & uint64_t{1} << i;
    reach.address[i] = base + static_cast<uint64_t>(int64_t{op.offset});
    const uint64_t aperture = base >> 32;
    (aperture == kSharedAperture    ? reach.shared
     : aperture == kPrivateAperture ? reach.scratch
                                    : reach.global) |= bit;
  }
}

inline void locate_scratch(Wave& w, const Op& op, const Operand& vector, const Operand& base,
                           Reach& reach) {
  const bool has_vector = vector.kind == OperandKind::kVector;
  if (has_vector) check_vector(w, vector);
  const uint32_t start = base.kind == OperandKind::kNone ? 0 : read_uniform(w, base);
  for (int i = 0; i < kLanes; ++i) {
    const uint32_t lane_offset = has_vector ? w.vector[vector.reg][i] : 0;
    reach.address[i] = start + lane_offset + static_cast<uint32_t>(op.offset);
  }
  reach.scratch = w.exec;
}

// A buffer described by four scalar registers; without swizzling. Outside its records a load gives
// 0 and a store is dropped, as the hardware does it.
inline void locate_buffer(Wave& w, const Op& op, const Operand& vector, const Operand& descriptor,
                          const Operand& soffset, int bytes, Reach& reach) {
  const int s = descriptor.reg;
  const uint32_t high = read_scalar(w, s + 1), records = read_scalar(w, s + 2);
  const uint64_t base = read_scalar(w, s) | uint64_t{high & 0xffffu} << 32;
  const uint32_t stride = high >> 16 & 0x3fff;
  if (high >> 31) raise(FaultKind::kUnknownInstruction, w.exec, "a swizzled buffer");
  if (vector.kind == OperandKind::kVector) check_vector(w, vector);
  const bool both = op.flags & kIdxen && op.flags & kOffen;
  const uint32_t scalar = read_uniform(w, soffset);
  for (int i = 0; i < kLanes; ++i) {
    const uint32_t first = vector.kind == OperandKind::kVector ? w.vector[vector.reg][i] : 0;
    const uint32_t index = op.flags & kIdxen ? first : 0;
    const uint32_t moving = both ? w.vector[vector.reg + 1][i] : op.flags & kOffen ? first : 0;
    const uint64_t offset = uint64_t{moving} + static_cast<uint32_t>(op.offset);
    const bool inside =
        stride ? index < records && offset + bytes <= stride : offset + scalar + bytes <= records;
    reach.address[i] = base + scalar + offset + uint64_t{index} * stride;
    if (inside) reach.global |= w.exec & uint64_t{1} << i;
  }
}

// `k`: the address operand's place; the base or the descriptor follows `after` operands later.
inline void locate(Wave& w, const Op& op, int k, int after, Reach& reach) {
  reach.global = reach.shared = reach.scratch = 0;
  const Operand& vector = op.operands[k];
  const Operand& base = op.operands[k + after];
  switch (op.access.space) {
    case Space::kGlobal: return locate_global(w, op, vector, base, reach);
    case Space::kFlat: return locate_flat(w, op, vector, reach);
    case Space::kScratch: return locate_scratch(w, op, vector, base, reach);
    case Space::kBuffer:
      return locate_buffer(w, op, vector, base, op.operands[k + after + 1], op.access.bytes, reach);
  }
}

// Fills `at` for every lane.
inline void settle(Wave& w, const Op& op, bool writes, Reach& reach) {
  const int bytes = op.access.bytes;
  memset(reach.nobody, 0, sizeof reach.nobody);
  for (int i = 0; i < kLanes; ++i) reach.at[i] = reach.nobody;
  if (writes) check_bypassed(w);
  if (reach.global) reach_global(w, op, bytes, writes, reach);
  for (uint64_t rest = reach.shared; rest; rest &= rest - 1) {
    const int lane = __builtin_ctzll(rest);
    reach.at[lane] =
        reach_shared(w, static_cast<uint32_t>(reach.address[lane]), bytes, writes, lane);
  }
  for (uint64_t rest = reach.scratch; rest; rest &= rest - 1) {
    const int lane = __builtin_ctzll(rest);
    reach.at[lane] = reach_scratch(w, static_cast<uint32_t>(reach.address[lane]), bytes, lane);
  }
}

// An instruction of `op`'s kind is under way to `count` registers from `reg`.
inline void depart_memory(Wave& w, const Op& op, int reg, int count) {
  depart(w, w.memory, reg, count);
  if (op.access.space == Space::kFlat) depart(w, w.shared, reg, count);
}

}  // namespace wavejit::gcn
