// The only door to the vendors. Everything above it is written once: qualifiers, lane indices,
// shuffles, ballots, barriers, dependent launches; and, on the host's side, launch().
//
// A wave has arch::kWaveSize lanes. Every cross-lane function works on groups of kWidth consecutive
// lanes, kWidth a power of two up to the wave: a kernel names its logical group, never the wave's.
#pragma once
#include <stdint.h>
#include <string.h>
#include <wavejit/platform/together.cuh>

#if defined(WAVEJIT_TARGET_HOST)
#include <wavejit/platform/host.cuh>
#elif !defined(WAVEJIT_DEVICE_PASS)
#include <wavejit/platform/declare.cuh>
#elif defined(WAVEJIT_TARGET_CUDA)
#include <wavejit/platform/cuda.cuh>
#elif defined(WAVEJIT_TARGET_HIP)
#include <wavejit/platform/hip.cuh>
#else
#error "define WAVEJIT_TARGET_HOST, WAVEJIT_TARGET_CUDA or WAVEJIT_TARGET_HIP"
#endif
#include <wavejit/platform/cluster.cuh>

namespace wavejit {

template <class To, class From>
__device__ __forceinline__ To bit_cast(From value) {
  static_assert(sizeof(To) == sizeof(From));
  return __builtin_bit_cast(To, value);
}

}  // namespace wavejit
