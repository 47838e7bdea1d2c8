// The k largest of a row of any length in one pass over it, by one block. A step takes pieces from
// all over the row, so that the first one is a sample of it: a score of such a rank in the sample
// that k of the row are larger, most probably, is the bar for all that follows. What passes it
// waits in a buffer; when that is full, its k largest stay and their least is the bar. If fewer
// than k have passed in the end, the sample has misled, and the k-th largest of the sample is the
// bar of another pass.
#pragma once
#include <wavejit/select/bins.cuh>
#include <wavejit/select/rank.cuh>
#include <wavejit/select/row.cuh>

namespace wavejit {

template <int kThreads, int kCapacity, int kStages>
struct StreamSelect {
  static constexpr int kVectors = 2;
  static constexpr int kItems = 4 * kVectors;
  static constexpr uint32_t kChunk = kThreads * kItems;    // scores a step
  static constexpr uint32_t kPiece = kGroupSize * kItems;  // of them a group's, side by side
  static constexpr uint32_t kStep = kGroupSize * 4;
  static constexpr unsigned kGroups = kThreads / kGroupSize;
  static_assert(kCapacity > kMaxSelected && kThreads % kGroupSize == 0);
  using Four = Vec<float, 4>;

  Bins<kThreads> bins;
  BlockScan<uint32_t, kThreads> scan;
  uint32_t arrivals[3];  // of the step before, this one and the next
  uint32_t kept;
  uint32_t near;
  uint64_t last;
  uint64_t ranked[kRanked];
  uint64_t candidates[kCapacity];
  Four stages[kStages][kVectors][kThreads];
  static_assert(sizeof stages >= sizeof(uint32_t) * kMaxSelected);

  // Places in `counter` for the `mine` of each lane of the group; the first of this lane's.
  __device__ __forceinline__ static uint32_t claim(uint32_t* counter, uint32_t mine,
                                                   Site at = Site::here()) {
    const uint32_t up_to = inclusive_scan<Sum>(mine, at);
    uint32_t first = 0;
    if (lane_in_group() == kGroupSize - 1 && up_to > 0)
      first = add_sparsely(counter, up_to, up_to >> 31);
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
      if (span.has(candidates[i])) ranked[add_sparsely(&near, 1, count >> 31)] = candidates[i];
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

  // Where a lane's scores of a step are, and what the whole block knows about the row.
  struct Walk {
    const TopkRow& row;
    uint32_t steps;
    __device__ __forceinline__ explicit Walk(const TopkRow& row)
        : row(row), steps((row.count + kChunk - 1) / kChunk) {}
    __device__ __forceinline__ uint32_t piece(uint32_t step) const {
      return (thread_x() / kGroupSize * steps + step) * kPiece;
    }
    __device__ __forceinline__ uint32_t column(uint32_t step, int item) const {
      return piece(step) + lane_in_group() * 4 + item / 4 * kStep + item % 4;
    }
  };

  // The scores of a step on their way to shared memory; a lane reads only what it has asked for.
  __device__ __forceinline__ void fetch(const Walk& walk, uint32_t step) {
    if (step < walk.steps) {
      const bool inside = walk.row.aligned && walk.piece(step) + kPiece <= walk.row.count;
#pragma unroll
      for (int v = 0; v < kVectors; ++v) {
        Four* to = &stages[step % kStages][v][thread_x()];
        const uint32_t column = walk.column(step, 4 * v);
        if (inside) {
          copy_to_shared(to, walk.row.scores + column);
        } else {
          *to = walk.row.load(column, walk.row.count);
        }
      }
    }
    end_of_copies();
  }

  // Which of a step's scores are at least the bar. NaN and what lies beyond the row are -inf and
  // pass with all others as long as the bar says so.
  __device__ __forceinline__ uint32_t passing(const Walk& walk, uint32_t step, uint64_t bar) const {
    const uint32_t key = static_cast<uint32_t>(bar >> 32);
    const uint32_t piece = walk.piece(step);
    const bool behind = piece > column_of(bar);  // the bar's column
    const bool before = piece + kPiece <= column_of(bar) + uint64_t{1};
    uint32_t waits = 0;
    if (key > kLeastKey && (before || behind)) {
      const float below = largest_until(behind ? key : key - 1);
#pragma unroll
      for (int v = kVectors - 1; v >= 0; --v) {
        const Four four = stages[step % kStages][v][thread_x()];
#pragma unroll
        for (int i = 3; i >= 0; --i) waits = platform::push_larger(waits, four.values[i], below);
      }
      return waits;
    }
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      const uint32_t column = walk.column(step, i);
      const bool passes = column < walk.row.count && candidate(key_of(step, i), column) >= bar;
      waits |= static_cast<uint32_t>(passes) << i;
    }
    return waits;
  }
  __device__ __forceinline__ uint32_t key_of(uint32_t step, int item) const {
    const Four& four = stages[step % kStages][item / 4][thread_x()];
    return ordered_key(comparable(four.values[item % 4]));
  }

