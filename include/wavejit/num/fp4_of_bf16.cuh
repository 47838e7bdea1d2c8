// e2m1 codes (num/fp4.cuh) of bf16 values by fp32 arithmetic instead of comparisons.
#pragma once
#include <wavejit/core/tile.cuh>
#include <wavejit/num/fp4.cuh>

namespace wavejit {

using EightBf16 = Vec<uint32_t, 4>;  // two in a word

// The signs of eight values, each in bit 3 of its four bits; other bits are anything.
__device__ __forceinline__ uint32_t signs_of_8(const EightBf16& pairs) {
  const uint32_t* w = pairs.values;
  const uint32_t front = platform::pick_bytes<0x7351>(w[0], w[1]);  // values 0, 2, 1, 3
  const uint32_t back = platform::pick_bytes<0x7351>(w[2], w[3]);
  const uint32_t even = platform::pick_bytes<0x5410>(front, back);
  const uint32_t odd = platform::pick_bytes<0x7632>(front, back);
  return (odd & 0x80808080u) | (even >> 4 & 0x7f7f7f7fu);
}

// The codes are the integers on a line with bends: code = 2 a up to a = 2, a + 2 up to 4 and a / 2
// + 4 up to 6. Its three parts are limited to [0, 1] each, and their sum with 2^23 rounds to a
// code. A middle has to go down: all values are taken times 1 - 2^-10, which moves no other value
// across a middle, because 8 bits of fraction leave at least 2^-8 between them. Every step before
// the last is exact. `factor` is a power of two; no value is a NaN.
__device__ __forceinline__ uint32_t fp4_encode_8_of_bf16(const EightBf16& pairs, float factor) {
  constexpr uint32_t kBits = 0x4b000000u;  // of 2^23, whose low bits become the codes
  const Tile<8> x = widen(bit_cast<Vec<bfloat16, 8>>(pairs));
  const float half = factor * 0x1.ffcp-2f;
  uint32_t word = 0;
#pragma unroll
  for (int i = 7; i >= 0; --i) {
    const float a = __builtin_fabsf(x.values[i]);
    const float to_2 = platform::saturate(a * half);
    const float to_4 = platform::saturate(fused_multiply_add(a, half, -1.0f));
    const float to_6 = platform::saturate(fused_multiply_add(a, half, -2.0f));
    const float code = fused_multiply_add(to_2, 4.0f, fused_multiply_add(to_4, 2.0f, to_6));
    word = (word << 4) + bit_cast<uint32_t>(code + 0x1p23f);
  }
  word -= kBits * 0x11111111u;
  const uint32_t is_not_0 = word + 0x77777777u;  // in bit 3 of each four
  return word | (signs_of_8(pairs) & is_not_0 & 0x88888888u);
}

// A lane's values, eight codes in a word.
template <int kItems>
__device__ __forceinline__ Vec<uint32_t, kItems / 8> encode_fp4_of_bf16(
    const Vec<uint32_t, kItems / 2>& pairs, float factor) {
  static_assert(kItems % 8 == 0);
  Vec<uint32_t, kItems / 8> words;
#pragma unroll
  for (int w = 0; w < kItems / 8; ++w) {
    const uint32_t* first = pairs.values + 4 * w;
    words.values[w] = fp4_encode_8_of_bf16({first[0], first[1], first[2], first[3]}, factor);
  }
  return words;
}

}  // namespace wavejit
