// The queries' heads: each divided by its root mean square, its last dims rotated. A kernel names
// its instance and where the queries come from:
//
//   struct Query {
//     using Element = bfloat16;           // of the results
//     static constexpr int kDim = 512;
//     static constexpr bool kNorm = true; // false: y is x, only rotated
//     static constexpr Preset kPreset = Preset::kDefault;
//   };
//   WholeHeads<Query> or PartialHeads<Query, float>
//
// Numbers   y = x * r with r of norm/rms.cuh (no weights), rounded to Element; the last kRopeDims
// of
//           y are rotated in fp32 (num/rope.cuh) and rounded again. With Preset::kAmd they are
//           rotated before they are rounded, by angles rounded to bf16: cache/preset.cuh. Partial
//           heads are summed in fp32: ((x_0 + x_1) + x_2) + ..., each sum rounded.
// Invalid   a position outside the table counts as the nearest one in it.
// Lanes     a head has RowShape's lanes, at most as many as the kernel says; all its loads are on
//           their way together. Whatever is no load is computed before the wait for earlier
//           launches. All lanes of a wave that have a head exchange values together.
#pragma once
#include <wavejit/cache/preset.cuh>
#include <wavejit/core/divisor.cuh>
#include <wavejit/core/heads.cuh>
#include <wavejit/core/integers.cuh>
#include <wavejit/core/report.cuh>
#include <wavejit/norm/row.cuh>

namespace wavejit {

inline constexpr int kHeadRopeDims = 64;

// Which head of which token a row of the batch is.
struct HeadPlace {
  uint32_t token;
  uint32_t head;

  template <class Batch>
  __device__ __forceinline__ HeadPlace(const Batch& p, uint32_t row)
      : token(p.by_heads.quotient(row)), head(row - token * p.heads) {}
};

// Heads as they are.
template <class Query>
struct WholeHeads {
  using Element = typename Query::Element;
  static constexpr bool kIsPartial = false;
  template <int kMostLanes>
  using Row = RawRow<Element, Query::kDim, kMostLanes>;
  NearHeads<const Element> heads;

  // `head` with the lane's first element.
  __device__ __forceinline__ const Element* address(const HeadPlace& at, int lane) const {
    return heads.at(heads.vector_of(at.token, at.head) + lane);
  }
  template <int kMostLanes>
  __device__ __forceinline__ Row<kMostLanes> load(const Element* head) const {
    return load_row_pieces<Query::kDim, kMostLanes>(head);
  }
};

// Heads as sums of `count` > 0 partial results, such as those of a split-K product.
template <class Query, class Partial>
struct PartialHeads {
  using Element = typename Query::Element;
  static constexpr bool kIsPartial = true;
  template <int kMostLanes>
  using Row = WideRow<Element, Query::kDim, kMostLanes>;
  Heads<const Partial> heads;
  int64_t stride;  // elements from one partial result to the next
  int32_t count;

  // So many loads of each piece are on their way together; those past the last result read it
  // again.
  static constexpr int32_t kInFlight = 4;

  __device__ __forceinline__ const Partial* address(const HeadPlace& at, int lane) const {
    return heads.row(at.token, at.head) + lane * (16 / static_cast<int>(sizeof(Element)));
  }
  template <int kMostLanes>
  __device__ __forceinline__ Row<kMostLanes> load(const Partial* head) const {
    using Shape = typename Row<kMostLanes>::Shape;
    using Part = Pieces<Shape::kItems, Partial>;
    Row<kMostLanes> row;
#pragma unroll
    for (int p = 0; p < Shape::kPieces; ++p) {
      row.pieces[p] = widen(load_pieces<Shape::kItems>(head + Shape::dim(p, 0)));
    }
    for (int32_t first = 1; first < count; first += kInFlight) {
      Part parts[kInFlight][Shape::kPieces];
#pragma unroll
      for (int32_t k = 0; k < kInFlight; ++k) {
        const Partial* from = head + int64_t{first + k < count ? first + k : count - 1} * stride;
#pragma unroll
        for (int p = 0; p < Shape::kPieces; ++p) {
          parts[k][p] = load_pieces<Shape::kItems>(from + Shape::dim(p, 0));
        }
      }
#pragma unroll
      for (int32_t k = 0; k < kInFlight; ++k) {
        if (first + k < count) add(row, parts[k]);
      }
    }
    return row;
  }

