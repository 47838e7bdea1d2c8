// Index vectors that may be int32 or int64: both are read natively, without a conversion launch.
#pragma once
#include <wavejit/platform/platform.cuh>

namespace wavejit {

struct Integers {
  const void* data;
  bool is_64;

  __device__ __forceinline__ int64_t operator[](int64_t i) const {
    return is_64 ? static_cast<const int64_t*>(data)[i] : static_cast<const int32_t*>(data)[i];
  }
};

}  // namespace wavejit
