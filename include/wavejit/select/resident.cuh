// The k largest of a row that fits in the registers of one block or of a cluster of blocks. Counts
// by the first digit tell in which span of keys the last of the k lies; what the span has is few
// and ranked by (key, column), all pairs at once. Where it has many, equal parts of the span are
// counted in turn, down to one key if need be: then the lowest columns are taken. Where a row may
// be long, all this happens only if a sample of it has not led there sooner.
#pragma once
#include <wavejit/select/places.cuh>
#include <wavejit/select/sampled.cuh>

namespace wavejit {

// kCapacity: of what passes the bar of a sample in a block; 0: without sample.
template <int kThreads, int kItems, int kBlocks, uint32_t kCapacity>
struct ResidentSelect {
  static constexpr int kLanes = kThreads;
  static constexpr int kClusterBlocks = kBlocks;
  static constexpr uint32_t kPart = kThreads * kItems;  // columns of a block
  static constexpr uint32_t kGroupPart = kGroupSize * kItems;
  static constexpr uint32_t kStep = kGroupSize * 4;
  static constexpr int kVectors = kItems / 4;
  static constexpr int kWords = (kItems + kWordBits - 1) / kWordBits;  // of a bit an item
  static constexpr int kWordItems = kItems / kWords;
  using Bits = uint32_t[kWords];
  using Scores = Vec<float, 4>[kVectors];
  static constexpr bool kSampled = kCapacity > 0;
  static constexpr uint32_t kPieceLanes = 8;  // that sample scores side by side
  static constexpr unsigned kGroups = kThreads / kGroupSize;
  static constexpr int kMostHeld = kBlocks > 1 ? 32 : kItems;  // scores of a lane, to the end
  static constexpr int kSearches = 4;                          // 2^30 keys, then 2^18, 2^6 and 1
  static constexpr int kEqualBits = 20;  // of a count of both; fewer than 2^12 are larger
  static_assert(kItems % 4 == 0 && kPart * kBlocks < 1u << kEqualBits);

  Bins<kThreads> bins;
  ClusterTotals<kBlocks> totals[kBlocks > 1 ? kSearches : 1];
  LastOnes<kThreads, kBlocks> last;
  SampledSelect<kThreads, kBlocks, kSampled ? kCapacity : kThreads> sampled;
  uint32_t order[kSampled ? 1 : kMaxSelected];
  int32_t pages[kThreads];

  // The keys among which the last one is, `wanted` of the `inside` that are there; all larger keys
  // are selected.
  struct Found {
    Span<uint32_t> span;
    uint32_t digit;
    uint32_t inside;
    uint32_t wanted;
    __device__ __forceinline__ bool all() const { return inside == wanted; }
  };

  // The selected columns, ascending; the list of the sampled ones is no more used then.
  __device__ __forceinline__ uint32_t* ordered() {
    return kSampled ? reinterpret_cast<uint32_t*>(sampled.list) : order;
  }

  __device__ __forceinline__ static bool has(const Bits& bits, int item) {
    return bits[item / kWordItems] >> item % kWordItems & 1;
  }
  __device__ __forceinline__ static bool has_any(const Bits& bits, int vector) {
    return bits[4 * vector / kWordItems] >> 4 * vector % kWordItems & 0xfu;
  }
  // A lane's scores in registers; and many of them, which would find no room there beside all else:
  // read again whenever they are asked for.
  struct Held {
    float scores[kItems];
    __device__ __forceinline__ float operator()(int item) const { return scores[item]; }
    __device__ __forceinline__ float alone(int item) const {
      return platform::opaque(scores[item]);
    }
  };
  struct Again {
    const TopkRow& row;
    uint32_t base;
    Vec<float, 4> four = {};
    int vector = -1;
    __device__ __forceinline__ float operator()(int item) {
      if (item / 4 != vector) {
        vector = item / 4;
        // Nothing about the addresses is kept for the next time either.
        const uint32_t first = bit_cast<uint32_t>(platform::opaque(bit_cast<float>(base)));
        four = row.load(first + column_of_item(4 * vector), row.count);
      }
      return comparable(four.values[item % 4]);
    }
    __device__ __forceinline__ float alone(int item) const {
      const uint32_t column = base + column_of_item(item);
      return column < row.count ? comparable(row.scores[column]) : bit_cast<float>(0xff800000u);
    }
  };

