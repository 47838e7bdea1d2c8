// One row of a cache, held by consecutive lanes: lane `lane` of kDims / kItems has the dims from
// lane * kItems on, in fp32. Any kernel that has a row in registers stores it by these functions,
// so that a fused kernel writes the bytes that store_cache writes:
//
//   struct Instance { ... };                // cache/layout.cuh and num/quantise.cuh: layout, rules
//   using Layout = CacheLayout<Instance>;
//   CachePages<Layout> cache;               // a parameter, from host::cache_argument
//   Tile<kItems> row = ...;                 // kItems 4, 8 or 16: 128, 64 or 32 lanes for 512 dims
//   store_row<Layout, Instance>(cache, loc, lane, row);
//
// A group of dims with one scale is 64 / kItems (latent), 128 / kItems or 32 / kItems (indexer in
// fp8, fp4) lanes, which lie side by side in a wave and begin at a multiple of their number; they
// alone exchange values. So a wave may hold several rows, which need not take the same way unless
// the caller says Together::kWave, or a row in pieces: `lane` is which kItems dims of the row the
// tile is, whoever has it (norm/row.cuh: piece * kLanes + lane).
#pragma once
#include <wavejit/cache/layout.cuh>
#include <wavejit/num/quantise.cuh>

namespace wavejit {

template <class Layout, int kItems>
struct RowLanes {
  static constexpr int kCount = Layout::kDims / kItems;
  static constexpr int kGroupLanes = Layout::kGroup / kItems;
  static_assert(kItems == 4 || kItems == 8 || kItems == 16);
};

// Values side by side that are no one memory access.
template <int kCount>
struct Words {
  uint32_t values[kCount];
};

// A value at an address that is only as aligned as the layout promises.
template <int kAlignment, class T>
__device__ __forceinline__ void store_aligned(uint8_t* address, const T& value) {
  constexpr int kStep =
      kAlignment < static_cast<int>(sizeof(T)) ? kAlignment : static_cast<int>(sizeof(T));
  if constexpr (kStep == static_cast<int>(sizeof(T))) {
    *reinterpret_cast<T*>(address) = value;
  } else {
    static_assert(kStep % 4 == 0);
    using Piece = Vec<uint32_t, kStep / 4>;
    struct Pieces {
      Piece values[sizeof(T) / kStep];
    };
    const Pieces pieces = bit_cast<Pieces>(value);
#pragma unroll
    for (int i = 0; i < static_cast<int>(sizeof(T)) / kStep; ++i) {
      reinterpret_cast<Piece*>(address)[i] = pieces.values[i];
    }
  }
}
template <int kAlignment, class T>
__device__ __forceinline__ T load_aligned(const uint8_t* address) {
  constexpr int kStep =
      kAlignment < static_cast<int>(sizeof(T)) ? kAlignment : static_cast<int>(sizeof(T));
  if constexpr (kStep == static_cast<int>(sizeof(T))) {
    return *reinterpret_cast<const T*>(address);
  } else {
    static_assert(kStep % 4 == 0);
    using Piece = Vec<uint32_t, kStep / 4>;
    struct Pieces {
      Piece values[sizeof(T) / kStep];
    } pieces;
#pragma unroll
    for (int i = 0; i < static_cast<int>(sizeof(T)) / kStep; ++i) {
      pieces.values[i] = reinterpret_cast<const Piece*>(address)[i];
    }
    return bit_cast<T>(pieces);
  }
}

// A lane's consecutive elements, at most 16 bytes an access.
template <int kItems, class T>
__device__ __forceinline__ void store_items(T* address, const Tile<kItems>& tile) {
  constexpr int kFit = 16 / static_cast<int>(sizeof(T));
  constexpr int kCount = kItems < kFit ? kItems : kFit;
#pragma unroll
  for (int first = 0; first < kItems; first += kCount) {
    Tile<kCount> part;
#pragma unroll
    for (int i = 0; i < kCount; ++i) part.values[i] = tile.values[first + i];
    store_tile(address + first, part);
  }
}

// The bf16 dims as they lie: two in a word, the first in the low half.
template <int kItems>
__device__ __forceinline__ Words<kItems / 2> fetch_wide(const bfloat16* address) {
  constexpr int kCount = kItems < 8 ? kItems / 2 : 4;
  Words<kItems / 2> words;
#pragma unroll
  for (int first = 0; first < kItems / 2; first += kCount) {
    const auto part = reinterpret_cast<const Vec<uint32_t, kCount>*>(address)[first / kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) words.values[first + i] = part.values[i];
  }
  return words;
}

template <class Layout>
__device__ __forceinline__ void store_scale(uint8_t* address, uint32_t bits) {
  if constexpr (Layout::kFloatScale) {
    *reinterpret_cast<uint32_t*>(address) = bits;
  } else if constexpr (Layout::kScaleCopies == 2) {
    *reinterpret_cast<uint16_t*>(address) = static_cast<uint16_t>(bits * 0x0101u);
  } else {
    *address = static_cast<uint8_t>(bits);
  }
}
template <class Layout>
__device__ __forceinline__ uint32_t load_scale(const uint8_t* address) {
  if constexpr (Layout::kFloatScale) {
    return *reinterpret_cast<const uint32_t*>(address);
  } else {
    return *address;
  }
}

// The codes of kItems dims as they lie: words, or half of one.
template <int kBytes>
struct CodeWords {
  using Type = Vec<uint32_t, kBytes / 4>;
};
template <>
struct CodeWords<2> {
  using Type = uint16_t;
};
template <class Layout, int kItems>
using RowCodes = typename CodeWords<kItems / Layout::kCodesInByte>::Type;

template <class Layout, class Rules, int kItems>
__device__ __forceinline__ RowCodes<Layout, kItems> encode_row(const Tile<kItems>& row,
                                                               float factor) {
  if constexpr (!Layout::kIsFp4) {
    return encode_tile<Layout::kFlavour, Rules>(row, factor);
  } else if constexpr (kItems == 4) {
    return encode_fp4_half(row, factor);
  } else {
    return encode_fp4_tile(row, factor);
  }
}

// Where a lane's dims of a row go. A kernel may find it out before it has them.
template <class Layout, int kItems>
struct RowPlace {
  uint8_t* items;  // its codes, or its bf16
  uint8_t* scale;  // of its group, where it has codes
  bool is_held;    // else nothing is stored

