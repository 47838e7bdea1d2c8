// The conversions of num/, element by element, and two ways of one conversion compared over ranges
// of bit patterns so large that only their differences can be kept.
#include <wavejit/num/fp4.cuh>
#include <wavejit/num/fp4_of_bf16.cuh>
#include <wavejit/num/fp8_of_bf16.cuh>
#include <wavejit/num/fp8_utils.cuh>
#include <wavejit/num/quantise.cuh>
#include <wavejit/num/ue8m0.cuh>

namespace wavejit {

constexpr int kThreads = 256;
constexpr int kPerLane = 16;
constexpr int kSweepLanes = 1 << 16;
constexpr Fp8 kOwn = arch::kFp8IsFnuz ? Fp8::kFnuz : Fp8::kFn;

struct CodesParams {
  const float* in;
  uint8_t* out;
  int64_t count;
  int32_t variant;
};
struct ValuesParams {
  const uint8_t* in;
  float* out;
  int64_t count;
  int32_t variant;
};
struct SweepParams {
  uint32_t* wrong;  // of each lane; all bits set: this machine has no such instruction
  int64_t first;
  int64_t count;
  int64_t step;
  int32_t variant;
};

template <Fp8 kFlavour, int kMax, NanRule kNan>
__device__ __forceinline__ uint32_t by_fours(float x) {
  return fp8_encode_4<kFlavour, kMax, kNan>(1.0f, -1.0f, 2.0f, x) >> 24;
}

__device__ __forceinline__ uint32_t code_of(int variant, float x) {
  constexpr NanRule kTop = NanRule::kMax, kCode = NanRule::kCode;
  switch (variant) {
    case 0: return fp8_encode<Fp8::kFn>(x);
    case 1: return fp8_encode<Fp8::kFn, 448, kCode>(x);
    case 2: return fp8_encode<Fp8::kFnuz>(x);
    case 3: return fp8_encode<Fp8::kFnuz, 240, kCode>(x);
    case 4: return fp8_encode<Fp8::kFnuz, 224>(x);
    case 5: return fp8_encode<Fp8::kFnuz, 224, kCode>(x);
    case 6: return by_fours<Fp8::kFn, 448, kTop>(x);
    case 7: return by_fours<Fp8::kFnuz, 240, kTop>(x);
    case 8: return fp4_encode(x);
    case 9: return ue8m0(x);
    case 10: return ue8m0_of_amax<448>(x);
    case 11: return ue8m0_of_amax<240>(x);
    case 12: return ue8m0_of_amax<224>(x);
    default: return ue8m0_of_amax<6>(x);
  }
}

__device__ __forceinline__ float value_of(int variant, uint8_t code) {
  switch (variant) {
    case 0: return fp8_decode<Fp8::kFn>(code);
    case 1: return fp8_decode<Fp8::kFnuz>(code);
    case 2: return fp8_decode_4<Fp8::kFn>(uint32_t{code} << 24 | 0x00387f08u).values[3];
    case 3: return fp8_decode_4<Fp8::kFnuz>(uint32_t{code} << 16 | 0x80007f08u).values[2];
    case 4: return fp4_decode(code);
    case 5: return ue8m0_value(code);
    default: return ue8m0_inverse(code);
  }
}

extern "C" __global__ void __launch_bounds__(kThreads) codes(const CodesParams p) {
  const int64_t first = (int64_t{block_x()} * kThreads + thread_x()) * kPerLane;
  for (int64_t i = first; i < first + kPerLane && i < p.count; ++i) {
    p.out[i] = static_cast<uint8_t>(code_of(p.variant, p.in[i]));
  }
}
extern "C" __global__ void __launch_bounds__(kThreads) values(const ValuesParams p) {
  const int64_t first = (int64_t{block_x()} * kThreads + thread_x()) * kPerLane;
  for (int64_t i = first; i < first + kPerLane && i < p.count; ++i) {
    p.out[i] = value_of(p.variant, p.in[i]);
  }
}

// The machine's instruction against arithmetic, and the scale's shortcut against the division.
template <NanRule kNan>
__device__ __forceinline__ bool same_code(uint32_t bits) {
  constexpr int kMax = fp8_largest<kOwn>;
  const float x = bit_cast<float>(bits), other = bit_cast<float>(~bits);
  if constexpr (platform::kHasFp8Instruction) {
    const uint32_t pair = platform::fp8_pair<kMax, kNan == NanRule::kCode>(x, other);
    return pair == (fp8_software_code<kOwn, kMax, kNan>(x) |
                    fp8_software_code<kOwn, kMax, kNan>(other) << 8);
  } else {
    return true;
  }
}
__device__ __forceinline__ bool same_values(uint32_t codes) {
  if constexpr (platform::kHasFp8Instruction) {
    float low, high;
    platform::from_fp8_pair(codes, low, high);
    const float a = fp8_software_value<kOwn>(codes & 0xffu);
    const float b = fp8_software_value<kOwn>(codes >> 8 & 0xffu);
    return bit_cast<uint32_t>(canonical_nan(low)) == bit_cast<uint32_t>(a) &&
           bit_cast<uint32_t>(canonical_nan(high)) == bit_cast<uint32_t>(b);
  } else {
    return true;
  }
}
template <int kMax>
__device__ __forceinline__ bool same_scale(uint32_t bits) {
  const float top = bit_cast<float>(bits);
  return ue8m0_of_amax<kMax>(top) == ue8m0(top / static_cast<float>(kMax));
}
__device__ __forceinline__ bool same_bf16(uint32_t bits) {
  const float x = bit_cast<float>(bits), other = bit_cast<float>(~bits);
  return to_bfloat16_2(x, other) ==
         (to_bfloat16(x).bits | static_cast<uint32_t>(to_bfloat16(other).bits) << 16);
}
// e2m1 by its definition: as many middles as the magnitude is beyond.
__device__ __forceinline__ bool same_fp4(uint32_t bits) {
  const float x = bit_cast<float>(bits);
  const float size = x == x ? magnitude(x) : 6.0f;
  constexpr float kMiddles[] = {0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5.0f};
  uint32_t code = 0;
  for (int i = 0; i < 7; ++i) code += size > kMiddles[i] ? 1u : 0u;
  return fp4_encode(x) == (code != 0 && x < 0.0f ? code | 8u : code);
}
// The upper half is the byte of a scale, the lower one a bf16; of eight values each other is
// negated.
__device__ __forceinline__ bool same_fp4_of_bf16(uint32_t bits) {
  const uint32_t half = bits & 0xffffu, negated = half ^ 0x8000u;
  if ((half & 0x7fffu) > 0x7f80u) return true;
  const float factor = ue8m0_inverse(bits >> 16),
              x = to_float(bfloat16{static_cast<uint16_t>(half)});
  const uint32_t pair = half | negated << 16, swapped = negated | half << 16;
  const uint32_t two = fp4_encode(x * factor) | fp4_encode(-x * factor) << 4;
  const uint32_t other = (two >> 4 | two << 4) & 0xffu;
  return fp4_encode_8_of_bf16({pair, swapped, pair, pair}, factor) ==
         (two | other << 8 | two << 16 | two << 24);
}
// The same of fp8, NaN too.
template <Fp8 kFlavour, int kMax, NanRule kNanRule>
struct CodeRules {
  static constexpr int kFp8Max = kMax;
  static constexpr NanRule kNan = kNanRule;
  __device__ __forceinline__ static uint32_t code(float x) {
    return fp8_software_code<kFlavour, kMax, kNanRule>(x);
  }
};
template <Fp8 kFlavour, int kMax, NanRule kNanRule>
__device__ __forceinline__ bool same_fp8_of_bf16(uint32_t bits) {
  using Rules = CodeRules<kFlavour, kMax, kNanRule>;
  const uint32_t half = bits & 0xffffu, negated = half ^ 0x8000u;
  const float factor = ue8m0_inverse(bits >> 16);
  const float x = bit_cast<float>(half << 16) * factor;
  const float other = bit_cast<float>(negated << 16) * factor;
  const Vec<uint32_t, 2> pairs{{half | negated << 16, negated | half << 16}};
  const uint32_t a = Rules::code(x), b = Rules::code(other);
  return encode_pairs<kFlavour, Rules>(pairs, factor_pair(factor)).values[0] ==
         (a | b << 8 | b << 16 | a << 24);
}
// The magnitudes of the halves against each other and against a third, which is a NaN too.
__device__ __forceinline__ bool same_amax(uint32_t bits) {
  const auto size = [](uint32_t half) {
    const float x = bit_cast<float>(half << 16 & 0x7fff0000u);
    return x == x ? x : 0.0f;
  };
  const uint32_t low = bits & 0xffffu, high = bits >> 16;
  const Vec<uint32_t, 4> pairs{{bits, 0xffc07fffu, high | low << 16, bits ^ 0x80000000u}};
  const float expected = maximum(maximum(size(low), size(high)), 0x1p-100f);
  const float alone = maximum(size(low), 0x1p-100f);
  return maximum(amax_of_pair(lane_amax_pair(pairs)), 0x1p-100f) == expected &&
         maximum(amax_of_pair(bf16_pair_larger_number(low, 0x7fffu)), 0x1p-100f) == alone;
}
__device__ __forceinline__ bool same(int variant, uint32_t bits) {
  switch (variant) {
    case 0: return same_code<NanRule::kMax>(bits);
    case 1: return same_code<NanRule::kCode>(bits);
    case 2: return same_values(bits);
    case 3: return same_scale<448>(bits);
    case 4: return same_scale<240>(bits);
    case 5: return same_scale<224>(bits);
    case 6: return same_scale<kFp4Max>(bits);
    case 8: return same_fp4(bits);
    case 9: return same_fp4_of_bf16(bits);
    case 10: return same_fp8_of_bf16<Fp8::kFn, 448, NanRule::kMax>(bits);
    case 11: return same_fp8_of_bf16<Fp8::kFn, 448, NanRule::kCode>(bits);
    case 12: return same_fp8_of_bf16<Fp8::kFnuz, 240, NanRule::kMax>(bits);
    case 13: return same_fp8_of_bf16<Fp8::kFnuz, 224, NanRule::kCode>(bits);
    case 14: return same_amax(bits);
    default: return same_bf16(bits);
  }
}
extern "C" __global__ void __launch_bounds__(kThreads) sweep(const SweepParams p) {
  const int64_t lane = int64_t{block_x()} * kThreads + thread_x();
  uint32_t wrong = 0;
  for (int64_t i = lane; i < p.count; i += kSweepLanes) {
    wrong += same(p.variant, static_cast<uint32_t>(p.first + i * p.step)) ? 0 : 1;
  }
  const bool absent = p.variant < 3 && !platform::kHasFp8Instruction;
  p.wrong[lane] = absent ? ~uint32_t{0} : wrong;
}

}  // namespace wavejit

