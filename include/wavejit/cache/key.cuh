// The attention's keys: each row normalised with weights, its last dims rotated, stored in a cache.
// A kernel names its instance, which is also the layout's (cache/layout.cuh) and that of the rules
// of quantisation (num/quantise.cuh):
//
//   struct Instance {
//     ...
//     static constexpr Preset kPreset = Preset::kDefault;  // cache/preset.cuh
//     static constexpr bool kKeepsRows = false;            // whether `kept` is written too
//     static constexpr bool kReportsPositions = true;      // in a checked build: core/report.cuh
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
// Lanes     of few rows: a row has a block of kFewThreads lanes, each with kFewItems dims. Of many:
//           a row has as many lanes as the kernel says, with pieces of 8 dims (norm/row.cuh). Half
//           a wave or less takes fewer instructions a row, a group of lanes fewer registers.
//           Whatever is no load is computed before the wait for earlier launches; the angles' load
//           alone waits for another. Lanes of a row that is not stored exchange maxima with the
//           others and write nothing of it to the cache; those beyond the last token compute its
//           row once more and write nothing: all lanes of a block of many rows meet.
#pragma once
#include <wavejit/cache/preset.cuh>
#include <wavejit/cache/row.cuh>
#include <wavejit/cache/row_pieces.cuh>
#include <wavejit/core/integers.cuh>
#include <wavejit/core/report.cuh>
#include <wavejit/norm/row.cuh>

namespace wavejit {

template <class Instance_>
struct KeyBatch : Reports {
  using Instance = Instance_;
  using Layout = CacheLayout<Instance>;
  using Element = typename Instance::Element;
  using Weight = typename Instance::Weight;
  static constexpr int kRopeDims = 64;
  static constexpr int kFirstRopeDim = Layout::kDims - kRopeDims;
  template <int kLanes>
  using Shape = RowShape<Element, Layout::kDims, kLanes>;
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
  uint32_t last_position;  // of the table
  int64_t first_loc;       // 1: slot 0 is not written
  float eps;
};

// Where a row comes from and goes to, known before anything is loaded.
template <class Batch>
struct KeyPlace {
  const typename Batch::Element* from;
  const typename Batch::Weight* weight;
  const float* table;  // the lane's angles in its first row
  const uint32_t* position;
  const uint32_t* target;

  // `dim` is the lane's first, `last_dim` that of its last piece, `weight_dim` the first whose
  // weights it loads. Lanes without dims of the tail have the first angles.
  __device__ __forceinline__ KeyPlace(const Batch& p, int64_t token, int dim, int last_dim,
                                      int weight_dim)
      : from(p.kv + token * p.stride + dim),
        weight(p.weight + weight_dim),
        table(p.angles + (last_dim < Batch::kFirstRopeDim ? 0 : last_dim - Batch::kFirstRopeDim)),
        position(p.positions.address(token)),
        target(p.loc.address(token)) {}
  __device__ __forceinline__ void wait() const {
    wait_for_previous_launch(from, weight, table, position, target);
  }
};

// A lane's dims of a row, normalised: those of the tail are rotated, all go into the cache, and
// into a kept row. All lanes of the row must call it. `vector` is which kItems dims of the row they
// are.
template <class Batch, int kItems>
__device__ __forceinline__ void store_key_dims(const Batch& p, int64_t token, int64_t loc,
                                               int vector, const Tile<kItems>& y,
                                               const Tile<kItems>& angles) {
  using Instance = typename Batch::Instance;
  const auto turned = [&] {
    return vector * kItems < Batch::kFirstRopeDim ? y : rotate(y, angles);
  };
  if constexpr (Instance::kKeepsRows) {
    store_tile(p.kept + token * p.kept_stride + vector * kItems, turned());
  }
  Tile<kItems> source = y;
  if constexpr (rounds_source<Instance::kPreset>) source = round_through<bfloat16>(y);
  store_row_with<typename Batch::Layout, Instance, Together::kWave>(p.cache, loc, vector, source,
                                                                    turned);
}

template <int kItems, class Batch>
__device__ __forceinline__ Tile<kItems> key_angles(const Batch& p, const float* table,
                                                   const FetchedInteger& position) {
  const uint64_t entry = uint64_t{clamp_position(position, p.last_position)} * Batch::kRopeDims;
  const auto angles = widen(load_pieces_now<kItems>(table + entry));
  if constexpr (!rounds_angles<Batch::Instance::kPreset>) return angles;
  return round_through<bfloat16>(angles);
}

// What a checked build says of a row, by the lane that asks; a position matters where it is stored.
template <class Batch>
__device__ __forceinline__ void report_key(const Batch& p, bool asks, int64_t token,
                                           const FetchedInteger& position, int64_t loc) {
  const int64_t count = int64_t{p.last_position} + 1;
  const bool stores = asks && Batch::Instance::kReportsPositions && loc >= 0 && p.cache.holds(loc);
  report_if(p, asks && loc >= p.cache.capacity, Index::kLocation, loc, token);
  report_outside_if(p, stores, Index::kPosition, position.value(), count, token);
}

// The location, or -1 where the call asks for nothing to be stored.
template <class Batch>
__device__ __forceinline__ int64_t key_location(const Batch& p, const FetchedInteger& found) {
  const int64_t loc = found.value();
  return loc >= p.first_loc ? loc : -1;
}

// The key of a block of kFewThreads lanes, which is one of few.
inline constexpr int kFewThreads = 128;
template <class Batch>
__device__ __forceinline__ void store_few_keys(const Batch& p, unsigned block) {
  constexpr int kItems = Batch::Layout::kDims / kFewThreads;
  __shared__ float partials[kFewThreads / kGroupSize];
  const int dim = static_cast<int>(thread_x()) * kItems;
  const KeyPlace<Batch> place(p, block, dim, dim, dim);
  allow_next_launch();
  place.wait();
  const FetchedInteger position = p.positions.fetch_now_at(place.position);
  const FetchedInteger target = p.loc.fetch_now_at(place.target);
  const auto raw = load_pieces_now<kItems>(place.from);
  const auto weight = load_pieces_now<kItems>(place.weight);
  const auto angles = key_angles<kItems>(p, place.table, position);
  const Tile<kItems> x = widen(raw);
  const float sum = block_row_sum<kFewThreads>(sum_of_squares(x), partials);
  const int64_t loc = key_location(p, target);
  if constexpr (kIsChecked) report_key(p, thread_x() == 0, block, position, loc);
  const auto y = normalise(x, inverse_rms<Batch::Layout::kDims>(sum, p.eps), widen(weight));
  store_key_dims(p, block, loc, static_cast<int>(thread_x()), y, angles);
}

// The weights of kDims dims in shared memory, in fp32: each lane of a block of kThreads brings
// some, and takes those of its pieces by vectors that lie side by side.
template <int kDims, int kThreads, int kItems>
struct SharedWeights {
  static constexpr int kBrought = kDims / kThreads;
  static_assert(kBrought == 4 && kItems == 8);
  Vec<float, 4> halves[2][kDims / kItems];  // of each vector of kItems

