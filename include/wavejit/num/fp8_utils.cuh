// e4m3 in both flavours: to the nearest code, ties to even, subnormals included, saturating.
//
//             exponent's bias   largest      NaN          smallest
//   FN        7                 448 (0x7e)   0x7f, 0xff   2^-9
//   FNUZ      8                 240 (0x7f)   0x80         2^-10; -0 does not exist and becomes 0
//
// kMax is both the clamp and what scales divide by: 448 for FN, 240 (or 224) for FNUZ. A NaN
// becomes +kMax or, by NanRule::kCode, the flavour's NaN (0x7f, 0x80); an infinity becomes kMax of
// its sign. The instruction of an architecture is taken only where tests/cpp/test_fp8.py has proven
// it over every input (platform::kFp8InstructionProven).
#pragma once
#include <wavejit/core/math.cuh>
#include <wavejit/core/vec.cuh>

namespace wavejit {

enum class Fp8 { kFn, kFnuz };
enum class NanRule { kMax, kCode };

template <Fp8 kFlavour>
inline constexpr int fp8_largest = kFlavour == Fp8::kFn ? 448 : 240;
template <Fp8 kFlavour>
inline constexpr float fp8_max = static_cast<float>(fp8_largest<kFlavour>);
template <Fp8 kFlavour>
inline constexpr int fp8_bias = kFlavour == Fp8::kFn ? 7 : 8;
template <Fp8 kFlavour>
inline constexpr uint32_t fp8_nan = kFlavour == Fp8::kFn ? 0x7fu : 0x80u;

// Whether the architecture converts to and from this flavour by itself, and provably so.
template <Fp8 kFlavour>
inline constexpr bool fp8_by_instruction =
    platform::kFp8InstructionProven && arch::kFp8IsFnuz == (kFlavour == Fp8::kFnuz);

// One code by integer and fp32 arithmetic that is the same on every machine.
template <Fp8 kFlavour, int kMax = fp8_largest<kFlavour>, NanRule kNan = NanRule::kMax>
__device__ __forceinline__ uint32_t fp8_software_code(float value) {
  static_assert(kFlavour == Fp8::kFn ? kMax == 448 : kMax == 240 || kMax == 224);
  constexpr uint32_t kBias = fp8_bias<kFlavour>;
  constexpr float kTop = static_cast<float>(kMax);
  const float kept = maximum(minimum(value, kTop), -kTop);
  const uint32_t a = bit_cast<uint32_t>(kept) & 0x7fffffffu;
  // The fraction's upper three bits remain; a carry moves into the exponent by itself.
  const uint32_t normal = (a + 0x7ffffu + (a >> 20 & 1u) - ((127u - kBias) << 23)) >> 20;
  // Below the least normal, adding a number whose last bit is the step rounds to multiples of it.
  constexpr uint32_t kStep = (127u + 21u - kBias) << 23;
  const uint32_t small = bit_cast<uint32_t>(bit_cast<float>(a) + bit_cast<float>(kStep)) - kStep;
  uint32_t code = a >= (128u - kBias) << 23 ? normal : small;
  const uint32_t sign = bit_cast<uint32_t>(kept) >> 24 & 0x80u;
  code = kFlavour == Fp8::kFnuz && code == 0 ? 0 : code | sign;
  if constexpr (kNan == NanRule::kCode) code = value == value ? code : fp8_nan<kFlavour>;
  return code;
}

// The codes of two values, the first in the low byte.
template <Fp8 kFlavour, int kMax = fp8_largest<kFlavour>, NanRule kNan = NanRule::kMax>
__device__ __forceinline__ uint32_t fp8_encode_2(float first, float second) {
  if constexpr (fp8_by_instruction<kFlavour> && kMax == fp8_largest<kFlavour>) {
    constexpr bool kKeepsNan = kNan == NanRule::kCode;
    return platform::fp8_pair<kMax, kKeepsNan>(first, second);
  } else {
    return fp8_software_code<kFlavour, kMax, kNan>(first) |
           fp8_software_code<kFlavour, kMax, kNan>(second) << 8;
  }
}
// Of four values, in the order of the bytes in memory.
template <Fp8 kFlavour, int kMax = fp8_largest<kFlavour>, NanRule kNan = NanRule::kMax>
__device__ __forceinline__ uint32_t fp8_encode_4(float a, float b, float c, float d) {
  return fp8_encode_2<kFlavour, kMax, kNan>(a, b) | fp8_encode_2<kFlavour, kMax, kNan>(c, d) << 16;
}
template <Fp8 kFlavour, int kMax = fp8_largest<kFlavour>, NanRule kNan = NanRule::kMax>
__device__ __forceinline__ uint8_t fp8_encode(float value) {
  return static_cast<uint8_t>(fp8_encode_2<kFlavour, kMax, kNan>(value, 0.0f));
}

// The value of a code, exact; every NaN is 0x7fc00000.
template <Fp8 kFlavour>
__device__ __forceinline__ float fp8_software_value(uint32_t code) {
  const uint32_t magnitude = code & 0x7fu;
  const bool is_nan = kFlavour == Fp8::kFn ? magnitude == 0x7fu : code == 0x80u;
  // In place as a small fp32, times 2^(127 - bias): exact for the subnormals of both.
  constexpr uint32_t kFactor = static_cast<uint32_t>(254 - fp8_bias<kFlavour>) << 23;
  const float scaled = bit_cast<float>(magnitude << 20) * bit_cast<float>(kFactor);
  const uint32_t bits = bit_cast<uint32_t>(scaled) | (code & 0x80u) << 24;
  return bit_cast<float>(is_nan ? 0x7fc00000u : bits);
}

// The values of the codes in the two low bytes.
template <Fp8 kFlavour>
__device__ __forceinline__ Vec<float, 2> fp8_decode_2(uint32_t codes) {
  if constexpr (fp8_by_instruction<kFlavour>) {
    Vec<float, 2> pair;
    platform::from_fp8_pair(codes, pair.values[0], pair.values[1]);
    return {canonical_nan(pair.values[0]), canonical_nan(pair.values[1])};
  } else {
    return {fp8_software_value<kFlavour>(codes & 0xffu),
            fp8_software_value<kFlavour>(codes >> 8 & 0xffu)};
  }
}
template <Fp8 kFlavour>
__device__ __forceinline__ Vec<float, 4> fp8_decode_4(uint32_t codes) {
  const Vec<float, 2> low = fp8_decode_2<kFlavour>(codes & 0xffffu);
  const Vec<float, 2> high = fp8_decode_2<kFlavour>(codes >> 16);
  return {low.values[0], low.values[1], high.values[0], high.values[1]};
}
template <Fp8 kFlavour>
__device__ __forceinline__ float fp8_decode(uint8_t code) {
  return fp8_decode_2<kFlavour>(code).values[0];
}

}  // namespace wavejit
