// A digit's search over the histograms of all blocks of a cluster: every block reads the others'
// counts and finds the same digit, so that one barrier of the cluster is enough.
#pragma once
#include <wavejit/select/radix.cuh>

namespace wavejit {

template <int kThreads, int kBlocks>
struct ClusterSearch {
  static constexpr int kCoarse = kThreads / kBlocks;  // marks that one read a lane covers
  static constexpr int kFine = kBins / kCoarse;       // digits between two marks
  static_assert(kCoarse * kFine == kBins && (kFine + 1) * kBlocks <= kThreads);

  uint32_t marks[kCoarse + 1];
  uint32_t counts[kFine + 1][kBlocks];  // of a digit and all above it, in each block
  uint32_t mark;
  Digit found;

  // `histogram` has been counted in every block, and no block uses it again. `above` and `inside`
  // get what each block has above the digit and of it. Every lane of the cluster calls it.
  __device__ __forceinline__ Digit take(Histogram<kThreads>& histogram, uint32_t wanted,
                                        uint32_t (&above)[kBlocks], uint32_t (&inside)[kBlocks],
                                        Site at = Site::here()) {
    const unsigned place = thread_x() / kBlocks;
    const unsigned rank = thread_x() % kBlocks;
    histogram.accumulate(at);
    arrive_at_cluster();
    wait_for_cluster();
    const uint32_t at_mark =
        reduce_sum<kBlocks>(load_in_cluster(&histogram.bins[place * kFine], rank), at);
    if (rank == 0) marks[place] = at_mark;
    if (thread_x() == 0) marks[kCoarse] = 0;
    sync_block(at);
    if (thread_x() < kCoarse && marks[thread_x()] >= wanted && marks[thread_x() + 1] < wanted) {
      mark = thread_x();
    }
    sync_block(at);
    if (place <= kFine) {
      const uint32_t digit = mark * kFine + place;
      counts[place][rank] = digit < kBins ? load_in_cluster(&histogram.bins[digit], rank) : 0;
    }
    sync_block(at);
    if (thread_x() < kFine) {
      uint32_t here = 0;
      uint32_t next = 0;
#pragma unroll
      for (int r = 0; r < kBlocks; ++r) {
        here += counts[thread_x()][r];
        next += counts[thread_x() + 1][r];
      }
      if (here >= wanted && next < wanted) found = {mark * kFine + thread_x(), next, here - next};
    }
    sync_block(at);
    const uint32_t line = found.digit % kFine;
#pragma unroll
    for (int r = 0; r < kBlocks; ++r) {
      above[r] += counts[line + 1][r];
      inside[r] = counts[line][r] - counts[line + 1][r];
    }
    return found;
  }
};

}  // namespace wavejit
