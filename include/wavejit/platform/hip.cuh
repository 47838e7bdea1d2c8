// AMD's device pass, for clang without any HIP package: compiled with -nogpuinc -nogpulib.
// Shuffles go through ds_bpermute with the lane's address in its wave of 32 or 64.
#pragma once
#include <stdint.h>
#include <wavejit/platform/together.cuh>

#define __global__ __attribute__((global))
#define __device__ __attribute__((device))
#define __host__ __attribute__((host))
#define __shared__ __attribute__((shared))
#define __forceinline__ inline __attribute__((always_inline))
// clang leaves launch_bounds alone here and would keep registers back for blocks of 1,024 lanes.
// How many blocks a multiprocessor should hold is said for NVIDIA's registers, half as many.
#define __launch_bounds__(lanes, ...) __attribute__((amdgpu_flat_work_group_size(1, lanes)))

namespace wavejit {

struct Site {
  __device__ static constexpr Site here() { return {}; }
};

__device__ __forceinline__ unsigned thread_x() { return __builtin_amdgcn_workitem_id_x(); }
__device__ __forceinline__ unsigned block_x() { return __builtin_amdgcn_workgroup_id_x(); }
__device__ __forceinline__ unsigned block_y() { return __builtin_amdgcn_workgroup_id_y(); }
__device__ __forceinline__ unsigned block_z() { return __builtin_amdgcn_workgroup_id_z(); }
__device__ __forceinline__ unsigned block_dim_x() { return __builtin_amdgcn_workgroup_size_x(); }
// The first of the hidden arguments (code object versions 5 and 6): blocks along x.
__device__ __forceinline__ unsigned grid_dim_x() {
  using HiddenArguments = const __attribute__((address_space(4))) unsigned*;
  return ((HiddenArguments)__builtin_amdgcn_implicitarg_ptr())[0];
}
__device__ __forceinline__ unsigned lane_id() {
  if constexpr (arch::kWaveSize == 64) {
    return __builtin_amdgcn_mbcnt_hi(~0u, __builtin_amdgcn_mbcnt_lo(~0u, 0u));
  } else {
    return __builtin_amdgcn_mbcnt_lo(~0u, 0u);
  }
}

// The value that lane `source` of the wave holds. Wider values travel in pieces of 4 bytes.
template <class T>
__device__ __forceinline__ T from_lane(T value, unsigned source) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8);
  const int address = static_cast<int>(source << 2);
  if constexpr (sizeof(T) == 4) {
    const int bits = __builtin_bit_cast(int, value);
    return __builtin_bit_cast(T, __builtin_amdgcn_ds_bpermute(address, bits));
  } else {
    const uint64_t bits = __builtin_bit_cast(uint64_t, value);
    const uint32_t low = __builtin_amdgcn_ds_bpermute(address, static_cast<int>(bits));
    const uint32_t high = __builtin_amdgcn_ds_bpermute(address, static_cast<int>(bits >> 32));
    return __builtin_bit_cast(T, uint64_t{high} << 32 | low);
  }
}
template <int kWidth, Together kWho = Together::kGroup, class T>
__device__ __forceinline__ T shuffle_xor(T value, int lane_mask, Site = Site::here()) {
  static_assert(kWidth <= arch::kWaveSize);
  return from_lane(value, lane_id() ^ static_cast<unsigned>(lane_mask));
}
template <int kWidth, Together kWho = Together::kGroup, class T>
__device__ __forceinline__ T shuffle(T value, int source_lane, Site = Site::here()) {
  static_assert(kWidth <= arch::kWaveSize);
  const unsigned first = lane_id() & ~(kWidth - 1u);
  return from_lane(value, first + (static_cast<unsigned>(source_lane) & (kWidth - 1u)));
}
template <int kWidth, class T>
__device__ __forceinline__ T shuffle_up(T value, int delta, Site = Site::here()) {
  static_assert(kWidth <= arch::kWaveSize);
  const unsigned in_group = lane_id() & (kWidth - 1u);
  const unsigned step = static_cast<unsigned>(delta);
  return from_lane(value, lane_id() - (in_group >= step ? step : 0u));
}
template <int kWidth>
__device__ __forceinline__ uint64_t ballot(bool value, Site = Site::here()) {
  uint64_t lanes;
  if constexpr (arch::kWaveSize == 64) {
    lanes = __builtin_amdgcn_ballot_w64(value);
  } else {
    lanes = __builtin_amdgcn_ballot_w32(value);
  }
  constexpr uint64_t kLanes = kWidth == 64 ? ~uint64_t{0} : (uint64_t{1} << (kWidth % 64)) - 1;
  return lanes >> (lane_id() & ~(kWidth - 1u)) & kLanes;
}
__device__ __forceinline__ void sync_block(Site = Site::here()) {
  __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup");
  __builtin_amdgcn_s_barrier();
  __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup");
}
// A wave's accesses to shared memory keep their order; the compiler has to as well.
template <int kWidth>
__device__ __forceinline__ void sync_group(Site = Site::here()) {
  __builtin_amdgcn_fence(__ATOMIC_RELEASE, "wavefront");
  __builtin_amdgcn_wave_barrier();
  __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "wavefront");
}