#if !defined(WAVEJIT_DEVICE_PASS)
#include <wavejit/host/arguments.h>
#include <wavejit/host/launch.h>

namespace wavejit {

constexpr int64_t kPerBlock = kThreads * kPerLane;

// encode(in, out, variant)
inline void encode(host::Arguments& arguments) {
  host::Size count{"count"};
  host::OnDevice device;
  CodesParams p{};
  p.in = arguments.dense<float>("in", device, 1, count);
  p.out = arguments.dense<uint8_t>("out", device, 1, count);
  p.variant = static_cast<int32_t>(arguments.integer("variant"));
  p.count = count.value;
  launch(WAVEJIT_KERNEL(codes),
         {.grid = (p.count + kPerBlock - 1) / kPerBlock, .block = kThreads, .device = device}, p);
}

// decode(in, out, variant)
inline void decode(host::Arguments& arguments) {
  host::Size count{"count"};
  host::OnDevice device;
  ValuesParams p{};
  p.in = arguments.dense<uint8_t>("in", device, 1, count);
  p.out = arguments.dense<float>("out", device, 1, count);
  p.variant = static_cast<int32_t>(arguments.integer("variant"));
  p.count = count.value;
  launch(WAVEJIT_KERNEL(values),
         {.grid = (p.count + kPerBlock - 1) / kPerBlock, .block = kThreads, .device = device}, p);
}

// compare(wrong, first, count, step, variant)
inline void compare(host::Arguments& arguments) {
  host::OnDevice device;
  SweepParams p{};
  p.wrong = reinterpret_cast<uint32_t*>(arguments.dense<int32_t>("wrong", device, 1, kSweepLanes));
  p.first = arguments.integer("first");
  p.count = arguments.integer("count");
  p.step = arguments.integer("step");
  p.variant = static_cast<int32_t>(arguments.integer("variant"));
  launch(WAVEJIT_KERNEL(sweep),
         {.grid = kSweepLanes / kThreads, .block = kThreads, .device = device}, p);
}

}  // namespace wavejit
#endif
