// The k largest of a row of any length in one pass over it, by one block. What may still be
// selected waits in a buffer; when it is full, its k largest stay and their least is the bar for
// all that follows. Candidates are (key, ~column) in 64 bits: all different, the larger is selected
// first, so that equal scores go to the lowest column and no order of arrival matters.
#pragma once
#include <wavejit/select/radix.cuh>
#include <wavejit/select/row.cuh>

namespace wavejit {

inline constexpr int kMaxSelected = 2048;

__device__ __forceinline__ uint64_t candidate(uint32_t key, uint32_t column) {
  return uint64_t{key} << 32 | static_cast<uint32_t>(~column);
}
__device__ __forceinline__ uint32_t column_of(uint64_t candidate) {
  return ~static_cast<uint32_t>(candidate);
}

template <int kThreads, int kCapacity>
struct StreamSelect {
  static constexpr int kVectors = 4;
  static constexpr uint32_t kChunk = kThreads * kVectors * 4;  // scores a step
  static constexpr uint32_t kGroupStep = kGroupSize * 4;
  static_assert(kCapacity >= 2 * kMaxSelected && kThreads % kGroupSize == 0);

  uint64_t candidates[kCapacity];
  Histogram<kThreads> histogram;
  uint32_t arrivals[3];  // of the step before, this one and the next
  uint32_t kept;

  // Places in `counter` for the `mine` of each lane of the group; the first of this lane's.
  __device__ __forceinline__ static uint32_t claim(uint32_t* counter, uint32_t mine,
                                                   Site at = Site::here()) {
    const uint32_t up_to = inclusive_scan<Sum>(mine, at);
    uint32_t first = 0;
    if (lane_in_group() == kGroupSize - 1 && up_to > 0) first = atomic_add(counter, up_to);
    return broadcast(first, kGroupSize - 1, at) + up_to - mine;
  }

  // The least of the `wanted` largest of the first `count` candidates, or a number between it and
  // the next smaller one. Every lane of the block calls it, behind a barrier.
  __device__ __forceinline__ uint64_t bar_of(uint32_t count, uint32_t wanted,
                                             Site at = Site::here()) {
    constexpr int kShifts[6] = {53, 42, 32, 21, 10, 0};
    constexpr uint32_t kLast = (1u << (32 - 2 * kDigitBits)) - 1;
    uint64_t prefix = 0;
    if (thread_x() == 0) kept = 0;
    for (int pass = 0; pass < 6; ++pass) {
      const int shift = kShifts[pass];
      const uint32_t mask = pass % 3 == 2 ? kLast : kBins - 1;
      for (uint32_t i = thread_x(); i < count; i += kThreads) {
        const uint64_t each = candidates[i];
        if (pass == 0 || each >> kShifts[pass - 1] == prefix >> kShifts[pass - 1]) {
          histogram.count(static_cast<uint32_t>(each >> shift) & mask);
        }
      }
      sync_block(at);
      const Digit digit = histogram.take(wanted, at);
      prefix |= uint64_t{digit.digit} << shift;
      wanted -= digit.above;
      if (digit.inside == wanted) break;  // all of them
    }
    return prefix;
  }