  // Which items are larger than a number.
  template <class Score>
  __device__ __forceinline__ static void compare(Score& score, float with, Bits& bits) {
#pragma unroll
    for (int i = kItems - 1; i >= 0; --i) {
      uint32_t& word = bits[i / kWordItems];
      word = platform::push_larger((i + 1) % kWordItems == 0 ? 0 : word, score(i), with);
    }
  }
  // Which items have at least a key.
  template <class Score>
  __device__ __forceinline__ static void compare_from(Score& score, uint32_t key, Bits& bits) {
    if (key > kLeastKey) return compare(score, largest_until(key - 1), bits);
#pragma unroll
    for (int w = 0; w < kWords; ++w) bits[w] = (2u << (kWordItems - 1)) - 1;
  }
  // Calls each(item, place) for the bits of this lane; `place` is the first one of the group. What
  // comes back is the place behind its last one.
  template <class Each>
  __device__ __forceinline__ static uint32_t visit(const Bits& bits, uint32_t place, Each each,
                                                   Site at = Site::here()) {
#pragma unroll
    for (int w = 0; w < kWords; ++w) {
      place = Places<kWordItems>(bits[w], at).visit(bits[w], place, [&](int i, uint32_t to) {
        each(w * kWordItems + i, to);
      });
    }
    return place;
  }
  __device__ __forceinline__ static uint32_t column_of_item(int item) {
    return thread_x() / kGroupSize * kGroupPart + item / 4 * kStep + lane_in_group() * 4 + item % 4;
  }

  // Before the scores are there.
  __device__ __forceinline__ void clear() {
    bins.clear();
    if (thread_x() == 0) {
      last.open();
      if constexpr (kSampled) sampled.open();
      if constexpr (kBlocks > 1) {
        for (auto& each : totals) each.open();
      }
    }
    if constexpr (kBlocks > 1) announce_mailboxes();
    sync_block();
    if constexpr (kBlocks > 1) wait_for_mailboxes();
  }

  __device__ __forceinline__ Digit search(int turn, unsigned rank, uint32_t wanted,
                                          Site at = Site::here()) {
    if constexpr (kBlocks > 1) {
      return find_in_cluster<2>(bins, totals[turn], rank, wanted, at);
    } else {
      return bins.find(wanted, at);
    }
  }

  // `digit` is the first one.
  template <class Score>
  __device__ __forceinline__ Found find(Score& score, unsigned rank, uint32_t k, Digit digit) {
    Found found{FirstDigit::span(digit.digit), digit.digit, digit.inside, k - digit.above};
#pragma unroll 1
    for (int turn = 1; found.inside > kRanked && !found.all() && found.span.low != found.span.high;
         ++turn) {
      const PartDigit<uint32_t> part(found.span);
      if constexpr (kBlocks > 1) {  // the counts have been read
        arrive_at_cluster();
        wait_for_cluster();
      }
      bins.clear();
      sync_block();
#pragma unroll
      for (int i = 0; i < kItems; ++i) {
        const uint32_t key = ordered_key(platform::opaque(score(i)));
        if (found.span.has(key)) bins.count(part.of(key));
      }
      sync_block();
      digit = search(turn, rank, found.wanted);
      found = {part.span(digit.digit), digit.digit, digit.inside, found.wanted - digit.above};
    }
    return found;
  }

  template <class Score>
  __device__ __forceinline__ void offer(const Score& score, const Bits& equal, uint32_t base) {
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      if (!has_any(equal, v)) continue;
#pragma unroll
      for (int i = 4 * v; i < 4 * v + 4; ++i) {
        if (!has(equal, i)) continue;
        last.add(candidate(ordered_key(score.alone(i)), base + column_of_item(i)));
      }
    }
  }

  // Selects among the equal ones of the group, adds them to `selected` and tells the group's place.
  template <class Score>
  __device__ __forceinline__ uint32_t choose(Score& score, const Found& found, uint64_t bar,
                                             uint32_t base, const Bits& equal,
                                             uint32_t packed_before, Bits& selected) {
    const uint32_t larger_before = packed_before >> kEqualBits;
    const uint32_t equal_before = packed_before & ((1u << kEqualBits) - 1);
    if (found.inside <= kRanked && !found.all()) {
      const uint32_t key = static_cast<uint32_t>(bar >> 32);
      Bits larger;
      Bits same;
      compare(score, largest_until(key), larger);
      compare_from(score, key, same);
#pragma unroll
      for (int w = 0; w < kWords; ++w) {
        selected[w] |= equal[w] & larger[w];
        same[w] &= equal[w] & ~larger[w];
      }
#pragma unroll
      for (int v = 0; v < kVectors; ++v) {
        if (!has_any(same, v)) continue;
#pragma unroll
        for (int i = 4 * v; i < 4 * v + 4; ++i) {
          const bool chosen = base + column_of_item(i) <= column_of(bar);
          if (chosen) selected[i / kWordItems] |= same[i / kWordItems] & 1u << i % kWordItems;
        }
      }
      const uint32_t group_first = base + thread_x() / kGroupSize * kGroupPart;
      return larger_before + last.chosen_before(found.inside, bar, group_first);
    }
    if (found.all()) {
#pragma unroll
      for (int w = 0; w < kWords; ++w) selected[w] |= equal[w];
    } else {
      visit(equal, equal_before, [&](int i, uint32_t place) {
        if (place < found.wanted) selected[i / kWordItems] |= 1u << i % kWordItems;
      });
    }
    return larger_before + (equal_before < found.wanted ? equal_before : found.wanted);
  }

