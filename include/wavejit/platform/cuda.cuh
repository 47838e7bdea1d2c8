// NVIDIA's device pass. Masks name only the lanes of one group, so groups of a warp may diverge.
#pragma once
#include <stdint.h>
#include <wavejit/platform/together.cuh>

namespace wavejit {

struct Site {
  __device__ static constexpr Site here() { return {}; }
};

__device__ __forceinline__ unsigned thread_x() { return threadIdx.x; }
__device__ __forceinline__ unsigned block_x() { return blockIdx.x; }
__device__ __forceinline__ unsigned block_y() { return blockIdx.y; }
__device__ __forceinline__ unsigned block_z() { return blockIdx.z; }
__device__ __forceinline__ unsigned block_dim_x() { return blockDim.x; }
__device__ __forceinline__ unsigned grid_dim_x() { return gridDim.x; }

// Blocks are one-dimensional in this project, so the lane follows from the thread's index.
__device__ __forceinline__ unsigned lane_id() { return threadIdx.x % arch::kWaveSize; }

template <int kWidth>
__device__ __forceinline__ unsigned group_mask() {
  static_assert(kWidth > 0 && kWidth <= arch::kWaveSize && (kWidth & (kWidth - 1)) == 0);
  constexpr unsigned kLanes = kWidth == 32 ? ~0u : (1u << (kWidth % 32)) - 1;
  return kLanes << (lane_id() & ~(kWidth - 1));
}
// A mask that is a constant spares the instructions that find out who is there.
template <int kWidth, Together kWho>
__device__ __forceinline__ unsigned meeting_mask() {
  return kWho == Together::kWave ? group_mask<arch::kWaveSize>() : group_mask<kWidth>();
}
template <int kWidth, Together kWho = Together::kGroup, class T>
__device__ __forceinline__ T shuffle_xor(T value, int lane_mask, Site = Site::here()) {
  return __shfl_xor_sync(meeting_mask<kWidth, kWho>(), value, lane_mask, kWidth);
}
template <int kWidth, Together kWho = Together::kGroup, class T>
__device__ __forceinline__ T shuffle(T value, int source_lane, Site = Site::here()) {
  return __shfl_sync(meeting_mask<kWidth, kWho>(), value, source_lane, kWidth);
}
template <int kWidth, class T>
__device__ __forceinline__ T shuffle_up(T value, int delta, Site = Site::here()) {
  return __shfl_up_sync(group_mask<kWidth>(), value, delta, kWidth);
}
template <int kWidth>
__device__ __forceinline__ uint64_t ballot(bool value, Site = Site::here()) {
  const unsigned lanes = __ballot_sync(group_mask<kWidth>(), value);
  return (lanes & group_mask<kWidth>()) >> (lane_id() & ~(kWidth - 1));
}
__device__ __forceinline__ void sync_block(Site = Site::here()) { __syncthreads(); }
// What the lanes of the group did in shared memory before is seen by all of them afterwards.
template <int kWidth>
__device__ __forceinline__ void sync_group(Site = Site::here()) {
  __syncwarp(group_mask<kWidth>());
}

// Shared memory for one T, whose size the launch names where kStorageIsLaunched: it may exceed what
// variables may take.
inline constexpr bool kStorageIsLaunched = true;
template <class T>
__device__ __forceinline__ T& block_storage() {
  extern __shared__ uint4 wavejit_storage[];
  return *reinterpret_cast<T*>(wavejit_storage);
}

// Counters and bits in shared memory; what was there before comes back. Of whole numbers and bits,
// whose sum knows no order; what comes back only claims a place that is sorted later.
__device__ __forceinline__ uint32_t atomic_add(uint32_t* shared, uint32_t value) {
  return atomicAdd(shared, value);
}
// Where few lanes of a group add. `zero` is 0 without the compiler knowing it: one that sees the
// same address in all lanes first gathers what they add, which takes longer.
__device__ __forceinline__ uint32_t add_sparsely(uint32_t* shared, uint32_t value, uint32_t zero) {
  return atomicAdd(shared + zero, value);
}
__device__ __forceinline__ uint32_t atomic_or(uint32_t* shared, uint32_t value) {
  return atomicOr(shared, value);
}

// 16 bytes from global to shared memory without a register on their way. They are there for this
// lane after wait_for_copies, for the block after a barrier that follows it.
__device__ __forceinline__ void copy_to_shared(void* shared, const void* global) {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.ca.shared.global [%0], [%1], 16;" ::"r"(
                   static_cast<uint32_t>(__cvta_generic_to_shared(shared))),
               "l"(global)
               : "memory");
