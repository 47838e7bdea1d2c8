// A row of kDim elements held by a few lanes side by side, at most kMostLanes: piece p of lane l
// has the elements from (p * kLanes + l) * kItems on, one access of 16 bytes. All accesses of a row
// are dense, and its pieces are subtrees of the sum that norm/rms.cuh states. With fewer lanes a
// wave has more rows and shares out among them what a row costs besides its elements: addresses,
// angles, the exchange of sums, the root. With more lanes one row is done sooner.
#pragma once
#include <wavejit/norm/rms.cuh>
#include <wavejit/num/rope.cuh>

namespace wavejit {

template <class Element, int kDim, int kMostLanes = kGroupSize>
struct RowShape {
  static constexpr int kItems = 16 / static_cast<int>(sizeof(Element));
  static constexpr int kVectors = kDim / kItems;
  static constexpr int kPowerOfTwo = kVectors & -kVectors;
  static constexpr int kLanes = kPowerOfTwo < kMostLanes ? kPowerOfTwo : kMostLanes;
  static constexpr int kPieces = kVectors / kLanes;
  static_assert(kVectors * kItems == kDim);
  __device__ __forceinline__ static int dim(int piece, int lane) {
    return (piece * kLanes + lane) * kItems;
  }
};

template <class Element, int kDim, int kRopeDims, int kMostLanes = kGroupSize>
struct SharedTail;

// The elements as they lie in memory.
template <class Element_, int kDim_, int kMostLanes = kGroupSize>
struct RawRow {
  using Element = Element_;
  static constexpr int kDim = kDim_;
  template <int kRopeDims>
  using SharedTailOf = SharedTail<Element, kDim, kRopeDims, kMostLanes>;
  using Shape = RowShape<Element, kDim, kMostLanes>;
  using Piece = Vec<Element, Shape::kItems>;
  static constexpr bool kIsWide = false;
  Piece pieces[Shape::kPieces];

  __device__ __forceinline__ Tile<Shape::kItems> piece(int p) const { return widen(pieces[p]); }
};

// The same places with values that are still fp32.
template <class Element_, int kDim_, int kMostLanes = kGroupSize>
struct WideRow {
  using Element = Element_;
  static constexpr int kDim = kDim_;
  template <int kRopeDims>
  using SharedTailOf = SharedTail<Element, kDim, kRopeDims, kMostLanes>;
  using Shape = RowShape<Element, kDim, kMostLanes>;
  static constexpr bool kIsWide = true;
  Tile<Shape::kItems> pieces[Shape::kPieces];

  __device__ __forceinline__ const Tile<Shape::kItems>& piece(int p) const { return pieces[p]; }
};

// A lane's pieces, of memory that this kernel may write too; `first` has the lane's first element.
template <int kDim, int kMostLanes = kGroupSize, class Element>
__device__ __forceinline__ RawRow<Element, kDim, kMostLanes> load_row_pieces(const Element* first) {
  using Raw = RawRow<Element, kDim, kMostLanes>;
  Raw raw;
#pragma unroll
  for (int p = 0; p < Raw::Shape::kPieces; ++p) {
    raw.pieces[p] = reinterpret_cast<const typename Raw::Piece*>(first)[p * Raw::Shape::kLanes];
  }
  return raw;
}
// The same, on their way from here on.
template <int kDim, int kMostLanes = kGroupSize, class Element>
__device__ __forceinline__ RawRow<Element, kDim, kMostLanes> load_row_pieces_now(
    const Element* first) {
  using Raw = RawRow<Element, kDim, kMostLanes>;
  Raw raw;
#pragma unroll
  for (int p = 0; p < Raw::Shape::kPieces; ++p) {
    raw.pieces[p] =
        load_now(reinterpret_cast<const typename Raw::Piece*>(first) + p * Raw::Shape::kLanes);
  }
  return raw;
}
template <class Element, int kDim>
__device__ __forceinline__ void store_row_pieces(Element* first, const RawRow<Element, kDim>& raw) {
  using Raw = RawRow<Element, kDim>;
#pragma unroll
  for (int p = 0; p < Raw::Shape::kPieces; ++p) {
    reinterpret_cast<typename Raw::Piece*>(first)[p * Raw::Shape::kLanes] = raw.pieces[p];
  }
}
template <int kDim, class Element>
__device__ __forceinline__ RawRow<Element, kDim> load_raw_row(const Element* row, int lane) {
  return load_row_pieces<kDim>(row + RowShape<Element, kDim>::dim(0, lane));
}
template <int kDim, class Element>
__device__ __forceinline__ void store_raw_row(Element* row, int lane,
                                              const RawRow<Element, kDim>& raw) {
  store_row_pieces(row + RowShape<Element, kDim>::dim(0, lane), raw);
}

// The sums of some pieces, a power of two of them, in the lanes that hold all: their sum in every
// lane, as by row_sum of each.
template <int kLanes, Together kWho, int kPieces>
__device__ __forceinline__ float sum_of_pieces(float (&sums)[kPieces], Site at = Site::here()) {
  float sum = reduce_shared<Sum, kLanes, kWho>(sums, at);
#pragma unroll
  for (int step = 1; step < kPieces; step *= 2) {
    sum = sum + wavejit::shuffle_xor<kLanes, kWho>(sum, step, at);
  }
  return sum;
}

// The mean of the squares + eps, in every lane of the row; all of them must call it.
template <Together kWho = Together::kGroup, class Row>
__device__ __forceinline__ float mean_square_of(const Row& row, float eps, Site at = Site::here()) {
  using Shape = typename Row::Shape;
  constexpr int kPieces = Shape::kPieces;
  float sums[kPieces];
#pragma unroll
  for (int p = 0; p < kPieces; ++p) sums[p] = sum_of_squares(row.piece(p));
  if constexpr ((kPieces & (kPieces - 1)) == 0 && kPieces <= Shape::kLanes) {
    return mean_square<Row::kDim>(sum_of_pieces<Shape::kLanes, kWho>(sums, at), eps);
  }
#pragma unroll
  for (int p = 0; p < kPieces; ++p) sums[p] = reduce<Sum, 1, Shape::kLanes, kWho>(sums[p], at);
#pragma unroll
  for (int step = 1; step < kPieces; step *= 2) {
#pragma unroll
    for (int p = 0; p + step < kPieces; p += 2 * step) sums[p] = sums[p] + sums[p + step];
  }
  return mean_square<Row::kDim>(sums[0], eps);
}
// 1 / its root.
template <Together kWho = Together::kGroup, class Row>
__device__ __forceinline__ float inverse_rms_of(const Row& row, float eps, Site at = Site::here()) {
  return inverse_square_root(mean_square_of<kWho>(row, eps, at));
}

// The last kRopeDims elements of a row lie in its last piece, in the lanes from kFirstLane on.
template <class Element, int kDim, int kRopeDims, int kMostLanes = kGroupSize>
struct RowTail {
  using Shape = RowShape<Element, kDim, kMostLanes>;
  static constexpr int kTailLanes = kRopeDims / Shape::kItems;
  static constexpr int kFirstLane = Shape::kLanes - kTailLanes;
  static_assert(kTailLanes * Shape::kItems == kRopeDims && kFirstLane >= 0);

