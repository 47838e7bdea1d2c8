// The k largest of a row that fits in the registers of one block or of a cluster of blocks. Counts
// by the first digit tell in which span of keys the last of the k lies; what the span has is few
// and ranked by (key, column), all pairs at once. Where it has many, equal parts of the span are
// counted in turn, down to one key if need be: then the lowest columns are taken.
#pragma once
#include <wavejit/select/cluster.cuh>
#include <wavejit/select/places.cuh>
#include <wavejit/select/rank.cuh>
#include <wavejit/select/row.cuh>

namespace wavejit {

template <int kThreads, int kItems, int kBlocks>
struct ResidentSelect {
  static constexpr uint32_t kPart = kThreads * kItems;  // columns of a block
  static constexpr uint32_t kGroupPart = kGroupSize * kItems;
  static constexpr uint32_t kStep = kGroupSize * 4;
  static constexpr int kVectors = kItems / 4;
  static constexpr int kWords = (kItems + kWordBits - 1) / kWordBits;  // of a bit an item
  static constexpr int kWordItems = kItems / kWords;
  using Bits = uint32_t[kWords];
  static constexpr unsigned kGroups = kThreads / kGroupSize;
  static constexpr int kSearches = 4;    // 2^30 keys, then 2^18, 2^6 and 1
  static constexpr int kEqualBits = 20;  // of a count of both; fewer than 2^12 are larger
  static_assert(kItems % 4 == 0 && kPart * kBlocks < 1u << kEqualBits);

  Bins<kThreads> bins;
  ClusterTotals<kBlocks> totals[kBlocks > 1 ? kSearches : 1];
  Mailbox mail;
  uint32_t parts[kGroupSize];   // larger and equal ones of each group
  uint32_t all_parts[kBlocks];  // of each block
  uint32_t arrivals;
  uint64_t bar;
  uint64_t candidates[kRanked];
  uint64_t offered[kBlocks > 1 ? kRanked : 1];  // by this block
  uint32_t order[kMaxSelected];
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

  __device__ __forceinline__ static bool has(const Bits& bits, int item) {
    return bits[item / kWordItems] >> item % kWordItems & 1;
  }
  __device__ __forceinline__ static bool has_any(const Bits& bits, int vector) {
    return bits[4 * vector / kWordItems] >> 4 * vector % kWordItems & 0xfu;
  }
  // Which items are larger than a number.
  __device__ __forceinline__ static void compare(const float (&scores)[kItems], float with,
                                                 Bits& bits) {
#pragma unroll
    for (int i = kItems - 1; i >= 0; --i) {
      uint32_t& word = bits[i / kWordItems];
      word = platform::push_larger((i + 1) % kWordItems == 0 ? 0 : word, scores[i], with);
    }
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

  // Before the scores are there. A barrier of the cluster must follow.
  __device__ __forceinline__ void clear() {
    bins.clear();
    if (thread_x() == 0) {
      arrivals = 0;
      if constexpr (kBlocks > 1) {
        for (auto& each : totals) each.open();
        open_mailbox(&mail);
      }
    }
    if constexpr (kBlocks > 1) announce_mailboxes();
    sync_block();
  }

  __device__ __forceinline__ Digit search(int turn, unsigned rank, uint32_t wanted,
                                          Site at = Site::here()) {
    if constexpr (kBlocks > 1) {
      return find_in_cluster(bins, totals[turn], rank, wanted, at);
    } else {
      return bins.find(wanted, at);
    }
  }

  // The first digits have been counted.
  __device__ __forceinline__ Found find(const float (&scores)[kItems], unsigned rank, uint32_t k) {
    Digit digit = search(0, rank, k);
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
        const uint32_t key = ordered_key(platform::opaque(scores[i]));
        if (found.span.has(key)) bins.count(part.of(key));
      }
      sync_block();
      digit = search(turn, rank, found.wanted);
      found = {part.span(digit.digit), digit.digit, digit.inside, found.wanted - digit.above};
    }
    return found;
  }

