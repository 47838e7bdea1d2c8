// What keys are rounded to on their way into a cache: where implementations of the model differ.
//            source of the codes     angles
//   default  bf16                    fp32
//   cuda     fp32                    fp32
//   amd      bf16                    rounded to bf16
// The dims that stay bf16 are rounded once, after the rotation in fp32. The least amax and the
// largest code are the layout's (num/quantise.cuh).
#pragma once

namespace wavejit {

enum class Preset { kDefault, kCuda, kAmd };

template <Preset kPreset>
inline constexpr bool rounds_source = kPreset != Preset::kCuda;
template <Preset kPreset>
inline constexpr bool rounds_angles = kPreset == Preset::kAmd;

}  // namespace wavejit
