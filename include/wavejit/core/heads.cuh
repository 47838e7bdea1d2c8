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

// The same where all heads lie within 64 GiB: strides in vectors of 16 bytes, found in operations
// of 32 bits.
template <class Element>
struct NearHeads {
  Element* data;
  uint32_t token_stride;
  uint32_t head_stride;

  // A head's first vector.
  __device__ __forceinline__ uint32_t vector_of(uint32_t token, uint32_t head) const {
    return token * token_stride + head * head_stride;
  }
  // A vector, or what lies `items` behind it.
  __device__ __forceinline__ Element* at(uint32_t vector, int items = 0) const {
    return data + items + uint64_t{vector} * (16 / sizeof(Element));
  }
};

}  // namespace wavejit
