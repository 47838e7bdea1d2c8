// Places in the order of columns for bits that the lanes of a group have: bit 4 * v + i is that of
// column i of the lane's vector v, and the vectors v of all lanes come before the vectors v + 1.
#pragma once
#include <wavejit/core/warp.cuh>

namespace wavejit {

template <int kItems>
struct Places {
  static constexpr int kWords = kItems > 16 ? 2 : 1;
  uint32_t before[kWords];  // a byte a vector: bits of the lanes before this one
  uint32_t totals[kWords];  // of all lanes; at most 128 a vector

  __device__ __forceinline__ explicit Places(uint32_t bits, Site at = Site::here()) {
    uint32_t counts[2] = {static_cast<uint32_t>(__builtin_popcount(bits)), 0};
    if constexpr (kItems > 4) {
      bits -= bits >> 1 & 0x55555555u;
      bits = (bits & 0x33333333u) + (bits >> 2 & 0x33333333u);
      counts[0] = bits & 0x0f0f0f0fu;
      counts[1] = bits >> 4 & 0x0f0f0f0fu;
      if constexpr (kWords == 1) counts[0] |= counts[1] << 16;
    }
#pragma unroll
    for (int w = 0; w < kWords; ++w) {
      const uint32_t up_to = inclusive_scan<Sum>(counts[w], at);
      totals[w] = broadcast(up_to, kGroupSize - 1, at);
      before[w] = up_to - counts[w];
    }
  }

  __device__ __forceinline__ static uint32_t of(const uint32_t (&words)[kWords], int vector) {
    const int word = kWords == 2 ? vector % 2 : 0;
    const int byte = vector / 2 + (kWords == 2 ? 0 : vector % 2 * 2);
    return words[word] >> 8 * byte & 0xffu;
  }
  // Of all vectors and lanes.
  __device__ __forceinline__ uint32_t total() const {
    uint32_t sum = 0;
#pragma unroll
    for (int v = 0; v < kItems / 4; ++v) sum += of(totals, v);
    return sum;
  }
  // One more in a vector; `is_before`: in a lane before this one. `vector` is the same in all
  // lanes.
  __device__ __forceinline__ void add(uint32_t vector, bool is_before) {
    static_assert(kWords == 1);
    const uint32_t one = 1u << 8 * (vector / 2 + vector % 2 * 2);
    totals[0] += one;
    if (is_before) before[0] += one;
  }
  // Calls each(bit, place) for the bits of this lane; `first` is the first place of the group. What
  // comes back is the place behind its last one.
  template <class Each>
  __device__ __forceinline__ uint32_t visit(uint32_t bits, uint32_t first, Each each) const {
#pragma unroll
    for (int v = 0; v < kItems / 4; ++v) {
      uint32_t place = first + of(before, v);
#pragma unroll
      for (int i = 4 * v; i < 4 * v + 4; ++i) {
        if (bits >> i & 1) each(i, place++);
      }
      first += of(totals, v);
    }
    return first;
  }
};

}  // namespace wavejit
