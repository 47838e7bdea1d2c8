// A group of dims that share one scale, quantised by the lanes that hold it in registers: each lane
// kItems consecutive dims, a group's lanes side by side. A maximum has no order, so the bytes do not
// depend on how many lanes share the group.
//   UE8M0   s = max(floor, amax) / fp8_max rounded to fp32; e = the least with 2^(e-127) >= s;
//           q = fp8(x * 2^(127-e)); e is at most 253, which only an infinity reaches
//   fp32    s as above with amax at most the largest finite fp32; q = fp8(x * (1 / s)), both divisions
//           rounded to fp32
// A NaN is no part of amax. It becomes +fp8_max, or the NaN code where the rules keep it; infinities
// become the largest magnitude; neither touches another element.
#pragma once
#include <wavejit/core/math.cuh>
#include <wavejit/core/tile.cuh>
#include <wavejit/core/warp.cuh>
#include <wavejit/num/fp8_utils.cuh>

namespace wavejit {

enum class NanRule { kMax, kCode };

// What a store needs beside the layout, as an instance block:
//   struct Rules {
//     static constexpr float kAmaxFloor = 1e-04f;
//     static constexpr int kFp8Max = 448;
//     static constexpr NanRule kNan = NanRule::kMax;
//   };

__device__ __forceinline__ float magnitude(float value) {
  return bit_cast<float>(bit_cast<uint32_t>(value) & 0x7fffffffu);
}

// For values that are no NaN and not below +0.
struct Larger {
  __device__ __forceinline__ static float combine(float a, float b) { return maximum(a, b); }
};

// The largest magnitude in the group of kLanes lanes, 0 where all are NaN.
template <int kLanes, int kItems>
__device__ __forceinline__ float group_amax(const Tile<kItems>& tile, Site at = Site::here()) {
  float top = 0.0f;
#pragma unroll
  for (int i = 0; i < kItems; ++i) top = maximum(top, magnitude(tile.values[i]));
  return reduce<Larger, kLanes, 1>(top, at);
}

// The biased exponent e of the scale for the magnitude `top` > 0, without a division: fp8_max is
// 1.75 or 1.875 times 2^k, so top / fp8_max rounds to a power of two only where top's own fraction
// is not above .75 or .875; that rounding never crosses one is in tests/ops/test_store_cache.py.
template <int kFp8Max>
__device__ __forceinline__ uint32_t ue8m0_of_amax(float top) {
  static_assert(kFp8Max == 448 || kFp8Max == 240 || kFp8Max == 224);
  constexpr uint32_t kUp = kFp8Max == 240 ? 0x0fffffu : 0x1fffffu;  // carries a larger fraction
  constexpr uint32_t kExponent = kFp8Max == 448 ? 8 : 7;
  const uint32_t bits = bit_cast<uint32_t>(top);
  return bits == 0x7f800000u ? 253u : (bits + kUp >> 23) - kExponent;
}

// 2^(e-127) for every byte e: 2^-127 is subnormal and 255 stands for infinity.
__device__ __forceinline__ float ue8m0_value(uint32_t e) {
  return bit_cast<float>(e == 0 ? 0x00400000u : e << 23);
}

// The scale of a group, what its values are multiplied by, and what is stored of it.
struct GroupScale {
  float factor;
  uint32_t bits;
};

template <bool kFloatScale, class Rules>
__device__ __forceinline__ GroupScale group_scale(float amax) {
  const float top = maximum(amax, Rules::kAmaxFloor);
  if constexpr (kFloatScale) {
    const float scale = minimum(top, 0x1.fffffep+127f) / static_cast<float>(Rules::kFp8Max);
    return {1.0f / scale, bit_cast<uint32_t>(scale)};
  } else {
    const uint32_t e = ue8m0_of_amax<Rules::kFp8Max>(top);
    return {bit_cast<float>((254u - e) << 23), e};
  }
}

template <Fp8 kFlavour, class Rules>
__device__ __forceinline__ uint32_t encode(float value) {
  constexpr float kMax = static_cast<float>(Rules::kFp8Max);
  if constexpr (Rules::kNan == NanRule::kCode) {
    if (value != value) return kFlavour == Fp8::kFn ? 0x7fu : 0x80u;
  }
  if constexpr (kMax < fp8_max<kFlavour>) value = maximum(minimum(value, kMax), -kMax);
  return fp8_encode<kFlavour>(value);
}

// The codes of a lane's values, four in a word, the first in the low byte.
template <Fp8 kFlavour, class Rules, int kItems>
__device__ __forceinline__ Vec<uint32_t, kItems / 4> encode_tile(const Tile<kItems>& tile,
                                                                 float factor) {
  static_assert(kItems % 4 == 0);
  Vec<uint32_t, kItems / 4> words;
#pragma unroll
  for (int w = 0; w < kItems / 4; ++w) {
    words.values[w] = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float value = tile.values[4 * w + i] * factor;
      words.values[w] |= encode<kFlavour, Rules>(value) << 8 * i;
    }
  }
  return words;
}

template <Fp8 kFlavour, int kItems>
__device__ __forceinline__ Tile<kItems> decode_tile(const Vec<uint32_t, kItems / 4>& words,
                                                    float scale) {
  Tile<kItems> tile;
#pragma unroll
  for (int i = 0; i < kItems; ++i) {
    const uint32_t code = words.values[i / 4] >> 8 * (i % 4) & 0xffu;
    tile.values[i] = fp8_decode<kFlavour>(static_cast<uint8_t>(code)) * scale;
  }
  return tile;
}

}  // namespace wavejit
