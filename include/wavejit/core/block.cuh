// Scans over a block of kThreads lanes, built from groups; for integers, whose sums have no order.
#pragma once
#include <wavejit/core/warp.cuh>

namespace wavejit {

// Shared memory of one scan.
template <class T, int kThreads>
struct BlockScan {
  static constexpr int kGroups = kThreads / kGroupSize;
  static_assert(kThreads % kGroupSize == 0 && kGroups <= kGroupSize);
  T group_totals[kGroupSize];
};

// The combination of this lane and all before it in the block; `total` is that of all lanes. Every
// lane of the block must call it. `zero` is the operation's neutral element.
template <class Op, int kThreads, class T>
__device__ __forceinline__ T block_inclusive_scan(T value, T zero, T& total,
                                                  BlockScan<T, kThreads>& shared,
                                                  Site at = Site::here()) {
  constexpr int kGroups = BlockScan<T, kThreads>::kGroups;
  const unsigned group = thread_x() / kGroupSize;
  const unsigned lane = lane_in_group();
  const T in_group = inclusive_scan<Op>(value, at);
  if (lane == kGroupSize - 1) shared.group_totals[group] = in_group;
  sync_block(at);
  const T mine = lane < kGroups ? shared.group_totals[lane] : zero;
  const T up_to_group = inclusive_scan<Op>(mine, at);
  total = broadcast(up_to_group, kGroups - 1, at);
  const T before = broadcast(up_to_group, group == 0 ? 0 : static_cast<int>(group) - 1, at);
  sync_block(at);  // the next scan may write the totals
  return group == 0 ? in_group : Op::combine(before, in_group);
}

}  // namespace wavejit
