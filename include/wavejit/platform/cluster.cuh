// Clusters: a few neighbouring blocks that run at the same time, read each other's shared memory
// and send each other words. Where the machine has none, a block is its own cluster.
//
// Words that are sent count in the receiver's mailbox as bytes. Who waits for all the bytes that it
// expects sees them, and needs no barrier, which on NVIDIA would first wait for all of the lane's
// own accesses to memory.
#pragma once
#include <wavejit/platform/platform.cuh>

namespace wavejit {

// Any chip that has clusters runs so many blocks together; more, up to arch::kClusterBlocks, where
// a launch allows it (host/launch_cuda.h).
inline constexpr int kMaxClusterBlocks = arch::kClusterBlocks < 8 ? arch::kClusterBlocks : 8;
using Mailbox = uint64_t;  // in shared memory, for one use

#if defined(WAVEJIT_TARGET_CUDA) && defined(WAVEJIT_DEVICE_PASS) && __CUDA_ARCH__ >= 900
namespace platform {
__device__ __forceinline__ uint32_t shared_address(const void* shared) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
}
__device__ __forceinline__ uint32_t address_in_cluster(const void* shared, unsigned rank) {
  uint32_t there;
  asm("mapa.shared::cluster.u32 %0, %1, %2;"
      : "=r"(there)
      : "r"(shared_address(shared)), "r"(rank));
  return there;
}
}  // namespace platform

// Every lane of the cluster calls all four; arrive and wait take turns.
__device__ __forceinline__ void arrive_at_cluster() {
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}
__device__ __forceinline__ void wait_for_cluster() {
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}
// For mailboxes that have been opened, and for nothing else that was written.
__device__ __forceinline__ void announce_mailboxes() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
}
__device__ __forceinline__ void wait_for_mailboxes() {
  asm volatile("barrier.cluster.wait.aligned;" ::: "memory");
}

// One lane opens a mailbox, and one says how many bytes it shall get.
__device__ __forceinline__ void open_mailbox(Mailbox* box) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(platform::shared_address(box))
               : "memory");
}
__device__ __forceinline__ void expect_bytes(Mailbox* box, uint32_t bytes) {
  asm volatile(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(platform::shared_address(box)),
      "r"(bytes)
      : "memory");
}
// Puts a word of 4 or 8 bytes where `to` lies in block `rank`, and counts it in its mailbox.
template <class T>
__device__ __forceinline__ void send_in_cluster(T* to, Mailbox* box, unsigned rank, T value) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8);
  const uint32_t there = platform::address_in_cluster(to, rank);
  const uint32_t count = platform::address_in_cluster(box, rank);
  if constexpr (sizeof(T) == 4) {
    asm volatile(
        "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.u32 [%0], %1, [%2];" ::"r"(
            there),
        "r"(value), "r"(count)
        : "memory");
  } else {
    asm volatile(
        "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.u64 [%0], %1, [%2];" ::"r"(
            there),
        "l"(value), "r"(count)
        : "memory");
  }
}
__device__ __forceinline__ void wait_for_mail(Mailbox* box) {
  uint32_t complete = 0;
  while (!complete) {
    asm volatile(
        "{\n\t.reg .pred done;\n\tmbarrier.try_wait.parity.shared::cta.b64 done, [%1], 0;\n\t"
        "selp.u32 %0, 1, 0, done;\n\t}"
        : "=r"(complete)
        : "r"(platform::shared_address(box))
        : "memory");
  }
}
// What lies at this address in the shared memory of block `rank`: 4 or 16 bytes.
template <class T>
__device__ __forceinline__ T load_in_cluster(const T* shared, unsigned rank) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 16);
  const uint32_t there = platform::address_in_cluster(shared, rank);
  if constexpr (sizeof(T) == 16) {
    uint4 raw;
    asm volatile("ld.shared::cluster.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(raw.x), "=r"(raw.y), "=r"(raw.z), "=r"(raw.w)
                 : "r"(there)
                 : "memory");
    return __builtin_bit_cast(T, raw);
  } else {
    uint32_t raw;
    asm volatile("ld.shared::cluster.u32 %0, [%1];" : "=r"(raw) : "r"(there) : "memory");
    return __builtin_bit_cast(T, raw);
  }
}
#else
__device__ __forceinline__ void arrive_at_cluster() {}
__device__ __forceinline__ void wait_for_cluster() {}
__device__ __forceinline__ void announce_mailboxes() {}
__device__ __forceinline__ void wait_for_mailboxes() {}
__device__ __forceinline__ void open_mailbox(Mailbox*) {}
__device__ __forceinline__ void expect_bytes(Mailbox*, uint32_t) {}
template <class T>
__device__ __forceinline__ void send_in_cluster(T* to, Mailbox*, unsigned, T value) {
  *to = value;
}
__device__ __forceinline__ void wait_for_mail(Mailbox*) {}
template <class T>
__device__ __forceinline__ T load_in_cluster(const T* shared, unsigned) {
  return *shared;
}
#endif

}  // namespace wavejit
