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

__device__ __forceinline__ uint32_t fp4_encode(float value) {
  const float kept = minimum(value, 6.0f);  // a NaN is lost here
  const uint32_t a = bit_cast<uint32_t>(kept) & 0x7fffffffu;
  constexpr float kMiddles[] = {0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5.0f};
  uint32_t code = 0;
#pragma unroll
  for (int i = 0; i < 7; ++i) code += bit_cast<float>(a) > kMiddles[i] ? 1u : 0u;
  return code == 0 ? 0 : code | (bit_cast<uint32_t>(kept) >> 28 & 8u);
}

// Eight codes, the first in the lowest four bits.
__device__ __forceinline__ uint32_t fp4_encode_8(const Vec<float, 8>& values) {
  uint32_t word = 0;
#pragma unroll
  for (int i = 0; i < 8; ++i) word |= fp4_encode(values.values[i]) << 4 * i;
  return word;
}

__device__ __forceinline__ float fp4_decode(uint32_t code) {
  // Twice the magnitude: 0, 1, 2, 3, 4, 6, 8, 12, four bits each.
  constexpr uint64_t kTwice = 0xc8643210u;
  const float magnitude =
      0.5f * static_cast<float>(static_cast<uint32_t>(kTwice >> 4 * (code & 7u) & 0xfu));
  return bit_cast<float>(bit_cast<uint32_t>(magnitude) | (code & 8u) << 28);
}

}  // namespace wavejit
