// A row of kDim elements held by a few lanes side by side: piece p of lane l has the elements from
// (p * kLanes + l) * kItems on, one access of 16 bytes. All accesses of a row are dense, and its
// pieces are subtrees of the sum that norm/rms.cuh states.
#pragma once
#include <wavejit/norm/rms.cuh>
#include <wavejit/num/rope.cuh>

namespace wavejit {

template <class Element, int kDim>
struct RowShape {
  static constexpr int kItems = 16 / static_cast<int>(sizeof(Element));
  static constexpr int kVectors = kDim / kItems;
  static constexpr int kPowerOfTwo = kVectors & -kVectors;
  static constexpr int kLanes = kPowerOfTwo < kGroupSize ? kPowerOfTwo : kGroupSize;
  static constexpr int kPieces = kVectors / kLanes;
  static_assert(kVectors * kItems == kDim);
  __device__ __forceinline__ static int dim(int piece, int lane) {
    return (piece * kLanes + lane) * kItems;
  }
};

// The elements as they lie in memory.
template <class Element_, int kDim_>
struct RawRow {
  using Element = Element_;
  static constexpr int kDim = kDim_;
  using Shape = RowShape<Element, kDim>;
  using Piece = Vec<Element, Shape::kItems>;
  static constexpr bool kIsWide = false;
  Piece pieces[Shape::kPieces];

  __device__ __forceinline__ Tile<Shape::kItems> piece(int p) const { return widen(pieces[p]); }
};

// The same places with values that are still fp32.
template <class Element_, int kDim_>
struct WideRow {
  using Element = Element_;
  static constexpr int kDim = kDim_;
  using Shape = RowShape<Element, kDim>;
  static constexpr bool kIsWide = true;
  Tile<Shape::kItems> pieces[Shape::kPieces];

  __device__ __forceinline__ const Tile<Shape::kItems>& piece(int p) const { return pieces[p]; }
};

// Of memory that this kernel may write too.
template <int kDim, class Element>
__device__ __forceinline__ RawRow<Element, kDim> load_raw_row(const Element* row, int lane) {
  using Raw = RawRow<Element, kDim>;
  Raw raw;
#pragma unroll
  for (int p = 0; p < Raw::Shape::kPieces; ++p) {
    raw.pieces[p] =
        reinterpret_cast<const typename Raw::Piece*>(row)[p * Raw::Shape::kLanes + lane];
  }
  return raw;
}
template <int kDim, class Element>
__device__ __forceinline__ void store_raw_row(Element* row, int lane,
                                              const RawRow<Element, kDim>& raw) {
  using Raw = RawRow<Element, kDim>;
#pragma unroll
  for (int p = 0; p < Raw::Shape::kPieces; ++p) {
    reinterpret_cast<typename Raw::Piece*>(row)[p * Raw::Shape::kLanes + lane] = raw.pieces[p];
  }
}

// 1 / sqrt(mean of the squares + eps), in every lane of the row; all of them must call it.
template <class Row>
__device__ __forceinline__ float inverse_rms_of(const Row& row, float eps, Site at = Site::here()) {
  using Shape = typename Row::Shape;
  float sums[Shape::kPieces];
#pragma unroll
  for (int p = 0; p < Shape::kPieces; ++p) {
    sums[p] = row_sum<Shape::kLanes>(sum_of_squares(row.piece(p)), at);
  }
#pragma unroll
  for (int step = 1; step < Shape::kPieces; step *= 2) {
#pragma unroll
    for (int p = 0; p + step < Shape::kPieces; p += 2 * step) sums[p] = sums[p] + sums[p + step];
  }
  return inverse_rms<Row::kDim>(sums[0], eps);
}

// The last kRopeDims elements of a row lie in its last piece, in the lanes from kFirstLane on.
template <class Element, int kDim, int kRopeDims>
struct RowTail {
  using Shape = RowShape<Element, kDim>;
  static constexpr int kTailLanes = kRopeDims / Shape::kItems;
  static constexpr int kFirstLane = Shape::kLanes - kTailLanes;
  static_assert(kTailLanes * Shape::kItems == kRopeDims && kFirstLane >= 0);

  // The lane's angles in a row of the table; zeros in lanes that rotate nothing.
  __device__ __forceinline__ static Tile<Shape::kItems> angles(const float* table, int lane) {
    if (lane < kFirstLane) return {};
    return widen(load_pieces<Shape::kItems>(table + (lane - kFirstLane) * Shape::kItems));
  }
  // Rotates what has been rounded to Element, and rounds again.
  template <bool kInverse = false>
  __device__ __forceinline__ static void turn(RawRow<Element, kDim>& raw,
                                              const Tile<Shape::kItems>& angles, int lane) {
    if (lane < kFirstLane) return;
    auto& last = raw.pieces[Shape::kPieces - 1];
    last = narrow<Element>(with_one_nan<Element>(rotate<kInverse>(widen(last), angles)));
  }
};

}  // namespace wavejit
