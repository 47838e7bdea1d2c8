// PLACEHOLDER of "caches" until "num" commits its own: overwrite it.
#pragma once
#include <wavejit/core/math.cuh>
#include <wavejit/core/vec.cuh>

namespace wavejit {

enum class Fp8 { kFn, kFnuz };

template <Fp8 kFlavour>
inline constexpr float fp8_max = kFlavour == Fp8::kFn ? 448.0f : 240.0f;

template <Fp8 kFlavour>
__device__ __forceinline__ uint8_t fp8_encode(float value) {
  constexpr int kBias = kFlavour == Fp8::kFn ? 7 : 8;
  const float kept = maximum(minimum(value, fp8_max<kFlavour>), -fp8_max<kFlavour>);
  const uint32_t bits = bit_cast<uint32_t>(kept);
  const uint32_t sign = bits >> 31 << 7;
  const uint32_t a = bits & 0x7fffffffu;
  uint32_t code;
  if (a >= static_cast<uint32_t>(128 - kBias) << 23) {
    code = (a + 0x7ffffu + (a >> 20 & 1u) - (static_cast<uint32_t>(127 - kBias) << 23)) >> 20;
  } else {
    constexpr uint32_t kStep = static_cast<uint32_t>(127 + 21 - kBias) << 23;
    code = bit_cast<uint32_t>(bit_cast<float>(a) + bit_cast<float>(kStep)) - kStep;
  }
  if (kFlavour == Fp8::kFnuz && code == 0) return 0;
  return static_cast<uint8_t>(code | sign);
}

template <Fp8 kFlavour>
__device__ __forceinline__ float fp8_decode(uint8_t code) {
  constexpr int kBias = kFlavour == Fp8::kFn ? 7 : 8;
  const uint32_t magnitude = code & 0x7fu;
  const bool is_nan = kFlavour == Fp8::kFn ? magnitude == 0x7fu : code == 0x80u;
  if (is_nan) return bit_cast<float>(0x7fc00000u);
  // As a subnormal pattern, times 2^(127 - bias): exact, whatever the exponent.
  const float scaled = bit_cast<float>(magnitude << 20) * bit_cast<float>(static_cast<uint32_t>(254 - kBias) << 23);
  return code & 0x80u ? -scaled : scaled;
}

}  // namespace wavejit
