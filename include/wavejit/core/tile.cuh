// The tile a lane owns of a row: four consecutive elements, computed in fp32, stored as fp32 or bf16.
#pragma once
#include <wavejit/core/vec.cuh>

namespace wavejit {

inline constexpr int kTile = 4;

struct Tile {
  float values[kTile];
};

template <class T>
__device__ __forceinline__ Tile widen(Vec<T, kTile> raw) {
  Tile tile;
#pragma unroll
  for (int i = 0; i < kTile; ++i) tile.values[i] = to_float(raw.values[i]);
  return tile;
}

template <class T>
__device__ __forceinline__ Vec<T, kTile> narrow(Tile tile) {
  Vec<T, kTile> raw;
#pragma unroll
  for (int i = 0; i < kTile; ++i) raw.values[i] = from_float<T>(tile.values[i]);
  return raw;
}

// What remains of the values after a stay in memory as T.
template <class T>
__device__ __forceinline__ Tile round_through(Tile tile) {
  return widen(narrow<T>(tile));
}

// Memory that this kernel may also write.
template <class T>
__device__ __forceinline__ Tile load_tile(const T* address) {
  return widen(*reinterpret_cast<const Vec<T, kTile>*>(address));
}

// Memory that no kernel writes meanwhile and that is read once.
template <class T>
__device__ __forceinline__ Tile load_tile_once(const T* address) {
  return widen(load_once(reinterpret_cast<const Vec<T, kTile>*>(address)));
}

template <class T>
__device__ __forceinline__ void store_tile(T* address, Tile tile) {
  *reinterpret_cast<Vec<T, kTile>*>(address) = narrow<T>(tile);
}

}  // namespace wavejit