  // What lies beyond the window counts as -inf: its columns are the last, so it is never taken.
  __device__ __forceinline__ static void cut(Vec<float, 4>& four, uint32_t column, uint32_t count) {
#pragma unroll
    for (uint32_t i = 0; i < 4; ++i) {
      if (column + i >= count) four.values[i] = bit_cast<float>(0xff800000u);
    }
  }
  __device__ __forceinline__ static void cut(Scores& loaded, uint32_t base, uint32_t count) {
    if (base + (thread_x() / kGroupSize + 1) * kGroupPart <= count) return;
#pragma unroll
    for (int v = 0; v < kVectors; ++v) cut(loaded[v], base + column_of_item(4 * v), count);
  }

  // The column of a lane's sample: all blocks of a cluster have the same ones, from all over the
  // row. One block has the sample among its scores.
  __device__ __forceinline__ static uint32_t column_of_sample(uint32_t columns) {
    if constexpr (kBlocks == 1) return column_of_item(0);
    constexpr uint32_t kPieces = kThreads / kPieceLanes;
    return columns / kPieces / 4 * 4 * (thread_x() / kPieceLanes) + thread_x() % kPieceLanes * 4;
  }
  __device__ __forceinline__ static float one_of(uint32_t columns) {
    if constexpr (kBlocks == 1) return kVectors;
    return static_cast<float>(columns) / static_cast<float>(4 * kThreads);
  }

  // By a sample. False, and nothing is done, if that did not lead to the selection.
  __device__ __forceinline__ bool select_by_sample(const TopkParams& p, const TopkRow& row,
                                                   int64_t index, unsigned rank,
                                                   const Vec<float, 4>& sample, Scores& loaded,
                                                   const PagesAhead& ahead) {
    const uint32_t base = rank * kPart;
    const uint32_t wanted = rank_in_sample(static_cast<uint32_t>(p.k), one_of(row.columns));
#pragma unroll
    for (int i = 0; i < 4; ++i) bins.count(FirstDigit::of(comparable(sample.values[i])));
    sync_block();
    const uint32_t bar =
        FirstDigit::span(bins.find(wanted < 4 * kThreads ? wanted : 4 * kThreads).digit).low;
    if (bar <= kLeastKey) return false;
    bins.clear();
    const uint32_t own = base + thread_x() / kGroupSize * kGroupPart;
    Bits passing;
    const auto score = [&](int i) { return loaded[i / 4].values[i % 4]; };
    compare(score, largest_until(bar - 1), passing);
    const uint32_t count = sampled.keep(passing, row, own);
    sync_block();
    return sampled.run(p, index, rank, bins, bar, count, ahead, pages);
  }

  // A window of at most kBlocks * kPart columns, behind `clear`. Every lane of the cluster calls
  // it. False, and nothing is done, where it has no more than k.
  __device__ __forceinline__ bool run(const TopkParams& p, TopkRow& row, int64_t index,
                                      unsigned rank) {
    const uint32_t base = rank * kPart;
    const PagesAhead ahead(p, base, kPart, kThreads);
    Scores loaded;
    Vec<float, 4> sample[1];
    if (!p.eager) row.measure(p, index);
    const uint32_t limit = p.eager ? row.columns : row.count;
    const bool inside = base + kPart <= limit;
    if constexpr (kSampled && kBlocks > 1) {
      const uint32_t first = column_of_sample(row.columns);
      row.load(sample, first, 0, row.columns, first + 4 <= row.columns);
    }
    row.load(loaded, base + column_of_item(0), kStep, limit, inside);
    if (p.eager) row.measure(p, index);
    ahead.fetch(TopkPages(p, index), pages);
    if (row.count <= static_cast<uint32_t>(p.k)) return false;
    if constexpr (kSampled) {
      if constexpr (kBlocks == 1) sample[0] = loaded[0];
      cut(sample[0], column_of_sample(row.columns), row.count);
      if (select_by_sample(p, row, index, rank, sample[0], loaded, ahead)) return true;
      if constexpr (kBlocks > 1) {  // the counts have been read
        arrive_at_cluster();
        wait_for_cluster();
      }
      bins.clear();
      sync_block();
    }
    if constexpr (kItems > kMostHeld) {
      Again score{row, base};
      select_by_counts(p, index, rank, score, ahead);
    } else {
      if constexpr (kSampled) row.load(loaded, base + column_of_item(0), kStep, limit, inside);
      cut(loaded, base, row.count);
      Held score;
#pragma unroll
      for (int i = 0; i < kItems; ++i) score.scores[i] = comparable(loaded[i / 4].values[i % 4]);
      select_by_counts(p, index, rank, score, ahead);
    }
    return true;
  }

