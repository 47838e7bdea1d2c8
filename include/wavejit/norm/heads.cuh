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
// Lanes     a head has RowShape's lanes, at most kGroupSize; all its loads are on their way
//           together. Whatever is no load is computed before the wait for earlier launches.
#pragma once
#include <wavejit/cache/preset.cuh>
#include <wavejit/core/divisor.cuh>
#include <wavejit/core/heads.cuh>
#include <wavejit/core/integers.cuh>
#include <wavejit/core/report.cuh>
#include <wavejit/norm/row.cuh>

namespace wavejit {

inline constexpr int kHeadRopeDims = 64;

// Heads as they are.
template <class Query>
struct WholeHeads {
  using Element = typename Query::Element;
  using Row = RawRow<Element, Query::kDim>;
  Heads<const Element> heads;

  // `head` with the lane's first element.
  __device__ __forceinline__ Row load(const Element* head) const {
    return load_row_pieces<Query::kDim>(head);
  }
};

// Heads as sums of `count` > 0 partial results, such as those of a split-K product.
template <class Query, class Partial>
struct PartialHeads {
  using Element = typename Query::Element;
  using Row = WideRow<Element, Query::kDim>;
  using Shape = typename Row::Shape;
  Heads<const Partial> heads;
  int64_t stride;  // elements from one partial result to the next
  int32_t count;

  // So many loads of each piece are on their way together; those past the last result read it
  // again.
  static constexpr int32_t kInFlight = 4;
  using Part = Pieces<Shape::kItems, Partial>;

  __device__ __forceinline__ Row load(const Partial* head) const {
    Row row;
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
  __device__ __forceinline__ static void add(Row& row, const Part (&parts)[Shape::kPieces]) {
#pragma unroll
    for (int p = 0; p < Shape::kPieces; ++p) {
      const auto part = widen(parts[p]);
#pragma unroll
      for (int i = 0; i < Shape::kItems; ++i) row.pieces[p].values[i] += part.values[i];
    }
  }
};

template <class Source>
struct HeadBatch : Reports {
  using Element = typename Source::Element;
  Source source;
  Heads<Element> out;
  const float* angles;
  Integers positions;
  uint32_t last_position;  // of the table
  Divisor by_heads;
  uint32_t heads;
  uint32_t rows;  // tokens times heads
  float eps;
};

// Which head of which token a row of the batch is.
struct HeadPlace {
  uint32_t token;
  uint32_t head;

  template <class Batch>
  __device__ __forceinline__ HeadPlace(const Batch& p, uint32_t row)
      : token(p.by_heads.quotient(row)), head(row - token * p.heads) {}
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

// The lane's part of the tail, shared out among a head's lanes: of `rounded` or of `last`, the same
// piece in fp32.
template <class Query, class Piece, class Wide>
__device__ __forceinline__ auto shared_tail(const Piece& rounded, const Wide& last, int lane) {
  using Element = typename Query::Element;
  using Share = SharedTail<Element, Query::kDim, kHeadRopeDims>;
  if constexpr (rounds_before_rotation<Query::kPreset> && sizeof(Element) == 2) {
    using Words = Vec<uint32_t, Share::kOwned / 2>;
    const auto mine = Share::template words<2>(bit_cast<Words>(rounded), lane);
    return widen(bit_cast<Vec<Element, Share::kItems>>(mine));
  } else {
    using Words = Vec<float, Share::kOwned>;
    return widen(Share::template words<1>(bit_cast<Words>(last), lane));
  }
}

// A head in the lanes that hold it, all of which must call it: into `to`, with the lane's first
// element. What is neither normalised nor summed nor rotated keeps its bits, also a NaN's.
template <class Query, class Row, class Angles>
__device__ __forceinline__ void finish_head(const Row& row, const Angles& angles, float eps,
                                            typename Query::Element* to, int lane) {
  using Element = typename Query::Element;
  using Shape = typename Row::Shape;
  using Raw = RawRow<Element, Query::kDim>;
  using Share = SharedTail<Element, Query::kDim, kHeadRopeDims>;
  constexpr int kLast = Shape::kPieces - 1;
  const float inverse = Query::kNorm ? inverse_rms_of(row, eps) : 1.0f;
  Raw out;
  Tile<Shape::kItems> y;
#pragma unroll
  for (int p = 0; p <= kLast; ++p) {
    y = row.piece(p);
    if constexpr (Query::kNorm) y = normalise(y, inverse);
    if constexpr (!Query::kNorm && !Row::kIsWide) {
      out.pieces[p] = row.pieces[p];
    } else {
      out.pieces[p] = narrow<Element>(with_one_nan<Element>(y));
    }
    if (p < kLast || lane < Share::Tail::kFirstLane) {
      store_vector(to + Shape::dim(p, 0), out.pieces[p]);
    }
  }
  const auto tail = turned_head<Query>(shared_tail<Query>(out.pieces[kLast], y, lane), angles);
  Element* end = to + Query::kDim - kHeadRopeDims + lane * (Share::kItems - Shape::kItems);
  store_vector(end, narrow<Element>(with_one_nan<Element>(tail)));
}

// The heads of one block of kThreads lanes.
template <class Query, int kThreads, class Source>
__device__ __forceinline__ void norm_rope_heads(const HeadBatch<Source>& p, unsigned block) {
  using Element = typename Query::Element;
  using Shape = typename Source::Row::Shape;
  using Share = SharedTail<Element, Query::kDim, kHeadRopeDims>;
  const uint32_t row = block * (kThreads / Shape::kLanes) + thread_x() / Shape::kLanes;
  const int lane = static_cast<int>(thread_x() % Shape::kLanes);
  const HeadPlace at(p, row);
  const auto* from = p.source.heads.row(at.token, at.head) + Shape::dim(0, lane);
  const uint32_t* place = p.positions.address(at.token);
  const float* table = p.angles + lane * Share::kItems;
  allow_next_launch();
  wait_for_previous_launch(from, place, table);
  if (row >= p.rows) return;
  const FetchedInteger position = p.positions.fetch_at(place);
  if constexpr (kIsChecked) report_head(p, at, lane, position);
  const auto head = p.source.load(from);
  const uint64_t entry = uint64_t{clamp_position(position, p.last_position)} * kHeadRopeDims;
  const auto angles = load_pieces_now<Share::kItems>(table + entry);
  Element* to = p.out.row(at.token, at.head) + Shape::dim(0, lane);
  finish_head<Query>(head, widen(angles), p.eps, to, lane);
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
  Element* tail = p.out.row(at.token, at.head) + Query::kDim - kHeadRopeDims + dim;
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