  // Stores what waits as long as there is room; what is left waits on.
  __device__ __forceinline__ void store_waiting(const Walk& walk, uint32_t step, uint32_t to,
                                                uint32_t& waits) {
    for (; waits && to < kCapacity; waits &= waits - 1) {
      const int item = static_cast<int>(lowest_bit(waits));
      candidates[to++] = candidate(key_of(step, item), walk.column(step, item));
    }
  }

  __device__ __forceinline__ void clear() {
    bins.clear();
    if (thread_x() < 3) arrivals[thread_x()] = 0;
    sync_block();
  }

  // A rank in the first step's scores, below which the last of k among `count` hardly is.
  __device__ __forceinline__ static uint32_t rank_in_sample(uint32_t k, uint32_t count) {
    const float expected =
        static_cast<float>(k) * static_cast<float>(kChunk) / static_cast<float>(count);
    const float rank = expected + 5.0f * square_root(expected) + 5.0f;
    return rank < static_cast<float>(k) ? static_cast<uint32_t>(rank) : k;
  }

  // Of more than k scores the k largest are those of the first `stored` candidates from the bar
  // that comes back on. Every lane calls it, behind `clear`.
  __device__ __forceinline__ uint64_t run(const TopkRow& row, uint32_t k, uint32_t& stored) {
    const Walk walk(row);
    uint32_t turn = 0;
    uint32_t rank = rank_in_sample(k, row.count);
#pragma unroll 1
    for (;; rank = k) {
#pragma unroll 1
      for (uint32_t step = 0; step < kStages; ++step) fetch(walk, step);
      wait_for_copies_but<kStages - 1>();
#pragma unroll
      for (int i = 0; i < kItems; ++i)
        bins.count(FirstDigit::of(comparable(stages[0][i / 4][thread_x()].values[i % 4])));
      sync_block();
      uint64_t bar = uint64_t{FirstDigit::span(take(rank).digit).low} << 32;
      stored = 0;
#pragma unroll 1
      for (uint32_t step = 0; step < walk.steps; ++step) {
        wait_for_copies_but<kStages - 1>();
        uint32_t waits = passing(walk, step, bar);
        for (;; ++turn) {
          if (waits) {
            const uint32_t mine = static_cast<uint32_t>(__builtin_popcount(waits));
            const uint32_t to = stored + add_sparsely(&arrivals[turn % 3], mine, mine >> 31);
            store_waiting(walk, step, to, waits);
          }
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
          waits &= passing(walk, step, bar);
        }
        fetch(walk, step + kStages);
      }
      if (stored >= k) break;
    }
    return stored > k ? bar_of(stored, k) : 0;
  }

  // Writes the columns of the candidates from the bar on, which are k, in ascending order: a window
  // of bits after another.
  __device__ __forceinline__ void store(const TopkParams& p, int64_t row, uint32_t stored,
                                        uint64_t bar) {
    constexpr uint32_t kWindow = kBins * kWordBits;
    constexpr int kOwn = kBins / kThreads;
    const uint32_t k = static_cast<uint32_t>(p.k);
    uint32_t* order = reinterpret_cast<uint32_t*>(stages);  // no scores are there any more
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
