// Conversions between formats. Integers saturate and NaN becomes 0; narrow floats round to nearest
// even unless the name says otherwise.
#pragma once
#include <wavejit/gcn/machine.h>
#include <wavejit/gcn/vector_integer.h>

namespace wavejit::gcn {

inline uint32_t to_u32(double value) {
  if (!(value >= 1)) return 0;
  return value >= 4294967295.0 ? ~0u : static_cast<uint32_t>(value);
}
inline int32_t to_i32(double value) {
  if (is_nan(value)) return 0;
  if (value >= 2147483647.0) return 2147483647;
  return value <= -2147483648.0 ? -2147483647 - 1 : static_cast<int32_t>(value);
}
inline uint32_t u32_of_float(float value) { return to_u32(value); }
inline int32_t i32_of_float(float value) { return to_i32(value); }
inline int32_t to_i16(float value) {
  return is_nan(value) ? 0 : static_cast<int32_t>(fmaxf(-32768.0f, fminf(32767.0f, truncf(value))));
}
inline uint32_t to_u16(float value) {
  return is_nan(value) ? 0 : static_cast<uint32_t>(fmaxf(0.0f, fminf(65535.0f, truncf(value))));
}
inline int32_t nearest_up(float value) { return to_i32(floor(static_cast<double>(value) + 0.5)); }
inline int32_t floor_integer(float value) { return to_i32(floorf(value)); }

inline float from_u32(uint32_t value) { return static_cast<float>(value); }
inline float from_i32(int32_t value) { return static_cast<float>(value); }
inline double wide_from_u32(uint32_t value) { return value; }
inline double wide_from_i32(int32_t value) { return value; }
template <int kByte>
float from_byte(uint32_t value) {
  return static_cast<float>(value >> (8 * kByte) & 0xff);
}
inline float narrowed(double value) { return static_cast<float>(value); }
inline double widened(float value) { return value; }
inline float made_quiet(float value) { return is_nan(value) ? quiet(value) : value; }
inline float from_bf16(uint32_t value) { return float_of_bf16(value & 0xffffu); }
inline float small_integer(uint32_t value) {  // v_cvt_off_f32_i4: -0.5 .. 0.4375
  return static_cast<float>(static_cast<int32_t>(value << 28) >> 28) * 0.0625f;
}

// The results of two conversions in one register.
template <uint32_t (*f)(float)>
uint32_t pack16(float a, float b) {
  return (f(a) & 0xffffu) | f(b) << 16;
}
inline uint32_t half_to_zero(float value) { return half_towards_zero(value); }
inline uint32_t normalised_i16(float value) {
  if (is_nan(value)) return 0;
  return static_cast<uint32_t>(
      static_cast<int32_t>(nearbyintf(fmaxf(-1.0f, fminf(1.0f, value)) * 32767.0f)));
}
inline uint32_t normalised_u16(float value) {
  if (is_nan(value)) return 0;
  return static_cast<uint32_t>(nearbyintf(fmaxf(0.0f, fminf(1.0f, value)) * 65535.0f));
}
inline uint32_t pack_u16(uint32_t a, uint32_t b) {
  return (a > 0xffffu ? 0xffffu : a) | (b > 0xffffu ? 0xffffu : b) << 16;
}
inline uint32_t saturated_i16(int32_t value) {
  return static_cast<uint32_t>(value < -32768 ? -32768 : value > 32767 ? 32767 : value) & 0xffffu;
}
inline uint32_t pack_i16(int32_t a, int32_t b) { return saturated_i16(a) | saturated_i16(b) << 16; }
inline uint32_t pack_f16(uint32_t a, uint32_t b) { return (a & 0xffffu) | b << 16; }
inline uint32_t pack_u8(float value, uint32_t position, uint32_t rest) {
  const uint32_t shift = 8 * (position & 3);
  const float kept = is_nan(value) ? 0.0f : fmaxf(0.0f, fminf(255.0f, nearbyintf(value)));
  return (rest & ~(0xffu << shift)) | static_cast<uint32_t>(kept) << shift;
}

// ---- fp8

inline Fp8 format_of(const Wave& w, bool wide_exponent) {
  return fp8_format(wide_exponent, w.machine->fnuz);
}

// The byte comes by SDWA (src0_sel), or by op_sel where the encoding has it.
template <bool kWideExponent>
void from_fp8(Wave& w, const Op& op) {
  Room<B32> room;
  Room<F32> out;
  const auto* a = fetch<B32>(w, op, 1, room);
  const Fp8 format = format_of(w, kWideExponent);
  for (int i = 0; i < kLanes; ++i) out.lanes[i] = float_of_fp8(a[i] & 0xff, format);
  commit<F32>(w, op, out.lanes);
}

template <bool kWideExponent>
void pair_from_fp8(Wave& w, const Op& op) {
  Room<B32> room;
  const auto* a = fetch<B32>(w, op, 1, room);
  const int shift = op.flags & kHasOpSel && op.op_sel & 1 ? 16 : 0;
  const Fp8 format = format_of(w, kWideExponent);
  alignas(64) uint32_t low[kLanes], high[kLanes];
  for (int i = 0; i < kLanes; ++i) {
    low[i] = bits_of(float_of_fp8(a[i] >> shift & 0xff, format));
    high[i] = bits_of(float_of_fp8(a[i] >> (shift + 8) & 0xff, format));
  }
  store_lanes(w, op.operands[0].reg, w.exec, low);
  store_lanes(w, op.operands[0].reg + 1, w.exec, high);
}

// Two values into the half of the register that the last op_sel bit names; the other half stays.
template <bool kWideExponent>
void pair_to_fp8(Wave& w, const Op& op) {
  Room<F32> room_a, room_b;
  Room<B32> out;
  const auto* a = fetch<F32>(w, op, 1, room_a);
  const auto* b = fetch<F32>(w, op, 2, room_b);
  const Fp8 format = format_of(w, kWideExponent);
  const bool saturate = w.mode.saturate16;
  const int shift = op.flags & kHasOpSel && op.op_sel & 8 ? 16 : 0;
  const uint32_t* before = w.vector[op.operands[0].reg];
  for (int i = 0; i < kLanes; ++i) {
    const uint32_t pair =
        fp8_of_float(a[i], format, saturate) | fp8_of_float(b[i], format, saturate) << 8;
    out.lanes[i] = (before[i] & 0xffff0000u >> shift) | pair << shift;
  }
  store_lanes(w, op.operands[0].reg, w.exec, out.lanes);
}

// Stochastic rounding: 32 random bits decide; the byte is named by op_sel's two upper bits.
template <bool kWideExponent>
void random_to_fp8(Wave& w, const Op& op) {
  Room<F32> room_a;
  Room<B32> room_b, out;
  const auto* a = fetch<F32>(w, op, 1, room_a);
  const auto* random = fetch<B32>(w, op, 2, room_b);
  const Fp8 format = format_of(w, kWideExponent);
  const int shift = op.flags & kHasOpSel ? 8 * (op.op_sel >> 2 & 3) : 0;
  const uint32_t* before = w.vector[op.operands[0].reg];
  for (int i = 0; i < kLanes; ++i) {
    const uint32_t code = fp8_of_float(a[i], format, w.mode.saturate16, &random[i]);
    out.lanes[i] = (before[i] & ~(0xffu << shift)) | code << shift;
  }
  store_lanes(w, op.operands[0].reg, w.exec, out.lanes);
}

inline constexpr Entry kConvert[] = {
    make1<F32, B32, &from_u32>("v_cvt_f32_u32"),
    make1<F32, I32, &from_i32>("v_cvt_f32_i32"),
    make1<B32, F32, &u32_of_float>("v_cvt_u32_f32"),
    make1<I32, F32, &i32_of_float>("v_cvt_i32_f32"),
    make1<B32, F64, &to_u32>("v_cvt_u32_f64"),
    make1<I32, F64, &to_i32>("v_cvt_i32_f64"),
    make1<F64, B32, &wide_from_u32>("v_cvt_f64_u32"),
    make1<F64, I32, &wide_from_i32>("v_cvt_f64_i32"),
    make1<I32, F32, &nearest_up>("v_cvt_rpi_i32_f32"),
    make1<I32, F32, &floor_integer>("v_cvt_flr_i32_f32"),
    make1<F32, B32, &from_byte<0>>("v_cvt_f32_ubyte0"),
    make1<F32, B32, &from_byte<1>>("v_cvt_f32_ubyte1"),
    make1<F32, B32, &from_byte<2>>("v_cvt_f32_ubyte2"),
    make1<F32, B32, &from_byte<3>>("v_cvt_f32_ubyte3"),
    make1<F32, F64, &narrowed>("v_cvt_f32_f64"),
    make1<F64, F32, &widened>("v_cvt_f64_f32"),
    make1<F16, F32, &same<float>>("v_cvt_f16_f32"),
    make1<F32, F16, &made_quiet>("v_cvt_f32_f16"),
    make1<F32, B16, &from_bf16>("v_cvt_f32_bf16"),
    make1<F16, B16, &from_u32>("v_cvt_f16_u16"),
    make1<F16, I16, &from_i32>("v_cvt_f16_i16"),
    make1<B16, F16, &to_u16>("v_cvt_u16_f16"),
    make1<I16, F16, &to_i16>("v_cvt_i16_f16"),
    make1<F32, B32, &small_integer>("v_cvt_off_f32_i4"),
    make2<B32, F32, F32, &pack16<&half_to_zero>>("v_cvt_pkrtz_f16_f32"),
    make2<B32, F32, F32, &pack16<&half_of_float>>("v_cvt_pk_f16_f32"),
    make2<B32, F32, F32, &pack16<&bf16_of_float>>("v_cvt_pk_bf16_f32"),
    make2<B32, F32, F32, &pack16<&normalised_i16>>("v_cvt_pknorm_i16_f32"),
    make2<B32, F32, F32, &pack16<&normalised_u16>>("v_cvt_pknorm_u16_f32"),
    make2<B32, F16, F16, &pack16<&normalised_i16>>("v_cvt_pknorm_i16_f16"),
    make2<B32, F16, F16, &pack16<&normalised_u16>>("v_cvt_pknorm_u16_f16"),
    make1<B16, F16, &normalised_i16>("v_cvt_norm_i16_f16"),
    make1<B16, F16, &normalised_u16>("v_cvt_norm_u16_f16"),
    make2<B32, B32, B32, &pack_u16>("v_cvt_pk_u16_u32"),
    make2<B32, I32, I32, &pack_i16>("v_cvt_pk_i16_i32"),
    make2<B32, B16, B16, &pack_f16>("v_pack_b32_f16"),
    make3<B32, F32, B32, B32, &pack_u8>("v_cvt_pk_u8_f32"),
    {"v_cvt_f32_fp8", &from_fp8<false>, {Type::kF32, Type::kB32}},
    {"v_cvt_f32_bf8", &from_fp8<true>, {Type::kF32, Type::kB32}},
    {"v_cvt_pk_f32_fp8", &pair_from_fp8<false>, {Type::kF64, Type::kB32}},
    {"v_cvt_pk_f32_bf8", &pair_from_fp8<true>, {Type::kF64, Type::kB32}},
    {"v_cvt_pk_fp8_f32", &pair_to_fp8<false>, {Type::kB32, Type::kF32, Type::kF32}},
    {"v_cvt_pk_bf8_f32", &pair_to_fp8<true>, {Type::kB32, Type::kF32, Type::kF32}},
    {"v_cvt_sr_fp8_f32", &random_to_fp8<false>, {Type::kB32, Type::kF32, Type::kB32}},
    {"v_cvt_sr_bf8_f32", &random_to_fp8<true>, {Type::kB32, Type::kF32, Type::kB32}},
};

}  // namespace wavejit::gcn
