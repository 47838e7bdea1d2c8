// The host pass of a GPU target: g++ reads the kernels to know their parameters and never emits
// them. Device functions are therefore declared and not defined; only the device pass defines them.
#pragma once
#include <stdint.h>

#define __global__ inline
#define __device__
#define __host__
#define __shared__ static
#define __forceinline__ inline
#define __launch_bounds__(...)

namespace wavejit {

struct Site {
  static constexpr Site here() { return {}; }
};

unsigned thread_x();
unsigned block_x();
unsigned block_y();
unsigned block_z();
unsigned block_dim_x();
unsigned grid_dim_x();
unsigned lane_id();
template <int kWidth, Together kWho = Together::kGroup, class T>
T shuffle_xor(T value, int lane_mask, Site at = Site::here());
template <int kWidth, Together kWho = Together::kGroup, class T>
T shuffle(T value, int source_lane, Site at = Site::here());
template <int kWidth, class T>
T shuffle_up(T value, int delta, Site at = Site::here());
template <int kWidth>
uint64_t ballot(bool value, Site at = Site::here());
void sync_block(Site at = Site::here());
template <int kWidth>
void sync_group(Site at = Site::here());
#if defined(WAVEJIT_TARGET_CUDA)
inline constexpr bool kStorageIsLaunched = true;
#else
inline constexpr bool kStorageIsLaunched = false;
#endif
template <class T>
T& block_storage();
uint32_t atomic_add(uint32_t* shared, uint32_t value);
uint32_t add_sparsely(uint32_t* shared, uint32_t value, uint32_t zero);
uint32_t atomic_or(uint32_t* shared, uint32_t value);
void copy_to_shared(void* shared, const void* global);
void copy_word_to_shared(void* shared, const void* global);
void wait_for_copies();
void end_of_copies();
template <int kGroups>
void wait_for_copies_but();
void wait_for_previous_launch();
template <class... Address>
void wait_for_previous_launch(const Address*... addresses);
void allow_next_launch();
float fused_multiply_add(float a, float b, float c);
namespace platform {
float maximum(float a, float b);
float minimum(float a, float b);
float saturate(float value);
inline constexpr bool kNanIsQuick = false;
float maximum_or_nan(float a, float b);
float nan_as_least(float a);
float opaque(float value);
uint32_t push_larger(uint32_t bits, float a, float b);
inline constexpr bool kHasGroupSum = false;
uint32_t group_sum(uint32_t value);
inline constexpr bool kHasWaveMaximum = false;
template <int kLanes>
uint32_t largest_word(uint32_t value);
void publish(uint32_t* address, uint32_t word);
void observe(const uint32_t* address, uint32_t (&words)[4]);
bool others_go_on();
uint32_t fetch_add(uint32_t* address, uint32_t value);
uint64_t fetch_add(uint64_t* address, uint64_t value);
uint64_t fetch_max(uint64_t* address, uint64_t value);
inline constexpr bool kHasFp8Instruction = false;
inline constexpr bool kFp8InstructionProven = false;
inline constexpr bool kBf16InstructionProven = false;
uint32_t bf16_pair_of_numbers(float first, float second);
uint32_t bf16_pair(float first, float second);
template <int kMax, bool kKeepsNan>
uint32_t fp8_pair(float first, float second);
void from_fp8_pair(uint32_t codes, float& first, float& second);
inline constexpr bool kReciprocalProven = false;
float reciprocal_estimate(float x);
template <uint32_t kSelector>
uint32_t pick_bytes(uint32_t a, uint32_t b);
}  // namespace platform
float square_root(float value);
namespace platform {
inline constexpr bool kInverseRootProven = false;
float inverse_root(float x);
}  // namespace platform
template <class Vector>
Vector load_now(const Vector* address);
template <class Vector>
Vector load_once(const Vector* address);
template <class Vector>
void store_leaving(Vector* address, Vector value);
template <class Vector>
void store_once(Vector* address, Vector value);

}  // namespace wavejit
