// The last of the selected ones, once a search has left few candidates for it: the blocks of a
// cluster tell each other their candidates, and how many each of them selects in any case.
#pragma once
#include <wavejit/select/cluster.cuh>
#include <wavejit/select/rank.cuh>

namespace wavejit {

template <int kThreads, int kBlocks>
struct LastOnes {
  static constexpr unsigned kGroups = kThreads / kGroupSize;

  Mailbox mail;
  uint32_t arrivals;
  uint32_t parts[kGroupSize];   // counts of each group
  uint32_t all_parts[kBlocks];  // of each block
  uint64_t last;
  uint64_t candidates[kRanked];                 // of all blocks
  uint64_t offered[kBlocks > 1 ? kRanked : 1];  // by this one

  // By one lane, before the blocks know that they run.
  __device__ __forceinline__ void open() {
    arrivals = 0;
    if constexpr (kBlocks > 1) open_mailbox(&mail);
  }
  // The order in which they come means nothing.
  __device__ __forceinline__ void add(uint64_t candidate) {
    uint64_t* mine = kBlocks > 1 ? offered : candidates;
    mine[add_sparsely(&arrivals, 1, column_of(candidate) >> 31)] = candidate;
  }

  // The sum of the parts of all groups before this one. Every block gets the candidates of all,
  // `count` together, those of this one from `first` on. Every lane calls it, behind a barrier,
  // behind which no block reads another's counts any more.
  __device__ __forceinline__ uint32_t exchange(unsigned rank, uint32_t count, uint32_t first) {
    const unsigned group = thread_x() / kGroupSize;
    const unsigned lane = lane_in_group();
    uint32_t before = sum_in_group(lane < group ? parts[lane] : 0);
    if constexpr (kBlocks > 1) {
      if (thread_x() == 0) expect_bytes(&mail, 4 * kBlocks + 8 * count);
      if (group == 0) {
        const uint32_t part = sum_in_group(lane < kGroups ? parts[lane] : 0);
        if (lane < kBlocks) send_in_cluster(&all_parts[rank], &mail, lane, part);
      }
      const uint32_t sends = count > 0 ? arrivals * kBlocks : 0;
      for (uint32_t i = thread_x(); i < sends; i += kThreads) {
        send_in_cluster(&candidates[first + i / kBlocks], &mail, i % kBlocks, offered[i / kBlocks]);
      }
      wait_for_mail(&mail);
      before += sum_in_group(lane < rank ? all_parts[lane] : 0);
    }
    return before;
  }

  // The candidate that `wanted - 1` are larger than. Every lane of the block calls it.
  __device__ __forceinline__ uint64_t find(uint32_t count, uint32_t wanted,
                                           Site at = Site::here()) {
    if (count <= kGroupSize) return last_of_few(candidates, count, wanted, at);
    find_last<kGroups>(candidates, count, wanted, last, at);
    sync_block(at);
    return last;
  }

  // How many of the candidates from `bar` on lie before a column.
  __device__ __forceinline__ uint32_t chosen_before(uint32_t count, uint64_t bar, uint32_t column,
                                                    Site at = Site::here()) const {
    uint32_t chosen = 0;
    for (uint32_t first = 0; first < count; first += kGroupSize) {
      const uint32_t place = first + lane_in_group();
      const uint64_t each = candidates[place < count ? place : 0];
      chosen += count_lanes(place < count && each >= bar && column_of(each) < column, at);
    }
    return chosen;
  }
};

}  // namespace wavejit