 private:
  template <class Wide, class Part, int kPieces>
  __device__ __forceinline__ static void add(Wide& row, const Part (&parts)[kPieces]) {
#pragma unroll
    for (int p = 0; p < kPieces; ++p) {
      const auto part = widen(parts[p]);
#pragma unroll
      for (int i = 0; i < Wide::Shape::kItems; ++i) row.pieces[p].values[i] += part.values[i];
    }
  }
};

template <class Source>
struct HeadBatch : Reports {
  using Element = typename Source::Element;
  Source source;
  NearHeads<Element> out;
  const float* angles;
  Integers positions;
  uint32_t last_position;  // of the table
  Divisor by_heads;
  uint32_t heads;
  uint32_t rows;  // tokens times heads
  float eps;
};

// What a checked build says of a token's position: its first head's first lane does.
template <class Batch>
__device__ __forceinline__ void report_head(const Batch& p, const HeadPlace& at, int lane,
                                            const FetchedInteger& position) {
  const bool asks = at.head == 0 && lane == 0;
  const int64_t count = int64_t{p.last_position} + 1;
  report_outside_if(p, asks, Index::kPosition, position.value(), count, at.token);
}

// A part of the tail, rotated by the preset's rules. What comes is rounded where they say so, what
// goes is not.
template <class Query, int kItems>
__device__ __forceinline__ Tile<kItems> turned_head(const Tile<kItems>& y, Tile<kItems> angles) {
  if constexpr (rounds_angles<Query::kPreset>) angles = round_through<bfloat16>(angles);
  return rotate(y, angles);
}

// What a lane rotates of a head: as many dims of the tail as every other lane.
template <class Query, class Share>
using TailShare = Vec<typename Query::Element, Share::kItems>;

// A head's last piece, of which the tail is made.
template <class Element, int kItems>
struct HeadEnd {
  Vec<Element, kItems> rounded;
  Tile<kItems> wide;
};

// The lane's share of the tail, of the last piece or of the same in fp32.
template <class Query, class Share, class End>
__device__ __forceinline__ auto exchanged_tail(const End& end, int lane) {
  using Element = typename Query::Element;
  if constexpr (rounds_before_rotation<Query::kPreset> && sizeof(Element) == 2) {
    using Words = Vec<uint32_t, Share::kOwned / 2>;
    const auto mine = Share::template words<2, Together::kWave>(bit_cast<Words>(end.rounded), lane);
    return widen(bit_cast<TailShare<Query, Share>>(mine));
  } else {
    using Words = Vec<float, Share::kOwned>;
    return widen(Share::template words<1, Together::kWave>(bit_cast<Words>(end.wide), lane));
  }
}

template <class Element, bool kAreNumbers, int kItems>
__device__ __forceinline__ Vec<Element, kItems> round_head(const Tile<kItems>& y) {
  if constexpr (kAreNumbers) return narrow_numbers<Element>(y);
  return narrow<Element>(with_one_nan<Element>(y));
}

// The lane's share of the tail before its rotation.
template <class Query, bool kAreNumbers, int kItems>
__device__ __forceinline__ Tile<kItems> finish_tail(
    const Vec<typename Query::Element, kItems>& share, float inverse) {
  Tile<kItems> y = widen(share);
  if constexpr (Query::kNorm) y = normalise(y, inverse);
  if constexpr (!Query::kNorm || !rounds_before_rotation<Query::kPreset>) return y;
  return widen(round_head<typename Query::Element, kAreNumbers>(y));
}

// y, all but the tail stored. What is neither normalised nor summed keeps its bits, also a NaN's.
template <class Query, bool kAreNumbers, class Row>
__device__ __forceinline__ auto store_head(const Row& row, float inverse,
                                           typename Query::Element* to, int lane) {
  using Element = typename Query::Element;
  using Shape = typename Row::Shape;
  using Tail = typename Row::template SharedTailOf<kHeadRopeDims>::Tail;
  constexpr int kLast = Shape::kPieces - 1;
  HeadEnd<Element, Shape::kItems> end;
#pragma unroll
  for (int p = 0; p <= kLast; ++p) {
    end.wide = row.piece(p);
    if constexpr (Query::kNorm) end.wide = normalise(end.wide, inverse);
    if constexpr (!Query::kNorm && !Row::kIsWide) {
      end.rounded = row.pieces[p];
    } else {
      end.rounded = round_head<Element, kAreNumbers>(end.wide);
    }
    if (p < kLast || lane < Tail::kFirstLane) store_vector(to + Shape::dim(p, 0), end.rounded);
  }
  return end;
}

// A head in the lanes that hold it, all of which must call it: into `to`, with the lane's first
// element. `share` is its share of the tail where it has loaded one. kAllowsNext: the next launch
// may begin once most of the head is stored.
template <class Query, bool kHasShare, bool kAllowsNext, class Share, class Row, class Angles>
__device__ __forceinline__ void finish_head(const Row& row, const TailShare<Query, Share>& share,
                                            const Angles& angles, float eps,
                                            typename Query::Element* to,
                                            typename Query::Element* tail_to, int lane) {
  using Element = typename Query::Element;
  using Shape = typename Row::Shape;
  HeadEnd<Element, Shape::kItems> end;
  Tile<Share::kItems> tail;
  const float mean = Query::kNorm ? mean_square_of<Together::kWave>(row, eps) : 0.0f;
  if (Query::kNorm && __builtin_expect(has_ordinary_root(mean), true)) {  // all elements are finite
    const float inverse = inverse_of_ordinary_root(mean);
    end = store_head<Query, true>(row, inverse, to, lane);
    if constexpr (kHasShare) tail = finish_tail<Query, true>(share, inverse);
  } else {
    const float inverse = Query::kNorm ? inverse_square_root(mean) : 1.0f;
    end = store_head<Query, false>(row, inverse, to, lane);
    if constexpr (kHasShare) tail = finish_tail<Query, false>(share, inverse);
  }
  if constexpr (kAllowsNext) allow_next_launch();
  if constexpr (!kHasShare) tail = exchanged_tail<Query, Share>(end, lane);
  tail = turned_head<Query>(tail, angles);
  store_vector(tail_to, narrow<Element>(with_one_nan<Element>(tail)));
}

// The heads of one block of kThreads lanes, at most kMostLanes for each. kNextFirst: the next
// launch may begin at once; of many heads alone its blocks would be in the way.
template <class Query, int kThreads, int kMostLanes, bool kNextFirst, class Source>
__device__ __forceinline__ void norm_rope_heads(const HeadBatch<Source>& p, unsigned block) {
  using Element = typename Query::Element;
  using Row = typename Source::template Row<kMostLanes>;
  using Shape = typename Row::Shape;
  using Share = typename Row::template SharedTailOf<kHeadRopeDims>;
  const uint32_t row = block * (kThreads / Shape::kLanes) + thread_x() / Shape::kLanes;
  const int lane = static_cast<int>(thread_x() % Shape::kLanes);
  const HeadPlace at(p, row);
  const auto* from = p.source.address(at, lane);
  // Where heads are few a lane loads its share of the tail besides its pieces, which is sooner done
  // with; where they are many it gets it from the lanes that have it, which takes fewer
  // instructions; partial results are not summed twice.
  constexpr bool kLoadsTail = kNextFirst && !Row::kIsWide && kMostLanes == kGroupSize;
  const auto* tail_from = from + (kLoadsTail ? Share::from_piece(lane) : 0);
  const uint32_t* place = p.positions.address_of(at.token);
  const float* table = p.angles + lane * Share::kItems;
  if constexpr (kNextFirst) allow_next_launch();
  wait_for_previous_launch(from, tail_from, place, table);
  if (row >= p.rows) return;
  const FetchedInteger position = p.positions.fetch_now_at(place);
  if constexpr (kIsChecked) report_head(p, at, lane, position);
  const Row head = p.source.template load<kMostLanes>(from);
  TailShare<Query, Share> share{};
  if constexpr (kLoadsTail) {
    share = load_now(reinterpret_cast<const TailShare<Query, Share>*>(tail_from));
  }
  const uint64_t entry = uint64_t{clamp_position(position, p.last_position)} * kHeadRopeDims;
  const auto angles = load_pieces_now<Share::kItems>(table + entry);
  const uint32_t vector = p.out.vector_of(at.token, at.head);
  Element* to = p.out.at(vector + lane);
  Element* tail_to = p.out.at(vector, Query::kDim - kHeadRopeDims + lane * Share::kItems);
  finish_head<Query, kLoadsTail, !kNextFirst, Share>(head, share, widen(angles), p.eps, to, tail_to,
                                                     lane);
}

// Only rotation, in place: a lane for each vector of the tails.
template <class Query, int kThreads, class Source>
__device__ __forceinline__ void rope_tails(const HeadBatch<Source>& p, unsigned block) {
  using Element = typename Query::Element;
  using Tail = RowTail<Element, Query::kDim, kHeadRopeDims>;
  constexpr int kItems = Tail::Shape::kItems;
  const uint32_t row = block * (kThreads / Tail::kTailLanes) + thread_x() / Tail::kTailLanes;
  const int dim = static_cast<int>(thread_x() % Tail::kTailLanes) * kItems;
  const HeadPlace at(p, row);
  Element* tail = p.out.at(p.out.vector_of(at.token, at.head), Query::kDim - kHeadRopeDims + dim);
  const uint32_t* place = p.positions.address(at.token);
  const float* table = p.angles + dim;
  allow_next_launch();
  wait_for_previous_launch(tail, place, table);
  if (row >= p.rows) return;
  const FetchedInteger position = p.positions.fetch_at(place);
  if constexpr (kIsChecked) report_head(p, at, dim, position);
  const auto x = load_tile<kItems>(tail);
  const uint64_t entry = uint64_t{clamp_position(position, p.last_position)} * kHeadRopeDims;
  const auto angles = widen(load_pieces<kItems>(table + entry));
  store_tile(tail, with_one_nan<Element>(turned_head<Query>(x, angles)));
}

}  // namespace wavejit
