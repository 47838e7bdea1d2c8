// A group of dims that share one scale, quantised by the lanes that hold it in registers: each lane
// kItems consecutive dims, a group's lanes side by side. A maximum has no order, so the bytes do
// not depend on how many lanes share the group.
//   UE8M0   s = max(floor, amax) / max of the codes, rounded to fp32; e = the least with 2^(e-127)
//   >= s;
//           q = code of x * 2^(127-e); e is at most 253, which only an infinity reaches
//   fp32    s as above with amax at most the largest finite fp32; q = code of x * (1 / s), both
//           divisions rounded to fp32
// A NaN is no part of amax. It becomes +max, or the NaN code where the rules keep it; infinities
// become the largest magnitude; neither touches another element.
#pragma once
#include <wavejit/core/math.cuh>
#include <wavejit/core/tile.cuh>
#include <wavejit/core/warp.cuh>
#include <wavejit/num/fp4.cuh>
#include <wavejit/num/fp8_utils.cuh>
#include <wavejit/num/ue8m0.cuh>

namespace wavejit {

// What quantisation needs beside the flavour, as an instance block:
//   struct Rules {
//     static constexpr float kAmaxFloor = 1e-04f;
//     static constexpr int kFp8Max = 448;  // kFp4Max for e2m1
//     static constexpr NanRule kNan = NanRule::kMax;
//   };

__device__ __forceinline__ float magnitude(float value) { return __builtin_fabsf(value); }

// For values that are no NaN and not below +0.
struct Larger {
  __device__ __forceinline__ static float combine(float a, float b) { return maximum(a, b); }
};

// The largest magnitude in a lane's tile, 0 where all are NaN.
template <int kItems>
__device__ __forceinline__ float lane_amax(const Tile<kItems>& tile) {
  float top = 0.0f;
#pragma unroll
  for (int i = 0; i < kItems; ++i) top = maximum(top, magnitude(tile.values[i]));
  return top;
}
// And in the group of kLanes lanes.
template <int kLanes, Together kWho = Together::kGroup, int kItems>
__device__ __forceinline__ float group_amax(const Tile<kItems>& tile, Site at = Site::here()) {
  const float top = lane_amax(tile);
  if constexpr (platform::kHasWaveMaximum && kWho == Together::kWave &&
                2 * kLanes >= arch::kWaveSize) {
    return bit_cast<float>(platform::largest_word<kLanes>(bit_cast<uint32_t>(top)));  // not below 0
  } else {
    return reduce<Larger, kLanes, 1, kWho>(top, at);
  }
}

// The same where a NaN among the values wins. On machines that compare so in one instruction
// (kNanIsQuick), codes can be made without looking at each value for one: is there none in the
// group, NanRule::kCode gives the same codes.
struct LargerOrNan {
  __device__ __forceinline__ static float combine(float a, float b) {
    return platform::maximum_or_nan(a, b);
  }
};
template <int kItems>
__device__ __forceinline__ float lane_amax_or_nan(const Tile<kItems>& tile) {
  float top = 0.0f;
#pragma unroll
  for (int i = 0; i < kItems; ++i) {
    top = platform::maximum_or_nan(top, magnitude(tile.values[i]));
  }
  return top;
}
template <class Rules>
struct WithoutNan : Rules {
  static constexpr NanRule kNan = NanRule::kCode;
};

// The scale of a group: what its values are multiplied by, and what is stored of it (the byte, or
// the bits of the fp32).
struct GroupScale {
  float factor;
  uint32_t bits;
};

template <bool kFloatScale, class Rules>
__device__ __forceinline__ GroupScale group_scale(float amax) {
  const float top = maximum(amax, Rules::kAmaxFloor);
  if constexpr (kFloatScale) {
    const float scale = divided_by<Rules::kFp8Max>(minimum(top, 0x1.fffffep+127f));
    return {reciprocal(scale), bit_cast<uint32_t>(scale)};
  } else {
    const uint32_t e = ue8m0_of_amax<Rules::kFp8Max>(top);
    return {ue8m0_inverse(e), e};
  }
}

// The codes of a lane's values, four in a word, the first in the low byte.
template <Fp8 kFlavour, class Rules, int kItems>
__device__ __forceinline__ Vec<uint32_t, kItems / 4> encode_tile(const Tile<kItems>& tile,
                                                                 float factor) {
  static_assert(kItems % 4 == 0);
  Vec<uint32_t, kItems / 4> words;
#pragma unroll
  for (int w = 0; w < kItems / 4; ++w) {
    const float* x = tile.values + 4 * w;
    words.values[w] = fp8_encode_4<kFlavour, Rules::kFp8Max, Rules::kNan>(
        x[0] * factor, x[1] * factor, x[2] * factor, x[3] * factor);
  }
  return words;
}

template <Fp8 kFlavour, int kItems>
__device__ __forceinline__ Tile<kItems> decode_tile(const Vec<uint32_t, kItems / 4>& words,
                                                    float scale) {
  Tile<kItems> tile;
#pragma unroll
  for (int i = 0; i < kItems; i += 4) {
    const Vec<float, 4> part = fp8_decode_4<kFlavour>(words.values[i / 4]);
#pragma unroll
    for (int k = 0; k < 4; ++k) tile.values[i + k] = part.values[k] * scale;
  }
  return tile;
}

// The e2m1 codes of a lane's values, eight in a word, the first in the lowest four bits.
template <int kItems>
__device__ __forceinline__ Vec<uint32_t, kItems / 8> encode_fp4_tile(const Tile<kItems>& tile,
                                                                     float factor) {
  static_assert(kItems % 8 == 0);
  Vec<uint32_t, kItems / 8> words;
#pragma unroll
  for (int w = 0; w < kItems / 8; ++w) {
    Vec<float, 8> scaled;
#pragma unroll
    for (int i = 0; i < 8; ++i) scaled.values[i] = tile.values[8 * w + i] * factor;
    words.values[w] = fp4_encode_8(scaled);
  }
  return words;
}

// Of four values: half a word.
__device__ __forceinline__ uint16_t encode_fp4_half(const Tile<4>& tile, float factor) {
  uint32_t half = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) half |= fp4_encode(tile.values[i] * factor) << 4 * i;
  return static_cast<uint16_t>(half);
}

template <int kItems>
__device__ __forceinline__ Tile<kItems> decode_fp4_tile(const Vec<uint32_t, kItems / 8>& words,
                                                        float scale) {
  Tile<kItems> tile;
#pragma unroll
  for (int i = 0; i < kItems; ++i) {
    tile.values[i] = fp4_decode(words.values[i / 8] >> i % 8 * 4) * scale;
  }
  return tile;
}

}  // namespace wavejit
