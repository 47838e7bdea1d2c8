// e2m1: the magnitudes 0, 0.5, 1, 1.5, 2, 3, 4, 6 are the codes 0 to 7, bit 3 is the sign.
//
// A value between two magnitudes takes the nearer one and, in the middle, the lower one (not the
// even one); what becomes zero loses its sign; everything beyond 6 is 6; a NaN is +6. The element
// with the even index is the low half of a byte.
#pragma once
#include <wavejit/core/math.cuh>
#include <wavejit/core/vec.cuh>

namespace wavejit {

inline constexpr int kFp4Max = 6;

// Below 2 the magnitudes lie 0.5 apart, and a sum with 2^22 rounds to multiples of that: of
// slightly less than the value, in one rounding, so that a middle goes down and nothing else does.
// Above, a code is the exponent and the fraction's first bit, after just less than half of its step
// is added.
__device__ __forceinline__ uint32_t fp4_encode(float value) {
  const float a = minimum(__builtin_fabsf(value), 6.0f);
  const uint32_t near = bit_cast<uint32_t>(fused_multiply_add(a, 0x1.fffffep-1f, 0x1p22f)) & 7u;
  const uint32_t far = (bit_cast<uint32_t>(a) + 0x1fffffu - (0xfcu << 22)) >> 22;
  return (a < 2.0f ? near : far) | (value < -0.25f ? 8u : 0u);
}

// Eight codes, the first in the lowest four bits.
__device__ __forceinline__ uint32_t fp4_encode_8(const Vec<float, 8>& values) {
  uint32_t word = 0;
#pragma unroll
  for (int i = 0; i < 8; ++i) word |= fp4_encode(values.values[i]) << 4 * i;
  return word;
}

// Of the lowest four bits. As the first bits of a float's exponent and fraction a code is 2^-126 of
// its value, the least magnitude as a subnormal; the product is exact.
__device__ __forceinline__ float fp4_decode(uint32_t code) {
  return bit_cast<float>((code & 7u) << 22 | (code & 8u) << 28) * 0x1p126f;
}

}  // namespace wavejit
