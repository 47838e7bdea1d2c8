// Blocks that work on one thing and let the last of them to begin finish it: that one alone waits,
// and only for blocks that run, so it does not matter in what order, or how many at a time, a
// machine runs its blocks. What they hand over are numbers that say themselves whether they have
// come.
#pragma once
#include <wavejit/core/tile.cuh>

namespace wavejit {

// In a place that waits for a number: the bits of a NaN that no arithmetic here makes. And in a
// counter that nobody has arrived at.
inline constexpr uint32_t kNotCome = ~uint32_t{0};

__device__ __forceinline__ void hand_over(float* place, float number) {
  platform::publish(reinterpret_cast<uint32_t*>(place), bit_cast<uint32_t>(number));
}
// Four places as they are now, on their way from here on.
using HandedWords = Vec<uint32_t, 4>;
__device__ __forceinline__ HandedWords look_at(const float* places) {
  HandedWords words;
  platform::observe(reinterpret_cast<const uint32_t*>(places), words.values);
  return words;
}
// The numbers in four places that somebody runs to fill, first seen as `words`; the places wait
// again afterwards. One lane takes them.
__device__ __forceinline__ Tile<4> take_over(float* places, HandedWords words) {
  while ((words.values[0] == kNotCome || words.values[1] == kNotCome ||
          words.values[2] == kNotCome || words.values[3] == kNotCome) &&
         platform::others_go_on()) {
    words = look_at(places);
  }
  *reinterpret_cast<HandedWords*>(places) = {{kNotCome, kNotCome, kNotCome, kNotCome}};
  return widen(bit_cast<Vec<float, 4>>(words));
}

// Whether this block is the last of `count` to arrive at `counter`, which waits again afterwards.
// One lane of each calls it, early: what the blocks hand over comes later.
__device__ __forceinline__ bool arrives_last(uint32_t* counter, uint32_t count) {
  const bool is_last = platform::fetch_add(counter, 1) - kNotCome == count - 1;
  if (is_last) *counter = kNotCome;
  return is_last;
}

}  // namespace wavejit