  // By counting all scores.
  template <class Score>
  __device__ __forceinline__ void select_by_counts(const TopkParams& p, int64_t index,
                                                   unsigned rank, Score& score,
                                                   const PagesAhead& ahead) {
#pragma unroll
    for (int i = 0; i < kItems; ++i) bins.count(FirstDigit::of(score(i)));
    sync_block();
    select_from(search(0, rank, static_cast<uint32_t>(p.k)), p, index, rank, score, ahead);
  }

  // The same behind the search for the first digit.
  template <class Score>
  __device__ __forceinline__ void select_from(Digit digit, const TopkParams& p, int64_t index,
                                              unsigned rank, Score& score,
                                              const PagesAhead& ahead) {
    const uint32_t base = rank * kPart;
    const unsigned lane = lane_in_group();
    const Found found = find(score, rank, static_cast<uint32_t>(p.k), digit);
    const bool ranked = found.inside <= kRanked && !found.all();
    uint32_t offered_before = 0;
    if constexpr (kBlocks > 1) {
      if (ranked && lane < rank) offered_before = load_in_cluster(&bins.counts[found.digit], lane);
    }
    Bits larger;
    Bits equal;
    compare(score, largest_until(found.span.high), larger);
    compare_from(score, found.span.low, equal);
    uint32_t mine = 0;
#pragma unroll
    for (int w = 0; w < kWords; ++w) {
      equal[w] &= ~larger[w];
      mine += static_cast<uint32_t>(__builtin_popcount(larger[w])) << kEqualBits |
              static_cast<uint32_t>(__builtin_popcount(equal[w]));
    }
    mine = sum_in_group(mine);
    if (lane == 0) last.parts[thread_x() / kGroupSize] = mine;
    if (ranked) offer(score, equal, base);
    wait_for_copies();
    // Behind the barrier no block reads another's counts any more.
    if constexpr (kBlocks > 1) offered_before = sum_in_group(offered_before);
    sync_block();
    const uint32_t before = last.exchange(rank, ranked ? found.inside : 0, offered_before);
    const uint64_t bar = ranked ? last.find(found.inside, found.wanted) : 0;
    const uint32_t first = choose(score, found, bar, base, equal, before, larger);
    uint32_t* to = ordered();
    const uint32_t end =
        visit(larger, first, [&](int i, uint32_t place) { to[place] = base + column_of_item(i); });
    sync_group<kGroupSize>();
    store(p, index, first, end, ahead);
  }

  // Stores the columns from one place to another, the group's ones.
  __device__ __forceinline__ void store(const TopkParams& p, int64_t index, uint32_t first,
                                        uint32_t end, const PagesAhead& ahead) {
    const uint32_t* from = ordered();
    constexpr uint32_t kAtOnce = 4;  // their reads wait for each other's no longer
    const TopkPages table(p, index);
    const TopkResults results(p, index);
#pragma unroll 1
    for (uint32_t i = first + lane_in_group(); i < end; i += kAtOnce * kGroupSize) {
      uint32_t columns[kAtOnce];
      int32_t entries[kAtOnce];
#pragma unroll
      for (uint32_t j = 0; j < kAtOnce; ++j) {
        const uint32_t place = i + j * kGroupSize;
        columns[j] = from[place < end ? place : i];
      }
#pragma unroll
      for (uint32_t j = 0; j < kAtOnce; ++j) {
        entries[j] = ahead.entry(p, table, pages, columns[j]);
      }
#pragma unroll
      for (uint32_t j = 0; j < kAtOnce; ++j) {
        const uint32_t place = i + j * kGroupSize;
        if (place < end) results.store(place, columns[j], entries[j]);
      }
    }
  }
};

}  // namespace wavejit
