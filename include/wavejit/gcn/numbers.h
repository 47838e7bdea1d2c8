// Number formats: bits, exactness, rounding to the narrow ones. Round to nearest even throughout.
#pragma once
#include <math.h>
#include <stdint.h>

namespace wavejit::gcn {

// A field of an instruction, and a shift's count, which the machine reads no further.
template <class T>
inline T five_bits(T word, int first = 0) {
  return word >> first & ((T{1} << 5) - 1);
}

inline uint32_t bits_of(float value) { return __builtin_bit_cast(uint32_t, value); }
inline uint64_t bits_of(double value) { return __builtin_bit_cast(uint64_t, value); }
inline float float_of(uint32_t bits) { return __builtin_bit_cast(float, bits); }
inline double double_of(uint64_t bits) { return __builtin_bit_cast(double, bits); }

inline constexpr uint32_t kQuietBit32 = 1u << 22;
inline constexpr uint32_t kDefaultNan32 = 0x7fc00000u;
inline constexpr uint64_t kQuietBit64 = uint64_t{1} << 51;
inline constexpr uint64_t kDefaultNan64 = 0x7ff8000000000000u;

inline bool is_nan(float value) { return value != value; }
inline bool is_nan(double value) { return value != value; }
inline bool is_signalling(float value) { return is_nan(value) && !(bits_of(value) & kQuietBit32); }
inline bool is_signalling(double value) { return is_nan(value) && !(bits_of(value) & kQuietBit64); }
inline float quiet(float value) { return float_of(bits_of(value) | kQuietBit32); }
inline double quiet(double value) { return double_of(bits_of(value) | kQuietBit64); }
inline float default_nan(float) { return float_of(kDefaultNan32); }
inline double default_nan(double) { return double_of(kDefaultNan64); }

inline uint32_t flush_subnormal32(uint32_t bits) {
  return bits & 0x7f800000u ? bits : bits & 0x80000000u;
}
inline uint64_t flush_subnormal64(uint64_t bits) {
  return bits & 0x7ff0000000000000u ? bits : bits & 0x8000000000000000u;
}
inline uint32_t flush_subnormal16(uint32_t bits) { return bits & 0x7c00u ? bits : bits & 0x8000u; }

inline int exponent_of(float value) { return bits_of(value) >> 23 & 0xff; }
inline int exponent_of(double value) { return static_cast<int>(bits_of(value) >> 52 & 0x7ff); }

// a + b rounded to odd: exact, or the neighbour towards the exact sum whose last bit is set. What
// is rounded from it to a format with two bits less or fewer is rounded once.
inline double add_to_odd(double a, double b) {
  const double sum = a + b;
  if (!isfinite(sum)) return sum;
  const double part = sum - a;
  const double error = (a - (sum - part)) + (b - part);
  if (error == 0 || bits_of(sum) & 1) return sum;
  const bool away = (error > 0) == (sum > 0);
  if (sum == 0) return error;
  return double_of(bits_of(sum) + (away ? 1 : -1));
}

inline float narrow_to_odd(double value) {
  const float near = static_cast<float>(value);
  if (static_cast<double>(near) == value || is_nan(near) || bits_of(near) & 1) return near;
  if (isinf(near)) return isinf(value) ? near : float_of(bits_of(near) - 1);
  if (near == 0) return float_of((bits_of(near) & 0x80000000u) | 1);
  const bool away = fabs(value) > fabs(static_cast<double>(near));
  return float_of(bits_of(near) + (away ? 1 : -1));
}

// ---- fp16

inline float float_of_half(uint32_t half) {
  const uint32_t sign = (half & 0x8000u) << 16, rest = half & 0x7fffu;
  if (rest >= 0x7c00u) return float_of(sign | 0x7f800000u | (rest & 0x3ffu) << 13);
  if (rest >= 0x400u) return float_of(sign | ((rest << 13) + 0x38000000u));
  return float_of(sign | bits_of(static_cast<float>(rest) * 0x1p-24f));
}

inline uint32_t half_of_float(float value) {
  const uint32_t bits = bits_of(value), sign = bits >> 16 & 0x8000u, rest = bits & 0x7fffffffu;
  if (rest > 0x7f800000u) return sign | 0x7e00u | (rest >> 13 & 0x3ffu);
  if (rest >= 0x477ff000u) return sign | 0x7c00u;  // half way to the next after the largest
  if (rest < 0x38800000u) {  // subnormal: one addition rounds at the right bit
    return sign | (bits_of(float_of(rest) + 0.5f) - 0x3f000000u);
  }
  return sign | ((rest - 0x38000000u + 0xfffu + (rest >> 13 & 1u)) >> 13);
}

inline uint32_t half_towards_zero(float value) {
  const uint32_t near = half_of_float(value);
  if (is_nan(value) || isinf(value)) return near;
  const float back = float_of_half(near);
  return fabsf(back) > fabsf(value) ? near - 1 : near;
}

// ---- bf16

inline float float_of_bf16(uint32_t bits) { return float_of(bits << 16); }

inline uint32_t bf16_of_float(float value) {
  const uint32_t bits = bits_of(value);
  if (is_nan(value)) return bits >> 16 | 0x40u;
  return (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
}

// ---- fp8: 4 exponent bits (e4m3, "fp8") or 5 (e5m2, "bf8"), each as OCP or as FNUZ

struct Fp8 {
  int mantissa, bias;
  bool fnuz;
};
inline constexpr Fp8 fp8_format(bool wide_exponent, bool fnuz) {
  return {wide_exponent ? 2 : 3, (wide_exponent ? 15 : 7) + (fnuz ? 1 : 0), fnuz};
}

inline float float_of_fp8(uint32_t code, Fp8 f) {
  const uint32_t sign = (code & 0x80u) << 24, rest = code & 0x7fu;
  const uint32_t exponent = rest >> f.mantissa, fraction = rest & ((1u << f.mantissa) - 1);
  if (f.fnuz && code == 0x80u) return float_of(kDefaultNan32);
  if (!f.fnuz && f.mantissa == 3 && rest == 0x7fu) return float_of(sign | kDefaultNan32);
  if (!f.fnuz && f.mantissa == 2 && exponent == 31) {
    return float_of(sign | 0x7f800000u | (fraction ? kQuietBit32 | fraction << 21 : 0));
  }
  const float scale = exponent ? 1.0f : 0.0f;
  const float size =
      ldexpf(scale + static_cast<float>(fraction) / static_cast<float>(1 << f.mantissa),
             (exponent ? static_cast<int>(exponent) : 1) - f.bias);
  return sign ? -size : size;
}

inline uint32_t largest_fp8(Fp8 f) {
  if (f.fnuz) return 0x7fu;
  return f.mantissa == 3 ? 0x7eu : 0x7bu;
}
inline uint32_t nan_fp8(Fp8 f, uint32_t sign) { return f.fnuz ? 0x80u : sign | 0x7fu; }

// `random` replaces rounding to nearest by adding those 32 bits below the last kept one.
inline uint32_t fp8_of_float(float value, Fp8 f, bool saturate, const uint32_t* random = nullptr) {
  const uint32_t sign = bits_of(value) >> 24 & 0x80u, rest = bits_of(value) & 0x7fffffffu;
  const uint32_t overflow = saturate                    ? sign | largest_fp8(f)
                            : f.fnuz || f.mantissa == 3 ? nan_fp8(f, sign)
                                                        : sign | 0x7cu;
  if (rest > 0x7f800000u) return nan_fp8(f, sign);
  if (rest == 0x7f800000u) return overflow;
  const int exponent = static_cast<int>(rest >> 23) - 127;
  const int least = 1 - f.bias;  // exponent of the smallest normal number
  int drop = 23 - f.mantissa + (exponent < least ? least - exponent : 0);
  const uint64_t whole = rest >= 0x00800000u ? (rest & 0x7fffffu) | 0x800000u : 0;
  if (drop > 40) drop = 40;
  const uint64_t half = (uint64_t{1} << (drop - 1)) - 1 + (whole >> drop & 1);
  const uint64_t noise =
      random ? (drop > 32 ? uint64_t{*random} << (drop - 32) : *random >> (32 - drop)) : half;
  const uint64_t kept = (whole + noise) >> drop;
  const uint32_t code = static_cast<uint32_t>(
      exponent < least ? kept : kept + (static_cast<uint64_t>(exponent - least) << f.mantissa));
  if (code > largest_fp8(f)) return overflow;
  return code == 0 && f.fnuz ? 0 : sign | code;
}

}  // namespace wavejit::gcn
