// The search over the counts of all blocks of a cluster: every block adds the totals of its groups
// to everyone's, and all find the same digit, so that one barrier of the cluster is enough.
#pragma once
#include <wavejit/select/bins.cuh>

namespace wavejit {

// `totals` of this search are 0 in every block. The counts may be read by other blocks until the
// next barrier of the cluster. Every lane of the cluster calls it, behind a barrier of the block.
template <int kBlocks, int kThreads>
__device__ __forceinline__ Digit find_in_cluster(Bins<kThreads>& bins,
                                                 uint32_t (&totals)[kGroupSize], uint32_t wanted,
                                                 Site at = Site::here()) {
  static_assert(Bins<kThreads>::kOwn == 4 && Bins<kThreads>::kGroups == kGroupSize);
  const unsigned group = thread_x() / kGroupSize;
  const unsigned lane = lane_in_group();
  uint32_t own[4];
  const uint32_t mine = sum_in_group(bins.load_own(own), at);
  if (lane < kBlocks) add_in_cluster(&totals[group], lane, mine);
  arrive_at_cluster();
  wait_for_cluster();
  const uint32_t above = sum_in_group(lane < group ? totals[lane] : 0, at);
  const uint32_t total = totals[group];
  if (above < wanted && wanted <= above + total) {
    using Four = Vec<uint32_t, 4>;
    const Four* there = reinterpret_cast<const Four*>(bins.counts + bins.first_digit());
    constexpr int kAtOnce = kBlocks < 4 ? kBlocks : 4;
    uint32_t all[4] = {};
#pragma unroll
    for (int first = 0; first < kBlocks; first += kAtOnce) {
      Four each[kAtOnce];
#pragma unroll
      for (int r = 0; r < kAtOnce; ++r) each[r] = load_in_cluster(there, first + r);
#pragma unroll
      for (int i = 0; i < 4 * kAtOnce; ++i) all[i % 4] += each[i / 4].values[i % 4];
    }
    bins.find_in_group(all, all[0] + all[1] + all[2] + all[3], above, wanted, at);
  }
  sync_block(at);
  return bins.found;
}

}  // namespace wavejit
