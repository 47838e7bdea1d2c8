// Index vectors that may be int32 or int64: both are read natively, without a conversion launch.
#pragma once
#include <wavejit/platform/platform.cuh>

namespace wavejit {

// An element on its way: nothing waits for it before its value is asked for.
struct FetchedInteger {
  uint32_t low;
  uint32_t high;
  bool is_64;

  // The upper half of the value.
  __device__ __forceinline__ uint32_t above() const {
    return is_64 ? high : static_cast<uint32_t>(static_cast<int32_t>(low) >> 31);
  }
  __device__ __forceinline__ int64_t value() const {
    return static_cast<int64_t>(uint64_t{above()} << 32 | low);
  }
};

struct Integers {
  const void* data;
  bool is_64;

  __device__ __forceinline__ const uint32_t* address(int64_t i) const {
    return static_cast<const uint32_t*>(data) + (is_64 ? 2 * i : i);
  }
  // The same of at most 2^31 elements.
  __device__ __forceinline__ const uint32_t* address_of(uint32_t i) const {
    return static_cast<const uint32_t*>(data) + (i << (is_64 ? 1 : 0));
  }
  __device__ __forceinline__ FetchedInteger fetch_at(const uint32_t* words) const {
    return {words[0], is_64 ? words[1] : 0, is_64};
  }
  // Of numbers that no kernel writes meanwhile: on their way from here on.
  __device__ __forceinline__ FetchedInteger fetch_now_at(const uint32_t* words) const {
    return {load_now(words), is_64 ? load_now(words + 1) : 0, is_64};
  }
  __device__ __forceinline__ FetchedInteger fetch(int64_t i) const { return fetch_at(address(i)); }

  __device__ __forceinline__ int64_t operator[](int64_t i) const {
    return is_64 ? static_cast<const int64_t*>(data)[i] : static_cast<const int32_t*>(data)[i];
  }
};

}  // namespace wavejit
