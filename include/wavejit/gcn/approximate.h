// Instructions that the hardware gives within a unit in the last place (rcp, rsq, sqrt, exp, log,
// sin, cos), here correctly rounded or moved on purpose; and division's three helpers, which are
// exact.
#pragma once
#include <wavejit/gcn/machine.h>
#include <wavejit/gcn/vector_float.h>

namespace wavejit::gcn {

#if defined(__x86_64__)
using Quad = __float128;
#else
using Quad = long double;
#endif

// ---- the exact functions: for fp32 and fp16 in fp64, which leaves one rounding

inline double reciprocal(double x) { return 1.0 / x; }
inline double reciprocal_root(double x) { return 1.0 / sqrt(x); }
inline double root(double x) { return sqrt(x); }
inline double power_of_two(double x) { return exp2(x); }
inline double logarithm(double x) { return log2(x); }
inline double sine(double x) { return sin(6.283185307179586 * (x - floor(x))); }
inline double cosine(double x) { return cos(6.283185307179586 * (x - floor(x))); }

// A rounded result, and whether nothing was lost.
template <class S>
struct Rounded {
  S value;
  bool exact;
};

// Whether fp64 shows what was lost: next to 1 it does not for a power of two.
template <double (*f)(double)>
bool is_exact(float x, float value, double exact) {
  return static_cast<double>(value) == exact && (f != &power_of_two || x == floorf(x));
}
template <double (*f)(double)>
Rounded<float> rounded32(float x) {
  const double exact = f(static_cast<double>(x));
  const float value = static_cast<float>(exact);
  return {value, is_exact<f>(x, value, exact)};
}
template <double (*f)(double)>
Rounded<float> rounded16(float x) {
  const double exact = f(static_cast<double>(x));
  const float value = float_of_half(half_of_float(narrow_to_odd(exact)));
  return {value, is_exact<f>(x, value, exact)};
}
inline Rounded<double> reciprocal64(double x) {
  const double value = 1.0 / x;
  return {value, fused(value, x, -1.0) == 0};
}
inline Rounded<double> root64(double x) {
  const double value = sqrt(x);
  const bool tiny = x < 0x1p-700;  // the square's last bits would be lost
  const double scaled = value * (tiny ? 0x1p300 : 1.0);
  return {value, fused(scaled, scaled, -x * (tiny ? 0x1p600 : 1.0)) == 0};
}
inline Rounded<double> reciprocal_root64(double x) {
  const double near = 1.0 / sqrt(x);
  if (!(x > 0) || isinf(x) || isinf(near)) return {near, true};
  const Quad y = near;
  const double value = static_cast<double>(y + y * (1 - x * y * y) / 2);
  return {value, static_cast<Quad>(value) * value * x == 1};
}

inline float moved(float value, int by) {
  return float_of(bits_of(value) + static_cast<uint32_t>(value < 0 ? -by : by));
}
inline double moved(double value, int by) {
  return double_of(bits_of(value) +
                   static_cast<uint64_t>(static_cast<int64_t>(value < 0 ? -by : by)));
}
inline float moved_half(float value, int by) {
  const uint32_t half = half_of_float(value);
  return float_of_half((half & 0x7fffu) == 0 ? half
                                             : half + static_cast<uint32_t>(value < 0 ? -by : by));
}

// T's lanes through f; results that are finite, not zero and not exact are moved as asked.
template <class T, auto f>
void approximate(Wave& w, const Op& op) {
  Room<T> room, out;
  const auto* a = fetch<T>(w, op, 1, room);
  const int by = perturbation(w);
  for (int i = 0; i < kLanes; ++i) {
    const auto rounded = f(a[i]);
    auto value = rounded.value;
    if (by && !rounded.exact && isfinite(value) && value != 0) {
      if constexpr (T::kType == Type::kF16) {
        value = moved_half(value, by);
      } else {
        value = moved(value, by);
      }
    }
    out.lanes[i] = value;
  }
  settle_nans(out.lanes, a, a, a);
  commit<T>(w, op, out.lanes);
}

// ---- division: v_div_scale, v_div_fmas, v_div_fixup

template <class S>
struct DivideFormat;
template <>
struct DivideFormat<float> {
  static constexpr int kFar = 96, kScale = 64, kTiny = 23, kBias = 127, kUnderflow = -150;
  static constexpr double kLeast = 0x1p-126;
};
template <>
struct DivideFormat<double> {
  static constexpr int kFar = 768, kScale = 128, kTiny = 53, kBias = 1023, kUnderflow = -1075;
  static constexpr double kLeast = 0x1p-1022;
};

struct Scaling {
  int by = 0;            // power of two
  bool flagged = false;  // v_div_fmas scales back
  bool invalid = false;
};

// What v_div_scale does to `value`, which is the denominator or the numerator.
template <class S>
Scaling scaling_of(S value, S denominator, S numerator) {
  using Format = DivideFormat<S>;
  const int k = Format::kScale;
  const bool is_denominator = value == denominator, is_numerator = value == numerator;
  if (denominator == 0 || numerator == 0) return {0, false, true};
  if (exponent_of(numerator) - exponent_of(denominator) >= Format::kFar) {
    return {is_denominator ? k : 0, true};
  }
  if (exponent_of(denominator) == 0) return {k, false};
  const auto small = [](long double x) {
    return x != 0 && fabsl(x) < static_cast<long double>(Format::kLeast);
  };
  const bool small_reciprocal = small(1.0L / denominator);
  const bool small_quotient = small(static_cast<long double>(numerator) / denominator);
  if (small_reciprocal && small_quotient) return {is_denominator ? -k : 0, true};
  if (small_reciprocal) return {-k, false};
  if (small_quotient) return {is_numerator ? k : 0, true};
  if (exponent_of(numerator) <= Format::kTiny) return {k, false};
  return {};
}

template <class T>
void divide_scale(Wave& w, const Op& op) {
  Room<T> room_a, room_b, room_c, out;
  const auto* a = fetch<T>(w, op, 2, room_a);
  const auto* b = fetch<T>(w, op, 3, room_b);
  const auto* c = fetch<T>(w, op, 4, room_c);
  uint64_t flagged = 0;
  for (int i = 0; i < kLanes; ++i) {
    const Scaling scaling = scaling_of(a[i], b[i], c[i]);
    out.lanes[i] = scaling.invalid ? default_nan(a[i]) : times_power(a[i], scaling.by);
    flagged |= uint64_t{scaling.flagged} << i;
  }
  commit<T>(w, op, out.lanes);
  write_scalar64(w, op.operands[1].reg, flagged & w.exec);
}

// a * b + c scaled by a power of two with one rounding.
inline float scaled_fused(float a, float b, float c, int by) {
  const double sum =
      add_to_odd(static_cast<double>(a) * static_cast<double>(b), static_cast<double>(c));
  return static_cast<float>(ldexp(sum, by));
}
inline double scaled_fused(double a, double b, double c, int by) {
  const double scaled = ldexp(fused(a, b, c), by);
  if (exponent_of(scaled) != 0) return scaled;    // scaling has not rounded
  const Quad product = static_cast<Quad>(a) * b;  // exact
  Quad sum = product + c;
  const Quad part = sum - product;
  const Quad error = (product - (sum - part)) + (c - part);
  const Quad step = sum * static_cast<Quad>(0x1p-112) * (sum < 0 ? -1 : 1);
  if (error != 0) sum += error > 0 ? step : -step;  // to the side of the exact sum
  return static_cast<double>(sum * static_cast<Quad>(ldexp(1.0, by)));
}

template <class T>
void divide_fmas(Wave& w, const Op& op) {
  using S = typename T::Storage;
  Room<T> room_a, room_b, room_c, out;
  const auto* a = fetch<T>(w, op, 1, room_a);
  const auto* b = fetch<T>(w, op, 2, room_b);
  const auto* c = fetch<T>(w, op, 3, room_c);
  const uint64_t flagged = read_scalar64(w, kVcc);
  for (int i = 0; i < kLanes; ++i) {
    const int by = exponent_of(c[i]) > DivideFormat<S>::kBias ? DivideFormat<S>::kScale
                                                              : -DivideFormat<S>::kScale;
    out.lanes[i] = flagged >> i & 1 ? scaled_fused(a[i], b[i], c[i], by) : fused(a[i], b[i], c[i]);
  }
  settle_nans(out.lanes, a, b, c);
  commit<T>(w, op, out.lanes);
}

template <class S>
S divide_fixed(S quotient, S denominator, S numerator) {
  const bool negative = __builtin_signbit(denominator) != __builtin_signbit(numerator);
  const auto with_sign = [negative](S size) { return negative ? -size : size; };
  if (is_nan(numerator)) return quiet(numerator);
  if (is_nan(denominator)) return quiet(denominator);
  const S infinity = static_cast<S>(__builtin_inf());
  if (denominator == 0 && numerator == 0) return -default_nan(quotient);
  if (isinf(denominator) && isinf(numerator)) return -default_nan(quotient);
  if (denominator == 0 || isinf(numerator)) return with_sign(infinity);
  if (isinf(denominator) || numerator == 0) return with_sign(S(0));
  if (exponent_of(numerator) - exponent_of(denominator) < DivideFormat<S>::kUnderflow) {
    return with_sign(S(0));
  }
  if (is_nan(quotient)) return with_sign(infinity);  // the steps before it have overflowed
  return with_sign(static_cast<S>(fabs(quotient)));
}

template <class T>
constexpr Entry make_divide_scale(const char* name) {
  return {name, &divide_scale<T>, {T::kType, Type::kB64, T::kType, T::kType, T::kType}, 2};
}

inline constexpr Entry kApproximate[] = {
    {"v_rcp_f32", &approximate<F32, &rounded32<&reciprocal>>, {Type::kF32, Type::kF32}},
    {"v_rcp_iflag_f32", &approximate<F32, &rounded32<&reciprocal>>, {Type::kF32, Type::kF32}},
    {"v_rsq_f32", &approximate<F32, &rounded32<&reciprocal_root>>, {Type::kF32, Type::kF32}},
    {"v_sqrt_f32", &approximate<F32, &rounded32<&root>>, {Type::kF32, Type::kF32}},
    {"v_exp_f32", &approximate<F32, &rounded32<&power_of_two>>, {Type::kF32, Type::kF32}},
    {"v_log_f32", &approximate<F32, &rounded32<&logarithm>>, {Type::kF32, Type::kF32}},
    {"v_exp_legacy_f32", &approximate<F32, &rounded32<&power_of_two>>, {Type::kF32, Type::kF32}},
    {"v_log_legacy_f32", &approximate<F32, &rounded32<&logarithm>>, {Type::kF32, Type::kF32}},
    {"v_sin_f32", &approximate<F32, &rounded32<&sine>>, {Type::kF32, Type::kF32}},
    {"v_cos_f32", &approximate<F32, &rounded32<&cosine>>, {Type::kF32, Type::kF32}},
    {"v_rcp_f16", &approximate<F16, &rounded16<&reciprocal>>, {Type::kF16, Type::kF16}},
    {"v_rsq_f16", &approximate<F16, &rounded16<&reciprocal_root>>, {Type::kF16, Type::kF16}},
    {"v_sqrt_f16", &approximate<F16, &rounded16<&root>>, {Type::kF16, Type::kF16}},
    {"v_exp_f16", &approximate<F16, &rounded16<&power_of_two>>, {Type::kF16, Type::kF16}},
    {"v_log_f16", &approximate<F16, &rounded16<&logarithm>>, {Type::kF16, Type::kF16}},
    {"v_sin_f16", &approximate<F16, &rounded16<&sine>>, {Type::kF16, Type::kF16}},
    {"v_cos_f16", &approximate<F16, &rounded16<&cosine>>, {Type::kF16, Type::kF16}},
    {"v_rcp_f64", &approximate<F64, &reciprocal64>, {Type::kF64, Type::kF64}},
    {"v_rsq_f64", &approximate<F64, &reciprocal_root64>, {Type::kF64, Type::kF64}},
    {"v_sqrt_f64", &approximate<F64, &root64>, {Type::kF64, Type::kF64}},
    make_divide_scale<F32>("v_div_scale_f32"),
    make_divide_scale<F64>("v_div_scale_f64"),
    {"v_div_fmas_f32", &divide_fmas<F32>, {Type::kF32, Type::kF32, Type::kF32, Type::kF32}},
    {"v_div_fmas_f64", &divide_fmas<F64>, {Type::kF64, Type::kF64, Type::kF64, Type::kF64}},
    make3<F32, F32, F32, F32, &divide_fixed<float>>("v_div_fixup_f32"),
    make3<F64, F64, F64, F64, &divide_fixed<double>>("v_div_fixup_f64"),
    make3<F16, F16, F16, F16, &divide_fixed<float>>("v_div_fixup_f16"),
};

}  // namespace wavejit::gcn
