// Element types and aligned vectors of them: one vector is one memory access.
#pragma once
#include <wavejit/platform/platform.cuh>

namespace wavejit {

struct bfloat16 {
  uint16_t bits;
};

__device__ __forceinline__ float to_float(float value) { return value; }
__device__ __forceinline__ float to_float(bfloat16 value) {
  return bit_cast<float>(static_cast<uint32_t>(value.bits) << 16);
}

// Round to nearest even; every NaN becomes the one quiet NaN 0x7fc0, as in torch.
__device__ __forceinline__ bfloat16 to_bfloat16(float value) {
  const uint32_t bits = bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {0x7fc0u};
  return {static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16)};
}

template <class T>
__device__ __forceinline__ T from_float(float value);
template <>
__device__ __forceinline__ float from_float<float>(float value) {
  return value;
}
template <>
__device__ __forceinline__ bfloat16 from_float<bfloat16>(float value) {
  return to_bfloat16(value);
}

// The one quiet NaN, whatever sign and payload the machine made; other values as they are.
__device__ __forceinline__ float canonical_nan(float value) {
  return value == value ? value : bit_cast<float>(0x7fc00000u);
}

template <class T, int kCount>
struct alignas(sizeof(T) * kCount) Vec {
  T values[kCount];
};

}  // namespace wavejit
