// Which lanes come to a shuffle at the same time.
#pragma once

namespace wavejit {

// Those of the group, so that the groups of a wave may take different ways; or all of the wave that
// have not left the kernel, which costs NVIDIA's lanes a few instructions less.
enum class Together { kGroup, kWave };

}  // namespace wavejit
