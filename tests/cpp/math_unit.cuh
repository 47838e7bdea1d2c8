// The functions of core/math.cuh and core/vec.cuh, element by element.
#include <wavejit/core/math.cuh>
#include <wavejit/core/vec.cuh>
#include <wavejit/num/silu.cuh>

namespace wavejit {

constexpr int kThreads = 256;
constexpr int kPerLane = 16;

struct MathParams {
  const float* in;
  const float* other;
  float* out;
  bfloat16* narrow;
  int64_t count;
  int32_t function;
};

__device__ __forceinline__ float apply(int function, float x, float y) {
  switch (function) {
    case 0: return exponential(x);
    case 1: return softmax_weight(x);
    case 2: return canonical_nan(x);
    case 3: return maximum(x, y);
    case 4: return minimum(x, y);
    case 6: return softplus(x);
    case 10: return inverse_square_root(x);
    case 11: return 1.0f / square_root(x);
    case 7: return reciprocal(x);
    case 12: return ordinary_quotient(x, y);
    case 8: return silu_times(x, y);
    case 9: return plain_silu_times(x, y);
    case 224: return divided_by<224>(x);
    case 240: return divided_by<240>(x);
    case 448: return divided_by<448>(x);
    default: return to_float(to_bfloat16(x));
  }
}

extern "C" __global__ void __launch_bounds__(kThreads) elementwise(const MathParams p) {
  const int64_t first = (int64_t{block_x()} * kThreads + thread_x()) * kPerLane;
  for (int64_t i = first; i < first + kPerLane && i < p.count; ++i) {
    const float x = p.in[i];
    if (p.narrow) {
      p.narrow[i] = to_bfloat16(x);
    } else {
      p.out[i] = apply(p.function, x, p.other ? p.other[i] : 0.0f);
    }
  }
}

}  // namespace wavejit

#if !defined(WAVEJIT_DEVICE_PASS)
#include <wavejit/host/arguments.h>
#include <wavejit/host/launch.h>

namespace wavejit {

inline void run_elements(MathParams& p, int64_t count, const host::OnDevice& device) {
  p.count = count;
  const int64_t per_block = kThreads * kPerLane;
  launch(WAVEJIT_KERNEL(elementwise),
         {.grid = (count + per_block - 1) / per_block, .block = kThreads, .device = device}, p);
}

// one(in, out, function)
inline void one(host::Arguments& arguments) {
  host::Size count{"count"};
  host::OnDevice device;
  MathParams p{};
  p.in = arguments.dense<float>("in", device, 1, count);
  p.out = arguments.dense<float>("out", device, 1, count);
  p.function = static_cast<int32_t>(arguments.integer("function"));
  run_elements(p, count.value, device);
}

// two(in, other, out, function)
inline void two(host::Arguments& arguments) {
  host::Size count{"count"};
  host::OnDevice device;
  MathParams p{};
  p.in = arguments.dense<float>("in", device, 1, count);
  p.other = arguments.dense<float>("other", device, 1, count);
  p.out = arguments.dense<float>("out", device, 1, count);
  p.function = static_cast<int32_t>(arguments.integer("function"));
  run_elements(p, count.value, device);
}

// narrow(in, out)
inline void narrow(host::Arguments& arguments) {
  host::Size count{"count"};
  host::OnDevice device;
  MathParams p{};
  p.in = arguments.dense<float>("in", device, 1, count);
  p.narrow = arguments.dense<bfloat16>("out", device, 1, count);
  run_elements(p, count.value, device);
}

}  // namespace wavejit
#endif
