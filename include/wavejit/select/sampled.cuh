// The k largest of a row by a sample of it: a score of such a rank in the sample that k of the row
// are larger, most probably, is the bar that few of the row pass. These are kept in the order of
// their columns and counted by digits of many steps, so that hardly any share the digit at which
// the last of the k is. Where the sample misled, that is seen, and nothing has been decided.
#pragma once
#include <wavejit/select/last.cuh>
#include <wavejit/select/row.cuh>

namespace wavejit {

// A rank in a sample of every `one_of`-th score, below which the last of k hardly is.
__device__ __forceinline__ uint32_t rank_in_sample(uint32_t k, float one_of) {
  const float expected = static_cast<float>(k) / one_of;
  return static_cast<uint32_t>(expected + 4.0f * square_root(expected) + 4.0f);
}

// Steps of keys from a bar on: 1024 an octave, four octaves; 8 an octave to the end of all keys
// above a bar below 0.
struct StepDigit {
  uint32_t low;
  int shift;

  __device__ __forceinline__ explicit StepDigit(uint32_t bar)
      : low(bar), shift(bar >= 0x80000000u ? 13 : 20) {}
  __device__ __forceinline__ uint32_t of(uint32_t key) const {
    const uint32_t step = (key - low) >> shift;
    return step < kBins ? step : kBins - 1;
  }
  __device__ __forceinline__ Span<uint32_t> span(uint32_t digit) const {
    const uint32_t first = low + (digit << shift);
    const uint32_t width = (1u << shift) - 1;
    return {first, digit == kBins - 1 || width > ~first ? ~0u : first + width};
  }
};

// Bits of columns in the order of columns. A lane has a nibble of each of eight vectors, and those
// of a vector are the lanes' one after another; it gets the word of its number, 32 columns.
__device__ __forceinline__ uint32_t in_column_order(uint32_t bits, Site at = Site::here()) {
  constexpr uint32_t kUpper[3] = {0xffff0000u, 0xff00ff00u, 0xf0f0f0f0u};
#pragma unroll
  for (int step = 0; step < 3;
       ++step) {  // eight lanes swap lanes and vectors, a bit of them a step
    const int distance = 4 >> step;
    const uint32_t other = shuffle_xor<kGroupSize>(bits, distance, at);
    const uint32_t upper = kUpper[step];
    bits = lane_in_group() & static_cast<unsigned>(distance)
               ? (bits & upper) | (other & upper) >> 4 * distance
               : (bits & ~upper) | (other & ~upper) << 4 * distance;
  }
  const unsigned lane = lane_in_group();
  return shuffle<kGroupSize>(bits, static_cast<int>(lane % 4 * 8 + lane / 4), at);
}

template <int kThreads, int kBlocks, uint32_t kCapacity>
struct SampledSelect {
  static constexpr unsigned kGroups = kThreads / kGroupSize;
  static constexpr uint32_t kRounds = kCapacity / kThreads;
  static constexpr uint32_t kTooMany = 1u << 28;
  static constexpr int kHalf = 16;  // two counts in a number
  static constexpr uint32_t kLower = (1u << kHalf) - 1;
  static_assert(kRounds * kThreads == kCapacity);

  ClusterTotals<kBlocks> totals;
  LastOnes<kThreads, kBlocks> last;
  uint32_t passing[kGroupSize];  // of each group
  struct Passing {
    uint32_t column;
    float score;
  };
  alignas(8) Passing list[kCapacity];  // what passes, in the order of columns

  // By one lane, before the blocks know that they run.
  __device__ __forceinline__ void open() {
    if constexpr (kBlocks > 1) totals.open();
    last.open();
  }

  // Puts the scores whose bits are set on the list, or nothing if they are too many for it; how
  // many there are in the block comes back. A group's columns begin at `own`. The scores come from
  // memory: a register has no number that a lane could choose. A barrier must follow.
  template <int kWords>
  __device__ __forceinline__ uint32_t keep(uint32_t (&bits)[kWords], const TopkRow& row,
                                           uint32_t own) {
    const unsigned group = thread_x() / kGroupSize;
    const unsigned lane = lane_in_group();
    own += lane * kWordBits;
    uint32_t mine = 0;  // of each word, which are at most two
#pragma unroll
    for (int w = 0; w < kWords; ++w) {
      const uint32_t first = own + w * kGroupSize * kWordBits;
      const uint32_t inside = row.count > first ? row.count - first : 0;
      bits[w] = in_column_order(bits[w]);
      if (inside < kWordBits) bits[w] &= (1u << inside) - 1;
      mine += static_cast<uint32_t>(__builtin_popcount(bits[w])) << kHalf * w;
    }
    const uint32_t up_to = inclusive_scan<Sum>(mine);
    const uint32_t both = broadcast(up_to, kGroupSize - 1);
    if (lane == 0) passing[group] = (both & kLower) + (both >> kHalf);
    sync_block();
    const uint32_t each = lane < kGroups ? passing[lane] : 0;
    const uint32_t count = sum_in_group(each);
    const uint32_t before = sum_in_group(lane < group ? each : 0);
    if (count <= kCapacity) {
      uint32_t to = before + (up_to & kLower) - (mine & kLower);
#pragma unroll
      for (int w = 0; w < kWords; ++w) {
        if (w == 1) to = before + (both & kLower) + (up_to >> kHalf) - (mine >> kHalf);
        for (uint32_t rest = bits[w]; rest; rest &= rest - 1, ++to) {
          const uint32_t column = own + w * kGroupSize * kWordBits + lowest_bit(rest);
          list[to].column = column;
          copy_word_to_shared(&list[to].score, row.scores + column);
        }
      }
    }
    wait_for_copies();
    return count;
  }

