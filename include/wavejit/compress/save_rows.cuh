// Copies the rows of a write plan to the ring: whole rows of kWidth elements, converted once.
//
// Behind a prefill, which reads the ring as it was, only the stores wait: the prefill lets this
// launch begin after its own wait, when everything that was launched before it has ended, so what is
// loaded here is complete. Invalid rows, and rows and locations outside their tensors, are skipped.
#pragma once
#include <wavejit/compress/plan.cuh>
#include <wavejit/core/lane.cuh>
#include <wavejit/core/tile.cuh>

namespace wavejit {

template <class State, class Input>
struct SaveRowsParams {
  State* state;
  const Input* input;
  const WritePlan* plan;
  int64_t input_stride;
  int64_t input_rows;
  int64_t entries;
  int64_t locations;  // rows of the pool
  int64_t groups;     // plan rows that are copied side by side; the others follow, groups apart
  int32_t behind_prefill;
};

inline constexpr int64_t kMaxSaveGroups = 4096;  // more plan rows than that are mostly padding

// A lane copies 4 elements of each half of a row.
template <int kThreads, int kWidth>
using SaveLane = Lane<kThreads, kWidth / 8>;

template <int kWidth>
struct SavedRow {
  int32_t loc;
  Tile<4> halves[2];

  template <class State, class Input>
  __device__ __forceinline__ void load(const SaveRowsParams<State, Input>& p, int64_t row,
                                       int column) {
    loc = -1;
    if (row >= p.entries) return;
    const WritePlan plan = p.plan[row];
    if (plan.ragged_id >= p.input_rows || plan.write_loc >= p.locations) return;
    loc = plan.write_loc;
    if (loc < 0) return;
    const Input* source = p.input + plan.ragged_id * p.input_stride + column;
    halves[0] = load_tile_once<4>(source);
    halves[1] = load_tile_once<4>(source + kWidth / 2);
  }
  template <class State, class Input>
  __device__ __forceinline__ void store(const SaveRowsParams<State, Input>& p, int column) const {
    if (loc < 0) return;
    State* target = p.state + loc * int64_t{kWidth} + column;
    store_tile(target, halves[0]);
    store_tile(target + kWidth / 2, halves[1]);
  }
};

template <int kThreads, int kWidth, class State, class Input>
__device__ __forceinline__ void save_rows(const SaveRowsParams<State, Input>& p) {
  if (!p.behind_prefill) wait_for_previous_launch();
  const SaveLane<kThreads, kWidth> lane;
  const int column = lane.index * 4;
  SavedRow<kWidth> row;
  row.load(p, lane.entry < p.groups ? lane.entry : p.entries, column);
  wait_for_previous_launch();
  allow_next_launch();
  row.store(p, column);
  if (lane.entry >= p.groups) return;
#pragma unroll 1
  for (int64_t next = lane.entry + p.groups; next < p.entries; next += p.groups) {
    row.load(p, next, column);
    row.store(p, column);
  }
}

}  // namespace wavejit
