// Moves: inside a lane, between lanes, and between vector and scalar registers.
#pragma once
#include <wavejit/gcn/carry.h>
#include <wavejit/gcn/machine.h>

namespace wavejit::gcn {

// A scalar register that nobody wrote, moved to lanes: followed like any move.
inline bool moves_unwritten(const Wave& w, const Operand& o, int half) {
  if (o.kind != OperandKind::kScalar || !w.scalar_state[o.reg + half]) [[likely]]
    return false;
  if (w.scalar_state[o.reg + half] & kLoading) raise_scalar(w, o.reg + half);
  return true;
}

inline void move32(Wave& w, const Op& op) {
  if (moves_unwritten(w, op.operands[1], 0)) [[unlikely]] {
    w.blocked[op.operands[0].reg] |= written_lanes(w, op);
    return;
  }
  Room<B32> room, out;
  uint64_t unknown;
  const uint32_t* a = fetch_unless_unknown(w, op, 1, room, unknown);
  memcpy(out.lanes, a, sizeof out.lanes);
  commit<B32>(w, op, out.lanes);
  w.blocked[op.operands[0].reg] |= unknown;
}

inline void move64(Wave& w, const Op& op) {
  const Operand& from = op.operands[1];
  const bool low = moves_unwritten(w, from, 0), high = moves_unwritten(w, from, 1);
  Room<B64> room;
  if (low || high) [[unlikely]] {
    const uint64_t value = w.scalar[from.reg] | uint64_t{w.scalar[from.reg + 1]} << 32;
    for (uint64_t& lane : room.lanes) lane = value;
    if (low) w.unknown_half[0] = w.exec;
    if (high) w.unknown_half[1] = w.exec;
  } else {
    fetch<B64>(w, op, 1, room);
  }
  commit<B64>(w, op, room.lanes);
}

inline void swap32(Wave& w, const Op& op) {
  alignas(64) uint32_t a[kLanes], b[kLanes];
  read32(w, op, 0, Type::kB32, a);
  read32(w, op, 1, Type::kB32, b);
  store_lanes(w, op.operands[0].reg, w.exec, b);
  store_lanes(w, op.operands[1].reg, w.exec, a);
}

inline void read_lane(Wave& w, const Op& op) {
  const int lane = static_cast<int>(read_uniform(w, op.operands[2]) % kLanes);
  const int reg = op.operands[1].reg;
  check_read(w, reg, uint64_t{1} << lane);
  write_scalar(w, op.operands[0].reg, w.vector[reg][lane]);
}

inline void read_first_lane(Wave& w, const Op& op) {
  const Operand& from = op.operands[1];
  if (from.kind != OperandKind::kVector) {
    return write_scalar(w, op.operands[0].reg, read_uniform(w, from));
  }
  const int lane = w.exec ? __builtin_ctzll(w.exec) : 0;
  check_read(w, from.reg, uint64_t{1} << lane);
  write_scalar(w, op.operands[0].reg, w.vector[from.reg][lane]);
}

inline void write_lane(Wave& w, const Op& op) {
  const int lane = static_cast<int>(read_uniform(w, op.operands[2]) % kLanes);
  const int reg = op.operands[0].reg;
  const uint32_t value = read_uniform(w, op.operands[1]);
  note_written(w, reg, uint64_t{1} << lane);
  w.vector[reg][lane] = value;
}

// Lanes below this one whose bit is set in the operand's half of the wave.
template <bool kHigh>
void count_below(Wave& w, const Op& op) {
  Room<B32> room_a, room_b, out;
  const uint32_t* a = fetch<B32>(w, op, 1, room_a);
  const uint32_t* b = fetch<B32>(w, op, 2, room_b);
  for (int i = 0; i < kLanes; ++i) {
    const int below = kHigh ? i - kLanes / 2 : i;
    const uint32_t mask = below <= 0 ? 0 : below >= kLanes / 2 ? ~0u : (1u << below) - 1;
    out.lanes[i] = static_cast<uint32_t>(__builtin_popcount(a[i] & mask)) + b[i];
  }
  commit<B32>(w, op, out.lanes);
}

// gfx950: the odd groups of the first and the even groups of the second change places.
template <int kGroup>
void swap_groups(Wave& w, const Op& op) {
  const int first = op.operands[0].reg, second = op.operands[1].reg;
  const bool all = op.flags & kBoundCtrl;  // also from lanes that EXEC switches off
  alignas(64) uint32_t a[kLanes], b[kLanes];
  memcpy(a, w.vector[first], sizeof a);
  memcpy(b, w.vector[second], sizeof b);
  uint64_t used_first = 0, used_second = 0;
  for (int i = 0; i < kLanes; ++i) {
    const int other = i ^ kGroup;
    const bool source_on = all || w.exec >> other & 1;
    if (!(w.exec >> i & 1) || !source_on) continue;
    if (i & kGroup) {
      a[i] = w.vector[second][other];
      used_second |= uint64_t{1} << other;
    } else {
      b[i] = w.vector[first][other];
      used_first |= uint64_t{1} << other;
    }
  }
  check_read(w, first, used_first);
  check_read(w, second, used_second);
  store_lanes(w, first, w.exec, a);
  store_lanes(w, second, w.exec, b);
}

// ---- through the shared memory's crossbar; the wave's own lanes only, lgkmcnt counts them

inline void finish_crossbar(Wave& w, const Op& op, const uint32_t* values) {
  store_lanes(w, op.operands[0].reg, w.exec, values);
  depart(w, w.shared, op.operands[0].reg, 1);
}

// Every lane reads the lane that its address names; a lane that is switched off gives 0.
inline void permute_backward(Wave& w, const Op& op) {
  const int from = op.operands[2].reg;
  Room<B32> room;
  const uint32_t* address = fetch<B32>(w, op, 1, room);
  alignas(64) uint32_t values[kLanes];
  uint64_t used = 0;
  for (int i = 0; i < kLanes; ++i) {
    const int lane = static_cast<int>((address[i] + static_cast<uint32_t>(op.offset)) / 4 % kLanes);
    const bool on = w.exec >> lane & 1;
    values[i] = on ? w.vector[from][lane] : 0;
    if (on && w.exec >> i & 1) used |= uint64_t{1} << lane;
  }
  check_read(w, from, used);
  finish_crossbar(w, op, values);
}

// Every lane sends to the lane that its address names; the last of several wins.
inline void permute_forward(Wave& w, const Op& op) {
  const int from = op.operands[2].reg;
  Room<B32> room;
  const uint32_t* address = fetch<B32>(w, op, 1, room);
  check_read(w, from);
  alignas(64) uint32_t values[kLanes] = {};
  for (int i = 0; i < kLanes; ++i) {
    if (!(w.exec >> i & 1)) continue;
    values[(address[i] + static_cast<uint32_t>(op.offset)) / 4 % kLanes] = w.vector[from][i];
  }
  finish_crossbar(w, op, values);
}

inline int swizzle_source(uint32_t pattern, int lane) {
  const int group = lane & ~(kLanes / 2 - 1), in_group = lane & (kLanes / 2 - 1);
  if (pattern >= 0xe000u) raise(FaultKind::kUnknownInstruction, 0, "swizzle pattern 0x%x", pattern);
  if (pattern >= 0xc000u) {  // rotation by a number of lanes, some of them kept
    const int amount = five_bits(pattern, 5), keep = five_bits(pattern);
    const int moved = pattern & 0x400u ? in_group - amount : in_group + amount;
    return group | (moved & (kLanes / 2 - 1) & ~keep) | (in_group & keep);
  }
  if (pattern & 0x8000u) return (lane & ~3) | (pattern >> (2 * (lane & 3)) & 3);
  const int with = five_bits(pattern), or_in = five_bits(pattern, 5);
  const int change = five_bits(pattern, 10);
  return group | (((in_group & with) | or_in) ^ change);
}

inline void swizzle(Wave& w, const Op& op) {
  const uint32_t pattern = op.word & 0xffffu;
  const int from = op.operands[1].reg;
  alignas(64) uint32_t values[kLanes];
  uint64_t used = 0;
  for (int i = 0; i < kLanes; ++i) {
    const int lane = swizzle_source(pattern, i);
    const bool on = w.exec >> lane & 1;
    values[i] = on ? w.vector[from][lane] : 0;
    if (on && w.exec >> i & 1) used |= uint64_t{1} << lane;
  }
  check_read(w, from, used);
  finish_crossbar(w, op, values);
}

inline void nothing(Wave&, const Op&) {}

inline constexpr Entry kCrossLane[] = {
    {"v_mov_b32", &move32, {Type::kB32, Type::kB32}},
    {"v_mov_b64", &move64, {Type::kB64, Type::kB64}, 1, nullptr, {8, How::kHalves, {}, {}}},
    {"v_accvgpr_read_b32", &move32, {Type::kB32, Type::kB32}},
    {"v_accvgpr_write_b32", &move32, {Type::kB32, Type::kB32}},
    {"v_accvgpr_mov_b32", &move32, {Type::kB32, Type::kB32}},
    {"v_swap_b32", &swap32, {Type::kB32, Type::kB32}},
    {"v_readlane_b32", &read_lane, {Type::kB32, Type::kB32, Type::kB32}},
    {"v_readfirstlane_b32", &read_first_lane, {Type::kB32, Type::kB32}},
    {"v_writelane_b32", &write_lane, {Type::kB32, Type::kB32, Type::kB32}},
    {"v_mbcnt_lo_u32_b32", &count_below<false>, {Type::kB32, Type::kB32, Type::kB32}},
    {"v_mbcnt_hi_u32_b32", &count_below<true>, {Type::kB32, Type::kB32, Type::kB32}},
    {"v_permlane16_swap_b32", &swap_groups<16>, {Type::kB32, Type::kB32}},
    {"v_permlane32_swap_b32", &swap_groups<32>, {Type::kB32, Type::kB32}},
    {"v_nop", &nothing, {}},
    {"ds_bpermute_b32", &permute_backward, {Type::kB32, Type::kB32, Type::kB32}},
    {"ds_permute_b32", &permute_forward, {Type::kB32, Type::kB32, Type::kB32}},
    {"ds_swizzle_b32", &swizzle, {Type::kB32, Type::kB32}},
};

}  // namespace wavejit::gcn