  // Moves the candidates from the bar on to the front. A lane reads four before any is overwritten.
  __device__ __forceinline__ void compact(uint32_t count, uint64_t bar, Site at = Site::here()) {
    for (uint32_t strip = 0; strip < count; strip += 4 * kThreads) {
      uint64_t mine[4];
      uint32_t stays = 0;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const uint32_t place = strip + i * kThreads + thread_x();
        mine[i] = place < count ? candidates[place] : 0;
        stays += place < count && mine[i] >= bar;
      }
      sync_block(at);
      uint32_t to = claim(&kept, stays, at);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const uint32_t place = strip + i * kThreads + thread_x();
        if (place < count && mine[i] >= bar) candidates[to++] = mine[i];
      }
    }
    sync_block(at);
  }

  // Leaves the k largest of more than k scores in candidates[0..k). Every lane calls it.
  __device__ __forceinline__ void run(const TopkRow& row, uint32_t k) {
    histogram.clear();
    if (thread_x() < 3) arrivals[thread_x()] = 0;
    sync_block();
    uint64_t bar = 0;
    uint32_t stored = 0;
    uint32_t step = 0;
    for (uint32_t base = 0; base < row.count; base += kChunk) {
      const uint32_t first =
          base + thread_x() / kGroupSize * (kVectors * kGroupStep) + lane_in_group() * 4;
      Vec<float, 4> scores[kVectors];
      row.load(scores, first, kGroupStep, row.count, base + kChunk <= row.count);
      uint32_t waits = 0;
#pragma unroll
      for (int i = 0; i < 4 * kVectors; ++i) {
        if (first + i / 4 * kGroupStep + i % 4 < row.count) waits |= 1u << i;
      }
      for (;; ++step) {
#pragma unroll
        for (int i = 0; i < 4 * kVectors; ++i) {
          const uint32_t column = first + i / 4 * kGroupStep + i % 4;
          const uint64_t each = candidate(ordered_key(scores[i / 4].values[i % 4]), column);
          if (each < bar) waits &= ~(1u << i);
        }
        const uint32_t count = static_cast<uint32_t>(__builtin_popcount(waits));
        uint32_t to = stored + claim(&arrivals[step % 3], count);
#pragma unroll
        for (int i = 0; i < 4 * kVectors; ++i) {
          const uint32_t column = first + i / 4 * kGroupStep + i % 4;
          if ((waits >> i & 1) && to < kCapacity) {
            candidates[to] = candidate(ordered_key(scores[i / 4].values[i % 4]), column);
            waits &= ~(1u << i);
            ++to;
          }
        }
        if (thread_x() == 0) arrivals[(step + 1) % 3] = 0;
        sync_block();
        const uint32_t arrived = arrivals[step % 3];
        if (stored + arrived <= kCapacity) {
          stored += arrived;
          ++step;
          break;
        }
        bar = bar_of(kCapacity, k);
        compact(kCapacity, bar);
        stored = k;
      }
    }
    if (stored > k) compact(stored, bar_of(stored, k));
  }

  // Writes the columns of candidates[0..k) in ascending order: a window of bits after another.
  __device__ __forceinline__ void store(const TopkParams& p, const TopkRow& row, uint32_t k) {
    constexpr uint32_t kWindow = kBins * kWordBits;
    constexpr int kOwn = Histogram<kThreads>::kOwn;
    uint32_t* order = reinterpret_cast<uint32_t*>(candidates + kMaxSelected);
    uint32_t done = 0;
    for (uint32_t window = 0; done < k; window += kWindow) {
      for (uint32_t i = thread_x(); i < k; i += kThreads) {
        const uint32_t bit = column_of(candidates[i]) - window;
        if (bit < kWindow) atomic_or(&histogram.bins[bit / kWordBits], 1u << bit % kWordBits);
      }
      sync_block();
      uint32_t words[kOwn];
      uint32_t count = 0;
#pragma unroll
      for (int w = 0; w < kOwn; ++w) {
        words[w] = histogram.bins[thread_x() * kOwn + w];
        histogram.bins[thread_x() * kOwn + w] = 0;
        count += static_cast<uint32_t>(__builtin_popcount(words[w]));
      }
      uint32_t total;
      uint32_t to = done + block_inclusive_scan<Sum>(count, 0u, total, histogram.scan) - count;
#pragma unroll
      for (int w = 0; w < kOwn; ++w) {
        const uint32_t base = window + (thread_x() * kOwn + w) * kWordBits;
        for (uint32_t rest = words[w]; rest; rest &= rest - 1) {
          order[to++] = base + lowest_bit(rest);
        }
      }
      done += total;
    }
    sync_block();
    for (uint32_t i = thread_x(); i < k; i += kThreads) row.store(p, static_cast<int>(i), order[i]);
  }
};

}  // namespace wavejit