  __device__ __forceinline__ static RowPlace of(const CachePages<Layout>& cache, int64_t loc,
                                                int lane) {
    const bool held = cache.holds(loc);
    const int64_t inside = held ? loc : 0;
    const int dim = lane * kItems;
    const CacheSlot slot = cache.slot(inside);
    uint8_t* wide = reinterpret_cast<uint8_t*>(cache.wide(slot, inside, dim));
    return {dim < Layout::kQuantised ? cache.value(slot, dim) : wide, cache.scale(slot, dim), held};
  }
};

// The codes of a lane's dims, and from the group's first lane its scale.
template <class Layout, class Rules, int kItems>
__device__ __forceinline__ void store_codes(uint8_t* codes, uint8_t* scale_at, int dim,
                                            const Tile<kItems>& row, float amax) {
  const GroupScale scale = group_scale<Layout::kFloatScale, Rules>(amax);
  store_aligned<Layout::kAlignment>(codes, encode_row<Layout, Rules>(row, scale.factor));
  if (dim % Layout::kGroup == 0) store_scale<Layout>(scale_at, scale.bits);
}

// Quantises and stores what a lane has of a row whose place the cache holds, as store_row does;
// all lanes of the row call it, or, if kWho says so, all of the wave.
template <class Layout, class Rules, Together kWho, int kItems>
__device__ __forceinline__ void store_row_at(const RowPlace<Layout, kItems>& place, int lane,
                                             const Tile<kItems>& row, Site at = Site::here()) {
  const int dim = lane * kItems;
  if constexpr (Layout::kQuantised > 0) {
    const float amax = group_amax<RowLanes<Layout, kItems>::kGroupLanes, kWho>(row, at);
    if (dim < Layout::kQuantised) {
      store_codes<Layout, Rules>(place.items, place.scale, dim, row, amax);
      return;
    }
  }
  if constexpr (Layout::kQuantised < Layout::kDims) {
    store_items(reinterpret_cast<bfloat16*>(place.items), row);
  }
}

// Quantises and stores the row at `loc`; dims that the layout keeps as bf16 are rounded once. Every
// lane of the row must call it, with the same `loc`, which may be any number: nothing is written
// where the cache does not hold it. Where all lanes of a wave call it, whatever their `loc`, kWho
// may say so. The quantised dims are taken as they are: a kernel whose rules
// say that they are rounded to bf16 first does that itself (round_through<bfloat16>). `wide` gives
// the tile of a lane whose dims stay bf16; it is asked last, when the others have what they
// exchange.
template <class Layout, class Rules, Together kWho, int kItems, class Wide>
__device__ __forceinline__ void store_row_with(const CachePages<Layout>& cache, int64_t loc,
                                               int lane, const Tile<kItems>& row, const Wide& wide,
                                               Site at = Site::here()) {
  const bool held = cache.holds(loc);
  if (kWho == Together::kGroup && !held) return;
  const int dim = lane * kItems;
  const CacheSlot slot = cache.slot(held ? loc : 0);
  if constexpr (Layout::kQuantised > 0) {
    const float amax = group_amax<RowLanes<Layout, kItems>::kGroupLanes, kWho>(row, at);
    if (!held) return;
    if (dim < Layout::kQuantised) {
      store_codes<Layout, Rules>(cache.value(slot, dim), cache.scale(slot, dim), dim, row, amax);
      return;
    }
  }
  if constexpr (Layout::kQuantised < Layout::kDims) {
    if (held) store_items(cache.wide(slot, loc, dim), wide());
  }
}
template <class Layout, class Rules, Together kWho = Together::kGroup, int kItems>
__device__ __forceinline__ void store_row(const CachePages<Layout>& cache, int64_t loc, int lane,
                                          const Tile<kItems>& row, Site at = Site::here()) {
  store_row_with<Layout, Rules, kWho>(cache, loc, lane, row, [&] { return row; }, at);
}

// A lane's part of a stored row before it is decoded, so that several can be on their way.
template <class Layout, int kItems>
struct StoredTile {
  Words<kItems / 2> words;  // the bf16, or the codes in the first half
  uint32_t scale;
};

template <class Layout, int kItems>
__device__ __forceinline__ StoredTile<Layout, kItems> fetch_row(const CachePages<Layout>& cache,
                                                                int64_t loc, int lane) {
  StoredTile<Layout, kItems> stored{};
  const int dim = lane * kItems;
  const CacheSlot slot = cache.slot(loc);
  if (dim < Layout::kQuantised) {
    using Codes = RowCodes<Layout, kItems>;
    const Codes codes = load_aligned<Layout::kAlignment, Codes>(cache.value(slot, dim));
#pragma unroll
    for (int i = 0; i < kItems / Layout::kCodesInByte / 4; ++i) {
      stored.words.values[i] = codes.values[i];
    }
    stored.scale = load_scale<Layout>(cache.scale(slot, dim));
  } else if constexpr (Layout::kQuantised < Layout::kDims) {
    stored.words = fetch_wide<kItems>(cache.wide(slot, loc, dim));
  }
  return stored;
}

// The values of what was fetched, in fp32: code times scale, or the bf16.
template <class Layout, int kItems>
__device__ __forceinline__ Tile<kItems> decode_row(const StoredTile<Layout, kItems>& stored,
                                                   int lane) {
  if (lane * kItems < Layout::kQuantised) {
    RowCodes<Layout, kItems> codes;
#pragma unroll
    for (int i = 0; i < kItems / Layout::kCodesInByte / 4; ++i) {
      codes.values[i] = stored.words.values[i];
    }
    const float scale =
        Layout::kFloatScale ? bit_cast<float>(stored.scale) : ue8m0_value(stored.scale);
    if constexpr (Layout::kIsFp4) {
      return decode_fp4_tile<kItems>(codes, scale);
    } else {
      return decode_tile<Layout::kFlavour, kItems>(codes, scale);
    }
  }
  Tile<kItems> tile;
#pragma unroll
  for (int i = 0; i < kItems; ++i) {
    const uint32_t word = stored.words.values[i / 2];
    tile.values[i] = bit_cast<float>(i % 2 ? word & 0xffff0000u : word << 16);
  }
  return tile;
}

}  // namespace wavejit
