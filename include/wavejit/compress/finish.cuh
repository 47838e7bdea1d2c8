// What follows pooling: RMS norm, rotation of the last 64 dims, for the indexer's keys the Hadamard
// transform, quantisation, and the store in a cache. A row is held by kLanes lanes side by side,
// four consecutive dims each; kernels that pool and kernels that read pooled rows end here, so that
// both write the same bytes.
//
//   latent (512)    y = norm(x); dims 0-447 rounded to bf16 before they are quantised; dims 448-511
//                   rotated unrounded, then rounded once to bf16
//   indexer (128)   y = norm(x), dims 64-127 rotated, Hadamard transform, all in fp32; quantised
//
// The row's position is seq_len - ratio, that of its first token. Where the rotation's table has no
// such position, or the cache no such location, nothing is written.
#pragma once
#include <wavejit/cache/row.cuh>
#include <wavejit/compress/plan.cuh>
#include <wavejit/core/integers.cuh>
#include <wavejit/norm/rms.cuh>
#include <wavejit/num/hadamard.cuh>
#include <wavejit/num/rope.cuh>

namespace wavejit {

template <class Layout, class Weight>
struct FinishParams {
  CachePages<Layout> cache;
  const Weight* weight;  // [dims]
  const float* angles;   // [positions, 64]: cos, sin, cos, ...
  Integers out_loc;
  int64_t positions;
  int64_t locations;  // of out_loc
  float eps;
};

// Where a plan's row goes.
struct FinishedRow {
  int64_t loc = -1;
  int64_t position = 0;
};

template <class LayoutType, class Rules, class WeightType, int kRatio>
struct Finish {
  using Layout = LayoutType;
  using Weight = WeightType;
  using Params = FinishParams<Layout, Weight>;
  static constexpr int kItems = 4;
  static constexpr int kDims = Layout::kDims;
  static constexpr int kLanes = kDims / kItems;
  static constexpr int kRotated = 64;

  // Location -1: the row is not stored. The position is always one that the table has.
  __device__ __forceinline__ static FinishedRow locate(const Params& p, uint32_t seq_len,
                                                       int64_t index) {
    FinishedRow row;
    if (seq_len < kRatio || seq_len == kInvalidRow || index >= p.locations) return row;
    const int64_t loc = p.out_loc[index];
    const int64_t position = int64_t{seq_len} - kRatio;
    if (position >= p.positions) return row;
    row.position = position;
    if (p.cache.holds(loc)) row.loc = loc;
    return row;
  }
  // Of row `entry` of a plan: a decode step's is that of a request, a chunk's names its token.
  __device__ __forceinline__ static FinishedRow locate(const Params& p, const DecodePlan& plan,
                                                       int64_t entry, bool) {
    return locate(p, plan.seq_len % kRatio == 0 ? plan.seq_len : kInvalidRow, entry);
  }
  __device__ __forceinline__ static FinishedRow locate(const Params& p, const CompressPlan& plan,
                                                       int64_t, bool wide) {
    return locate(p, plan.seq_len, ragged_id_of(plan, wide));
  }

  // What a lane needs beside its part of the row, to be asked for before the row is there.
  struct Constants {
    Tile<kItems> weight;
    Tile<kItems> angles;  // of lanes that rotate

    __device__ __forceinline__ void load(const Params& p, const FinishedRow& row, int lane) {
      weight = load_tile<kItems>(p.weight + lane * kItems);
      const int first = lane * kItems - (kDims - kRotated);
      if (first >= 0) angles = load_tile<kItems>(p.angles + row.position * kRotated + first);
    }
  };

  // `sum` is the row's sum of squares. Every lane of the row calls it.
  __device__ __forceinline__ static void store(const Params& p, const FinishedRow& row,
                                               const Constants& constants, const Tile<kItems>& x,
                                               float sum, int lane, Site at = Site::here()) {
    const bool rotates = lane * kItems >= kDims - kRotated;
    Tile<kItems> y = normalise(x, inverse_rms<kDims>(sum, p.eps), constants.weight);
    if (rotates) y = rotate(y, constants.angles);
    if constexpr (Layout::kIsLatent) {
      if (!rotates) y = round_through<bfloat16>(y);
    } else {
      y = hadamard(y, lane, at);
    }
    store_row<Layout, Rules>(p.cache, row.loc, lane, y, at);
  }
};

// Finishes the rows that the first kLanes lanes of a block of kThreads hold, or, where a row has no
// more lanes than a group, those of every kLanes lanes. Every lane of the block calls it then.
template <class Finish, int kThreads>
struct BlockFinish {
  static constexpr int kItems = Finish::kItems;
  static constexpr int kLanes = Finish::kLanes;
  static constexpr bool kInGroups = kLanes <= kGroupSize;  // needs no barrier
  using Sum = WideRowSum<kThreads, 1>;

  __device__ __forceinline__ static void run(const typename Finish::Params& p,
                                             const FinishedRow& row,
                                             const typename Finish::Constants& constants,
                                             const Tile<kItems>& x, int lane, Sum& shared,
                                             Site at = Site::here()) {
    const bool holds = lane < kLanes;
    float sums[1] = {holds ? sum_of_squares(x) : 0.0f};
    float sum;
    if constexpr (kInGroups) {
      sum = row_sum<kLanes>(sums[0], at);
    } else {
      sum = wide_row_sum<kThreads, 1>(sums, shared, at);
    }
    if (holds) Finish::store(p, row, constants, x, sum, lane, at);
  }
};

}  // namespace wavejit
