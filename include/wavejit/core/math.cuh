// Functions whose results are the same bits on every machine: additions, multiplications and fused
// multiply-adds in one written order, nothing of a vendor's library (docs/numerics.md).
#pragma once
#include <wavejit/platform/platform.cuh>

namespace wavejit {

// The larger operand; a NaN loses against a number.
__device__ __forceinline__ float maximum(float a, float b) {
  return a > b || b != b ? a : b;
}
__device__ __forceinline__ float minimum(float a, float b) {
  return a < b || b != b ? a : b;
}

// 2^n as a factor, for n in [-126, 127].
__device__ __forceinline__ float power_of_two(int n) {
  return bit_cast<float>(static_cast<uint32_t>(n + 127) << 23);
}

// e^x. NaN gives NaN, +inf gives inf, everything below half the smallest subnormal gives 0.
// x = n ln 2 + r with |r| <= ln 2 / 2; e^r by a polynomial of degree 6; 2^n in two factors, so that
// a subnormal result is rounded and not flushed. At most 0.88 ulp from the exact value where the
// result is normal (tests/cpp/test_math.py).
__device__ __forceinline__ float exponential(float x) {
  constexpr float kLog2E = 0x1.715476p+0f;
  constexpr float kLn2High = 0x1.62e400p-1f;  // 15 bits: n * kLn2High is exact
  constexpr float kLn2Low = 0x1.7f7d1cp-20f;
  constexpr float kRound = 0x1.8p+23f;  // adding it rounds to an integer, ties to even
  const float limited = minimum(maximum(x, -105.0f), 89.0f);  // e^89 overflows, e^-105 is 0
  const float shifted = fused_multiply_add(limited, kLog2E, kRound);
  const float n = shifted - kRound;
  float r = fused_multiply_add(n, -kLn2High, limited);
  r = fused_multiply_add(n, -kLn2Low, r);
  float p = 0x1.6a23d0p-10f;  // minimax on |r| <= ln 2 / 2
  p = fused_multiply_add(p, r, 0x1.123a20p-7f);
  p = fused_multiply_add(p, r, 0x1.5558f2p-5f);
  p = fused_multiply_add(p, r, 0x1.555492p-3f);
  p = fused_multiply_add(p, r, 0x1.fffffcp-2f);
  p = fused_multiply_add(p, r, 1.0f);
  p = fused_multiply_add(p, r, 1.0f);
  const int exponent = static_cast<int>(n);
  const int half = exponent >> 1;
  const float result = p * power_of_two(half) * power_of_two(exponent - half);
  return x == x ? result : x;
}

}  // namespace wavejit