  // Every block gets the candidates of all; those of this one begin at `first`, behind a barrier.
  __device__ __forceinline__ void offer(const float (&scores)[kItems], const Bits& equal,
                                        uint32_t base) {
    uint64_t* mine = kBlocks > 1 ? offered : candidates;
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      if (!has_any(equal, v)) continue;
#pragma unroll
      for (int i = 4 * v; i < 4 * v + 4; ++i) {
        if (!has(equal, i)) continue;
        const uint32_t column = base + column_of_item(i);
        mine[add_sparsely(&arrivals, 1, column >> 31)] =
            candidate(ordered_key(platform::opaque(scores[i])), column);
      }
    }
  }
  __device__ __forceinline__ void send_offers(uint32_t first) {
    if constexpr (kBlocks > 1) {
      for (uint32_t i = thread_x(); i < arrivals * kBlocks; i += kThreads) {
        send_in_cluster(&candidates[first + i / kBlocks], &mail, i % kBlocks, offered[i / kBlocks]);
      }
    }
  }

  // How many of the candidates that are selected lie before a column.
  __device__ __forceinline__ uint32_t chosen_before(uint32_t count, uint32_t column,
                                                    Site at = Site::here()) const {
    uint32_t chosen = 0;
    for (uint32_t first = 0; first < count; first += kGroupSize) {
      const uint32_t place = first + lane_in_group();
      const uint64_t each = candidates[place < count ? place : 0];
      chosen += count_lanes(place < count && each >= bar && wavejit::column_of(each) < column, at);
    }
    return chosen;
  }

  // Selects among the equal ones of the group, adds them to `selected` and tells the group's place.
  __device__ __forceinline__ uint32_t choose(const float (&scores)[kItems], const Found& found,
                                             uint32_t base, const Bits& equal,
                                             uint32_t packed_before, Bits& selected) {
    const uint32_t larger_before = packed_before >> kEqualBits;
    const uint32_t equal_before = packed_before & ((1u << kEqualBits) - 1);
    if (found.inside <= kRanked && !found.all()) {
#pragma unroll
      for (int v = 0; v < kVectors; ++v) {
        if (!has_any(equal, v)) continue;
#pragma unroll
        for (int i = 4 * v; i < 4 * v + 4; ++i) {
          const bool chosen =
              candidate(ordered_key(platform::opaque(scores[i])), base + column_of_item(i)) >= bar;
          if (chosen) selected[i / kWordItems] |= equal[i / kWordItems] & 1u << i % kWordItems;
        }
      }
      const uint32_t group_first = base + thread_x() / kGroupSize * kGroupPart;
      return larger_before + chosen_before(found.inside, group_first);
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

  // A window of at most kBlocks * kPart columns, behind `clear`. Every lane of the cluster calls
  // it. False, and nothing is done, where it has no more than k.
  __device__ __forceinline__ bool run(const TopkParams& p, TopkRow& row, int64_t index,
                                      unsigned rank) {
    const uint32_t base = rank * kPart;
    const unsigned group = thread_x() / kGroupSize;
    const unsigned lane = lane_in_group();
    const PagesAhead ahead(p, TopkPages(p, index), base, kPart, kThreads);
    Vec<float, 4> loaded[kVectors];
    if (!p.eager) row.measure(p, index);
    const uint32_t limit = p.eager ? row.columns : row.count;
    row.load(loaded, base + column_of_item(0), kStep, limit, base + kPart <= limit);
    if (p.eager) row.measure(p, index);
    if (row.count <= static_cast<uint32_t>(p.k)) {
      if constexpr (kBlocks > 1) wait_for_mailboxes();
      return false;
    }
    float scores[kItems];
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      float (&four)[4] = loaded[v].values;
      // What lies beyond the window counts as -inf: its columns are the last, so it is never taken.
      if (base + (thread_x() / kGroupSize) * kGroupPart + (v + 1) * kStep > row.count) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          if (base + column_of_item(4 * v + i) >= row.count) four[i] = bit_cast<float>(0xff800000u);
        }
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        scores[4 * v + i] = comparable(four[i]);
        bins.count(FirstDigit::of(scores[4 * v + i]));
      }
    }
    sync_block();
    if constexpr (kBlocks > 1) wait_for_mailboxes();
    const Found found = find(scores, rank, static_cast<uint32_t>(p.k));

    const bool ranked = found.inside <= kRanked && !found.all();
    uint32_t offered_before = 0;
    if constexpr (kBlocks > 1) {
      if (ranked && lane < rank) offered_before = load_in_cluster(&bins.counts[found.digit], lane);
    }
    Bits larger;
    Bits equal;
    compare(scores, largest_until(found.span.high), larger);
    if (found.span.low > kLeastKey) {
      compare(scores, largest_until(found.span.low - 1), equal);
    } else {
#pragma unroll
      for (int w = 0; w < kWords; ++w) equal[w] = (2u << (kWordItems - 1)) - 1;
    }
    uint32_t mine = 0;
#pragma unroll
    for (int w = 0; w < kWords; ++w) {
      equal[w] &= ~larger[w];
      mine += static_cast<uint32_t>(__builtin_popcount(larger[w])) << kEqualBits |
              static_cast<uint32_t>(__builtin_popcount(equal[w]));
    }
    mine = sum_in_group(mine);
    if (lane == 0) parts[group] = mine;
    if (ranked) offer(scores, equal, base);
    ahead.keep(pages);
    // Behind the barrier no block reads another's counts any more.
    if constexpr (kBlocks > 1) offered_before = sum_in_group(offered_before);
    sync_block();
    uint32_t packed_before = sum_in_group(lane < group ? parts[lane] : 0);
    if constexpr (kBlocks > 1) {
      if (thread_x() == 0) expect_bytes(&mail, 4 * kBlocks + (ranked ? 8 * found.inside : 0));
      if (group == 0) {
        const uint32_t part = sum_in_group(lane < kGroups ? parts[lane] : 0);
        if (lane < kBlocks) send_in_cluster(&all_parts[rank], &mail, lane, part);
      }
      if (ranked) send_offers(offered_before);
      wait_for_mail(&mail);
      packed_before += sum_in_group(lane < rank ? all_parts[lane] : 0);
    }
    if (ranked) {
      find_last<kGroups>(candidates, found.inside, found.wanted, bar);
      sync_block();
    }
    const uint32_t first = choose(scores, found, base, equal, packed_before, larger);
    const uint32_t end = visit(
        larger, first, [&](int i, uint32_t place) { order[place] = base + column_of_item(i); });
    sync_group<kGroupSize>();
    const TopkPages table(p, index);
    const TopkResults results(p, index);
#pragma unroll 1
    for (uint32_t i = first + lane; i < end; i += kGroupSize) {
      const uint32_t column = order[i];
      results.store(i, column, ahead.entry(p, table, pages, column));
    }
    return true;
  }
};

}  // namespace wavejit
