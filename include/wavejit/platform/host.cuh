// The CPU: lanes are fibers of the wave executor (simt/), which runs them in lockstep at shuffles
// and barriers and reports what a GPU would silently get wrong.
#pragma once
#include <stdint.h>
#include <wavejit/simt/launch.h>
#include <wavejit/platform/together.cuh>

#define __global__ __attribute__((visibility("hidden")))
#define __device__
#define __host__
#define __shared__ static thread_local
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)

namespace wavejit {

using simt::Site;
inline unsigned thread_x() { return simt::thread_index().x; }
inline unsigned block_x() { return simt::block_index().x; }
inline unsigned block_y() { return simt::block_index().y; }
inline unsigned block_z() { return simt::block_index().z; }
inline unsigned block_dim_x() { return simt::block_dim().x; }
inline unsigned grid_dim_x() { return simt::grid_dim().x; }

using simt::ballot;
using simt::lane_id;
using simt::shuffle;
using simt::shuffle_up;
using simt::shuffle_xor;
using simt::sync_block;
// Lanes that meet at a ballot have done all that comes before it.
template <int kWidth>
inline void sync_group(Site at = Site::here()) {
  (void)ballot<kWidth>(true, at);
}

// Shared memory for one T, whose size the launch names where kStorageIsLaunched: it may exceed what
// variables may take.
inline constexpr bool kStorageIsLaunched = false;
template <class T>
inline T& block_storage() {
  __shared__ T storage;
  return storage;
}

// The lanes of a block take turns on one thread, so these need no atomic instruction.
inline uint32_t atomic_add(uint32_t* shared, uint32_t value) {
  const uint32_t before = *shared;
  *shared = before + value;
  return before;
}
// Where few lanes of a group add; the last argument is 0.
inline uint32_t add_sparsely(uint32_t* shared, uint32_t value, uint32_t) {
  return atomic_add(shared, value);
}
inline uint32_t atomic_or(uint32_t* shared, uint32_t value) {
  const uint32_t before = *shared;
  *shared = before | value;
  return before;
}

inline void copy_to_shared(void* shared, const void* global) {
  struct alignas(16) Words {
    uint32_t values[4];
  };
  *static_cast<Words*>(shared) = *static_cast<const Words*>(global);
}
inline void copy_word_to_shared(void* shared, const void* global) {
  __builtin_memcpy(shared, global, sizeof(uint32_t));
}
inline void wait_for_copies() {}
inline void end_of_copies() {}
template <int kGroups>
inline void wait_for_copies_but() {}

inline void wait_for_previous_launch() {}
inline void allow_next_launch() {}
template <class... Address>
inline void wait_for_previous_launch(const Address*...) {}

inline float fused_multiply_add(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
namespace platform {
inline float maximum(float a, float b) { return a > b || b != b ? a : b; }
inline float minimum(float a, float b) { return a < b || b != b ? a : b; }
// NaN becomes -inf.
inline float nan_as_least(float a) { return a == a ? a : -__builtin_inff(); }
inline float opaque(float value) { return value; }
// The bits one place up, and whether a > b below them.
inline uint32_t push_larger(uint32_t bits, float a, float b) {
  return bits << 1 | static_cast<uint32_t>(a > b);
}
inline constexpr bool kHasGroupSum = false;
inline uint32_t group_sum(uint32_t value) { return value; }
inline constexpr bool kHasWaveMaximum = false;
template <int kLanes>
inline uint32_t largest_word(uint32_t value) {
  return value;
}
// Into [0, 1]; no NaN.
inline float saturate(float value) { return value > 1.0f ? 1.0f : value > 0.0f ? value : 0.0f; }
inline constexpr bool kNanIsQuick = true;
// NaN wins against a number.
inline float maximum_or_nan(float a, float b) { return a < b ? b : b == b ? a : b; }

// Blocks run on several threads of the CPU.
inline void publish(uint32_t* address, uint32_t word) {
  __atomic_store_n(address, word, __ATOMIC_RELAXED);
}
inline void observe(const uint32_t* address, uint32_t (&words)[4]) {
  for (int i = 0; i < 4; ++i) words[i] = __atomic_load_n(address + i, __ATOMIC_RELAXED);
}
// Not once one has failed, whose lanes may have left before they did what others wait for.
inline bool others_go_on() { return simt::launch_goes_on(); }
inline uint32_t fetch_add(uint32_t* address, uint32_t value) {
  return __atomic_fetch_add(address, value, __ATOMIC_SEQ_CST);
}
inline uint64_t fetch_add(uint64_t* address, uint64_t value) {
  return __atomic_fetch_add(address, value, __ATOMIC_SEQ_CST);
}
inline uint64_t fetch_max(uint64_t* address, uint64_t value) {
  uint64_t before = __atomic_load_n(address, __ATOMIC_SEQ_CST);
  while (before < value && !__atomic_compare_exchange_n(address, &before, value, false,
                                                        __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
  }
  return before;
}

// The CPU has no such instruction.
inline constexpr bool kHasFp8Instruction = false;
inline constexpr bool kFp8InstructionProven = false;
inline constexpr bool kBf16InstructionProven = false;
inline uint32_t bf16_pair_of_numbers(float, float) { return 0; }
inline uint32_t bf16_pair(float, float) { return 0; }
template <int kMax, bool kKeepsNan>
uint32_t fp8_pair(float first, float second);
void from_fp8_pair(uint32_t codes, float& first, float& second);

// The nearest float itself, from which the steps of core/math.cuh lead to the same results.
inline constexpr bool kReciprocalProven = true;
inline float reciprocal_estimate(float x) { return 1.0f / x; }

// Four of the bytes of a (0 to 3) and b (4 to 7), the lowest first: a digit of the selector each.
template <uint32_t kSelector>
inline uint32_t pick_bytes(uint32_t a, uint32_t b) {
  const uint64_t all = uint64_t{b} << 32 | a;
  uint32_t picked = 0;
  for (int i = 0; i < 4; ++i) {
    picked |= static_cast<uint32_t>(all >> 8 * (kSelector >> 4 * i & 7u) & 0xffu) << 8 * i;
  }
  return picked;
}
}  // namespace platform
inline float square_root(float value) { return __builtin_sqrtf(value); }
namespace platform {
inline constexpr bool kInverseRootProven = false;
inline float inverse_root(float x) { return 1.0f / square_root(x); }
}  // namespace platform

template <class Vector>
inline Vector load_now(const Vector* address) {
  return *address;
}
template <class Vector>
inline Vector load_once(const Vector* address) {
  return *address;
}
template <class Vector>
inline void store_leaving(Vector* address, Vector value) {
  *address = value;
}
template <class Vector>
inline void store_once(Vector* address, Vector value) {
  *address = value;
}

}  // namespace wavejit