  // The lane's angles in a row of the table; zeros in lanes that rotate nothing.
  __device__ __forceinline__ static Tile<Shape::kItems> angles(const float* table, int lane) {
    if (lane < kFirstLane) return {};
    return widen(load_pieces<Shape::kItems>(table + (lane - kFirstLane) * Shape::kItems));
  }
  // Rotates what has been rounded to Element, and rounds again.
  __device__ __forceinline__ static void turn(RawRow<Element, kDim, kMostLanes>& raw,
                                              const Tile<Shape::kItems>& angles, int lane) {
    if (lane < kFirstLane) return;
    auto& last = raw.pieces[Shape::kPieces - 1];
    last = narrow<Element>(with_one_nan<Element>(rotate(widen(last), angles)));
  }
};

// The same dims shared out among all lanes of the row: lane l has those from l * kItems on. Each
// then rotates a pair or a few, where the lanes that hold the tail would rotate four times as many
// while the others wait.
template <class Element, int kDim, int kRopeDims, int kMostLanes>
struct SharedTail {
  using Tail = RowTail<Element, kDim, kRopeDims, kMostLanes>;
  using Shape = typename Tail::Shape;
  static constexpr int kItems = kRopeDims / Shape::kLanes;
  static constexpr int kOwned = Shape::kItems;  // elements of a lane that holds a part of the tail
  static_assert(kItems * Shape::kLanes == kRopeDims && kItems % 2 == 0 && kItems <= kOwned);

  // Elements from the lane's first of the row to its first here.
  __device__ __forceinline__ static int from_piece(int lane) {
    return kDim - kRopeDims + lane * (kItems - kOwned);
  }

  // From words of kPerWord elements of the last piece's lanes; all lanes of the row must call it.
  template <int kPerWord, Together kWho = Together::kGroup, class Word>
  __device__ __forceinline__ static Vec<Word, kItems / kPerWord> words(
      const Vec<Word, kOwned / kPerWord>& own, int lane, Site at = Site::here()) {
    constexpr int kMine = kItems / kPerWord, kOwn = kOwned / kPerWord;
    Vec<Word, kMine> mine;
    const int source = Tail::kFirstLane + lane * kItems / kOwned;
    const int first = lane * kMine % kOwn;
#pragma unroll
    for (int i = 0; i < kOwn; ++i) {
      const Word there =
          kOwn == kMine ? own.values[i] : shuffle<Shape::kLanes, kWho>(own.values[i], source, at);
      if (i < kMine || first == i - i % kMine) mine.values[i % kMine] = there;
    }
    return mine;
  }
};

}  // namespace wavejit
