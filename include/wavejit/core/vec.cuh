// Element types and aligned vectors of them: one vector is one memory access.
#pragma once
#include <wavejit/platform/platform.cuh>

namespace wavejit {

struct bfloat16 {
  uint16_t bits;
};
struct float16 {
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

// Two of them, the first in the low half. The instruction of an architecture is taken only where
// tests/cpp/test_fp8.py has proven it over every input.
__device__ __forceinline__ uint32_t to_bfloat16_2(float first, float second) {
  if constexpr (platform::kBf16InstructionProven) {
    return platform::bf16_pair(first, second);
  } else {
    return to_bfloat16(first).bits | static_cast<uint32_t>(to_bfloat16(second).bits) << 16;
  }
}

// The same, but a NaN becomes any NaN.
__device__ __forceinline__ uint32_t to_bfloat16_2_or_nan(float first, float second) {
  if constexpr (platform::kBf16InstructionProven) {
    return platform::bf16_pair_of_numbers(first, second);
  } else {
    return to_bfloat16_2(first, second);
  }
}

// The same of two that are no NaN.
__device__ __forceinline__ uint32_t to_bfloat16_2_of_numbers(float first, float second) {
  if constexpr (platform::kBf16InstructionProven) {
    return platform::bf16_pair_of_numbers(first, second);
  } else {
    const uint32_t low = bit_cast<uint32_t>(first), high = bit_cast<uint32_t>(second);
    const uint32_t rounded = low + 0x7fffu + (low >> 16 & 1u);
    return rounded >> 16 | ((high + 0x7fffu + (high >> 16 & 1u)) & 0xffff0000u);
  }
}

// Exact; subnormals through a multiplication, NaN payloads as they are.
__device__ __forceinline__ float to_float(float16 value) {
  const uint32_t magnitude = static_cast<uint32_t>(value.bits & 0x7fffu) << 13;
  const uint32_t sign = static_cast<uint32_t>(value.bits & 0x8000u) << 16;
  const bool is_finite = magnitude < 0x0f800000u;
  const float scaled = bit_cast<float>(magnitude) * bit_cast<float>(0x77800000u);  // 2^112
  return bit_cast<float>((is_finite ? bit_cast<uint32_t>(scaled) : magnitude | 0x7f800000u) | sign);
}

// Round to nearest even, beyond 65504 to infinity; every NaN becomes the one quiet NaN 0x7e00.
__device__ __forceinline__ float16 to_float16(float value) {
  const uint32_t bits = bit_cast<uint32_t>(value);
  const uint32_t a = bits & 0x7fffffffu;
  const uint32_t sign = bits >> 16 & 0x8000u;
  if (a > 0x7f800000u) return {0x7e00u};
  const uint32_t normal = (a + 0xfffu + (a >> 13 & 1u) - (112u << 23)) >> 13;
  constexpr uint32_t kStep = 126u << 23;  // 2^-1: its last bit is the subnormals' step, 2^-24
  const uint32_t small = bit_cast<uint32_t>(bit_cast<float>(a) + bit_cast<float>(kStep)) - kStep;
  const uint32_t code = a >= 113u << 23 ? (a >= 0x47800000u ? 0x7c00u : normal) : small;
  return {static_cast<uint16_t>(code | sign)};
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
template <>
__device__ __forceinline__ float16 from_float<float16>(float value) {
  return to_float16(value);
}

// The one quiet NaN, whatever sign and payload the machine made; other values as they are.
__device__ __forceinline__ float canonical_nan(float value) {
  return value == value ? value : bit_cast<float>(0x7fc00000u);
}

template <class T, int kCount>
struct alignas(sizeof(T) * kCount) Vec {
  T values[kCount];
};

// A vector as one access, which compilers otherwise take apart where its elements are halves.
template <class T, int kCount>
__device__ __forceinline__ void store_vector(T* address, const Vec<T, kCount>& value) {
  using Words = Vec<uint32_t, static_cast<int>(sizeof(T)) * kCount / 4>;
  static_assert(sizeof(Words) == sizeof(value));
  store_once(reinterpret_cast<Words*>(address), bit_cast<Words>(value));
}

}  // namespace wavejit
