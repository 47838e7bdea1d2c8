// Packed instructions: two numbers a register (16 bits) or a pair of registers (fp32), each half
// chosen by op_sel and op_sel_hi and negated by neg_lo and neg_hi. And the mixed fma.
#pragma once
#include <wavejit/gcn/vector_float.h>
#include <wavejit/gcn/vector_integer.h>

namespace wavejit::gcn {

// ---- fp32 in pairs of registers

// One of the pair's numbers for all lanes; `high` chooses it.
inline const float* fetch_half32(Wave& w, const Op& op, int k, bool high, bool negative,
                                 Room<F32>& room) {
  const Operand& o = op.operands[k];
  const bool as_it_is = !negative && !w.mode.flush32_in;
  if (o.kind == OperandKind::kVector) {
    check_read(w, o.reg + high);
    const float* row = reinterpret_cast<const float*>(w.vector[o.reg + high]);
    if (as_it_is) return row;
    for (int i = 0; i < kLanes; ++i) room.lanes[i] = row[i];
  } else {
    const uint32_t value = o.kind == OperandKind::kScalar ? read_scalar(w, o.reg + high)
                                                          : static_cast<uint32_t>(o.value);
    for (int i = 0; i < kLanes; ++i) room.lanes[i] = float_of(value);
  }
  uint32_t* words = reinterpret_cast<uint32_t*>(room.lanes);
  if (negative) {
    for (int i = 0; i < kLanes; ++i) words[i] ^= 0x80000000u;
  }
  if (w.mode.flush32_in) {
    for (int i = 0; i < kLanes; ++i) words[i] = flush_subnormal32(words[i]);
  }
  return room.lanes;
}

template <int kOperands, auto f>
void packed32(Wave& w, const Op& op) {
  Room<F32> rooms[3], out[2];
  for (int part = 0; part < 2; ++part) {
    const float* source[3];
    for (int k = 0; k < kOperands; ++k) {
      const bool high = (part ? op.op_sel_hi : op.op_sel) >> k & 1;
      const bool negative = (part ? op.neg_hi : op.neg_lo) >> k & 1;
      source[k] = fetch_half32(w, op, k + 1, high, negative, rooms[k]);
    }
    float* to = out[part].lanes;
    const float *a = source[0], *b = source[1], *c = source[kOperands - 1];
    for (int i = 0; i < kLanes; ++i) {
      if constexpr (kOperands == 2) to[i] = f(a[i], b[i]);
      if constexpr (kOperands == 3) to[i] = f(a[i], b[i], c[i]);
    }
    settle_nans(to, a, b, c);
    if (op.flags & kClamp || w.mode.flush32_out) finish_float<F32>(w, op, to);
  }
  for (int part = 0; part < 2; ++part) {
    store_lanes(w, op.operands[0].reg + part, w.exec, reinterpret_cast<uint32_t*>(out[part].lanes));
  }
}

// v_pk_mov_b32: op_sel picks the first's number for the low register, the second's for the high.
inline void packed_move(Wave& w, const Op& op) {
  alignas(64) uint32_t out[2][kLanes];
  for (int part = 0; part < 2; ++part) {
    Operand o = op.operands[1 + part];
    const bool high = op.op_sel >> part & 1;
    if (o.kind == OperandKind::kVector || o.kind == OperandKind::kScalar) o.reg += high;
    read_raw(w, op, o, out[part]);
  }
  store_lanes(w, op.operands[0].reg, w.exec, out[0]);
  store_lanes(w, op.operands[0].reg + 1, w.exec, out[1]);
}

// ---- 16-bit halves of one register

template <class T>
void fetch_half16(Wave& w, const Op& op, int k, int part, typename T::Storage* to) {
  alignas(64) uint32_t words[kLanes];
  read_raw(w, op, op.operands[k + 1], words);
  const bool high = (part ? op.op_sel_hi : op.op_sel) >> k & 1;
  const bool negative = (part ? op.neg_hi : op.neg_lo) >> k & 1;
  for (int i = 0; i < kLanes; ++i) {
    words[i] = words[i] >> (high ? 16 : 0) & 0xffffu;
    if (negative && T::kType == Type::kF16) words[i] ^= 0x8000u;
    if (T::kType == Type::kF16 && w.mode.flush16_64_in) words[i] = flush_subnormal16(words[i]);
  }
  if (T::kType != Type::kB16) widen16(T::kType, words);
  memcpy(to, words, sizeof words);
}

// kSettles: a NaN result follows the operands, as in arithmetic that is not packed.
template <class T, int kOperands, auto f, bool kSettles = false>
void packed16(Wave& w, const Op& op) {
  alignas(64) uint32_t both[kLanes];
  for (int part = 0; part < 2; ++part) {
    Room<T> rooms[3], out;
    for (int k = 0; k < kOperands; ++k) fetch_half16<T>(w, op, k, part, rooms[k].lanes);
    const auto *a = rooms[0].lanes, *b = rooms[1].lanes, *c = rooms[kOperands - 1].lanes;
    for (int i = 0; i < kLanes; ++i) {
      if constexpr (kOperands == 2) out.lanes[i] = f(a[i], b[i]);
      if constexpr (kOperands == 3) out.lanes[i] = f(a[i], b[i], c[i]);
    }
    if constexpr (T::kType == Type::kF16) {
      if (kSettles) settle_nans(out.lanes, a, b, c);
      if (op.flags & kClamp) finish_float<F16>(w, op, out.lanes);
    }
    uint32_t* words = reinterpret_cast<uint32_t*>(out.lanes);
    narrow16(w, T::kType, words);
    for (int i = 0; i < kLanes; ++i) both[i] = part ? both[i] | words[i] << 16 : words[i];
  }
  store_lanes(w, op.operands[0].reg, w.exec, both);
}

inline I shift_right_signed16_of(I n, I a) { return a >> (n & 15); }
inline float packed_min(float a, float b) { return minimum(a, b, true); }
inline float packed_max(float a, float b) { return maximum(a, b, true); }

// ---- mixed precision: fp32 arithmetic on operands that are fp32 or a half of a register

inline void fetch_mixed(Wave& w, const Op& op, int k, float* to) {
  const Operand& o = op.operands[k + 1];
  alignas(64) uint32_t words[kLanes];
  read_raw(w, op, o, words);
  const bool is_half = op.op_sel_hi >> k & 1, high = op.op_sel >> k & 1;
  for (int i = 0; i < kLanes; ++i) {
    float value =
        is_half ? float_of_half(words[i] >> (high ? 16 : 0) & 0xffffu) : float_of(words[i]);
    if (op.neg_hi >> k & 1 || o.modifiers & kAbsolute) value = fabsf(value);
    to[i] = op.neg_lo >> k & 1 || o.modifiers & kNegative ? -value : value;
  }
}

// kPart: -1 writes fp32, 0 and 1 write fp16 into that half.
template <int kPart>
void mixed_multiply_add(Wave& w, const Op& op) {
  Room<F32> a, b, c, out;
  fetch_mixed(w, op, 0, a.lanes);
  fetch_mixed(w, op, 1, b.lanes);
  fetch_mixed(w, op, 2, c.lanes);
  for (int i = 0; i < kLanes; ++i) out.lanes[i] = fused(a.lanes[i], b.lanes[i], c.lanes[i]);
  settle_nans(out.lanes, a.lanes, b.lanes, c.lanes);
  const int reg = op.operands[0].reg;
  uint32_t* words = reinterpret_cast<uint32_t*>(out.lanes);
  if (op.flags & kClamp || w.mode.flush32_out) finish_float<F32>(w, op, out.lanes);
  if constexpr (kPart >= 0) {
    narrow16(w, Type::kF16, words);
    for (int i = 0; i < kLanes; ++i) {
      words[i] = kPart ? words[i] << 16 | (w.vector[reg][i] & 0xffffu)
                       : words[i] | (w.vector[reg][i] & 0xffff0000u);
    }
  }
  store_lanes(w, reg, w.exec, words);
}

// Two products of fp16 pairs and an fp32 number: exact products, summed in fp64, rounded once.
template <bool kAccumulates>
void dot_halves(Wave& w, const Op& op) {
  Room<F16> a[2], b[2];
  for (int part = 0; part < 2; ++part) {
    for (int k = 0; k < 2; ++k) {
      alignas(64) uint32_t words[kLanes];
      read_raw(w, op, op.operands[k + 1], words);
      const bool high = kAccumulates ? part : (part ? op.op_sel_hi : op.op_sel) >> k & 1;
      for (int i = 0; i < kLanes; ++i) {
        (k ? b : a)[part].lanes[i] = float_of_half(words[i] >> (high ? 16 : 0) & 0xffffu);
      }
    }
  }
  Room<F32> room, out;
  const float* c = fetch<F32>(w, op, kAccumulates ? 0 : 3, room);
  for (int i = 0; i < kLanes; ++i) {
    double sum = c[i];
    for (int part = 0; part < 2; ++part) {
      sum += static_cast<double>(a[part].lanes[i]) * static_cast<double>(b[part].lanes[i]);
    }
    out.lanes[i] = static_cast<float>(sum);
  }
  commit<F32>(w, op, out.lanes);
}

#define WAVEJIT_GCN_PACKED16(name, T, count, ...)                                                  \
  Entry {                                                                                          \
    name, &packed16<T, count, __VA_ARGS__>, { Type::kPk16, Type::kPk16, Type::kPk16, Type::kPk16 } \
  }
#define WAVEJIT_GCN_PACKED_F16(name, count, ...)                                                 \
  Entry {                                                                                        \
    name, &packed16<F16, count, __VA_ARGS__>, { Type::kF16, Type::kF16, Type::kF16, Type::kF16 } \
  }
#define WAVEJIT_GCN_PACKED32(name, count, ...)                                              \
  Entry {                                                                                   \
    name, &packed32<count, __VA_ARGS__>, { Type::kF32, Type::kF32, Type::kF32, Type::kF32 } \
  }
#define WAVEJIT_GCN_PACKED_SUM(name, T, S, low, high, sign, f)                \
  Entry {                                                                     \
    name, &packed16<T, 2, &f<S>>, {Type::kPk16, Type::kPk16, Type::kPk16}, 1, \
        &packed16<T, 2, &clamped_sum<S, int64_t, low, high, sign, false>>     \
  }

inline constexpr Entry kPacked[] = {
    WAVEJIT_GCN_PACKED32("v_pk_add_f32", 2, &add<float>),
    WAVEJIT_GCN_PACKED32("v_pk_mul_f32", 2, &multiply<float>),
    WAVEJIT_GCN_PACKED32("v_pk_fma_f32", 3, &multiply_add<float>),
    {"v_pk_mov_b32", &packed_move, {Type::kB32, Type::kB32, Type::kB32}},
    WAVEJIT_GCN_PACKED_F16("v_pk_add_f16", 2, &add<float>, true),
    WAVEJIT_GCN_PACKED_F16("v_pk_mul_f16", 2, &multiply<float>, true),
    WAVEJIT_GCN_PACKED_F16("v_pk_fma_f16", 3, &half_fused, true),
    WAVEJIT_GCN_PACKED_F16("v_pk_min_f16", 2, &packed_min),
    WAVEJIT_GCN_PACKED_F16("v_pk_max_f16", 2, &packed_max),
    WAVEJIT_GCN_PACKED_F16("v_pk_minimum3_f16", 3, &extreme3_or_nan<false>),
    WAVEJIT_GCN_PACKED_F16("v_pk_maximum3_f16", 3, &extreme3_or_nan<true>),
    WAVEJIT_GCN_PACKED_SUM("v_pk_add_u16", B16, U, 0, 0xffff, 1, plus),
    WAVEJIT_GCN_PACKED_SUM("v_pk_sub_u16", B16, U, 0, 0xffff, -1, minus),
    WAVEJIT_GCN_PACKED_SUM("v_pk_add_i16", I16, I, -0x8000, 0x7fff, 1, plus),
    WAVEJIT_GCN_PACKED_SUM("v_pk_sub_i16", I16, I, -0x8000, 0x7fff, -1, minus),
    WAVEJIT_GCN_PACKED16("v_pk_min_u16", B16, 2, &smaller<U>),
    WAVEJIT_GCN_PACKED16("v_pk_max_u16", B16, 2, &larger<U>),
    WAVEJIT_GCN_PACKED16("v_pk_min_i16", I16, 2, &smaller<I>),
    WAVEJIT_GCN_PACKED16("v_pk_max_i16", I16, 2, &larger<I>),
    WAVEJIT_GCN_PACKED16("v_pk_mul_lo_u16", B16, 2, &times<U>),
    WAVEJIT_GCN_PACKED16("v_pk_mad_u16", B16, 3, &multiply_add16),
    WAVEJIT_GCN_PACKED16("v_pk_mad_i16", B16, 3, &multiply_add16),
    WAVEJIT_GCN_PACKED16("v_pk_lshlrev_b16", B16, 2, &shift_left16),
    WAVEJIT_GCN_PACKED16("v_pk_lshrrev_b16", B16, 2, &shift_right16),
    Entry{"v_pk_ashrrev_i16",
          &packed16<I16, 2, &shift_right_signed16_of>,
          {Type::kPk16, Type::kPk16, Type::kPk16}},
    {"v_fma_mix_f32", &mixed_multiply_add<-1>, {Type::kF32, Type::kF32, Type::kF32, Type::kF32}},
    {"v_fma_mixlo_f16", &mixed_multiply_add<0>, {Type::kF16, Type::kF32, Type::kF32, Type::kF32}},
    {"v_fma_mixhi_f16", &mixed_multiply_add<1>, {Type::kF16, Type::kF32, Type::kF32, Type::kF32}},
    {"v_mad_mix_f32", &mixed_multiply_add<-1>, {Type::kF32, Type::kF32, Type::kF32, Type::kF32}},
    {"v_mad_mixlo_f16", &mixed_multiply_add<0>, {Type::kF16, Type::kF32, Type::kF32, Type::kF32}},
    {"v_mad_mixhi_f16", &mixed_multiply_add<1>, {Type::kF16, Type::kF32, Type::kF32, Type::kF32}},
    {"v_dot2_f32_f16", &dot_halves<false>, {Type::kF32, Type::kF16, Type::kF16, Type::kF32}},
    {"v_dot2c_f32_f16", &dot_halves<true>, {Type::kF32, Type::kF16, Type::kF16}},
};

}  // namespace wavejit::gcn
