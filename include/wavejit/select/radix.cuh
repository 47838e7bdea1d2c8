// Selection by digits: a histogram of one digit in shared memory, and the digit at which the counts
// from the top reach what is wanted. Counts have no order, so atomics decide nothing.
#pragma once
#include <wavejit/core/block.cuh>

namespace wavejit {

// Which is the lowest bit that is set; one is.
__device__ __forceinline__ uint32_t lowest_bit(uint32_t bits) {
  return static_cast<uint32_t>(__builtin_popcount(~bits & (bits - 1)));
}

inline constexpr int kWordBits = 32;  // columns as bits of words, whatever the wave
inline constexpr int kDigitBits = 11;
inline constexpr int kBins = 1 << kDigitBits;

// Where a search has arrived: `above` counts what has a larger digit, `inside` what has this one.
struct Digit {
  uint32_t digit;
  uint32_t above;
  uint32_t inside;
};

// The bins are 0 between two uses.
template <int kThreads>
struct Histogram {
  static constexpr int kOwn = kBins / kThreads;
  static_assert(kOwn * kThreads == kBins);
  alignas(16) uint32_t bins[kBins];
  BlockScan<uint32_t, kThreads> scan;
  Digit found;

  // A barrier must follow before the first use.
  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int i = 0; i < kOwn; ++i) bins[i * kThreads + thread_x()] = 0;
  }
  __device__ __forceinline__ void count(uint32_t digit) { atomic_add(&bins[digit], 1); }

  // The bins become the counts of their digit and all larger ones; a barrier must follow.
  __device__ __forceinline__ void accumulate(Site at = Site::here()) {
    using Own = Vec<uint32_t, kOwn>;
    const uint32_t first = kBins - (thread_x() + 1) * kOwn;
    Own own = *reinterpret_cast<Own*>(bins + first);
    uint32_t sum = 0;
#pragma unroll
    for (int i = 0; i < kOwn; ++i) sum += own.values[i];
    uint32_t total;
    uint32_t above = block_inclusive_scan<Sum>(sum, 0u, total, scan, at) - sum;
#pragma unroll
    for (int i = kOwn - 1; i >= 0; --i) {
      above += own.values[i];
      own.values[i] = above;
    }
    *reinterpret_cast<Own*>(bins + first) = own;
  }

  // Every lane of the block calls it, behind a barrier; 0 < wanted <= the sum of all bins.
  __device__ __forceinline__ Digit take(uint32_t wanted, Site at = Site::here()) {
    using Own = Vec<uint32_t, kOwn>;
    const uint32_t first = kBins - (thread_x() + 1) * kOwn;  // lane 0 has the largest digits
    const Own own = *reinterpret_cast<Own*>(bins + first);
    *reinterpret_cast<Own*>(bins + first) = Own{};
    uint32_t sum = 0;
#pragma unroll
    for (int i = 0; i < kOwn; ++i) sum += own.values[i];
    uint32_t total;
    uint32_t above = block_inclusive_scan<Sum>(sum, 0u, total, scan, at) - sum;
    if (above < wanted && wanted <= above + sum) {
#pragma unroll
      for (int i = kOwn - 1; i >= 0; --i) {
        const uint32_t inside = own.values[i];
        if (above < wanted && wanted <= above + inside) found = {first + i, above, inside};
        above += inside;
      }
    }
    sync_block(at);
    return found;
  }
};

}  // namespace wavejit