#else
  *static_cast<uint4*>(shared) = *static_cast<const uint4*>(global);
#endif
}
// The same of 4 bytes.
__device__ __forceinline__ void copy_word_to_shared(void* shared, const void* global) {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(
                   static_cast<uint32_t>(__cvta_generic_to_shared(shared))),
               "l"(global)
               : "memory");
#else
  *static_cast<uint32_t*>(shared) = *static_cast<const uint32_t*>(global);
#endif
}
// Copies since the last end are one group; all but the last kGroups of them are waited for.
__device__ __forceinline__ void end_of_copies() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
template <int kGroups>
__device__ __forceinline__ void wait_for_copies_but() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(kGroups) : "memory");
#endif
}
__device__ __forceinline__ void wait_for_copies() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_all;" ::: "memory");
#endif
}

// Every read of what an earlier kernel wrote comes after the wait; every kernel waits, also one
// that has nothing to do, because its own end tells the next launch that the earlier ones ended.
// One block of it is enough where the others are known to read what is complete
// (compress/write.cuh).
__device__ __forceinline__ void wait_for_previous_launch() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
// The same where the first loads' addresses are known, none of them null: computed before the wait
// instead of behind it, because whether to wait seems to depend on them.
template <class... Address>
__device__ __forceinline__ void wait_for_previous_launch(const Address*... addresses) {
#if __CUDA_ARCH__ >= 900
  const uint64_t any = (reinterpret_cast<uint64_t>(addresses) | ...);
  asm volatile(
      "{\n\t.reg .pred known;\n\tsetp.ne.u64 known, %0, 0;\n\t"
      "@known griddepcontrol.wait;\n\t}" ::"l"(any)
      : "memory");
#endif
}
__device__ __forceinline__ void allow_next_launch() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

__device__ __forceinline__ float fused_multiply_add(float a, float b, float c) {
  return __fmaf_rn(a, b, c);
}
namespace platform {
__device__ __forceinline__ float maximum(float a, float b) { return fmaxf(a, b); }
__device__ __forceinline__ float minimum(float a, float b) { return fminf(a, b); }
// NaN becomes -inf.
__device__ __forceinline__ float nan_as_least(float a) {
  float result;
  asm("max.f32 %0, %1, 0fFF800000;" : "=f"(result) : "f"(a));
  return result;
}
// The value, about which the compiler knows nothing: what depends on it is not made ahead of a
// loop.
__device__ __forceinline__ float opaque(float value) {
  asm volatile("" : "+f"(value));
  return value;
}
// The bits one place up, and whether a > b below them: the sign of b - a, for numbers and
// infinities.
__device__ __forceinline__ uint32_t push_larger(uint32_t bits, float a, float b) {
  return __funnelshift_l(__float_as_uint(b - a), bits, 1);
}
// The sum over 32 lanes, in one instruction.
inline constexpr bool kHasGroupSum = __CUDA_ARCH__ >= 800;
__device__ __forceinline__ uint32_t group_sum(uint32_t value) {
#if __CUDA_ARCH__ >= 800
  return __reduce_add_sync(group_mask<32>(), value);
#else
  return value;
#endif
}
// The largest word of the kLanes lanes side by side that hold this one, in an instruction for each
// of their groups in a wave; all of the wave that have not left the kernel call it.
inline constexpr bool kHasWaveMaximum = __CUDA_ARCH__ >= 800;
template <int kLanes>
__device__ __forceinline__ uint32_t largest_word(uint32_t value) {
#if __CUDA_ARCH__ >= 800
  const unsigned group = lane_id() / kLanes;
  uint32_t largest = 0;
#pragma unroll
  for (unsigned g = 0; g < arch::kWaveSize / kLanes; ++g) {
    const uint32_t found = __reduce_max_sync(~0u, group == g ? value : 0);
    largest = group == g ? found : largest;
  }
  return largest;
#else
  return value;
#endif
}
// Into [0, 1]; no NaN.
__device__ __forceinline__ float saturate(float value) { return __saturatef(value); }
inline constexpr bool kNanIsQuick = __CUDA_ARCH__ >= 800;
// NaN wins against a number.
__device__ __forceinline__ float maximum_or_nan(float a, float b) {
  float result;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(result) : "f"(a), "f"(b));
  return result;
}

