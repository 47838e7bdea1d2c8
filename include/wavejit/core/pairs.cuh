// Pairs of bf16 or of fp16 that stay two in a word, compared without widening them.
#pragma once
#include <wavejit/core/tile.cuh>
#include <wavejit/platform/pairs.cuh>

namespace wavejit {

template <class T>
inline constexpr uint32_t kInfinityBits = is_bfloat16<T> ? 0x7f80u : 0x7c00u;

// One bound for both halves.
template <class T>
__device__ __forceinline__ uint32_t pair_of(float bound) {
  return static_cast<uint32_t>(from_float<T>(bound).bits) * 0x10001u;
}

namespace pairs {
__device__ __forceinline__ uint32_t half(uint32_t pair, int i) { return pair >> 16 * i & 0xffffu; }
// The value, unless it is a number of the bound's sign and beyond it.
template <class T>
__device__ __forceinline__ uint32_t half_within(uint32_t value, uint32_t bound) {
  const bool same_sign = (value & 0x8000u) == (bound & 0x8000u);
  const bool is_nan = (value & 0x7fffu) > kInfinityBits<T>;
  return same_sign && !is_nan && value > bound ? bound : value;
}
__device__ __forceinline__ uint32_t or_if_nan(uint32_t value, uint32_t other) {
  return (value & 0x7fffu) > kInfinityBits<bfloat16> ? other : value;
}
}  // namespace pairs

// The values, but at most the bounds, which are above 0; a NaN stays one.
template <class T>
__device__ __forceinline__ uint32_t pair_at_most(uint32_t pair, uint32_t bounds) {
  if constexpr (platform::kHasPairs) {
    return platform::pair_minimum<is_bfloat16<T>>(pair, bounds);
  } else {
    return pairs::half_within<T>(pairs::half(pair, 0), pairs::half(bounds, 0)) |
           pairs::half_within<T>(pairs::half(pair, 1), pairs::half(bounds, 1)) << 16;
  }
}
// At least the bounds, which are below 0.
template <class T>
__device__ __forceinline__ uint32_t pair_at_least(uint32_t pair, uint32_t bounds) {
  if constexpr (platform::kHasPairs) {
    return platform::pair_maximum<is_bfloat16<T>>(pair, bounds);
  } else {
    return pairs::half_within<T>(pairs::half(pair, 0), pairs::half(bounds, 0)) |
           pairs::half_within<T>(pairs::half(pair, 1), pairs::half(bounds, 1)) << 16;
  }
}

// Of each half the larger magnitude, with any sign; a NaN is larger than every number.
template <class T>
__device__ __forceinline__ uint32_t pair_larger_magnitude(uint32_t a, uint32_t b) {
  if constexpr (platform::kHasPairs) {
    return platform::pair_larger_magnitude<is_bfloat16<T>>(a, b);
  } else {
    const uint32_t low = pairs::half(a, 0) & 0x7fffu, high = pairs::half(a, 1) & 0x7fffu;
    const uint32_t other_low = pairs::half(b, 0) & 0x7fffu;
    const uint32_t other_high = pairs::half(b, 1) & 0x7fffu;
    return (low > other_low ? low : other_low) | (high > other_high ? high : other_high) << 16;
  }
}

// Of each half of two pairs of bf16 the larger magnitude, with any sign; a NaN is less than every
// number.
__device__ __forceinline__ uint32_t bf16_pair_larger_number(uint32_t a, uint32_t b) {
  if constexpr (platform::kHasPairs) {
    return platform::pair_larger_number<true>(a, b);
  } else {
    uint32_t larger = 0;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const uint32_t first = pairs::or_if_nan(pairs::half(a, i) & 0x7fffu, 0);
      const uint32_t second = pairs::or_if_nan(pairs::half(b, i) & 0x7fffu, 0);
      larger |= (first > second ? first : second) << 16 * i;
    }
    return larger;
  }
}
// Pairs of bf16, at most the bounds, which are above 0; a NaN becomes the bound.
__device__ __forceinline__ uint32_t bf16_pair_number_at_most(uint32_t pair, uint32_t bounds) {
  if constexpr (platform::kHasPairs) {
    return platform::pair_lesser_number<true>(pair, bounds);
  } else {
    const uint32_t least = pair_at_most<bfloat16>(pair, bounds);
    return pairs::or_if_nan(pairs::half(least, 0), pairs::half(bounds, 0)) |
           pairs::or_if_nan(pairs::half(least, 1), pairs::half(bounds, 1)) << 16;
  }
}
// Two bf16 times two powers of two, none of which is subnormal. Exact but for a product that is
// subnormal: it keeps its sign and may become 0.
__device__ __forceinline__ uint32_t bf16_pair_times_powers(uint32_t pair, uint32_t powers) {
  if constexpr (platform::kHasPairs) {
    return platform::pair_product<true>(pair, powers);
  } else {
    const Tile<2> x = widen(bit_cast<Vec<bfloat16, 2>>(pair));
    const Tile<2> by = widen(bit_cast<Vec<bfloat16, 2>>(powers));
    return to_bfloat16_2(x.values[0] * by.values[0], x.values[1] * by.values[1]);
  }
}

// Has bit 15 or 31 set, kBeyond, where that half's magnitude is no number up to the bound.
inline constexpr uint32_t kBeyond = 0x80008000u;
template <class T>
__device__ __forceinline__ uint32_t magnitude_beyond(uint32_t pair, float bound) {
  return (pair & ~kBeyond) + (0x7fff7fffu - pair_of<T>(bound));
}

}  // namespace wavejit
