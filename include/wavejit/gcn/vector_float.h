// fp16, fp32 and fp64 arithmetic. One rounding each, to nearest even.
#pragma once
#include <wavejit/gcn/lanes.h>

namespace wavejit::gcn {

template <class S>
S add(S a, S b) {
  return a + b;
}
template <class S>
S subtract(S a, S b) {
  return a - b;
}
template <class S>
S subtract_reversed(S a, S b) {
  return b - a;
}
template <class S>
S multiply(S a, S b) {
  return a * b;
}
inline float multiply_legacy(float a, float b) { return a == 0 || b == 0 ? 0.0f : a * b; }

inline float fused(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
inline double fused(double a, double b, double c) { return __builtin_fma(a, b, c); }
template <class S>
S multiply_add(S a, S b, S c) {
  return fused(a, b, c);
}
template <class S>
S multiply_add_middle(S a, S k, S c) {
  return fused(a, k, c);
}

// The exact a * b + c of fp16 numbers, so that the write to fp16 is its only rounding.
inline float half_fused(float a, float b, float c) {
  const double product = static_cast<double>(a) * static_cast<double>(b);
  return narrow_to_odd(add_to_odd(product, static_cast<double>(c)));
}
// Unfused: the product is rounded first.
inline float half_mad(float a, float b, float c) { return float_of_half(half_of_float(a * b)) + c; }

// ---- minimum and maximum: a number wins against NaN, -0 is less than +0

template <class S>
bool less(S a, S b) {
  return a < b || (a == b && __builtin_signbit(a) && !__builtin_signbit(b));
}
template <class S>
S minimum(S a, S b, bool ieee) {
  if (ieee && is_signalling(a)) return quiet(a);
  if (ieee && is_signalling(b)) return quiet(b);
  if (is_nan(a)) return b;
  if (is_nan(b)) return a;
  return less(a, b) ? a : b;
}
template <class S>
S maximum(S a, S b, bool ieee) {
  if (ieee && is_signalling(a)) return quiet(a);
  if (ieee && is_signalling(b)) return quiet(b);
  if (is_nan(a)) return b;
  if (is_nan(b)) return a;
  return less(a, b) ? b : a;
}

template <class S>
bool needs_care(const S* a, const S* b) {  // a NaN, or two zeros
  int found = 0;
  for (int i = 0; i < kLanes; ++i) {
    found |= (a[i] != a[i]) | (b[i] != b[i]) | ((a[i] == b[i]) & (a[i] == S(0)));
  }
  return found;
}

template <class T, bool kMax>
void extreme2(Wave& w, const Op& op) {
  Room<T> room_a, room_b, out;
  const auto* a = fetch<T>(w, op, 1, room_a);
  const auto* b = fetch<T>(w, op, 2, room_b);
  if (!needs_care(a, b)) [[likely]] {
    for (int i = 0; i < kLanes; ++i) {
      out.lanes[i] = kMax ? (a[i] > b[i] ? a[i] : b[i]) : (a[i] < b[i] ? a[i] : b[i]);
    }
  } else {
    const bool ieee = w.mode.ieee;
    for (int i = 0; i < kLanes; ++i) {
      out.lanes[i] = kMax ? maximum(a[i], b[i], ieee) : minimum(a[i], b[i], ieee);
    }
  }
  commit<T>(w, op, out.lanes);
}

enum class Of3 { kMin, kMax, kMedian };

template <class S>
S median(S a, S b, S c, bool ieee) {
  if (is_nan(a) || is_nan(b) || is_nan(c)) return minimum(minimum(a, b, ieee), c, ieee);
  const S top = maximum(maximum(a, b, ieee), c, ieee);
  if (top == a) return maximum(b, c, ieee);
  if (top == b) return maximum(a, c, ieee);
  return maximum(a, b, ieee);
}

template <class T, Of3 kWhich>
void extreme3(Wave& w, const Op& op) {
  Room<T> room_a, room_b, room_c, out;
  const auto* a = fetch<T>(w, op, 1, room_a);
  const auto* b = fetch<T>(w, op, 2, room_b);
  const auto* c = fetch<T>(w, op, 3, room_c);
  const bool ieee = w.mode.ieee;
  for (int i = 0; i < kLanes; ++i) {
    if (kWhich == Of3::kMin) out.lanes[i] = minimum(minimum(a[i], b[i], ieee), c[i], ieee);
    if (kWhich == Of3::kMax) out.lanes[i] = maximum(maximum(a[i], b[i], ieee), c[i], ieee);
    if (kWhich == Of3::kMedian) out.lanes[i] = median(a[i], b[i], c[i], ieee);
  }
  commit<T>(w, op, out.lanes);
}

// gfx950's minimum3 and maximum3: NaN wins.
template <bool kMax>
float extreme3_or_nan(float a, float b, float c) {
  if (is_nan(a) || is_nan(b) || is_nan(c)) return float_of(kDefaultNan32);
  const auto pick = [](float x, float y) {
    return kMax ? maximum(x, y, true) : minimum(x, y, true);
  };
  return pick(pick(a, b), c);
}

// ---- exponents and fractions

template <class S>
S fraction_of(S value) {  // in [0, 1)
  const S result = value - floor(value);
  const S below_one = sizeof(S) == 4 ? S(0x1.fffffep-1) : S(0x1.fffffffffffffp-1);
  return result < S(1) || is_nan(result) ? result : below_one;
}
inline float half_fraction_of(float value) {
  const float result = value - floorf(value);
  return result < 0x1.ffcp-1f || is_nan(result) ? result : 0x1.ffcp-1f;
}
template <class S>
S mantissa_of(S value) {
  int exponent;
  return isfinite(value) ? frexp(value, &exponent) : value;
}
template <class S>
int32_t frexp_exponent_of(S value) {
  int exponent = 0;
  if (isfinite(value)) frexp(value, &exponent);
  return exponent;
}
template <class S>
S times_power(S value, int32_t exponent) {
  const int limit = 5000;
  return ldexp(value, exponent < -limit ? -limit : exponent > limit ? limit : exponent);
}

template <class T>
void load_exponent(Wave& w, const Op& op) {  // v_ldexp: fp16 takes a 16-bit exponent
  Room<T> room_a, out;
  const auto* a = fetch<T>(w, op, 1, room_a);
  alignas(64) int32_t exponents[kLanes];
  const Type type = T::kType == Type::kF16 ? Type::kI16 : Type::kI32;
  read32(w, op, 2, type, reinterpret_cast<uint32_t*>(exponents));
  if (T::kType == Type::kF16) widen16(type, reinterpret_cast<uint32_t*>(exponents));
  for (int i = 0; i < kLanes; ++i) out.lanes[i] = times_power(a[i], exponents[i]);
  settle_nans(out.lanes, a, a, a);
  commit<T>(w, op, out.lanes);
}

template <class S>
S round_even(S value) {
  return nearbyint(value);
}
template <class S>
S round_down(S value) {
  return floor(value);
}
template <class S>
S round_up(S value) {
  return ceil(value);
}
template <class S>
S truncated(S value) {
  return trunc(value);
}

#define WAVEJIT_GCN_FLOATS(T, S, suffix)                                                   \
  make_float2<T, &add<S>>("v_add_" suffix), make_float2<T, &subtract<S>>("v_sub_" suffix), \
      make_float2<T, &subtract_reversed<S>>("v_subrev_" suffix),                           \
      make_float2<T, &multiply<S>>("v_mul_" suffix),                                       \
      Entry{"v_max_" suffix, &extreme2<T, true>, {T::kType, T::kType, T::kType}},          \
      Entry{"v_min_" suffix, &extreme2<T, false>, {T::kType, T::kType, T::kType}},         \
      make_float1<T, &round_even<S>>("v_rndne_" suffix),                                   \
      make_float1<T, &round_down<S>>("v_floor_" suffix),                                   \
      make_float1<T, &round_up<S>>("v_ceil_" suffix),                                      \
      make_float1<T, &truncated<S>>("v_trunc_" suffix),                                    \
      make_float1<T, &mantissa_of<S>>("v_frexp_mant_" suffix), Entry {                     \
    "v_ldexp_" suffix, &load_exponent<T>, {                                                \
      T::kType, T::kType, T::kType == Type::kF16 ? Type::kI16 : Type::kI32                 \
    }                                                                                      \
  }

#define WAVEJIT_GCN_OF_3(T, suffix)                                                               \
  Entry{"v_min3_" suffix, &extreme3<T, Of3::kMin>, {T::kType, T::kType, T::kType, T::kType}},     \
      Entry{"v_max3_" suffix, &extreme3<T, Of3::kMax>, {T::kType, T::kType, T::kType, T::kType}}, \
      Entry {                                                                                     \
    "v_med3_" suffix, &extreme3<T, Of3::kMedian>, { T::kType, T::kType, T::kType, T::kType }      \
  }

template <class T, class S>
constexpr Entry make_accumulate(const char* name) {
  return {name, &float3<T, &multiply_add<S>, 0>, {T::kType, T::kType, T::kType}};
}

inline constexpr Entry kVectorFloat[] = {
    WAVEJIT_GCN_FLOATS(F32, float, "f32"),
    WAVEJIT_GCN_FLOATS(F64, double, "f64"),
    WAVEJIT_GCN_FLOATS(F16, float, "f16"),
    WAVEJIT_GCN_OF_3(F32, "f32"),
    WAVEJIT_GCN_OF_3(F16, "f16"),
    make_float3<F32, &multiply_add<float>>("v_fma_f32"),
    make_float3<F64, &multiply_add<double>>("v_fma_f64"),
    make_float3<F16, &half_fused>("v_fma_f16"),
    make_float3<F16, &half_mad>("v_mad_f16"),
    make_accumulate<F32, float>("v_fmac_f32"),
    make_accumulate<F64, double>("v_fmac_f64"),
    {"v_fmac_f16", &float3<F16, &half_fused, 0>, {Type::kF16, Type::kF16, Type::kF16}},
    {"v_mac_f16", &float3<F16, &half_mad, 0>, {Type::kF16, Type::kF16, Type::kF16}},
    make_float3<F32, &multiply_add_middle<float>>("v_fmamk_f32"),
    make_float3<F32, &multiply_add<float>>("v_fmaak_f32"),
    make_float2<F32, &multiply_legacy>("v_mul_legacy_f32"),
    make_float1<F32, &fraction_of<float>>("v_fract_f32"),
    make_float1<F64, &fraction_of<double>>("v_fract_f64"),
    make_float1<F16, &half_fraction_of>("v_fract_f16"),
    make1<I32, F32, &frexp_exponent_of<float>>("v_frexp_exp_i32_f32"),
    make1<I32, F64, &frexp_exponent_of<double>>("v_frexp_exp_i32_f64"),
    make1<I16, F16, &frexp_exponent_of<float>>("v_frexp_exp_i16_f16"),
    make3<F32, F32, F32, F32, &extreme3_or_nan<false>>("v_minimum3_f32"),
    make3<F32, F32, F32, F32, &extreme3_or_nan<true>>("v_maximum3_f32"),
};

}  // namespace wavejit::gcn
