// Reading operands: registers, constants, and everything that DPP, SDWA, op_sel, abs, neg and the
// mode do to them on the way.
#pragma once
#include <wavejit/gcn/numbers.h>
#include <wavejit/gcn/wave.h>

namespace wavejit::gcn {

inline constexpr uint32_t kSharedAperture = 0x00010000;  // high halves of flat addresses
inline constexpr uint32_t kPrivateAperture = 0x00020000;

inline uint64_t read_special(const Wave& w, int id) {
  switch (id) {
    case kScc: return w.scc;
    case kVccz: return read_scalar64(w, kVcc) == 0;
    case kExecz: return w.exec == 0;
    case kSharedBase: return uint64_t{kSharedAperture} << 32;
    case kSharedLimit: return uint64_t{kSharedAperture} << 32 | 0xffffffffu;
    case kPrivateBase: return uint64_t{kPrivateAperture} << 32;
    case kPrivateLimit: return uint64_t{kPrivateAperture} << 32 | 0xffffffffu;
    default: raise(FaultKind::kUnknownInstruction, 0, "special operand %d", id);
  }
}

// An operand that is the same for all lanes.
inline uint32_t read_uniform(const Wave& w, const Operand& o) {
  if (o.kind == OperandKind::kScalar) return read_scalar(w, o.reg);
  if (o.kind == OperandKind::kSpecial) {
    const uint64_t value = read_special(w, o.reg);
    return static_cast<uint32_t>(o.reg >= kSharedBase ? value >> 32 : value);
  }
  if (o.kind == OperandKind::kVector) {
    raise(FaultKind::kUnknownInstruction, 0, "a vector register as a scalar operand");
  }
  return static_cast<uint32_t>(o.value);
}
inline uint64_t read_uniform64(const Wave& w, const Operand& o) {
  if (o.kind == OperandKind::kScalar) {
    return o.count >= 2 ? read_scalar64(w, o.reg) : read_scalar(w, o.reg);
  }
  if (o.kind == OperandKind::kSpecial) return read_special(w, o.reg);
  if (o.kind == OperandKind::kVector) {
    raise(FaultKind::kUnknownInstruction, 0, "a vector register as a scalar operand");
  }
  return o.value;
}

// ---- DPP: which lane each lane reads, -1 for none

inline int dpp_source(Dpp kind, int value, int lane) {
  const int row = lane & ~15, in_row = lane & 15;
  switch (kind) {
    case Dpp::kQuadPerm: return (lane & ~3) | (value >> (2 * (lane & 3)) & 3);
    case Dpp::kRowShl: return in_row + value < 16 ? lane + value : -1;
    case Dpp::kRowShr: return in_row >= value ? lane - value : -1;
    case Dpp::kRowRor: return row | ((in_row - value) & 15);
    case Dpp::kWaveShl: return lane < kLanes - 1 ? lane + 1 : -1;
    case Dpp::kWaveRol: return (lane + 1) % kLanes;
    case Dpp::kWaveShr: return lane > 0 ? lane - 1 : -1;
    case Dpp::kWaveRor: return (lane + kLanes - 1) % kLanes;
    case Dpp::kRowMirror: return row | (15 - in_row);
    case Dpp::kRowHalfMirror: return (lane & ~7) | (7 - (lane & 7));
    case Dpp::kRowBcast:
      if (value == 15) return row > 0 ? row - 1 : -1;
      return lane >= kLanes / 2 ? kLanes / 2 - 1 : -1;
    case Dpp::kRowNewBcast: return row | value;
    case Dpp::kNone: break;
  }
  return lane;
}

// Fills `lane_of` and sets the lanes that the instruction may write.
inline void dpp_lanes(Wave& w, const Op& op, int* lane_of) {
  const bool zero = op.flags & kBoundCtrl;
  uint64_t writes = 0;
  for (int i = 0; i < kLanes; ++i) {
    int source = dpp_source(op.dpp, op.dpp_value, i);
    if (source >= 0 && !(w.exec >> source & 1)) source = -1;
    lane_of[i] = source;
    const bool in_masks = (op.row_mask >> (i >> 4) & 1) && (op.bank_mask >> (i >> 2 & 3) & 1);
    writes |= uint64_t{in_masks && (zero || source >= 0)} << i;
  }
  w.dpp_lanes = writes;
}

inline void read_permuted(Wave& w, const Op& op, int reg, uint32_t* out) {
  int lane_of[kLanes];
  dpp_lanes(w, op, lane_of);
  uint64_t used = 0;
  for (int i = 0; i < kLanes; ++i) {
    const bool wanted = lane_of[i] >= 0 && (w.exec & w.dpp_lanes) >> i & 1;
    out[i] = lane_of[i] >= 0 ? w.vector[reg][lane_of[i]] : 0;
    if (wanted) used |= uint64_t{1} << lane_of[i];
  }
  check_read(w, reg, used);
}

// ---- SDWA and modifiers

inline uint32_t select_part(uint32_t value, int select, bool sign_extend) {
  if (select == kDword) return value;
  const bool is_byte = select <= kByte3;
  const int shift = is_byte ? 8 * select : 16 * (select - kWord0);
  const int width = is_byte ? 8 : 16;
  const uint32_t up = value >> shift << (32 - width);
  return sign_extend ? static_cast<uint32_t>(static_cast<int32_t>(up) >> (32 - width))
                     : up >> (32 - width);
}

constexpr bool is_float(Type type) {
  return type == Type::kF32 || type == Type::kF64 || type == Type::kF16;
}
constexpr bool is_64(Type type) {
  return type == Type::kB64 || type == Type::kF64 || type == Type::kI64;
}
constexpr bool is_16(Type type) {
  return type == Type::kB16 || type == Type::kF16 || type == Type::kI16;
}
constexpr uint64_t sign_bit(Type type) {
  return is_64(type) ? uint64_t{1} << 63 : is_16(type) ? 1u << 15 : 1u << 31;
}

inline void read_raw(Wave& w, const Op& op, const Operand& o, uint32_t* out) {
  if (o.kind == OperandKind::kVector) {
    if (o.permuted) return read_permuted(w, op, o.reg, out);
    check_read(w, o.reg);
    memcpy(out, w.vector[o.reg], sizeof w.vector[0]);
    return;
  }
  const uint32_t value = read_uniform(w, o);
  for (int i = 0; i < kLanes; ++i) out[i] = value;
}

inline bool flushes_input(const Wave& w, Type type) {
  if (type == Type::kF32) return w.mode.flush32_in;
  return (type == Type::kF64 || type == Type::kF16) && w.mode.flush16_64_in;
}

// A 32- or 16-bit operand with everything applied; 16-bit ones lie in the low half.
inline void read32(Wave& w, const Op& op, int k, Type type, uint32_t* out) {
  const Operand& o = op.operands[k];
  read_raw(w, op, o, out);
  const bool extend = o.modifiers & kSignExtend;
  if (o.select != kDword) {
    for (int i = 0; i < kLanes; ++i) out[i] = select_part(out[i], o.select, extend);
  }
  if (is_16(type)) {
    const int shift = (op.flags & kHasOpSel) && op.op_sel >> (k - op.first_source) & 1 ? 16 : 0;
    for (int i = 0; i < kLanes; ++i) out[i] = out[i] >> shift & 0xffffu;
  }
  const uint32_t sign = static_cast<uint32_t>(sign_bit(type));
  if (o.modifiers & kAbsolute) {
    for (int i = 0; i < kLanes; ++i) out[i] &= ~sign;
  }
  if (o.modifiers & kNegative) {
    for (int i = 0; i < kLanes; ++i) out[i] ^= sign;
  }
  if (flushes_input(w, type)) {
    for (int i = 0; i < kLanes; ++i) {
      out[i] = type == Type::kF32 ? flush_subnormal32(out[i]) : flush_subnormal16(out[i]);
    }
  }
}

// Integers of 64 bits made from one register have a half that nobody wrote and nobody looks at: it
// makes a half of the result unknown. Both halves unwritten, or a float's, is an error.
inline void check_halves(Wave& w, const Operand& o, Type type) {
  const uint64_t low = unknown_lanes(w, o.reg), high = unknown_lanes(w, o.reg + 1);
  if (!(low | high)) [[likely]]
    return;
  if (type == Type::kF64) raise_vector(w, low ? o.reg : o.reg + 1, low ? low : high);
  if (low & high) raise_vector(w, o.reg, low & high);
  w.unknown_half[0] |= low;
  w.unknown_half[1] |= high;
}

inline void read_pair(Wave& w, const Op& op, const Operand& o, Type type, uint64_t* out) {
  alignas(64) uint32_t halves[2][kLanes];
  if (o.permuted) {
    Operand half = o;
    for (int k = 0; k < 2; ++k, ++half.reg) read_raw(w, op, half, halves[k]);
  } else {
    check_halves(w, o, type);
    memcpy(halves, w.vector[o.reg], sizeof halves);
  }
  for (int i = 0; i < kLanes; ++i) out[i] = halves[0][i] | uint64_t{halves[1][i]} << 32;
}

inline void read64(Wave& w, const Op& op, int k, Type type, uint64_t* out) {
  const Operand& o = op.operands[k];
  if (o.kind == OperandKind::kVector) {
    read_pair(w, op, o, type, out);
  } else {
    const uint64_t value = read_uniform64(w, o);
    for (int i = 0; i < kLanes; ++i) out[i] = value;
  }
  const uint64_t sign = sign_bit(type);
  if (o.modifiers & kAbsolute) {
    for (int i = 0; i < kLanes; ++i) out[i] &= ~sign;
  }
  if (o.modifiers & kNegative) {
    for (int i = 0; i < kLanes; ++i) out[i] ^= sign;
  }
  if (flushes_input(w, type)) {
    for (int i = 0; i < kLanes; ++i) out[i] = flush_subnormal64(out[i]);
  }
}

// A scalar operand whose bits may partly be unknown: those are told.
template <class W>
W read_bits(const Wave& w, const Operand& o, uint64_t& unknown) {
  if (o.kind != OperandKind::kScalar || o.count < static_cast<int>(sizeof(W) / 4)) {
    return static_cast<W>(sizeof(W) == 8 ? read_uniform64(w, o) : read_uniform(w, o));
  }
  uint64_t value = 0;
  for (int half = 0; half < static_cast<int>(sizeof(W) / 4); ++half) {
    const int reg = o.reg + half;
    if (w.scalar_state[reg]) [[unlikely]] {
      if (w.scalar_state[reg] & kLoading) raise_scalar(w, reg);
      unknown |= uint64_t{w.unwritten_bits[reg]} << (32 * half);
    }
    value |= uint64_t{w.scalar[reg]} << (32 * half);
  }
  return static_cast<W>(value);
}

// A mask of lanes: only the bits of EXEC's lanes are looked at.
inline uint64_t read_lane_mask(const Wave& w, const Operand& o) {
  uint64_t unknown = 0;
  const uint64_t mask = read_bits<uint64_t>(w, o, unknown);
  if (unknown & w.exec) [[unlikely]]
    raise_scalar(w, o.reg);
  return mask;
}

// A mask of lanes (vcc or a pair of scalar registers) as one word a lane: 0 or ~0.
inline void spread_mask(uint64_t mask, uint32_t* out) {
  for (int half = 0; half < 2; ++half) {
    const uint32_t bits = static_cast<uint32_t>(mask >> (32 * half));
    for (int i = 0; i < kLanes / 2; ++i) out[half * (kLanes / 2) + i] = 0u - (bits >> i & 1u);
  }
}

// The mask of the lanes whose word is not zero; words are 0 or ~0.
inline uint64_t gather_mask(const uint32_t* words) {
  uint64_t mask = 0;
  for (int group = 0; group < kLanes; group += 8) {
    uint32_t bits = 0;
    for (int i = 0; i < 8; ++i) bits |= words[group + i] & 1u << i;
    mask |= uint64_t{bits} << group;
  }
  return mask;
}

}  // namespace wavejit::gcn
