// The search over the counts of all blocks of a cluster: every block sends the totals of its rows
// to all, and all find the same digit.
#pragma once
#include <wavejit/select/bins.cuh>

namespace wavejit {

// Of one search.
template <int kBlocks>
struct ClusterTotals {
  uint32_t rows[kBlocks][kGroupSize];
  Mailbox mail;

  __device__ __forceinline__ void open() {
    open_mailbox(&mail);
    expect_bytes(&mail, sizeof rows);
  }
};

// The counts may be read by other blocks until the next exchange. Every lane of the cluster calls
// it, behind a barrier of the block, as its block `rank`. Nothing is inside if all the counts are
// fewer than wanted. Counts of kAtOnce blocks are on their way at the same time.
template <int kAtOnce, int kBlocks, int kThreads>
__device__ __forceinline__ Digit find_in_cluster(Bins<kThreads>& bins,
                                                 ClusterTotals<kBlocks>& totals, unsigned rank,
                                                 uint32_t wanted, Site at = Site::here()) {
  using Four = Vec<uint32_t, 4>;
  constexpr unsigned kRows = Bins<kThreads>::kRows;
  const unsigned group = thread_x() / kGroupSize;
  bins.visit_totals(
      [&](unsigned row, uint32_t total) {
        if (lane_in_group() >= kBlocks) return;
        send_in_cluster(&totals.rows[rank][row], &totals.mail, lane_in_group(), total);
      },
      at);
  wait_for_mail(&totals.mail);
  uint32_t mine = 0;
#pragma unroll
  for (int r = 0; r < kBlocks; ++r) mine += totals.rows[r][lane_in_group()];
  uint32_t above;
  const unsigned row = bins.row_of(mine, wanted, above, at);
  if (row == kGroupSize) return {};
  if (row / kRows == group) {
    const Four* there = bins.four(row);
    Four all{};
#pragma unroll
    for (int first = 0; first < kBlocks; first += kAtOnce) {
      Four each[kAtOnce];
#pragma unroll
      for (int r = 0; r < kAtOnce; ++r) each[r] = load_in_cluster(there, first + r);
#pragma unroll
      for (int i = 0; i < 4 * kAtOnce; ++i) all.values[i % 4] += each[i / 4].values[i % 4];
    }
    bins.find_in_row(row, all, above, wanted, at);
  }
  sync_block(at);
  return bins.found;
}

}  // namespace wavejit