// Shared memory for one T, whose size the launch names where kStorageIsLaunched: it may exceed what
// variables may take.
inline constexpr bool kStorageIsLaunched = false;
template <class T>
__device__ __forceinline__ T& block_storage() {
  __shared__ T storage;
  return storage;
}

// Counters and bits in shared memory; what was there before comes back. Of whole numbers and bits,
// whose sum knows no order; what comes back only claims a place that is sorted later.
__device__ __forceinline__ uint32_t atomic_add(uint32_t* shared, uint32_t value) {
  return __hip_atomic_fetch_add(shared, value, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_WORKGROUP);
}
// Where few lanes of a group add; the last argument is 0.
__device__ __forceinline__ uint32_t add_sparsely(uint32_t* shared, uint32_t value, uint32_t) {
  return atomic_add(shared, value);
}
__device__ __forceinline__ uint32_t atomic_or(uint32_t* shared, uint32_t value) {
  return __hip_atomic_fetch_or(shared, value, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_WORKGROUP);
}

// 16 bytes from global to shared memory.
__device__ __forceinline__ void copy_to_shared(void* shared, const void* global) {
  struct alignas(16) Words {
    uint32_t values[4];
  };
  *static_cast<Words*>(shared) = *static_cast<const Words*>(global);
}
__device__ __forceinline__ void copy_word_to_shared(void* shared, const void* global) {
  struct alignas(4) Word {
    uint32_t value;
  };
  *static_cast<Word*>(shared) = *static_cast<const Word*>(global);
}
__device__ __forceinline__ void wait_for_copies() {}
__device__ __forceinline__ void end_of_copies() {}
template <int kGroups>
__device__ __forceinline__ void wait_for_copies_but() {}

// AMD runs the launches of a stream one after another.
__device__ __forceinline__ void wait_for_previous_launch() {}
template <class... Address>
__device__ __forceinline__ void wait_for_previous_launch(const Address*...) {}
__device__ __forceinline__ void allow_next_launch() {}

