// Pairs of bf16 or of fp16 in a word, where the machine has instructions for them; core/pairs.cuh
// says what each does, and does it without.
#pragma once
#include <wavejit/platform/platform.cuh>

namespace wavejit::platform {

#if defined(WAVEJIT_TARGET_CUDA) && defined(WAVEJIT_DEVICE_PASS) && __CUDA_ARCH__ >= 900
inline constexpr bool kHasPairs = true, kPairsAreQuick = true;
// Products, and maxima and minima in which a number wins: proven by tests/cpp/test_fp8.py.
inline constexpr bool kPairArithmeticProven = __CUDA_ARCH__ == 900;
#define WAVEJIT_PAIR(name, instruction)                                     \
  template <bool kIsBf16>                                                   \
  __device__ __forceinline__ uint32_t name(uint32_t a, uint32_t b) {        \
    uint32_t pair;                                                          \
    if constexpr (kIsBf16) {                                                \
      asm(instruction ".bf16x2 %0, %1, %2;" : "=r"(pair) : "r"(a), "r"(b)); \
    } else {                                                                \
      asm(instruction ".f16x2 %0, %1, %2;" : "=r"(pair) : "r"(a), "r"(b));  \
    }                                                                       \
    return pair;                                                            \
  }
#else
inline constexpr bool kHasPairs = false;
#if defined(WAVEJIT_TARGET_HOST)
// The CPU takes the way of the machines that have them.
inline constexpr bool kPairsAreQuick = true, kPairArithmeticProven = true;
#else
inline constexpr bool kPairsAreQuick = false, kPairArithmeticProven = false;
#endif
#define WAVEJIT_PAIR(name, instruction) \
  template <bool kIsBf16>               \
  __device__ uint32_t name(uint32_t a, uint32_t b);
#endif

WAVEJIT_PAIR(pair_minimum, "min.NaN")
WAVEJIT_PAIR(pair_maximum, "max.NaN")
WAVEJIT_PAIR(pair_larger_magnitude, "max.NaN.xorsign.abs")
// In these a number wins against a NaN.
WAVEJIT_PAIR(pair_larger_number, "max.xorsign.abs")
WAVEJIT_PAIR(pair_lesser_number, "min")
WAVEJIT_PAIR(pair_product, "mul.rn")
#undef WAVEJIT_PAIR

}  // namespace wavejit::platform
