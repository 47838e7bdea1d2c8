// A tensor [tokens, heads, dims] whose last dim is dense and whose other strides are free, in
// elements.
#pragma once
#include <wavejit/platform/platform.cuh>

namespace wavejit {

template <class Element>
struct Heads {
  Element* data;
  int64_t token_stride;
  int64_t head_stride;

  __device__ __forceinline__ Element* row(int64_t token, int64_t head) const {
    return data + token * token_stride + head * head_stride;
  }
};

}  // namespace wavejit
