// Copies rows of a batch to the ring, rounded once to the state's type.
#pragma once
#include <wavejit/compress/plan.cuh>
#include <wavejit/compress/report.cuh>
#include <wavejit/core/lane.cuh>
#include <wavejit/core/tile.cuh>
#include <wavejit/core/warp.cuh>

namespace wavejit {

// Where a ring write waits for the launches before it. Behind a prefill kernel of its own call,
// which reads the ring as it was, it may begin before that one has ended: once everything that was
// launched before it has, so that the rows of the batch are complete.
enum class RingWriteWait : int32_t {
  kFirst,         // behind no prefill kernel
  kBeforeStores,  // behind one that lets it begin at once
  kBeforeEnd      // behind one that lets it begin when nothing of the ring is read any more
};

template <class State, class Input>
struct RingWriteParams : Reports {
  State* state;
  const Input* input;
  const WritePlan* plan;
  int64_t input_stride;
  int64_t input_rows;
  int64_t entries;
  int64_t rows;    // of the state
  int64_t groups;  // plan rows that are copied side by side
  RingWriteWait wait;
};

inline constexpr int kRingWriteTile = 4;
inline constexpr int kRingWriteBatch = 2;  // rows that a lane has on their way
// Rows that are copied side by side, at most: more of a plan's are mostly padding.
inline constexpr int64_t kMostRingWrites = 512;

// A lane's channels of one row, every kSpan of its kWidth elements.
template <int kWidth, int kSpan, class State, class Input>
struct RingRow {
  static constexpr int kBlocks = kWidth / kSpan;
  int32_t loc;  // below 0: no row
  Tile<kRingWriteTile> blocks[kBlocks];

  __device__ __forceinline__ void load(const RingWriteParams<State, Input>& p,
                                       const WritePlan& plan, int channel) {
    loc = plan.write_loc;
    if (loc < 0) return;
    const Input* source = p.input + plan.ragged_id * p.input_stride + channel;
#pragma unroll
    for (int k = 0; k < kBlocks; ++k) {
      blocks[k] = load_tile_once<kRingWriteTile>(source + k * kSpan);
    }
  }
  __device__ __forceinline__ void store(const RingWriteParams<State, Input>& p, int channel) const {
    if (loc < 0) return;
    State* target = p.state + loc * int64_t{kWidth} + channel;
#pragma unroll
    for (int k = 0; k < kBlocks; ++k) store_tile(target + k * kSpan, blocks[k]);
  }
};

// Plan rows p.groups apart, one in each of kLanes lanes side by side, which copy those that name a
// row of the batch and one of the ring.
template <int kLanes>
struct RingWrites {
  WritePlan plan;
  uint64_t left;  // lanes whose row is still to be copied

  template <class Params>
  __device__ __forceinline__ RingWrites(const Params& p, int64_t first, Site at = Site::here()) {
    const int64_t row = first + lane_in_group(kLanes) * p.groups;
    plan = row < p.entries ? p.plan[row] : WritePlan{0, -1};
    const bool is_valid = plan.ragged_id < p.input_rows && plan.write_loc < p.rows;
    left = ballot<kLanes>(is_valid && plan.write_loc >= 0, at);
  }
  // One that is left, or one without a location.
  __device__ __forceinline__ WritePlan next(Site at = Site::here()) {
    if (left == 0) return {0, -1};
    const int lane = __builtin_popcountll(~left & (left - 1));  // the first
    left &= left - 1;
    return {shuffle<kLanes>(plan.ragged_id, lane, at), shuffle<kLanes>(plan.write_loc, lane, at)};
  }
};

template <int kThreads, int kWidth, int kSpan, class State, class Input>
__device__ __forceinline__ void write_to_ring(const RingWriteParams<State, Input>& p) {
  if (p.wait == RingWriteWait::kFirst) wait_for_previous_launch();
  allow_next_launch();
  constexpr int kLanes = kSpan / kRingWriteTile;  // of a row
  constexpr int kSide = kLanes % kGroupSize == 0 ? kGroupSize : kLanes & -kLanes;
  const Lane<kThreads, kLanes> lane;
  const int channel = lane.index * kRingWriteTile;
  if (lane.entry < p.groups) {
#pragma unroll 1
    for (int64_t first = lane.entry; first < p.entries; first += kSide * p.groups) {
      RingWrites<kSide> writes(p, first);
      while (writes.left != 0) {
        RingRow<kWidth, kSpan, State, Input> rows[kRingWriteBatch];
#pragma unroll
        for (int k = 0; k < kRingWriteBatch; ++k) rows[k].load(p, writes.next(), channel);
        if (p.wait == RingWriteWait::kBeforeStores) wait_for_previous_launch();
#pragma unroll
        for (int k = 0; k < kRingWriteBatch; ++k) rows[k].store(p, channel);
      }
    }
  }
  if constexpr (kIsChecked) {
    report_writes(p, lane.entry < p.groups && lane.index == 0, lane.entry);
  }
  // This launch ends after the one before it if one block does; the others make room.
  if (block_x() == 0) wait_for_previous_launch();
}

}  // namespace wavejit
