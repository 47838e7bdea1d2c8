// Softmax pooling of a window of candidates, one channel a lane slot:
//   out = sum_i value_i * e^(score_i - m) / sum_i e^(score_i - m),  m = max_i score_i
// Both sums run over i = 0, 1, 2, ... from 0, the weighted one by fused multiply-adds; one division.
// A masked candidate has score -inf or -FLT_MAX: its weight is exactly 0, and its value must be 0.
// If every candidate is masked by -inf the result is 0. A NaN score gives NaN.
#pragma once
#include <wavejit/core/math.cuh>
#include <wavejit/core/tile.cuh>

namespace wavejit {

inline constexpr float kMasked = -0x1.fffffep+127f;  // -FLT_MAX

template <int kWindow>
__device__ __forceinline__ Tile softmax_pool(const Tile (&values)[kWindow],
                                             const Tile (&scores)[kWindow]) {
  Tile out;
#pragma unroll
  for (int channel = 0; channel < kTile; ++channel) {
    float top = kMasked;
#pragma unroll
    for (int i = 0; i < kWindow; ++i) top = maximum(top, scores[i].values[channel]);
    float weights = 0.0f;
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < kWindow; ++i) {
      const float weight = exponential(scores[i].values[channel] - top);
      weights = weights + weight;
      sum = fused_multiply_add(weight, values[i].values[channel], sum);
    }
    out.values[channel] = canonical_nan(weights == 0.0f ? 0.0f : sum / weights);
  }
  return out;
}

}  // namespace wavejit