// A word in device memory for another block of this launch, and four of them side by side as they
// are now: each is whole, and none says anything of another. A fence would empty the first cache.
__device__ __forceinline__ void publish(uint32_t* address, uint32_t word) {
#if __CUDA_ARCH__ >= 700
  asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" ::"l"(address), "r"(word) : "memory");
#else
  *static_cast<volatile uint32_t*>(address) = word;
#endif
}
__device__ __forceinline__ void observe(const uint32_t* address, uint32_t (&words)[4]) {
#if __CUDA_ARCH__ >= 700
  asm volatile("ld.relaxed.gpu.global.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
               : "l"(address)
               : "memory");
#else
  for (int i = 0; i < 4; ++i) words[i] = static_cast<const volatile uint32_t*>(address)[i];
#endif
}
// Whether a lane may go on waiting for the launch's other blocks, none of which fails alone here.
__device__ __forceinline__ bool others_go_on() { return true; }

// In device memory, of whole numbers: who is the last to arrive, and a checked build's reports (a
// count, the largest word). No result's value or order depends on which lane is first.
__device__ __forceinline__ uint32_t fetch_add(uint32_t* address, uint32_t value) {
  return atomicAdd(address, value);
}
__device__ __forceinline__ uint64_t fetch_add(uint64_t* address, uint64_t value) {
  return atomicAdd(reinterpret_cast<unsigned long long*>(address), value);
}
__device__ __forceinline__ uint64_t fetch_max(uint64_t* address, uint64_t value) {
  return atomicMax(reinterpret_cast<unsigned long long*>(address), value);
}

// Two e4m3 codes of FN, the first in the low byte; a NaN becomes kMax unless it is kept. Proven on
// the architectures named here by tests/cpp/test_fp8.py.
inline constexpr bool kHasFp8Instruction = __CUDA_ARCH__ >= 890;
inline constexpr bool kFp8InstructionProven = __CUDA_ARCH__ == 900;
template <int kMax, bool kKeepsNan>
__device__ __forceinline__ uint32_t fp8_pair(float first, float second) {
  uint16_t codes = 0;
#if __CUDA_ARCH__ >= 890
  if constexpr (!kKeepsNan) {
    first = minimum(first, static_cast<float>(kMax));
    second = minimum(second, static_cast<float>(kMax));
  }
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(codes) : "f"(second), "f"(first));
#endif
  return codes;
}
__device__ __forceinline__ void from_fp8_pair(uint32_t codes, float& first, float& second) {
#if __CUDA_ARCH__ >= 890
  asm("{\n\t.reg .b32 both;\n\t.reg .b16 low, high;\n\t"
      "cvt.rn.f16x2.e4m3x2 both, %2;\n\tmov.b32 {low, high}, both;\n\t"
      "cvt.f32.f16 %0, low;\n\tcvt.f32.f16 %1, high;\n\t}"
      : "=f"(first), "=f"(second)
      : "h"(static_cast<uint16_t>(codes)));
#endif
}

// Two bf16, the first in the low half, to nearest even. The instruction's NaN is 0x7fff, the
// largest of all halves as signed integers; no number is above 0x7f80. Proven by
// tests/cpp/test_fp8.py.
inline constexpr bool kBf16InstructionProven = __CUDA_ARCH__ == 900;
__device__ __forceinline__ uint32_t bf16_pair_of_numbers(float first, float second) {
  uint32_t pair = 0;
#if __CUDA_ARCH__ >= 900
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
#endif
  return pair;
}
__device__ __forceinline__ uint32_t bf16_pair(float first, float second) {
  uint32_t pair = bf16_pair_of_numbers(first, second);
#if __CUDA_ARCH__ >= 900
  asm("min.s16x2 %0, %0, %1;" : "+r"(pair) : "r"(0x7fc07fc0));
#endif
  return pair;
}

// 1 / x but for the last places. That it becomes the nearest float by the steps of core/math.cuh
// has been proven on the architectures named here by tests/cpp/test_math.py.
inline constexpr bool kReciprocalProven = __CUDA_ARCH__ == 900;
__device__ __forceinline__ float reciprocal_estimate(float x) {
  float estimate;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(estimate) : "f"(x));
  return estimate;
}

// Four of the bytes of a (0 to 3) and b (4 to 7), the lowest first: a digit of the selector each.
template <uint32_t kSelector>
__device__ __forceinline__ uint32_t pick_bytes(uint32_t a, uint32_t b) {
  return __byte_perm(a, b, kSelector);
}
}  // namespace platform
__device__ __forceinline__ float square_root(float value) { return __fsqrt_rn(value); }