  __device__ __forceinline__ void bring(const Tile<kBrought>& weight) {
    halves[thread_x() % 2][thread_x() / 2] = bit_cast<Vec<float, 4>>(weight);
  }
  __device__ __forceinline__ Tile<kItems> vector(int index) const {
    Tile<kItems> weight;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const Vec<float, 4> half = halves[h][index];
#pragma unroll
      for (int i = 0; i < 4; ++i) weight.values[4 * h + i] = half.values[i];
    }
    return weight;
  }
};

// The keys of a block of kThreads lanes, of many; kLanes for each. Those beyond the last token
// compute it too, and write nothing.
template <int kThreads, int kLanes, class Batch>
__device__ __forceinline__ void store_many_keys(const Batch& p, unsigned block) {
  using Instance = typename Batch::Instance;
  using Layout = typename Batch::Layout;
  using Shape = typename Batch::template Shape<kLanes>;
  static_assert(Shape::kLanes == kLanes);
  constexpr int kItems = Shape::kItems, kLast = Shape::kPieces - 1;
  constexpr bool kRounds = rounds_source<Instance::kPreset>;
  using Weights = SharedWeights<Layout::kDims, kThreads, kItems>;
  __shared__ Weights weights;
  const int lane = static_cast<int>(thread_x() % kLanes);
  const int64_t token = int64_t{block} * (kThreads / kLanes) + thread_x() / kLanes;
  const bool is_row = token < p.tokens;
  const KeyPlace<Batch> place(p, is_row ? token : p.tokens - 1, Shape::dim(0, lane),
                              Shape::dim(kLast, lane),
                              static_cast<int>(thread_x()) * Weights::kBrought);
  allow_next_launch();
  place.wait();
  const FetchedInteger position = p.positions.fetch_now_at(place.position);
  const FetchedInteger target = p.loc.fetch_now_at(place.target);
  const auto weight = load_pieces_now<Weights::kBrought>(place.weight);
  const auto raw = load_row_pieces_now<Layout::kDims, kLanes>(place.from);
  const auto angles = key_angles<kItems>(p, place.table, position);
  weights.bring(widen(weight));
  sync_block();
  const int64_t loc = is_row ? key_location(p, target) : -1;
  if constexpr (kIsChecked) report_key(p, is_row && lane == 0, token, position, loc);
  const float inverse = inverse_rms_of<Together::kWave>(raw, p.eps);
  decltype(row_piece<Layout, Instance, kRounds>(Tile<kItems>{})) pieces[kLast + 1];
  Tile<kItems> y;
#pragma unroll
  for (int i = 0; i <= kLast; ++i) {
    y = normalise(raw.piece(i), inverse, weights.vector(i * kLanes + lane));
    pieces[i] = row_piece<Layout, Instance, kRounds>(y);
    if (i == kLast && Shape::dim(i, lane) >= Batch::kFirstRopeDim) y = rotate(y, angles);
    if constexpr (Instance::kKeepsRows) {
      if (is_row) store_tile(p.kept + token * p.kept_stride + Shape::dim(i, lane), y);
    }
  }
  store_row_of_pieces<Layout, Instance, kLanes>(p.cache, loc, lane, pieces, y);
}

}  // namespace wavejit
