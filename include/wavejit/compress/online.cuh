// The running softmax mean of one channel, a token at a time: what the online c128 compressor keeps
// instead of 128 rows. Starting without weight, with M = max(-FLT_MAX, top, score):
//   before = weights * softmax_weight(top - M), added = softmax_weight(score - M)
//   weights' = before + added, mean' = fma(value, added, mean * before) / weights', top' = M
// A token's step does not depend on what comes after it, so the same tokens give the same bytes
// however they are cut into chunks and steps (with an fp32 state).
#pragma once
#include <wavejit/compress/pool.cuh>

namespace wavejit {

struct OnlineMean {
  float top = kLowestScore;
  float weights = 0.0f;
  float mean = 0.0f;

  // Without a weight of 1 the new top is no score: every one was -inf, or one was NaN or +inf.
  __device__ __forceinline__ void add(float value, float score) {
    float highest = platform::maximum_or_nan(kLowestScore, platform::maximum_or_nan(top, score));
    highest = highest + 0.0f;  // never -0: which of two zeros is the larger is not fixed
    const float before = weights * softmax_weight(top - highest);
    const float added = softmax_weight(score - highest);
    const float total = before + added;
    const float sum = fused_multiply_add(value, added, mean * before);
    const float none = highest == kLowestScore ? 0.0f : bit_cast<float>(0x7fc00000u);
    top = canonical_nan(highest);
    weights = total < 1.0f ? none : total;
    mean = total < 1.0f ? none : canonical_nan(sum / total);
  }
};

}  // namespace wavejit