namespace platform {
// 1 / sqrt(x) for x from 2^-101 to the largest number, the root rounded to nearest and then the
// quotient: the steps that the compiler takes for ordinary numbers. Proven over every such x by
// tests/cpp/test_math.py.
inline constexpr bool kInverseRootProven = __CUDA_ARCH__ == 900;
__device__ __forceinline__ float inverse_root(float x) {
  float estimate, inverse;
  asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(estimate) : "f"(x));
  const float near = x * estimate;
  const float root = __fmaf_rn(__fmaf_rn(-near, near, x), 0.5f * estimate, near);
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(inverse) : "f"(root));
  return __fmaf_rn(__fmaf_rn(-root, inverse, 1.0f), inverse, inverse);
}
}  // namespace platform

// Asked for where it is written, no later, whatever comes between.
template <class Vector>
__device__ __forceinline__ Vector load_now(const Vector* address) {
  if constexpr (sizeof(Vector) == 2) {
    uint16_t raw;
    asm volatile("ld.global.u16 %0, [%1];" : "=h"(raw) : "l"(address));
    return __builtin_bit_cast(Vector, raw);
  } else if constexpr (sizeof(Vector) == 4) {
    uint32_t raw;
    asm volatile("ld.global.u32 %0, [%1];" : "=r"(raw) : "l"(address));
    return __builtin_bit_cast(Vector, raw);
  } else if constexpr (sizeof(Vector) == 16) {
    uint4 raw;
    asm volatile("ld.global.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(raw.x), "=r"(raw.y), "=r"(raw.z), "=r"(raw.w)
                 : "l"(address));
    return __builtin_bit_cast(Vector, raw);
  } else {
    static_assert(sizeof(Vector) == 8);
    uint2 raw;
    asm volatile("ld.global.v2.u32 {%0,%1}, [%2];" : "=r"(raw.x), "=r"(raw.y) : "l"(address));
    return __builtin_bit_cast(Vector, raw);
  }
}

// Data that is used once: without a place in L1. Never the non-coherent path (ld.global.nc): what
// is read by it counts as constant for the whole kernel, so ptxas moves such loads above the wait
// for the previous launch, which may still be writing it.
template <class Vector>
__device__ __forceinline__ Vector load_once(const Vector* address) {
  if constexpr (sizeof(Vector) == 16) {
    uint4 raw;
    asm volatile("ld.global.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(raw.x), "=r"(raw.y), "=r"(raw.z), "=r"(raw.w)
                 : "l"(address));
    return __builtin_bit_cast(Vector, raw);
  } else if constexpr (sizeof(Vector) == 8) {
    uint2 raw;
    asm volatile("ld.global.L1::no_allocate.v2.u32 {%0,%1}, [%2];"
                 : "=r"(raw.x), "=r"(raw.y)
                 : "l"(address));
    return __builtin_bit_cast(Vector, raw);
  } else if constexpr (sizeof(Vector) == 4) {
    uint32_t raw;
    asm volatile("ld.global.L1::no_allocate.u32 %0, [%1];" : "=r"(raw) : "l"(address));
    return __builtin_bit_cast(Vector, raw);
  } else {
    return *address;
  }
}
// For what nobody reads soon: the second cache gives it up first.
template <class Vector>
__device__ __forceinline__ void store_leaving(Vector* address, Vector value) {
  if constexpr (sizeof(Vector) == 16) {
    uint64_t first_out;
    asm("createpolicy.fractional.L2::evict_first.b64 %0;" : "=l"(first_out));
    const uint4 raw = __builtin_bit_cast(uint4, value);
    asm volatile("st.global.L2::cache_hint.v4.u32 [%0], {%1,%2,%3,%4}, %5;"
                 :
                 : "l"(address), "r"(raw.x), "r"(raw.y), "r"(raw.z), "r"(raw.w), "l"(first_out)
                 : "memory");
  } else {
    *address = value;
  }
}
template <class Vector>
__device__ __forceinline__ void store_once(Vector* address, Vector value) {
  if constexpr (sizeof(Vector) == 16) {  // nvcc may take the assignment of a vector apart
    const uint4 raw = __builtin_bit_cast(uint4, value);
    asm volatile("st.global.v4.u32 [%0], {%1,%2,%3,%4};" ::"l"(address), "r"(raw.x), "r"(raw.y),
                 "r"(raw.z), "r"(raw.w)
                 : "memory");
  } else if constexpr (sizeof(Vector) == 8) {
    const uint2 raw = __builtin_bit_cast(uint2, value);
    asm volatile("st.global.v2.u32 [%0], {%1,%2};" ::"l"(address), "r"(raw.x), "r"(raw.y)
                 : "memory");
  } else {
    *address = value;
  }
}

}  // namespace wavejit