__device__ __forceinline__ float fused_multiply_add(float a, float b, float c) {
  return __builtin_fmaf(a, b, c);
}
namespace platform {
__device__ __forceinline__ float maximum(float a, float b) { return __builtin_fmaxf(a, b); }
__device__ __forceinline__ float minimum(float a, float b) { return __builtin_fminf(a, b); }
// NaN becomes -inf.
__device__ __forceinline__ float nan_as_least(float a) { return a == a ? a : -__builtin_inff(); }
// The value, about which the compiler knows nothing.
__device__ __forceinline__ float opaque(float value) {
  asm volatile("" : "+v"(value));
  return value;
}
// The bits one place up, and whether a > b below them.
__device__ __forceinline__ uint32_t push_larger(uint32_t bits, float a, float b) {
  return bits << 1 | static_cast<uint32_t>(a > b);
}
inline constexpr bool kHasGroupSum = false;
__device__ __forceinline__ uint32_t group_sum(uint32_t value) { return value; }
inline constexpr bool kHasWaveMaximum = false;
template <int kLanes>
__device__ __forceinline__ uint32_t largest_word(uint32_t value) {
  return value;
}
// Into [0, 1]; no NaN.
__device__ __forceinline__ float saturate(float value) {
  return __builtin_amdgcn_fmed3f(value, 0.0f, 1.0f);
}
inline constexpr bool kNanIsQuick = false;
// NaN wins against a number.
__device__ __forceinline__ float maximum_or_nan(float a, float b) {
  return a < b ? b : b == b ? a : b;
}

// A word in device memory for another block of this launch, and four of them side by side as they
// are now: each is whole, and none says anything of another.
__device__ __forceinline__ void publish(uint32_t* address, uint32_t word) {
  __hip_atomic_store(address, word, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
}
__device__ __forceinline__ void observe(const uint32_t* address, uint32_t (&words)[4]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    words[i] = __hip_atomic_load(address + i, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
  }
}
__device__ __forceinline__ bool others_go_on() { return true; }
// In device memory, of whole numbers, as on NVIDIA: arrivals and a checked build's reports.
__device__ __forceinline__ uint32_t fetch_add(uint32_t* address, uint32_t value) {
  return __hip_atomic_fetch_add(address, value, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
}
__device__ __forceinline__ uint64_t fetch_add(uint64_t* address, uint64_t value) {
  return __hip_atomic_fetch_add(address, value, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
}
__device__ __forceinline__ uint64_t fetch_max(uint64_t* address, uint64_t value) {
  return __hip_atomic_fetch_max(address, value, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
}

// Two e4m3 codes of the architecture's own flavour, the first in the low byte. Nobody has run
// tests/cpp/test_fp8.py on such a machine yet, so kernels convert by arithmetic.
#if defined(__gfx942__) || defined(__gfx950__) || defined(__gfx1200__) || defined(__gfx1201__)
inline constexpr bool kHasFp8Instruction = true;
#else
inline constexpr bool kHasFp8Instruction = false;
#endif
inline constexpr bool kFp8InstructionProven = false;
inline constexpr bool kBf16InstructionProven = false;
__device__ __forceinline__ uint32_t bf16_pair_of_numbers(float, float) { return 0; }
__device__ __forceinline__ uint32_t bf16_pair(float, float) { return 0; }
template <int kMax, bool kKeepsNan>
__device__ __forceinline__ uint32_t fp8_pair(float first, float second) {
  constexpr float kTop = static_cast<float>(kMax);
  const bool first_is_nan = kKeepsNan && first != first;
  const bool second_is_nan = kKeepsNan && second != second;
  constexpr uint32_t kNan = arch::kFp8IsFnuz ? 0x80u : 0x7fu;
  first = maximum(minimum(first, kTop), -kTop);  // the instruction's own overflow is a NaN
  second = maximum(minimum(second, kTop), -kTop);
  uint32_t codes = 0;
#if defined(__gfx942__) || defined(__gfx950__) || defined(__gfx1200__) || defined(__gfx1201__)
  codes = static_cast<uint32_t>(__builtin_amdgcn_cvt_pk_fp8_f32(first, second, 0, false)) & 0xffffu;
#endif
  if (first_is_nan) codes = (codes & 0xff00u) | kNan;
  if (second_is_nan) codes = (codes & 0xffu) | kNan << 8;
  return codes;
}
__device__ __forceinline__ void from_fp8_pair(uint32_t codes, float& first, float& second) {
#if defined(__gfx942__) || defined(__gfx950__) || defined(__gfx1200__) || defined(__gfx1201__)
  const auto pair = __builtin_amdgcn_cvt_pk_f32_fp8(static_cast<int>(codes), false);
  first = pair[0];
  second = pair[1];
#endif
}

// Nobody has run tests/cpp/test_math.py on such a machine yet: kernels divide.
inline constexpr bool kReciprocalProven = false;
__device__ __forceinline__ float reciprocal_estimate(float x) { return 1.0f / x; }

// Four of the bytes of a (0 to 3) and b (4 to 7), the lowest first: a digit of the selector each.
template <uint32_t kSelector>
__device__ __forceinline__ uint32_t pick_bytes(uint32_t a, uint32_t b) {
  const uint64_t all = uint64_t{b} << 32 | a;
  uint32_t picked = 0;
  for (int i = 0; i < 4; ++i) {
    picked |= static_cast<uint32_t>(all >> 8 * (kSelector >> 4 * i & 7u) & 0xffu) << 8 * i;
  }
  return picked;
}
}  // namespace platform
__device__ __forceinline__ float square_root(float value) { return __builtin_sqrtf(value); }
namespace platform {
inline constexpr bool kInverseRootProven = false;
__device__ __forceinline__ float inverse_root(float x) { return 1.0f / square_root(x); }
}  // namespace platform

template <class Vector>
__device__ __forceinline__ Vector load_now(const Vector* address) {
  return *address;
}
template <class Vector>
__device__ __forceinline__ Vector load_once(const Vector* address) {
  return *address;
}
template <class Vector>
__device__ __forceinline__ void store_leaving(Vector* address, Vector value) {
  *address = value;
}
template <class Vector>
__device__ __forceinline__ void store_once(Vector* address, Vector value) {
  *address = value;
}

}  // namespace wavejit
