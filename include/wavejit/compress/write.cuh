// Copies rows of a batch to the ring, rounded once to the state's type.
#pragma once
#include <wavejit/compress/plan.cuh>
#include <wavejit/compress/report.cuh>
#include <wavejit/core/lane.cuh>
#include <wavejit/core/tile.cuh>

namespace wavejit {

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
  int32_t behind_prefill;
};

inline constexpr int kRingWriteTile = 4;
inline constexpr int kRingWriteBatch = 4;

// A lane's channels of one row, every kSpan of its kWidth elements.
template <int kWidth, int kSpan, class State, class Input>
struct RingRow {
  static constexpr int kBlocks = kWidth / kSpan;
  int32_t loc;
  Tile<kRingWriteTile> blocks[kBlocks];

  __device__ __forceinline__ void load(const RingWriteParams<State, Input>& p,
                                       const WritePlan& plan, int channel) {
    loc = plan.ragged_id < p.input_rows && plan.write_loc < p.rows ? plan.write_loc : -1;
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

// Plan rows p.groups apart, asked for at once: most of them are padding.
struct RingWriteBatch {
  WritePlan plans[kRingWriteBatch];

  template <class Params>
  __device__ __forceinline__ RingWriteBatch(const Params& p, int64_t first) {
#pragma unroll
    for (int k = 0; k < kRingWriteBatch; ++k) {
      const int64_t row = first + k * p.groups;
      plans[k] = row < p.entries ? p.plan[row] : WritePlan{0, -1};
    }
  }
};

// Behind the prefill kernel, which reads the ring as it was, only the stores wait: that kernel lets
// this launch begin after its own wait, when everything that was launched before it has ended, so
// what is loaded here is complete.
template <int kThreads, int kWidth, int kSpan, class State, class Input>
__device__ __forceinline__ void write_to_ring(const RingWriteParams<State, Input>& p) {
  if (!p.behind_prefill) wait_for_previous_launch();
  const Lane<kThreads, kSpan / kRingWriteTile> lane;
  const int channel = lane.index * kRingWriteTile;
  const bool used = lane.entry < p.groups;
  RingRow<kWidth, kSpan, State, Input> row;
  row.load(p, used && lane.entry < p.entries ? p.plan[lane.entry] : WritePlan{0, -1}, channel);
  wait_for_previous_launch();
  allow_next_launch();
  row.store(p, channel);
  if constexpr (kIsChecked) {
    report_writes(p, used && lane.index == 0, lane.entry);
  }
  if (!used) return;
#pragma unroll 1
  for (int64_t first = lane.entry + p.groups; first < p.entries;
       first += kRingWriteBatch * p.groups) {
    const RingWriteBatch batch(p, first);
#pragma unroll
    for (int k = 0; k < kRingWriteBatch; ++k) {
      row.load(p, batch.plans[k], channel);
      row.store(p, channel);
    }
  }
}

}  // namespace wavejit
