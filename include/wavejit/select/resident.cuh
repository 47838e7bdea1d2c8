// The k largest of a row that fits in the registers of one block or of a cluster of blocks: digit
// after digit of the keys, until all that have the last digit are wanted or no digit is left. Of
// those that are equal then, the lowest columns. No block waits for another unless they run as a
// cluster.
#pragma once
#include <wavejit/select/cluster.cuh>
#include <wavejit/select/row.cuh>

namespace wavejit {

template <int kThreads, int kItems, int kBlocks>
struct ResidentSelect {
  static constexpr uint32_t kPart = kThreads * kItems;  // columns of a block
  static constexpr int kWords = kPart / kWordBits;
  static constexpr int kPasses = 3;
  static constexpr int kMost = 2048;
  static_assert(kItems % 4 == 0 && kWords <= kThreads);

  // In a cluster others may still read the last pass's histogram.
  Histogram<kThreads> histograms[kBlocks > 1 ? kPasses : 1];
  ClusterSearch<kThreads, kBlocks> search;
  uint32_t larger[kWords];
  uint32_t equal[kWords];
  uint32_t order[kMost];

  // What the keys are compared with: all beyond `key >> shift` are selected, and `wanted` of those
  // that have it. `above` and `inside` count both in each block.
  struct Bar {
    uint32_t key = 0;
    int shift = 0;
    uint32_t wanted = 0;
    uint32_t above[kBlocks] = {};
    uint32_t inside[kBlocks] = {};
  };

  __device__ __forceinline__ static uint32_t column_of(int vector) {
    return (static_cast<uint32_t>(vector) * kThreads + thread_x()) * 4;
  }

  __device__ __forceinline__ Bar find(const uint32_t (&keys)[kItems], uint32_t k) {
    constexpr int kShifts[kPasses] = {21, 10, 0};
    Bar bar;
    bar.wanted = k;
    uint32_t digits_left = 0xffffffffu;  // the mask of the digit and those below
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      Histogram<kThreads>& histogram = histograms[kBlocks > 1 ? pass : 0];
      bar.shift = kShifts[pass];
#pragma unroll
      for (int i = 0; i < kItems; ++i) {
        const bool candidate = pass == 0 ? keys[i] != 0 : (keys[i] ^ bar.key) <= digits_left;
        if (candidate) histogram.count((keys[i] & digits_left) >> bar.shift);
      }
      sync_block();
      Digit digit;
      if constexpr (kBlocks > 1) {
        digit = search.take(histogram, bar.wanted, bar.above, bar.inside);
      } else {
        digit = histogram.take(bar.wanted);
      }
      bar.key |= digit.digit << bar.shift;
      bar.wanted -= digit.above;
      if (digit.inside == bar.wanted) break;  // all of them
      digits_left = (1u << bar.shift) - 1;
    }
    return bar;
  }

  // Marks what is larger than the bar and what has its digits; a barrier must follow.
  __device__ __forceinline__ void mark(const uint32_t (&keys)[kItems], const Bar& bar) {
    const uint32_t level = bar.key >> bar.shift;
#pragma unroll
    for (int v = 0; v < kItems / 4; ++v) {
      const uint32_t column = column_of(v);
      uint32_t larger_bits = 0;
      uint32_t equal_bits = 0;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const uint32_t mine = keys[4 * v + i] >> bar.shift;
        larger_bits |= static_cast<uint32_t>(mine > level) << i;
        equal_bits |= static_cast<uint32_t>(mine == level) << i;
      }
      if (larger_bits) atomic_or(&larger[column / kWordBits], larger_bits << column % kWordBits);
      if (equal_bits) atomic_or(&equal[column / kWordBits], equal_bits << column % kWordBits);
    }
  }

  // The selected columns of this block in ascending order, relative to its part; how many there are
  // and the place of the first one in the row's results.
  __device__ __forceinline__ uint32_t list(const Bar& bar, unsigned rank, uint32_t& first) {
    uint32_t larger_before = 0;
    uint32_t equal_before = 0;
#pragma unroll
    for (unsigned r = 0; r < kBlocks; ++r) {
      larger_before += r < rank ? bar.above[r] : 0;
      equal_before += r < rank ? bar.inside[r] : 0;
    }
    const auto limited = [&bar](uint32_t count) { return count < bar.wanted ? count : bar.wanted; };
    first = larger_before + limited(equal_before);

    const bool owns = thread_x() < kWords;
    uint32_t bits = owns ? larger[thread_x()] : 0;
    uint32_t ties = owns ? equal[thread_x()] : 0;
    const uint32_t mine = static_cast<uint32_t>(__builtin_popcount(bits)) |
                          static_cast<uint32_t>(__builtin_popcount(ties)) << 16;
    uint32_t total;
    const uint32_t before = block_inclusive_scan<Sum>(mine, 0u, total, histograms[0].scan) - mine;
    const uint32_t ties_before = equal_before + (before >> 16);
    const uint32_t taken = limited(ties_before + (mine >> 16)) - limited(ties_before);
    if (taken == mine >> 16) {
      bits |= ties;
    } else {
      for (uint32_t i = 0; i < taken; ++i, ties &= ties - 1) bits |= ties & (0u - ties);
    }
    uint32_t to = larger_before + (before & 0xffffu) + limited(ties_before) - first;
    for (; bits; bits &= bits - 1) {
      order[to++] = thread_x() * kWordBits + lowest_bit(bits);
    }
    return larger_before + (total & 0xffffu) + limited(equal_before + (total >> 16)) - first;
  }

  // A window of at most kBlocks * kPart columns. Every lane of the cluster calls it. False, and
  // nothing is done, where it has no more than k.
  __device__ __forceinline__ bool run(const TopkParams& p, TopkRow& row, int64_t index,
                                      unsigned rank) {
    const uint32_t base = rank * kPart;
    constexpr uint32_t kStep = 4 * kThreads;
    Vec<float, 4> scores[kItems / 4];
    if (p.eager) {
      row.load(scores, base + column_of(0), kStep, row.columns, base + kPart <= row.columns);
      row.measure(p, index);
    } else {
      row.measure(p, index);
      row.load(scores, base + column_of(0), kStep, row.count, base + kPart <= row.count);
    }
    for (auto& histogram : histograms) histogram.clear();
    if (thread_x() < kWords) larger[thread_x()] = equal[thread_x()] = 0;
    if (row.count <= static_cast<uint32_t>(p.k)) return false;
    sync_block();
    uint32_t keys[kItems];
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      const bool real = base + column_of(i / 4) + i % 4 < row.count;
      keys[i] = real ? ordered_key(scores[i / 4].values[i % 4]) : 0;  // no number has the key 0
    }
    const Bar bar = find(keys, static_cast<uint32_t>(p.k));
    if constexpr (kBlocks > 1) arrive_at_cluster();  // nothing of the others is read any more
    mark(keys, bar);
    sync_block();
    uint32_t first;
    const uint32_t count = list(bar, rank, first);
    sync_block();
    for (uint32_t i = thread_x(); i < count; i += kThreads) {
      row.store(p, static_cast<int>(first + i), base + order[i]);
    }
    if constexpr (kBlocks > 1) wait_for_cluster();
    return true;
  }
};

}  // namespace wavejit
