// The running softmax mean of one channel, a token at a time: what the online c128 compressor keeps
// instead of 128 rows. With M = max(top, score):
//   before = weights * softmax_weight(top - M), added = softmax_weight(score - M)
//   weights' = before + added, mean' = fma(value, added, mean * before) / weights', top' = M
// A token's step does not depend on what comes after it, so the same tokens give the same bytes
// however they are cut into chunks and steps (with an fp32 state).
#pragma once
#include <wavejit/compress/pool.cuh>

namespace wavejit {

struct OnlineMean {
  float top;
  float weights;
  float mean;

  // After the first token of a group.
  __device__ __forceinline__ static OnlineMean first(float value, float score) {
    return {canonical_nan(score) + 0.0f, 1.0f, canonical_nan(value)};
  }

  __device__ __forceinline__ void add(float value, float score) {
    const float highest = maximum(kLowestScore, maximum(top, score)) + 0.0f;  // never -0
    const float before = weights * softmax_weight(top - highest);
    const float added = softmax_weight(score - highest);
    const float sum = fused_multiply_add(value, added, mean * before);
    top = highest;
    weights = canonical_nan(before + added);
    mean = canonical_nan(weights == 0.0f ? 0.0f : sum / weights);
  }
};

}  // namespace wavejit
