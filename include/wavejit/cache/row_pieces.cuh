// One row of a latent cache in pieces (norm/row.cuh): piece p of lane l has the dims from
// (p * kLanes + l) * kItems on. The bytes are those of store_row of each piece. The maxima of all
// pieces are exchanged together: each lane comes out with the maximum of one of them, makes that
// group's scale, stores it, and tells the group's other lanes what to multiply by.
#pragma once
#include <wavejit/cache/row.cuh>
#include <wavejit/num/fp8_of_bf16.cuh>

namespace wavejit {

// A piece's dims in fp32.
template <class Layout, class Rules, int kItems>
struct WidePiece {
  using Larger = wavejit::Larger;
  Tile<kItems> dims;

  __device__ __forceinline__ float top() const { return lane_amax(dims); }
  __device__ __forceinline__ static float amax(float top) { return top; }
  __device__ __forceinline__ static float factor(float factor) { return factor; }
  __device__ __forceinline__ auto encode(float factor) const {
    return encode_row<Layout, Rules>(dims, factor);
  }
  __device__ __forceinline__ const Tile<kItems>& tile() const { return dims; }
};
// A piece's dims rounded to bf16, as pairs; only of a layout that quantises all pieces but the
// last.
template <class Layout, class Rules, int kItems>
struct RoundedPiece {
  using Larger = LargerInPairs;
  Vec<uint32_t, kItems / 2> pairs;

  __device__ __forceinline__ uint32_t top() const { return lane_amax_pair(pairs); }
  __device__ __forceinline__ static float amax(uint32_t top) { return amax_of_pair(top); }
  __device__ __forceinline__ static uint32_t factor(float factor) { return factor_pair(factor); }
  __device__ __forceinline__ auto encode(uint32_t factors) const {
    return encode_pairs<Layout::kFlavour, Rules>(pairs, factors);
  }
};

// The piece of fp32 dims, which are rounded to bf16 first where kRounds says so.
template <class Layout, class Rules, bool kRounds, int kItems>
__device__ __forceinline__ auto row_piece(const Tile<kItems>& dims) {
  static_assert(Layout::kIsLatent && !Layout::kFloatScale);  // scales are powers of two
  if constexpr (!kRounds) {
    return WidePiece<Layout, Rules, kItems>{dims};
  } else if constexpr (platform::kPairArithmeticProven && Layout::kQuantised > 0) {
    return RoundedPiece<Layout, Rules, kItems>{rounded_pairs(dims)};
  } else {
    return WidePiece<Layout, Rules, kItems>{round_through<bfloat16>(dims)};
  }
}

// Quantises and stores the row at `loc`, as store_row_with does; all lanes of a wave call it.
// `wide` is the last piece where it stays bf16, in fp32.
template <class Layout, class Rules, int kLanes, class Piece, int kItems, int kPieces>
__device__ __forceinline__ void store_row_of_pieces(const CachePages<Layout>& cache, int64_t loc,
                                                    int lane, const Piece (&pieces)[kPieces],
                                                    const Tile<kItems>& wide,
                                                    Site at = Site::here()) {
  static_assert(kLanes * kItems * kPieces == Layout::kDims);
  static_assert(Layout::kQuantised == 0 || Layout::kQuantised >= kLanes * kItems * (kPieces - 1));
  constexpr int kGroupLanes = Layout::kGroup / kItems;
  static_assert(kLanes % kGroupLanes == 0 && kPieces <= kGroupLanes);
  const bool held = cache.holds(loc);
  const CacheSlot slot = cache.slot(held ? loc : 0);
  if constexpr (Layout::kQuantised > 0) {
    decltype(pieces[0].top()) tops[kPieces]{};  // 0 where no lane has quantised dims
#pragma unroll
    for (int p = 0; p < kPieces; ++p) {
      if (p * kLanes * kItems < Layout::kQuantised) tops[p] = pieces[p].top();
    }
    const auto top = reduce_shared<typename Piece::Larger, kGroupLanes, Together::kWave>(tops, at);
    const GroupScale scale = group_scale<Layout::kFloatScale, Rules>(Piece::amax(top));
    const auto factor = Piece::factor(scale.factor);
    decltype(Piece::factor(0.0f)) factors[kPieces];
#pragma unroll
    for (int p = 0; p < kPieces; ++p) {
      factors[p] = shuffle<kGroupLanes, Together::kWave>(factor, p, at);
    }
    if (!held) return;
#pragma unroll
    for (int p = 0; p < kPieces; ++p) {
      const int dim = (p * kLanes + lane) * kItems;
      if (p * kLanes * kItems < Layout::kQuantised && dim < Layout::kQuantised) {
        store_aligned<Layout::kAlignment>(cache.value(slot, dim), pieces[p].encode(factors[p]));
      }
    }
    const int dim = (lane % kPieces * kLanes + lane) * kItems;
    if (lane % kGroupLanes < kPieces && dim < Layout::kQuantised) {
      store_scale<Layout>(cache.scale(slot, dim), scale.bits);
    }
  }
  if (!held) return;
#pragma unroll
  for (int p = 0; p < kPieces; ++p) {
    const int dim = (p * kLanes + lane) * kItems;
    if ((p + 1) * kLanes * kItems <= Layout::kQuantised || dim < Layout::kQuantised) continue;
    if constexpr (Layout::kQuantised > 0) {
      store_items(cache.wide(slot, loc, dim), wide);
    } else {
      store_items(cache.wide(slot, loc, dim), p < kPieces - 1 ? pieces[p].tile() : wide);
    }
  }
}

}  // namespace wavejit
