// The k largest of a row of any length in one pass over it, by one block. What may still be
// selected waits in a buffer; when it is full, its k largest stay and their least is the bar for
// all that follows. A step takes pieces from all over the row, so that the first ones are a sample
// of it and their bar keeps most of the others out, wherever the large scores are.
#pragma once
#include <wavejit/select/bins.cuh>
#include <wavejit/select/rank.cuh>
#include <wavejit/select/row.cuh>

namespace wavejit {

template <int kThreads, int kCapacity, bool kStaged>
struct StreamSelect {
  static constexpr int kVectors = 4;
  static constexpr int kItems = 4 * kVectors;
  static constexpr uint32_t kChunk = kThreads * kItems;     // scores a step
  static constexpr uint32_t kPiece = kGroupSize * kItems;   // of them a group's, side by side
  static constexpr uint32_t kStep = kGroupSize * 4;
  static constexpr unsigned kGroups = kThreads / kGroupSize;
  static_assert(kCapacity >= 2 * kMaxSelected - kMaxSelected / 2 && kThreads % kGroupSize == 0);
  using Scores = Vec<float, 4>[kVectors];

  Bins<kThreads> bins;
  BlockScan<uint32_t, kThreads> scan;
  uint32_t arrivals[3];  // of the step before, this one and the next
  uint32_t kept;
  uint32_t near;
  uint64_t last;
  uint64_t ranked[kRanked];
  uint64_t candidates[kCapacity];
  Vec<float, 4> stage[kStaged ? kVectors * kThreads : 1];
  uint32_t order[kMaxSelected];

  // Places in `counter` for the `mine` of each lane of the group; the first of this lane's.
  __device__ __forceinline__ static uint32_t claim(uint32_t* counter, uint32_t mine,
                                                   Site at = Site::here()) {
    const uint32_t up_to = inclusive_scan<Sum>(mine, at);
    uint32_t first = 0;
    if (lane_in_group() == kGroupSize - 1 && up_to > 0) first = add_alone(counter, up_to);
    return broadcast(first, kGroupSize - 1, at) + up_to - mine;
  }

  // The bins are 0 between two uses.
  __device__ __forceinline__ Digit take(uint32_t wanted, Site at = Site::here()) {
    const Digit digit = bins.find(wanted, at);
    bins.clear();
    sync_block(at);
    return digit;
  }

  // The least of the `wanted` largest of the first `count` candidates, or a number between it and
  // the next smaller one. Every lane of the block calls it, behind a barrier.
  __device__ __forceinline__ uint64_t bar_of(uint32_t count, uint32_t wanted,
                                             Site at = Site::here()) {
    for (uint32_t i = thread_x(); i < count; i += kThreads) {
      const uint32_t key = static_cast<uint32_t>(candidates[i] >> 32);
      bins.count(FirstDigit::of(score_of(key)));
    }
    sync_block(at);
    Digit digit = take(wanted, at);
    const Span<uint32_t> keys = FirstDigit::span(digit.digit);
    Span<uint64_t> span{uint64_t{keys.low} << 32, uint64_t{keys.high} << 32 | 0xffffffffu};
    for (;;) {
      wanted -= digit.above;
      if (digit.inside == wanted) return span.low;
      if (digit.inside <= kRanked) break;
      const PartDigit<uint64_t> part(span);
      for (uint32_t i = thread_x(); i < count; i += kThreads) {
        if (span.has(candidates[i])) bins.count(part.of(candidates[i]));
      }
      sync_block(at);
      digit = take(wanted, at);
      span = part.span(digit.digit);
    }
    if (thread_x() == 0) near = 0;
    sync_block(at);
    for (uint32_t i = thread_x(); i < count; i += kThreads) {
      if (span.has(candidates[i])) ranked[atomic_add(&near, 1)] = candidates[i];
    }
    sync_block(at);
    find_last<kGroups>(ranked, digit.inside, wanted, last, at);
    sync_block(at);
    return last;
  }

  // Moves the candidates from the bar on to the front. A lane reads four before any is overwritten.
  __device__ __forceinline__ void compact(uint32_t count, uint64_t bar, Site at = Site::here()) {
    if (thread_x() == 0) kept = 0;
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

  __device__ __forceinline__ static uint32_t column_of_item(uint32_t first, int item) {
    return first + item / 4 * kStep + item % 4;
  }

  // Which of a step's scores may still be selected.
  __device__ __forceinline__ static uint32_t passing(const Scores& scores, uint32_t first,
                                                     uint32_t count, uint64_t bar) {
    const uint32_t key = static_cast<uint32_t>(bar >> 32);
    const uint32_t piece = first / kPiece * kPiece;
    const bool before = piece + kPiece <= column_of(bar) + uint64_t{1};  // the bar's column
    const bool behind = piece > column_of(bar);
    const bool open = key <= ordered_key(bit_cast<float>(0xff800000u));  // NaN passes too
    uint32_t waits = 0;
    if (!open && (before || behind) && piece + kPiece <= count) {
      const float least = score_of(before ? key : key + 1);
#pragma unroll
      for (int i = 0; i < kItems; ++i) {
        waits |= static_cast<uint32_t>(scores[i / 4].values[i % 4] >= least) << i;
      }
      return waits;
    }
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      const uint32_t column = column_of_item(first, i);
      const uint32_t mine = ordered_key(comparable(scores[i / 4].values[i % 4]));
      const bool passes = mine > key || (mine == key && column <= column_of(bar));
      waits |= static_cast<uint32_t>(column < count && passes) << i;
    }
    return waits;
  }

