// Instructions with a mask of lanes beside their numbers: carries, selects and comparisons.
#pragma once
#include <wavejit/gcn/lanes.h>

namespace wavejit::gcn {

// v_add_co, v_sub_co and their kin: result, carry out, operands and, where kUsesCarry, a carry in.
template <int kSign, bool kReversed, bool kUsesCarry>
void add_with_carry(Wave& w, const Op& op) {
  Room<B32> room_a, room_b, out;
  const auto* a = fetch<B32>(w, op, 2, room_a);
  const auto* b = fetch<B32>(w, op, 3, room_b);
  alignas(64) uint32_t carry_in[kLanes], carry_out[kLanes];
  spread_mask(kUsesCarry ? read_lane_mask(w, op.operands[4]) : 0, carry_in);
  for (int i = 0; i < kLanes; ++i) {
    const uint64_t x = kReversed ? b[i] : a[i], y = kReversed ? a[i] : b[i];
    const uint64_t c = carry_in[i] & 1;
    const uint64_t sum = kSign > 0 ? x + y + c : x - y - c;
    out.lanes[i] = static_cast<uint32_t>(sum);
    carry_out[i] = sum >> 32 ? ~0u : 0u;
  }
  if (op.flags & kClamp) {
    for (int i = 0; i < kLanes; ++i) {
      if (carry_out[i]) out.lanes[i] = kSign > 0 ? ~0u : 0u;
    }
  }
  const uint64_t mask = gather_mask(carry_out) & w.exec;
  commit<B32>(w, op, out.lanes);
  write_scalar64(w, op.operands[1].reg, mask);
}

// v_mad_u64_u32 and v_mad_i64_i32: a 64-bit result, a carry out, a * b + c.
template <bool kSigned>
void multiply_add_64(Wave& w, const Op& op) {
  Room<B32> room_a, room_b;
  Room<B64> room_c, out;
  const auto* a = fetch<B32>(w, op, 2, room_a);
  const auto* b = fetch<B32>(w, op, 3, room_b);
  const auto* c = fetch<B64>(w, op, 4, room_c);
  uint64_t carries = 0;
  for (int i = 0; i < kLanes; ++i) {
    const uint64_t product = kSigned ? static_cast<uint64_t>(int64_t{static_cast<int32_t>(a[i])} *
                                                             static_cast<int32_t>(b[i]))
                                     : uint64_t{a[i]} * b[i];
    const uint64_t sum = product + c[i];
    bool carry = sum < product;
    if (kSigned) carry = (~(product ^ c[i]) & (product ^ sum)) >> 63;
    out.lanes[i] = sum;
    carries |= uint64_t{carry} << i;
  }
  commit<B64>(w, op, out.lanes);
  write_scalar64(w, op.operands[1].reg, carries & w.exec);
}

// The operand, of which some lanes may be unknown: those are told instead of reported.
inline const uint32_t* fetch_unless_unknown(Wave& w, const Op& op, int k, Room<B32>& room,
                                            uint64_t& unknown) {
  const Operand& o = op.operands[k];
  unknown = o.plain ? unknown_lanes(w, o.reg) : 0;
  return unknown ? w.vector[o.reg] : fetch<B32>(w, op, k, room);
}

// v_cndmask_b32: the second where the mask's bit is set. abs and neg apply to the bits of a float.
inline void select_by_mask(Wave& w, const Op& op) {
  Room<B32> room_a, room_b, out;
  const uint64_t mask = read_lane_mask(w, op.operands[3]);
  uint64_t unknown[2];
  const auto* a = fetch_unless_unknown(w, op, 1, room_a, unknown[0]);
  const auto* b = fetch_unless_unknown(w, op, 2, room_b, unknown[1]);
  alignas(64) uint32_t chosen[kLanes];
  spread_mask(mask, chosen);
  for (int i = 0; i < kLanes; ++i) out.lanes[i] = (b[i] & chosen[i]) | (a[i] & ~chosen[i]);
  commit<B32>(w, op, out.lanes);
  w.blocked[op.operands[0].reg] |= (unknown[0] & ~mask) | (unknown[1] & mask);
}

// ---- comparisons

enum class Is {
  kFalse,
  kLess,
  kEqual,
  kLessEqual,
  kGreater,
  kLessGreater,
  kGreaterEqual,
  kOrdered,
  kUnordered,
  kNotGreaterEqual,
  kNotLessGreater,
  kNotGreater,
  kNotLessEqual,
  kNotEqual,
  kNotLess,
  kTrue
};

template <Is kIs, class S>
bool holds(S a, S b) {
  switch (kIs) {
    case Is::kFalse: return false;
    case Is::kLess: return a < b;
    case Is::kEqual: return a == b;
    case Is::kLessEqual: return a <= b;
    case Is::kGreater: return a > b;
    case Is::kLessGreater: return (a < b) | (a > b);
    case Is::kGreaterEqual: return a >= b;
    case Is::kOrdered: return (a == a) & (b == b);
    case Is::kUnordered: return (a != a) | (b != b);
    case Is::kNotGreaterEqual: return !(a >= b);
    case Is::kNotLessGreater: return !((a < b) | (a > b));
    case Is::kNotGreater: return !(a > b);
    case Is::kNotLessEqual: return !(a <= b);
    case Is::kNotEqual: return !(a == b);
    case Is::kNotLess: return !(a < b);
    case Is::kTrue: return true;
  }
}

inline void finish_compare(Wave& w, const Op& op, const uint32_t* words, bool to_exec) {
  if (const uint64_t unknown = w.unknown_half[0] | w.unknown_half[1]) [[unlikely]] {
    raise(FaultKind::kUninitialisedRead, unknown,
          "a half of a compared register pair was never written");
  }
  const uint64_t lanes = written_lanes(w, op);
  const uint64_t mask = gather_mask(words) & lanes;
  write_scalar64(w, op.operands[0].reg, mask);
  if (to_exec && op.operands[0].reg != kExec) write_scalar64(w, kExec, mask);
}

template <class T, Is kIs, bool kToExec>
void compare(Wave& w, const Op& op) {
  Room<T> room_a, room_b;
  const auto* a = fetch<T>(w, op, 1, room_a);
  const auto* b = fetch<T>(w, op, 2, room_b);
  alignas(64) uint32_t words[kLanes];
  for (int i = 0; i < kLanes; ++i) words[i] = holds<kIs>(a[i], b[i]) ? ~0u : 0u;
  finish_compare(w, op, words, kToExec);
}

// v_cmp_class: whether the value is of a class in the mask.
template <class S>
uint32_t class_of(S value, bool quiet_nan) {
  if (is_nan(value)) return quiet_nan ? 2 : 1;
  const bool negative = __builtin_signbit(value);
  if (isinf(value)) return negative ? 4 : 512;
  if (value == 0) return negative ? 32 : 64;
  const bool subnormal = exponent_of(value) == 0;
  return negative ? (subnormal ? 16 : 8) : (subnormal ? 128 : 256);
}
inline uint32_t class_of_half(uint32_t half) {
  const uint32_t rest = half & 0x7fffu;
  if (rest > 0x7c00u) return rest & 0x200u ? 2 : 1;
  const bool subnormal = rest != 0 && rest < 0x400u;
  if (subnormal) return half & 0x8000u ? 16 : 128;
  return class_of(float_of_half(half), true);
}

template <class T, bool kToExec>
void compare_class(Wave& w, const Op& op) {
  Room<T> room_a;
  Room<B32> room_b;
  const auto* a = fetch<T>(w, op, 1, room_a);
  const auto* b = fetch<B32>(w, op, 2, room_b);
  alignas(64) uint32_t words[kLanes];
  for (int i = 0; i < kLanes; ++i) {
    uint32_t found;
    if constexpr (T::kType == Type::kB16) {
      found = class_of_half(a[i]);
    } else {
      found = class_of(a[i], !is_signalling(a[i]));
    }
    words[i] = found & b[i] ? ~0u : 0u;
  }
  finish_compare(w, op, words, kToExec);
}

#define WAVEJIT_GCN_COMPARE(T, name, is)                                                  \
  Entry{"v_cmp_" name, &compare<T, is, false>, {Type::kB64, T::kType, T::kType}}, Entry { \
    "v_cmpx_" name, &compare<T, is, true>, { Type::kB64, T::kType, T::kType }             \
  }

#define WAVEJIT_GCN_COMPARE_INTEGERS(T, suffix)                \
  WAVEJIT_GCN_COMPARE(T, "f_" suffix, Is::kFalse),             \
      WAVEJIT_GCN_COMPARE(T, "lt_" suffix, Is::kLess),         \
      WAVEJIT_GCN_COMPARE(T, "eq_" suffix, Is::kEqual),        \
      WAVEJIT_GCN_COMPARE(T, "le_" suffix, Is::kLessEqual),    \
      WAVEJIT_GCN_COMPARE(T, "gt_" suffix, Is::kGreater),      \
      WAVEJIT_GCN_COMPARE(T, "ne_" suffix, Is::kNotEqual),     \
      WAVEJIT_GCN_COMPARE(T, "ge_" suffix, Is::kGreaterEqual), \
      WAVEJIT_GCN_COMPARE(T, "t_" suffix, Is::kTrue)

#define WAVEJIT_GCN_COMPARE_FLOATS(T, suffix)                      \
  WAVEJIT_GCN_COMPARE(T, "f_" suffix, Is::kFalse),                 \
      WAVEJIT_GCN_COMPARE(T, "lt_" suffix, Is::kLess),             \
      WAVEJIT_GCN_COMPARE(T, "eq_" suffix, Is::kEqual),            \
      WAVEJIT_GCN_COMPARE(T, "le_" suffix, Is::kLessEqual),        \
      WAVEJIT_GCN_COMPARE(T, "gt_" suffix, Is::kGreater),          \
      WAVEJIT_GCN_COMPARE(T, "lg_" suffix, Is::kLessGreater),      \
      WAVEJIT_GCN_COMPARE(T, "ge_" suffix, Is::kGreaterEqual),     \
      WAVEJIT_GCN_COMPARE(T, "o_" suffix, Is::kOrdered),           \
      WAVEJIT_GCN_COMPARE(T, "u_" suffix, Is::kUnordered),         \
      WAVEJIT_GCN_COMPARE(T, "nge_" suffix, Is::kNotGreaterEqual), \
      WAVEJIT_GCN_COMPARE(T, "nlg_" suffix, Is::kNotLessGreater),  \
      WAVEJIT_GCN_COMPARE(T, "ngt_" suffix, Is::kNotGreater),      \
      WAVEJIT_GCN_COMPARE(T, "nle_" suffix, Is::kNotLessEqual),    \
      WAVEJIT_GCN_COMPARE(T, "neq_" suffix, Is::kNotEqual),        \
      WAVEJIT_GCN_COMPARE(T, "nlt_" suffix, Is::kNotLess),         \
      WAVEJIT_GCN_COMPARE(T, "tru_" suffix, Is::kTrue)

#define WAVEJIT_GCN_CLASS(T, suffix)                                                          \
  Entry{"v_cmp_class_" suffix, &compare_class<T, false>, {Type::kB64, T::kType, Type::kB32}}, \
      Entry {                                                                                 \
    "v_cmpx_class_" suffix, &compare_class<T, true>, { Type::kB64, T::kType, Type::kB32 }     \
  }

#define WAVEJIT_GCN_CARRY(name, sign, reversed, uses)                    \
  Entry {                                                                \
    name, &add_with_carry<sign, reversed, uses>,                         \
        {Type::kB32, Type::kB64, Type::kB32, Type::kB32, Type::kB64}, 2, \
        &add_with_carry<sign, reversed, uses>                            \
  }

inline constexpr Entry kCarry[] = {
    WAVEJIT_GCN_CARRY("v_add_co_u32", 1, false, false),
    WAVEJIT_GCN_CARRY("v_sub_co_u32", -1, false, false),
    WAVEJIT_GCN_CARRY("v_subrev_co_u32", -1, true, false),
    WAVEJIT_GCN_CARRY("v_addc_co_u32", 1, false, true),
    WAVEJIT_GCN_CARRY("v_subb_co_u32", -1, false, true),
    WAVEJIT_GCN_CARRY("v_subbrev_co_u32", -1, true, true),
    {"v_mad_u64_u32",
     &multiply_add_64<false>,
     {Type::kB64, Type::kB64, Type::kB32, Type::kB32, Type::kB64},
     2},
    {"v_mad_i64_i32",
     &multiply_add_64<true>,
     {Type::kB64, Type::kB64, Type::kI32, Type::kI32, Type::kI64},
     2},
    {"v_cndmask_b32", &select_by_mask, {Type::kB32, Type::kB32, Type::kB32, Type::kB64}},
    WAVEJIT_GCN_COMPARE_INTEGERS(B32, "u32"),
    WAVEJIT_GCN_COMPARE_INTEGERS(I32, "i32"),
    WAVEJIT_GCN_COMPARE_INTEGERS(B64, "u64"),
    WAVEJIT_GCN_COMPARE_INTEGERS(I64, "i64"),
    WAVEJIT_GCN_COMPARE_INTEGERS(B16, "u16"),
    WAVEJIT_GCN_COMPARE_INTEGERS(I16, "i16"),
    WAVEJIT_GCN_COMPARE_FLOATS(F32, "f32"),
    WAVEJIT_GCN_COMPARE_FLOATS(F64, "f64"),
    WAVEJIT_GCN_COMPARE_FLOATS(F16, "f16"),
    WAVEJIT_GCN_CLASS(F32, "f32"),
    WAVEJIT_GCN_CLASS(F64, "f64"),
    WAVEJIT_GCN_CLASS(B16, "f16"),
};

}  // namespace wavejit::gcn
