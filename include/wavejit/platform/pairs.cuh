// Pairs of bf16 or of fp16 in a word, where the machine has instructions for them; core/pairs.cuh
// says what each does, and does it without.
#pragma once
#include <wavejit/platform/platform.cuh>

namespace wavejit::platform {

#if defined(WAVEJIT_TARGET_CUDA) && defined(WAVEJIT_DEVICE_PASS) && __CUDA_ARCH__ >= 900
inline constexpr bool kHasPairs = true, kPairsAreQuick = true;
// Products, and maxima and minima in which a number wins: proven by tests/cpp/test_fp8.py.
inline constexpr bool kPairArithmeticProven = __CUDA_ARCH__ == 900;
template <bool kIsBf16>
__device__ __forceinline__ uint32_t pair_minimum(uint32_t a, uint32_t b) {
  if constexpr (kIsBf16) {
    asm("min.NaN.bf16x2 %0, %0, %1;" : "+r"(a) : "r"(b));
  } else {
    asm("min.NaN.f16x2 %0, %0, %1;" : "+r"(a) : "r"(b));
  }
  return a;
}
template <bool kIsBf16>
__device__ __forceinline__ uint32_t pair_maximum(uint32_t a, uint32_t b) {
  if constexpr (kIsBf16) {
    asm("max.NaN.bf16x2 %0, %0, %1;" : "+r"(a) : "r"(b));
  } else {
    asm("max.NaN.f16x2 %0, %0, %1;" : "+r"(a) : "r"(b));
  }
  return a;
}
template <bool kIsBf16>
__device__ __forceinline__ uint32_t pair_larger_magnitude(uint32_t a, uint32_t b) {
  if constexpr (kIsBf16) {
    asm("max.NaN.xorsign.abs.bf16x2 %0, %0, %1;" : "+r"(a) : "r"(b));
  } else {
    asm("max.NaN.xorsign.abs.f16x2 %0, %0, %1;" : "+r"(a) : "r"(b));
  }
  return a;
}
// A number wins against a NaN.
__device__ __forceinline__ uint32_t bf16_pair_larger_number(uint32_t a, uint32_t b) {
  uint32_t pair;
  asm("max.xorsign.abs.bf16x2 %0, %1, %2;" : "=r"(pair) : "r"(a), "r"(b));
  return pair;
}
__device__ __forceinline__ uint32_t bf16_pair_lesser_number(uint32_t a, uint32_t b) {
  uint32_t pair;
  asm("min.bf16x2 %0, %1, %2;" : "=r"(pair) : "r"(a), "r"(b));
  return pair;
}
__device__ __forceinline__ uint32_t bf16_pair_product(uint32_t a, uint32_t b) {
  uint32_t pair;
  asm("mul.rn.bf16x2 %0, %1, %2;" : "=r"(pair) : "r"(a), "r"(b));
  return pair;
}
#else
inline constexpr bool kHasPairs = false;
#if defined(WAVEJIT_TARGET_HOST)
// The CPU takes the way of the machines that have them.
inline constexpr bool kPairsAreQuick = true, kPairArithmeticProven = true;
#else
inline constexpr bool kPairsAreQuick = false, kPairArithmeticProven = false;
#endif
template <bool kIsBf16>
__device__ uint32_t pair_minimum(uint32_t a, uint32_t b);
template <bool kIsBf16>
__device__ uint32_t pair_maximum(uint32_t a, uint32_t b);
template <bool kIsBf16>
__device__ uint32_t pair_larger_magnitude(uint32_t a, uint32_t b);
__device__ uint32_t bf16_pair_larger_number(uint32_t a, uint32_t b);
__device__ uint32_t bf16_pair_lesser_number(uint32_t a, uint32_t b);
__device__ uint32_t bf16_pair_product(uint32_t a, uint32_t b);
#endif

}  // namespace wavejit::platform
