// Counts of scores by digits of their keys in shared memory, and the digit at which the counts from
// the top reach what is wanted. Counts have no order, so atomics decide nothing.
#pragma once
#include <wavejit/core/block.cuh>

namespace wavejit {

// Which is the lowest bit that is set; one is.
__device__ __forceinline__ uint32_t lowest_bit(uint32_t bits) {
  return static_cast<uint32_t>(__builtin_popcount(~bits & (bits - 1)));
}

inline constexpr int kWordBits = 32;  // columns as bits of words, whatever the wave
inline constexpr int kBinBits = 12;
inline constexpr uint32_t kBins = 1u << kBinBits;

// A score with NaN as -inf and -0 as +0.
__device__ __forceinline__ float comparable(float score) {
  return platform::nan_as_least(score) + 0.0f;
}
// A number whose order is that of comparable scores; 0 and ~0 are nobody's.
__device__ __forceinline__ uint32_t ordered_key(float comparable) {
  const uint32_t bits = bit_cast<uint32_t>(comparable);
  return bits ^ (static_cast<uint32_t>(static_cast<int32_t>(bits) >> 31) | 0x80000000u);
}
// The score of a key.
__device__ __forceinline__ float score_of(uint32_t key) {
  const uint32_t sign = static_cast<uint32_t>(static_cast<int32_t>(~key) >> 31);
  return bit_cast<float>(key ^ (sign | 0x80000000u));
}
// Scores with their columns as one number: all different, the larger is selected first, so that
// equal scores go to the lowest column and no order of arrival matters.
__device__ __forceinline__ uint64_t candidate(uint32_t key, uint32_t column) {
  return uint64_t{key} << 32 | static_cast<uint32_t>(~column);
}
__device__ __forceinline__ uint32_t column_of(uint64_t candidate) {
  return ~static_cast<uint32_t>(candidate);
}

// Keys from `low` to `high`, both included.
template <class Key>
struct Span {
  Key low;
  Key high;
  __device__ __forceinline__ bool has(Key key) const { return key - low <= high - low; }
};

// The first digit grows with the score and has 64 steps an octave from 2^-16 to 2^16, so that scores
// of a few neighbouring octaves still spread over many bins: few meet in an atomic, and few share
// the digit that is looked for.
struct FirstDigit {
  static constexpr int kShift = 17;
  static constexpr int32_t kLeast = (127 - 16) << 23;
  static constexpr int32_t kHalf = kBins / 2;
  static constexpr int32_t kMost = (kHalf << kShift) - 1;

  __device__ __forceinline__ static uint32_t of(float comparable) {
    const int32_t bits = bit_cast<int32_t>(comparable);
    int32_t above = (bits & 0x7fffffff) - kLeast;
    above = above < kMost ? above : kMost;
    above = above > 0 ? above : 0;
    return static_cast<uint32_t>(((above >> kShift) ^ (bits >> 31)) + kHalf);
  }
  // The keys that have this digit.
  __device__ __forceinline__ static Span<uint32_t> span(uint32_t digit) {
    const bool negative = digit < kHalf;
    const int32_t step = static_cast<int32_t>(negative ? kHalf - 1 - digit : digit - kHalf);
    const uint32_t low = step == 0 ? 0 : static_cast<uint32_t>(kLeast + (step << kShift));
    const uint32_t high = step == kHalf - 1
                              ? 0x7fffffffu
                              : static_cast<uint32_t>(kLeast + ((step + 1) << kShift) - 1);
    if (negative) return {0x7fffffffu - high, 0x7fffffffu - low};
    return {0x80000000u + low, 0x80000000u + high};
  }
};

// Equal parts of a span: the digit is the part, whose keys differ in `shift` bits.
template <class Key>
struct PartDigit {
  Span<Key> all;
  int shift;

  __device__ __forceinline__ explicit PartDigit(Span<Key> span) : all(span), shift(0) {
    while ((span.high - span.low) >> shift >= kBins) ++shift;
  }
  __device__ __forceinline__ uint32_t of(Key key) const {
    return static_cast<uint32_t>((key - all.low) >> shift);
  }
  __device__ __forceinline__ Span<Key> span(uint32_t digit) const {
    const Key low = all.low + (Key{digit} << shift);
    const Key last = low + ((Key{1} << shift) - 1);
    return {low, last - all.low < all.high - all.low ? last : all.high};
  }
};

// Where a search has arrived: `above` counts what has a larger digit, `inside` what has this one.
struct Digit {
  uint32_t digit;
  uint32_t above;
  uint32_t inside;
};

template <int kThreads>
struct Bins {
  static constexpr int kOwn = kBins / kThreads;
  static constexpr unsigned kGroups = kThreads / kGroupSize;
  static_assert(kOwn % 4 == 0 && kGroups <= kGroupSize);
  using Four = Vec<uint32_t, 4>;

  alignas(16) uint32_t counts[kBins];
  uint32_t totals[kGroupSize];  // of the digits that the lanes of a group look at
  Digit found;

  // Lane 0 looks at the largest digits.
  __device__ __forceinline__ static uint32_t first_digit() {
    return kBins - (thread_x() + 1) * kOwn;
  }
  // A barrier must follow before the first count.
  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int i = 0; i < kOwn / 4; ++i) {
      reinterpret_cast<Four*>(counts)[i * kThreads + thread_x()] = Four{};
    }
  }
  __device__ __forceinline__ void count(uint32_t digit) { atomic_add(&counts[digit], 1); }

  __device__ __forceinline__ uint32_t load_own(uint32_t (&own)[kOwn]) const {
    uint32_t sum = 0;
#pragma unroll
    for (int i = 0; i < kOwn / 4; ++i) {
      const Four four = *reinterpret_cast<const Four*>(counts + first_digit() + 4 * i);
#pragma unroll
      for (int j = 0; j < 4; ++j) sum += own[4 * i + j] = four.values[j];
    }
    return sum;
  }

  // The lane that has the digit in its `own` writes it to `found`. `above` counts what the groups
  // before this one have; all lanes of this one call it.
  __device__ __forceinline__ void find_in_group(const uint32_t (&own)[kOwn], uint32_t sum,
                                                uint32_t above, uint32_t wanted,
                                                Site at = Site::here()) {
    above += inclusive_scan<Sum>(sum, at) - sum;
    if (above >= wanted || wanted > above + sum) return;
#pragma unroll
    for (int i = kOwn - 1; i >= 0; --i) {
      if (above < wanted && wanted <= above + own[i]) found = {first_digit() + i, above, own[i]};
      above += own[i];
    }
  }

  // Every lane of the block calls it, behind a barrier; 0 < wanted <= the sum of all counts.
  __device__ __forceinline__ Digit find(uint32_t wanted, Site at = Site::here()) {
    const unsigned group = thread_x() / kGroupSize;
    const unsigned lane = lane_in_group();
    uint32_t own[kOwn];
    const uint32_t sum = load_own(own);
    const uint32_t total = sum_in_group(sum, at);
    if (lane == 0) totals[group] = total;
    sync_block(at);
    const uint32_t above = sum_in_group(lane < group ? totals[lane] : 0, at);
    if (above < wanted && wanted <= above + total) find_in_group(own, sum, above, wanted, at);
    sync_block(at);
    return found;
  }
};

}  // namespace wavejit
