// The attention's keys: each row normalised with weights, its last dims rotated, stored in a cache.
// A kernel names its instance, which is also the layout's (cache/layout.cuh) and that of the rules
// of quantisation (num/quantise.cuh):
//
//   struct Instance {
//     ...
//     static constexpr Preset kPreset = Preset::kDefault;  // cache/preset.cuh
//     static constexpr bool kKeepsRows = false;            // whether `kept` is written too
//     using Element = bfloat16;                            // of the rows
//     using Weight = bfloat16;
//   };
//
// Numbers   y = (x * r) * w of norm/rms.cuh in fp32; its last kRopeDims rotated in fp32
//           (num/rope.cuh), by angles rounded to bf16 where kPreset says so; then what store_cache
//           does with y, first rounded to bf16 where kPreset says so. A kept row is y rounded to
//           Element.
// Invalid   a location below first_loc or past the last slot is not written. A position outside the
//           table counts as the nearest one in it.
// Lanes     a row has RowShape's lanes, kGroupSize, with pieces of 8 dims; the loads of kTokens
//           rows are on their way together. A scale's group is 8 lanes of one piece.
#pragma once
#include <wavejit/cache/preset.cuh>
#include <wavejit/cache/row.cuh>
#include <wavejit/core/integers.cuh>
#include <wavejit/norm/row.cuh>

namespace wavejit {

template <class Instance_>
struct KeyBatch {
  using Instance = Instance_;
  using Layout = CacheLayout<Instance>;
  using Element = typename Instance::Element;
  using Weight = typename Instance::Weight;
  static constexpr int kRopeDims = 64;
  using Row = RawRow<Element, Layout::kDims>;
  using Shape = typename Row::Shape;
  using Tail = RowTail<Element, Layout::kDims, kRopeDims>;
  using Weights = Pieces<Shape::kItems, Weight>[Shape::kPieces];
  static_assert(Layout::kIsLatent);

  CachePages<Layout> cache;
  const Element* kv;
  int64_t stride;  // elements from one row to the next
  Element* kept;   // the rows as they go into the cache, may be kv
  int64_t kept_stride;
  const Weight* weight;
  const float* angles;
  Integers positions;
  Integers loc;
  int64_t tokens;
  int64_t table_rows;
  int64_t first_loc;  // 1: slot 0 is not written
  float eps;
};

// A row in the lanes that hold it: all of them must call it.
template <class Instance>
__device__ __forceinline__ void store_key(const KeyBatch<Instance>& p,
                                          const typename KeyBatch<Instance>::Row& raw,
                                          const typename KeyBatch<Instance>::Weights& weights,
                                          int64_t token, int64_t position, int64_t loc, int lane) {
  using Batch = KeyBatch<Instance>;
  using Shape = typename Batch::Shape;
  const int64_t row = clamp_position(position, p.table_rows);
  auto angles = Batch::Tail::angles(p.angles + row * Batch::kRopeDims, lane);
  if constexpr (rounds_angles<Instance::kPreset>) angles = round_through<bfloat16>(angles);
  const float inverse = inverse_rms_of(raw, p.eps);
#pragma unroll
  for (int i = 0; i < Shape::kPieces; ++i) {
    auto y = normalise(raw.piece(i), inverse, widen(weights[i]));
    if (i == Shape::kPieces - 1 && lane >= Batch::Tail::kFirstLane) y = rotate(y, angles);
    if constexpr (Instance::kKeepsRows) {
      store_tile(p.kept + token * p.kept_stride + Shape::dim(i, lane), y);
    }
    if constexpr (rounds_source<Instance::kPreset>) y = round_through<bfloat16>(y);
    if (loc >= p.first_loc) {
      store_row<typename Batch::Layout, Instance>(p.cache, loc, i * Shape::kLanes + lane, y);
    }
  }
}

// The keys of one block of kThreads lanes, kTokens a lane.
template <int kThreads, int kTokens, class Instance>
__device__ __forceinline__ void store_keys(const KeyBatch<Instance>& p, unsigned block) {
  using Batch = KeyBatch<Instance>;
  using Shape = typename Batch::Shape;
  constexpr int kRows = kThreads / Shape::kLanes;
  const int lane = static_cast<int>(thread_x() % Shape::kLanes);
  const int64_t first = int64_t{block} * (kRows * kTokens) + thread_x() / Shape::kLanes;
  wait_for_previous_launch();
  allow_next_launch();
  int64_t locs[kTokens], positions[kTokens];
  typename Batch::Row raws[kTokens];
#pragma unroll
  for (int k = 0; k < kTokens; ++k) {
    const int64_t token = first + k * kRows;
    locs[k] = -1;
    if (token >= p.tokens) continue;
    locs[k] = p.loc[token];
    positions[k] = p.positions[token];
    raws[k] = load_raw_row<Batch::Layout::kDims>(p.kv + token * p.stride, lane);
  }
  typename Batch::Weights weights;
#pragma unroll
  for (int i = 0; i < Shape::kPieces; ++i) {
    weights[i] = load_pieces<Shape::kItems>(p.weight + Shape::dim(i, lane));
  }
#pragma unroll
  for (int k = 0; k < kTokens; ++k) {
    const int64_t token = first + k * kRows;
    if (Instance::kKeepsRows ? token >= p.tokens
                             : locs[k] < p.first_loc || !p.cache.holds(locs[k])) {
      continue;
    }
    store_key(p, raws[k], weights, token, positions[k], locs[k], lane);
  }
}

}  // namespace wavejit