  // The list has the `count` columns of the block that pass a bar, or they are too many for it.
  // False, and nothing is done, where the last of the k is not found so: for all blocks of the
  // cluster. Every lane calls it, behind a barrier; the bins are 0.
  __device__ __forceinline__ bool run(const TopkParams& p, int64_t row, unsigned rank,
                                      Bins<kThreads>& bins, uint32_t bar, uint32_t count,
                                      const PagesAhead& ahead, const int32_t* pages) {
    const unsigned lane = lane_in_group();
    const uint32_t k = static_cast<uint32_t>(p.k);
    const bool fits = count <= kCapacity;
    if (kBlocks == 1 && (!fits || count < k)) return false;
    if (!fits) count = 0;
    const StepDigit digits(bar);
    const uint32_t rounds = (count + kThreads - 1) / kThreads;
    const uint32_t first = thread_x() / kGroupSize * rounds * kGroupSize;
    uint64_t mine[kRounds] = {};  // 0: none
#pragma unroll
    for (uint32_t r = 0; r < kRounds; ++r) {
      const uint32_t place = first + r * kGroupSize + lane;
      if (r < rounds && place < count) {
        const uint32_t key = ordered_key(comparable(list[place].score));
        mine[r] = candidate(key, list[place].column);
        bins.count(digits.of(key));
      }
    }
    if (!fits && thread_x() == 0) bins.counts[kBins - 1] = kTooMany;
    sync_block();
    Digit digit;
    if constexpr (kBlocks > 1) {
      digit = find_in_cluster<kBlocks>(bins, totals, rank, k);
    } else {
      digit = bins.find(k);
    }
    const uint32_t wanted = k - digit.above;
    const bool all = digit.inside == wanted;
    if (digit.inside == 0 || (!all && digit.inside > kRanked)) return false;

    uint32_t offered_before = 0;
    if constexpr (kBlocks > 1) {
      if (!all && lane < rank) offered_before = load_in_cluster(&bins.counts[digit.digit], lane);
    }
    const Span<uint32_t> keys = digits.span(digit.digit);
    const uint64_t low = uint64_t{keys.low} << 32;
    const uint64_t sure = all ? low - 1 : uint64_t{keys.high} << 32 | 0xffffffffu;
    uint32_t larger = 0;
#pragma unroll
    for (uint32_t r = 0; r < kRounds; ++r) {
      if (r < rounds) {
        larger += count_lanes(mine[r] > sure);
        if (mine[r] >= low && mine[r] <= sure) last.add(mine[r]);
      }
    }
    if (lane == 0) last.parts[thread_x() / kGroupSize] = larger;
    if constexpr (kBlocks > 1) offered_before = sum_in_group(offered_before);
    sync_block();
    const uint32_t among = all ? 0 : digit.inside;
    uint32_t place = last.exchange(rank, among, offered_before);
    uint64_t least = low;
    if (!all) {
      least = last.find(among, wanted);
      place += last.chosen_before(among, least, first < count ? list[first].column : 0);
    }
    store(p, row, mine, rounds, least, place, ahead, pages);
    return true;
  }

  // Stores a group's scores from `least` on, from a place on.
  __device__ __forceinline__ void store(const TopkParams& p, int64_t row,
                                        const uint64_t (&mine)[kRounds], uint32_t rounds,
                                        uint64_t least, uint32_t place, const PagesAhead& ahead,
                                        const int32_t* pages) const {
    const TopkPages table(p, row);
    const TopkResults results(p, row);
#pragma unroll
    for (uint32_t r = 0; r < kRounds; ++r) {
      if (r < rounds) {
        const bool chosen = mine[r] >= least;
        const uint64_t lanes = ballot<kGroupSize>(chosen);
        const uint64_t below = (uint64_t{1} << lane_in_group()) - 1;
        const uint32_t column = column_of(mine[r]);
        if (chosen) {
          results.store(place + static_cast<uint32_t>(__builtin_popcountll(lanes & below)), column,
                        ahead.entry(p, table, pages, column));
        }
        place += static_cast<uint32_t>(__builtin_popcountll(lanes));
      }
    }
  }
};

}  // namespace wavejit
