// silu(gate) * up in fp32: v = (gate / (1 + e^-gate)) * up, rounded after each operation.
#pragma once
#include <wavejit/core/math.cuh>
#include <wavejit/core/pairs.cuh>

namespace wavejit {

__device__ __forceinline__ float silu_times(float gate, float up) {
  return gate / (1.0f + exponential(-gate)) * up;
}

// The same bits for a gate that was bf16 or fp16, with |gate| <= kPlainGate, in half as many
// instructions: no result of e^-gate needs two factors or a limit, and 1 + e^-gate is far from
// overflow. The quotient is a product with an estimate, put right by its exact remainder; that this
// is the nearest float is no theorem but was tried for every such gate (tests/cpp).
inline constexpr float kPlainGate = 64.0f;

__device__ __forceinline__ float plain_silu_times(float gate, float up) {
  const ReducedExponential e = reduced_exponential(-gate);
  const uint32_t bits = bit_cast<uint32_t>(e.power) + (static_cast<uint32_t>(e.n) << 23);
  const float sum = 1.0f + bit_cast<float>(bits);
  const float estimate = platform::reciprocal_estimate(sum);
  const float quotient = gate * estimate;
  const float excess = fused_multiply_add(sum, quotient, -gate);
  return fused_multiply_add(excess, -estimate, quotient) * up;  // -0 stays -0
}

}  // namespace wavejit
