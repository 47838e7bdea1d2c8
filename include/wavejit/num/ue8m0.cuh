// Scales that are powers of two, kept as one byte e that means 2^(e-127). A scale is rounded up:
// e is the least with 2^(e-127) >= x, so the group's largest value never leaves the range.
#pragma once
#include <wavejit/platform/platform.cuh>

namespace wavejit {

// Of a number x > 0: the exponent's byte, plus 1 where any bit of the fraction is set.
__device__ __forceinline__ uint32_t ue8m0(float x) {
  return (bit_cast<uint32_t>(x) + 0x7fffffu) >> 23;
}

// 2^(e-127) for every byte e: 2^-127 is subnormal and 255 stands for infinity.
__device__ __forceinline__ float ue8m0_value(uint32_t e) {
  return bit_cast<float>(e == 0 ? 0x00400000u : e << 23);
}

// 2^(127-e), what values are multiplied by; e at most 253.
__device__ __forceinline__ float ue8m0_inverse(uint32_t e) {
  return bit_cast<float>((254u - e) << 23);
}

// ue8m0(top / kMax) with the quotient rounded to fp32, for top from 1e-30 on, without a division:
// kMax is 1.75, 1.875 or 1.5 times 2^k, so the quotient exceeds a power of two exactly where top's
// own fraction exceeds .75, .875 or .5; the rounding of the quotient never crosses it. An infinity
// gives 253: its inverse is 2^-126, which leaves the infinity and makes no NaN of its neighbours.
template <int kMax>
__device__ __forceinline__ uint32_t ue8m0_of_amax(float top) {
  static_assert(kMax == 448 || kMax == 240 || kMax == 224 || kMax == 6);
  constexpr uint32_t kAbove = kMax == 240 ? 0x0fffffu : kMax == 6 ? 0x3fffffu : 0x1fffffu;
  constexpr uint32_t kExponent = kMax == 448 ? 8 : kMax == 6 ? 2 : 7;
  const uint32_t bits = bit_cast<uint32_t>(top);
  return bits == 0x7f800000u ? 253u : ((bits + kAbove) >> 23) - kExponent;
}

}  // namespace wavejit
