// Groups with a scale that is a power of two (num/quantise.cuh) whose values are bf16, two in a
// word: the same codes and scales in fewer instructions where the machine has them for pairs.
#pragma once
#include <wavejit/core/pairs.cuh>
#include <wavejit/num/quantise.cuh>

namespace wavejit {

// Of pairs whose signs are anything.
struct LargerInPairs {
  __device__ __forceinline__ static uint32_t combine(uint32_t a, uint32_t b) {
    return bf16_pair_larger_number(a, b);
  }
};

// The values rounded to bf16; a NaN becomes any NaN, which all that follows takes for the same.
template <int kItems>
__device__ __forceinline__ Vec<uint32_t, kItems / 2> rounded_pairs(const Tile<kItems>& tile) {
  Vec<uint32_t, kItems / 2> pairs;
#pragma unroll
  for (int i = 0; i < kItems / 2; ++i) {
    pairs.values[i] = to_bfloat16_2_or_nan(tile.values[2 * i], tile.values[2 * i + 1]);
  }
  return pairs;
}

// A pair with the largest magnitudes of a lane's even and odd values.
template <int kWords>
__device__ __forceinline__ uint32_t lane_amax_pair(const Vec<uint32_t, kWords>& pairs) {
  uint32_t top = pairs.values[0];
#pragma unroll
  for (int i = 1; i < kWords; ++i) top = bf16_pair_larger_number(top, pairs.values[i]);
  return top;
}
// The larger of both; a NaN where neither is a number, which every floor is larger than.
__device__ __forceinline__ float amax_of_pair(uint32_t top) {
  return maximum(bit_cast<float>(top << 16 & 0x7fff0000u), bit_cast<float>(top & 0x7fff0000u));
}

// A factor in both halves.
__device__ __forceinline__ uint32_t factor_pair(float factor) {
  const uint32_t bits = bit_cast<uint32_t>(factor);
  return bits | bits >> 16;
}

// A product that is subnormal is far below half of the least code.
template <Fp8 kFlavour, class Rules, int kWords>
__device__ __forceinline__ Vec<uint32_t, kWords / 2> encode_pairs(
    const Vec<uint32_t, kWords>& pairs, uint32_t factors) {
  static_assert(kWords % 2 == 0);
  constexpr float kTop = static_cast<float>(Rules::kFp8Max);
  Vec<uint32_t, kWords> scaled;
#pragma unroll
  for (int i = 0; i < kWords; ++i) {
    scaled.values[i] = bf16_pair_times_powers(pairs.values[i], factors);
    if constexpr (Rules::kNan == NanRule::kMax) {
      scaled.values[i] = bf16_pair_number_at_most(scaled.values[i], pair_of<bfloat16>(kTop));
    }
  }
  const Tile<2 * kWords> x = widen(bit_cast<Vec<bfloat16, 2 * kWords>>(scaled));
  Vec<uint32_t, kWords / 2> words;
#pragma unroll
  for (int w = 0; w < kWords / 2; ++w) {
    const float* four = x.values + 4 * w;
    words.values[w] =
        fp8_encode_4<kFlavour, Rules::kFp8Max, NanRule::kCode>(four[0], four[1], four[2], four[3]);
  }
  return words;
}

}  // namespace wavejit
