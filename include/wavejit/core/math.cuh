// Functions whose results are the same bits on every machine: additions, multiplications and fused
// multiply-adds in one written order, nothing of a vendor's library (docs/numerics.md).
#pragma once
#include <wavejit/platform/platform.cuh>

namespace wavejit {

// The larger and the smaller operand; a NaN loses against a number. Which zero of two different
// ones comes back is not fixed: what is made of it must not depend on it.
using platform::maximum;
using platform::minimum;

// Whether x lies from 2^-101 to the largest number: its inverse root is a number above 0.
__device__ __forceinline__ bool has_ordinary_root(float x) {
  constexpr uint32_t kLeast = 0x0d000000u, kMost = 0x7f7fffffu;
  return bit_cast<uint32_t>(x) - kLeast <= kMost - kLeast;
}
// 1 / sqrt(x) of such an x: the root rounded to nearest, then the quotient.
__device__ __forceinline__ float inverse_of_ordinary_root(float x) {
  if constexpr (platform::kInverseRootProven) {
    return platform::inverse_root(x);
  } else {
    return 1.0f / square_root(x);
  }
}
// The same of any x.
__device__ __forceinline__ float inverse_square_root(float x) {
  if constexpr (platform::kInverseRootProven) {
    if (__builtin_expect(has_ordinary_root(x), true)) return platform::inverse_root(x);
  }
  return 1.0f / square_root(x);
}

// 1 / x to nearest, for x in [2^-90, 2^121), without the branch of a division. Proven over every
// fraction (tests/cpp) on the machines whose estimate is taken; the others divide.
__device__ __forceinline__ float reciprocal(float x) {
  if constexpr (platform::kReciprocalProven) {
    const float estimate = platform::reciprocal_estimate(x);
    return fused_multiply_add(estimate, fused_multiply_add(-x, estimate, 1.0f), estimate);
  } else {
    return 1.0f / x;
  }
}

// x / kDivisor to nearest, for numbers x from 2^-90 on: what the product lacks comes back by its
// exact remainder. Proven over every fraction for the largest codes that scales divide by.
template <int kDivisor>
__device__ __forceinline__ float divided_by(float x) {
  constexpr float kBy = static_cast<float>(kDivisor);
  constexpr float kInverse = 1.0f / kBy;
  const float quotient = x * kInverse;
  return fused_multiply_add(fused_multiply_add(-kBy, quotient, x), kInverse, quotient);
}

// x / y to nearest, for |x| from 2^-80 to the largest number and y from 1 to 2^20, without the
// branch of a division: its steps for ordinary numbers. Tried with every fraction of y (tests/cpp).
__device__ __forceinline__ float ordinary_quotient(float x, float y) {
  const float inverse = reciprocal(y);
  const float quotient = x * inverse;
  return fused_multiply_add(inverse, fused_multiply_add(-y, quotient, x), quotient);
}

// 2^n as a factor, for n in [-126, 127].
__device__ __forceinline__ float power_of_two(int n) {
  return bit_cast<float>(static_cast<uint32_t>(n + 127) << 23);
}

// x = n ln 2 + r with |r| <= ln 2 / 2, n an integer, and e^r by a polynomial of degree 6. `shifted`
// holds n in its low bits. Meaningless where |x| is beyond 2^21 or x is no number.
struct ReducedExponential {
  float power;  // e^r, NaN where x is
  int n;
};
__device__ __forceinline__ ReducedExponential reduced_exponential(float x) {
  constexpr float kLog2E = 0x1.715476p+0f;
  constexpr float kLn2High = 0x1.62e400p-1f;  // 15 bits: n * kLn2High is exact
  constexpr float kLn2Low = 0x1.7f7d1cp-20f;
  constexpr float kRound = 0x1.8p+23f;  // adding it rounds to an integer, ties to even
  const float shifted = fused_multiply_add(x, kLog2E, kRound);
  const float n = shifted - kRound;
  float r = fused_multiply_add(n, -kLn2High, x);
  r = fused_multiply_add(n, -kLn2Low, r);
  float p = 0x1.6a23d0p-10f;  // minimax on |r| <= ln 2 / 2
  p = fused_multiply_add(p, r, 0x1.123a20p-7f);
  p = fused_multiply_add(p, r, 0x1.5558f2p-5f);
  p = fused_multiply_add(p, r, 0x1.555492p-3f);
  p = fused_multiply_add(p, r, 0x1.fffffcp-2f);
  p = fused_multiply_add(p, r, 1.0f);
  p = fused_multiply_add(p, r, 1.0f);
  return {p, static_cast<int>(bit_cast<uint32_t>(shifted) - bit_cast<uint32_t>(kRound))};
}

// e^x. NaN gives NaN, +inf gives inf, everything below half the smallest subnormal gives 0. 2^n
// comes in two factors, so that a subnormal result is rounded and not flushed. At most 0.892 ulp
// from the exact value where the result is normal (tests/cpp).
__device__ __forceinline__ float exponential(float x) {
  const float limited = minimum(maximum(x, -105.0f), 89.0f);  // e^89 overflows, e^-105 is 0
  const ReducedExponential e = reduced_exponential(limited);
  const int half = e.n >> 1;
  const float result = e.power * power_of_two(half) * power_of_two(e.n - half);
  return x == x ? result : x;
}

// A weight e^x for x <= 0 in ten instructions: 2^(x log2 e), the fraction by a polynomial of degree
// 5, the whole part added to the exponent's bits, where the low bits of the sum that rounded hold
// it. e^0 is exactly 1. The relative error is at most 3e-7 down to e^-10 and 1.4e-6 to e^-87.3;
// from there the weight falls to 2^-143 at kLeast, which every smaller x and NaN gives (tests/cpp).
__device__ __forceinline__ float softmax_weight(float x) {
  constexpr float kLog2E = 0x1.715476p+0f;
  constexpr float kRound = 0x1.8p+23f;  // rounds to an integer; its own low bits are 0
  constexpr float kLeast =
      -0x1.601e66p+6f;  // n = -127 and f > 0 there: the sum of bits is positive
  const float limited = maximum(x, kLeast);
  const float shifted = fused_multiply_add(limited, kLog2E, kRound);
  const float n = shifted - kRound;
  const float f = fused_multiply_add(limited, kLog2E, -n);
  float p = 0x1.5bb988p-10f;  // minimax for (2^f - 1) / f on |f| <= 1/2
  p = fused_multiply_add(p, f, 0x1.3ceb10p-7f);
  p = fused_multiply_add(p, f, 0x1.c6b758p-5f);
  p = fused_multiply_add(p, f, 0x1.ebf9bap-3f);
  p = fused_multiply_add(p, f, 0x1.62e42ap-1f);
  p = fused_multiply_add(p, f, 1.0f);
  return bit_cast<float>(bit_cast<uint32_t>(p) + (bit_cast<uint32_t>(shifted) << 23));
}

// log(1 + e^x) as max(x, 0) + log(1 + t) with t = e^-|x|; the logarithm as 2 artanh(s), s = t / (2
// + t) in [0, 1/3], by a polynomial of degree 4 in s^2. Within 4e-7 of the exact value where that
// is normal; 0 below -104, inf for inf, NaN for NaN (tests/cpp).
__device__ __forceinline__ float softplus(float x) {
  const float magnitude = bit_cast<float>(bit_cast<uint32_t>(x) & 0x7fffffffu);
  const float t = exponential(-magnitude);
  const float s = t / (2.0f + t);
  const float z = s * s;
  float p = 0x1.dbefbap-3f;  // minimax for (2 artanh(s) - 2 s) / s^3 on s^2 <= 1/9
  p = fused_multiply_add(p, z, 0x1.bc7bd6p-3f);
  p = fused_multiply_add(p, z, 0x1.24c9bep-2f);
  p = fused_multiply_add(p, z, 0x1.9998d2p-2f);
  p = fused_multiply_add(p, z, 0x1.555556p-1f);
  const float log_of_sum = fused_multiply_add(z * s, p, s + s);
  return (x > 0.0f ? x : 0.0f) + log_of_sum;
}

}  // namespace wavejit
