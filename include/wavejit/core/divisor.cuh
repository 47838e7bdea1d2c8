// Division of an index by a number that only the call knows, as a multiplication and a shift: the
// machines' own takes twenty instructions, one of them slow.
#pragma once
#include <wavejit/platform/platform.cuh>

namespace wavejit {

// With 2^(s-1) < d <= 2^s the factor is 2^(31+s) / d, rounded up: it is below 2^32, and what it is
// too large by, times n < 2^31, stays below 2^(31+s). So the quotient is exact for every such n.
struct Divisor {
  uint32_t factor;
  uint32_t shift;

  __device__ __forceinline__ uint32_t quotient(uint32_t n) const {
    return static_cast<uint32_t>((uint64_t{n} * factor) >> shift);
  }
};

// Of 0 < divisor < 2^31.
inline Divisor divisor_of(uint32_t divisor) {
  uint32_t shift = 31;
  while ((uint64_t{1} << (shift - 31)) < divisor) ++shift;
  const uint64_t power = uint64_t{1} << shift;
  return {static_cast<uint32_t>((power + divisor - 1) / divisor), shift};
}

}  // namespace wavejit
