// The tile a lane owns of a row: kSize consecutive elements, computed in fp32, stored as fp32 or
// bf16.
#pragma once
#include <wavejit/core/vec.cuh>

namespace wavejit {

template <int kSize>
struct Tile {
  float values[kSize];
};

template <class T>
inline constexpr bool is_bfloat16 = false;
template <>
inline constexpr bool is_bfloat16<bfloat16> = true;

template <class T, int kSize>
__device__ __forceinline__ Tile<kSize> widen(Vec<T, kSize> raw) {
  Tile<kSize> tile;
  if constexpr (is_bfloat16<T> && kSize % 2 == 0) {
    const auto words = bit_cast<Vec<uint32_t, kSize / 2>>(raw);
#pragma unroll
    for (int i = 0; i < kSize; ++i) {
      const uint32_t word = words.values[i / 2];
      tile.values[i] = bit_cast<float>(i % 2 ? word & 0xffff0000u : word << 16);
    }
  } else {
#pragma unroll
    for (int i = 0; i < kSize; ++i) tile.values[i] = to_float(raw.values[i]);
  }
  return tile;
}

template <class T, int kSize>
__device__ __forceinline__ Vec<T, kSize> narrow(Tile<kSize> tile) {
  if constexpr (is_bfloat16<T> && kSize % 2 == 0) {
    Vec<uint32_t, kSize / 2> words;
#pragma unroll
    for (int i = 0; i < kSize / 2; ++i) {
      words.values[i] = to_bfloat16_2(tile.values[2 * i], tile.values[2 * i + 1]);
    }
    return bit_cast<Vec<T, kSize>>(words);
  } else {
    Vec<T, kSize> raw;
#pragma unroll
    for (int i = 0; i < kSize; ++i) raw.values[i] = from_float<T>(tile.values[i]);
    return raw;
  }
}

// The same of values none of which is a NaN.
template <class T, int kSize>
__device__ __forceinline__ Vec<T, kSize> narrow_numbers(Tile<kSize> tile) {
  if constexpr (is_bfloat16<T> && kSize % 2 == 0) {
    Vec<uint32_t, kSize / 2> words;
#pragma unroll
    for (int i = 0; i < kSize / 2; ++i) {
      words.values[i] = to_bfloat16_2_of_numbers(tile.values[2 * i], tile.values[2 * i + 1]);
    }
    return bit_cast<Vec<T, kSize>>(words);
  } else {
    return narrow<T>(tile);
  }
}

// A result on its way to memory as T: fp32 gets the one quiet NaN here, other types by rounding.
template <class T, int kSize>
__device__ __forceinline__ Tile<kSize> with_one_nan(Tile<kSize> tile) {
  if constexpr (sizeof(T) == sizeof(float)) {
#pragma unroll
    for (int i = 0; i < kSize; ++i) tile.values[i] = canonical_nan(tile.values[i]);
  }
  return tile;
}

// What remains of the values after a stay in memory as T.
template <class T, int kSize>
__device__ __forceinline__ Tile<kSize> round_through(Tile<kSize> tile) {
  return widen(narrow<T>(tile));
}

// Memory that this kernel may also write.
template <int kSize, class T>
__device__ __forceinline__ Tile<kSize> load_tile(const T* address) {
  return widen(*reinterpret_cast<const Vec<T, kSize>*>(address));
}

// Memory that no kernel writes meanwhile and that is read once.
template <int kSize, class T>
__device__ __forceinline__ Tile<kSize> load_tile_once(const T* address) {
  return widen(load_once(reinterpret_cast<const Vec<T, kSize>*>(address)));
}

// Read by many, by nobody written meanwhile, and on its way from here on.
template <int kSize, class T>
__device__ __forceinline__ Tile<kSize> load_tile_now(const T* address) {
  return widen(load_now(reinterpret_cast<const Vec<T, kSize>*>(address)));
}

template <class T, int kSize>
__device__ __forceinline__ void store_tile(T* address, Tile<kSize> tile) {
  *reinterpret_cast<Vec<T, kSize>*>(address) = narrow<T>(tile);
}

// Consecutive elements of any number as accesses of at most 16 bytes, each aligned to its size.
template <int kSize, class T>
struct Pieces {
  static constexpr int kFit = 16 / static_cast<int>(sizeof(T));
  static constexpr int kEach = kSize < kFit ? kSize : kFit;
  static_assert(kSize % kEach == 0);
  Vec<T, kEach> values[kSize / kEach];
};

// Read once, and by nobody written meanwhile.
template <int kSize, class T>
__device__ __forceinline__ Pieces<kSize, T> load_pieces_once(const T* address) {
  Pieces<kSize, T> pieces;
  constexpr int kEach = Pieces<kSize, T>::kEach;
#pragma unroll
  for (int i = 0; i < kSize / kEach; ++i) {
    pieces.values[i] = load_once(reinterpret_cast<const Vec<T, kEach>*>(address) + i);
  }
  return pieces;
}
// Read by many, by nobody written meanwhile, and on their way from here on.
template <int kSize, class T>
__device__ __forceinline__ Pieces<kSize, T> load_pieces_now(const T* address) {
  Pieces<kSize, T> pieces;
  constexpr int kEach = Pieces<kSize, T>::kEach;
#pragma unroll
  for (int i = 0; i < kSize / kEach; ++i) {
    pieces.values[i] = load_now(reinterpret_cast<const Vec<T, kEach>*>(address) + i);
  }
  return pieces;
}
// Read by many, or written by this kernel too.
template <int kSize, class T>
__device__ __forceinline__ Pieces<kSize, T> load_pieces(const T* address) {
  Pieces<kSize, T> pieces;
  constexpr int kEach = Pieces<kSize, T>::kEach;
#pragma unroll
  for (int i = 0; i < kSize / kEach; ++i) {
    pieces.values[i] = reinterpret_cast<const Vec<T, kEach>*>(address)[i];
  }
  return pieces;
}
template <int kSize, class T>
__device__ __forceinline__ Tile<kSize> widen(const Pieces<kSize, T>& pieces) {
  constexpr int kEach = Pieces<kSize, T>::kEach;
  Tile<kSize> tile;
#pragma unroll
  for (int p = 0; p < kSize / kEach; ++p) {
    const Tile<kEach> part = widen(pieces.values[p]);
#pragma unroll
    for (int i = 0; i < kEach; ++i) tile.values[p * kEach + i] = part.values[i];
  }
  return tile;
}
template <int kSize, class T>
__device__ __forceinline__ void store_pieces(T* address, const Tile<kSize>& tile) {
  constexpr int kEach = Pieces<kSize, T>::kEach;
#pragma unroll
  for (int i = 0; i < kSize / kEach; ++i) {
    Tile<kEach> part;
#pragma unroll
    for (int k = 0; k < kEach; ++k) part.values[k] = tile.values[i * kEach + k];
    reinterpret_cast<Vec<T, kEach>*>(address)[i] = narrow<T>(part);
  }
}

}  // namespace wavejit
