// Rotation of adjacent pairs (interleaved, GPT-J's form): dims 2j and 2j+1 by the angle of pair j.
//   forward  (a, b) -> (a*c - b*s, a*s + b*c)
//   inverse  (a, b) -> (a*c + b*s, b*c - a*s)
// Two products, each rounded, and one sum: no fused operation, so that other code can do the same.
// A table's row is cos, sin, cos, sin, ... of pairs 0, 1, ...: as many fp32 as rotated dims.
#pragma once
#include <wavejit/core/integers.cuh>
#include <wavejit/core/tile.cuh>

namespace wavejit {

// The nearest position that a table of at most 2^32 rows has, the last of which is `last`; in
// operations of 32 bits.
__device__ __forceinline__ uint32_t clamp_position(const FetchedInteger& position, uint32_t last) {
  const uint32_t high = position.above();
  const uint32_t inside = position.low < last ? position.low : last;
  return high == 0 ? inside : static_cast<int32_t>(high) < 0 ? 0 : last;
}

// `angles` is the part of the table's row with the dims of the tile.
template <int kItems>
__device__ __forceinline__ Tile<kItems> rotate(const Tile<kItems>& x, const Tile<kItems>& angles) {
  static_assert(kItems % 2 == 0);
  Tile<kItems> out;
#pragma unroll
  for (int i = 0; i < kItems; i += 2) {
    const float a = x.values[i], b = x.values[i + 1];
    const float c = angles.values[i], s = angles.values[i + 1];
    const float ac = a * c, bs = b * s, as = a * s, bc = b * c;
    out.values[i] = ac - bs;
    out.values[i + 1] = as + bc;
  }
  return out;
}

}  // namespace wavejit