  // Stores what waits as long as there is room; what is left waits on.
  __device__ __forceinline__ void store_waiting(const Scores& scores, uint32_t first, uint32_t to,
                                                uint32_t& waits) {
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      if ((waits >> 4 * v & 0xfu) == 0) continue;
#pragma unroll
      for (int i = 4 * v; i < 4 * v + 4; ++i) {
        if ((waits >> i & 1) == 0 || to >= kCapacity) continue;
        const float score = comparable(scores[v].values[i % 4]);
        candidates[to++] = candidate(ordered_key(score), column_of_item(first, i));
        waits &= ~(1u << i);
      }
    }
  }

  __device__ __forceinline__ void clear() {
    bins.clear();
    if (thread_x() < 3) arrivals[thread_x()] = 0;
    sync_block();
  }

  // Of more than k scores the k largest are those of the first `stored` candidates from `bar` on.
  // Every lane calls it, behind `clear`.
  __device__ __forceinline__ uint64_t run(const TopkRow& row, uint32_t k, uint32_t& stored) {
    const uint32_t steps = (row.count + kChunk - 1) / kChunk;
    const uint32_t piece = thread_x() / kGroupSize * steps;
    const auto first_of = [&](uint32_t step) {
      return (piece + step) * kPiece + lane_in_group() * 4;
    };
    // Whole pieces come through shared memory while the step before is worked on.
    const auto ahead = [&](uint32_t step) {
      return kStaged && row.aligned && step < steps && (piece + step + 1) * kPiece <= row.count;
    };
    const auto stage_of = [](int v) { return kStaged ? v * kThreads + thread_x() : 0; };
    const auto prefetch = [&](uint32_t step) {
      if (!ahead(step)) return;
#pragma unroll
      for (int v = 0; v < kVectors; ++v) {
        copy_to_shared(&stage[stage_of(v)], row.scores + first_of(step) + v * kStep);
      }
    };
    const auto load = [&](Scores& scores, uint32_t step) {
      if (!ahead(step)) {
        const bool inside = (piece + step + 1) * kPiece <= row.count;
        return row.load(scores, first_of(step), kStep, row.count, inside);
      }
      wait_for_copies();
#pragma unroll
      for (int v = 0; v < kVectors; ++v) scores[v] = stage[stage_of(v)];
    };
    Scores scores;
    prefetch(0);
    load(scores, 0);
    prefetch(1);
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      bins.count(FirstDigit::of(comparable(scores[i / 4].values[i % 4])));
    }
    sync_block();
    uint64_t bar = uint64_t{FirstDigit::span(take(k).digit).low} << 32;
    stored = 0;
    uint32_t turn = 0;
#pragma unroll 1
    for (uint32_t step = 0; step < steps; ++step) {
      if (step > 0) {
        load(scores, step);
        prefetch(step + 1);
      }
      const uint32_t first = first_of(step);
      uint32_t waits = passing(scores, first, row.count, bar);
      for (;; ++turn) {
        const uint32_t mine = static_cast<uint32_t>(__builtin_popcount(waits));
        const uint32_t to = stored + claim(&arrivals[turn % 3], mine);
        store_waiting(scores, first, to, waits);
        if (thread_x() == 0) arrivals[(turn + 1) % 3] = 0;
        sync_block();
        const uint32_t arrived = arrivals[turn % 3];
        if (stored + arrived <= kCapacity) {
          stored += arrived;
          ++turn;
          break;
        }
        bar = bar_of(kCapacity, k);
        compact(kCapacity, bar);
        stored = k;
        waits &= passing(scores, first, row.count, bar);
      }
    }
    return stored > k ? bar_of(stored, k) : 0;
  }

  // Writes the columns of the candidates from the bar on, which are k, in ascending order: a window
  // of bits after another.
  __device__ __forceinline__ void store(const TopkParams& p, int64_t row, uint32_t stored,
                                        uint64_t bar) {
    constexpr uint32_t kWindow = kBins * kWordBits;
    constexpr int kOwn = Bins<kThreads>::kOwn;
    const uint32_t k = static_cast<uint32_t>(p.k);
    uint32_t done = 0;
    for (uint32_t window = 0; done < k; window += kWindow) {
      for (uint32_t i = thread_x(); i < stored; i += kThreads) {
        const uint64_t each = candidates[i];
        const uint32_t bit = column_of(each) - window;
        if (each >= bar && bit < kWindow) {
          atomic_or(&bins.counts[bit / kWordBits], 1u << bit % kWordBits);
        }
      }
      sync_block();
      uint32_t words[kOwn];
      uint32_t count = 0;
#pragma unroll
      for (int w = 0; w < kOwn; ++w) {
        words[w] = bins.counts[thread_x() * kOwn + w];
        bins.counts[thread_x() * kOwn + w] = 0;
        count += static_cast<uint32_t>(__builtin_popcount(words[w]));
      }
      uint32_t total;
      uint32_t to = done + block_inclusive_scan<Sum>(count, 0u, total, scan) - count;
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
    const TopkPages pages(p, row);
    const TopkResults results(p, row);
    for (uint32_t i = thread_x(); i < k; i += kThreads) results.store(i, order[i], pages);
  }
};

}  // namespace wavejit
