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
inline constexpr uint32_t kLeastKey = 0x007fffffu;  // of -inf
// The score of a key.
__device__ __forceinline__ float score_of(uint32_t key) {
  const uint32_t sign = static_cast<uint32_t>(static_cast<int32_t>(~key) >> 31);
  return bit_cast<float>(key ^ (sign | 0x80000000u));
}
// Comparable scores are larger than this one if and only if their keys are larger than `key`; those
// of no score are below -inf.
__device__ __forceinline__ float largest_until(uint32_t key) {
  return score_of(key - (key == 0x7fffffffu));  // of -0, which is nobody's
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

// The first digit grows with the score and has 64 steps an octave from 2^-16 to 2^16, so that
// scores of a few neighbouring octaves still spread over many bins: few meet in an atomic, and few
// share the digit that is looked for.
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
  static constexpr unsigned kGroups = kThreads / kGroupSize;
  static constexpr unsigned kRow = 4 * kGroupSize;  // digits that a group looks at together
  static constexpr unsigned kAllRows = kBins / kRow;
  static constexpr unsigned kRows = kAllRows / kGroups;  // of a group
  static_assert(kAllRows == kGroupSize && kRows * kGroups == kAllRows);
  using Four = Vec<uint32_t, 4>;

  alignas(16) uint32_t counts[kBins];
  uint32_t totals[kAllRows];
  Digit found;

  // A barrier must follow before the first count.
  __device__ __forceinline__ void clear() {
#pragma unroll
    for (unsigned i = 0; i < kRows; ++i) {
      reinterpret_cast<Four*>(counts)[i * kThreads + thread_x()] = Four{};
    }
  }
  __device__ __forceinline__ void count(uint32_t digit) { atomic_add(&counts[digit], 1); }

  // The four digits of a lane in a row; row 0 and lane 0 have the largest ones.
  __device__ __forceinline__ static uint32_t first_digit(unsigned row) {
    return kBins - row * kRow - (lane_in_group() + 1) * 4;
  }
  __device__ __forceinline__ const Four* four(unsigned row) const {
    return reinterpret_cast<const Four*>(counts + first_digit(row));
  }
  // Calls each(row, total) for the rows of the group.
  template <class Each>
  __device__ __forceinline__ void visit_totals(Each each, Site at = Site::here()) const {
    const unsigned first = thread_x() / kGroupSize * kRows;
    Four mine[kRows];  // all are read before the first sum waits for one
#pragma unroll
    for (unsigned i = 0; i < kRows; ++i) mine[i] = *four(first + i);
    uint32_t sums[kRows];
#pragma unroll
    for (unsigned i = 0; i < kRows; ++i) {
      const uint32_t (&v)[4] = mine[i].values;
      sums[i] = v[0] + v[1] + v[2] + v[3];
    }
#pragma unroll
    for (unsigned i = 0; i < kRows; ++i) each(first + i, sum_in_group(sums[i], at));
  }
  // The row at which the totals, one a lane, reach what is wanted; `above` is before it. It is
  // kAllRows if they do not.
  __device__ __forceinline__ static unsigned row_of(uint32_t mine, uint32_t wanted, uint32_t& above,
                                                    Site at = Site::here()) {
    const uint32_t up_to = inclusive_scan<Sum>(mine, at);
    const unsigned row = static_cast<unsigned>(count_lanes(up_to < wanted, at));
    above = broadcast(up_to - mine, static_cast<int>(row % kGroupSize), at);
    return row;
  }
  // The lane that has the digit among its four writes it to `found`. All lanes of a group call it.
  __device__ __forceinline__ void find_in_row(unsigned row, const Four& mine, uint32_t above,
                                              uint32_t wanted, Site at = Site::here()) {
    const uint32_t sum = mine.values[0] + mine.values[1] + mine.values[2] + mine.values[3];
    above += inclusive_scan<Sum>(sum, at) - sum;
    if (above >= wanted || wanted > above + sum) return;
    Digit digit{first_digit(row) + 3, above, mine.values[3]};
#pragma unroll
    for (int i = 2; i >= 0; --i) {
      above += mine.values[i + 1];
      if (wanted > above) digit = {first_digit(row) + i, above, mine.values[i]};
    }
    found = digit;
  }

  // Every lane of the block calls it, behind a barrier; 0 < wanted <= the sum of all counts.
  __device__ __forceinline__ Digit find(uint32_t wanted, Site at = Site::here()) {
    const unsigned group = thread_x() / kGroupSize;
    visit_totals(
        [&](unsigned row, uint32_t total) {
          if (lane_in_group() == 0) totals[row] = total;
        },
        at);
    sync_block(at);
    uint32_t above;
    const unsigned row = row_of(totals[lane_in_group()], wanted, above, at);
    if (row / kRows == group) find_in_row(row, *four(row), above, wanted, at);
    sync_block(at);
    return found;
  }
};

}  // namespace wavejit
