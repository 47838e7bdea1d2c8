// What queries and keys are rounded to on their way: where implementations of the model differ.
//            source of a key's codes     angles             a query before its rotation
//   default  bf16                        fp32               its dtype
//   cuda     fp32                        fp32               its dtype
//   amd      bf16                        rounded to bf16    fp32
// A key's dims that stay bf16 are rounded once, after the rotation in fp32, and so are amd's
// queries. The least amax and the largest code are the layout's (num/quantise.cuh).
#pragma once

namespace wavejit {

enum class Preset { kDefault, kCuda, kAmd };

template <Preset kPreset>
inline constexpr bool rounds_source = kPreset != Preset::kCuda;
template <Preset kPreset>
inline constexpr bool rounds_angles = kPreset == Preset::kAmd;
template <Preset kPreset>
inline constexpr bool rounds_before_rotation = kPreset != Preset::kAmd;

}  // namespace wavejit
