// A row that one block writes whole: pieces written by many blocks at many times cost memory a
// tenth of its rate. Loaded beside other loads, stored once they are on their way, as what nobody
// reads soon.
#pragma once
#include <wavejit/core/tile.cuh>

namespace wavejit {

// kWidth elements by the kLanes lanes of a block.
template <int kWidth, int kLanes>
struct WholeRow {
  static constexpr int kItems = 4;
  static constexpr int kPasses = (kWidth + kLanes * kItems - 1) / (kLanes * kItems);
  Tile<kItems> tiles[kPasses];

  __device__ __forceinline__ static int column(int pass) {
    return (pass * kLanes + static_cast<int>(thread_x())) * kItems;
  }
  template <class T>
  __device__ __forceinline__ void load(const T* row) {
#pragma unroll
    for (int k = 0; k < kPasses; ++k) {
      if (column(k) < kWidth) tiles[k] = load_tile_once<kItems>(row + column(k));
    }
  }
  template <class T>
  __device__ __forceinline__ void store(T* row) const {
#pragma unroll
    for (int k = 0; k < kPasses; ++k) {
      if (column(k) >= kWidth) continue;
      store_leaving(reinterpret_cast<Vec<T, kItems>*>(row + column(k)), narrow<T>(tiles[k]));
    }
  }
};

}  // namespace wavejit
