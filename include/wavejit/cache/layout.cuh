// Where a cache's bytes lie: the one place that computes addresses, in 64 bits. The numbers come
// from a layout's value in Python (wavejit.layouts), as an instance block of this form:
//
//   struct Instance {
//     static constexpr LayoutKind kKind = LayoutKind::kFlashMLA;
//     static constexpr Fp8 kFlavour = Fp8::kFn;
//     static constexpr int64_t kPageSize = 64;      // slots
//     static constexpr int64_t kPageBytes = 37440;  // at least: pages may lie further apart
//     static constexpr int64_t kSlotBytes = 576;    // from one slot's values to the next's
//     static constexpr int64_t kScaleBytes = 8;     // from one slot's scales to the next's
//     static constexpr int64_t kTile = 0;           // slots that are interleaved by 16 bytes
//   };
#pragma once
#include <wavejit/core/vec.cuh>
#include <wavejit/num/fp8_utils.cuh>

namespace wavejit {

enum class LayoutKind { kFlashMLA, kBf16Rows, kTwoPool, kIndexer, kIndexerFp4 };

template <class Instance>
struct CacheLayout : Instance {
  using Instance::kKind;
  static constexpr bool kIsFp4 = kKind == LayoutKind::kIndexerFp4;  // else e4m3 of kFlavour
  static constexpr bool kIsLatent = kKind != LayoutKind::kIndexer && !kIsFp4;
  static constexpr int kDims = kIsLatent ? 512 : 128;
  // The first dims are codes; what follows them is bf16.
  static constexpr int kQuantised = kKind == LayoutKind::kBf16Rows ? 0 : kIsLatent ? 448 : 128;
  static constexpr int kCodesInByte = kIsFp4 ? 2 : 1;
  static constexpr int kGroup = kIsFp4 ? 32 : kIsLatent ? 64 : 128;   // dims of one scale
  static constexpr bool kFloatScale = kKind == LayoutKind::kIndexer;  // else UE8M0
  static constexpr int kScaleCopies = kKind == LayoutKind::kTwoPool ? 2 : 1;
  static constexpr bool kTwoPools = kKind == LayoutKind::kTwoPool;
  static constexpr int64_t kPieceBytes = 16;  // of the interleaved form
  static constexpr int64_t kScalesAt =        // in the page
      kTwoPools ? kQuantised : Instance::kPageSize * Instance::kSlotBytes;
  static constexpr int64_t kScaleStep = kTwoPools ? Instance::kSlotBytes : Instance::kScaleBytes;
  // Every page starts at a multiple of this, and every vector of so many bytes of a slot too.
  static constexpr int kAlignment =
      static_cast<int>(Instance::kPageBytes & -Instance::kPageBytes) < 16
          ? static_cast<int>(Instance::kPageBytes & -Instance::kPageBytes)
          : 16;
  static_assert(Instance::kPageSize > 0 && Instance::kSlotBytes % kPieceBytes == 0);
  static_assert(kAlignment >= 4);
};

// The place of one slot: the bytes of its page and its number there.
struct CacheSlot {
  uint8_t* page;
  int64_t number;
};

template <class Layout>
struct CachePages {
  uint8_t* pages;
  int64_t page_stride;  // bytes
  uint8_t* rope;        // the second pool of a layout that has one
  int64_t rope_stride;  // bytes
  int64_t capacity;     // slots

  __device__ __forceinline__ bool holds(int64_t loc) const {
    return static_cast<uint64_t>(loc) < static_cast<uint64_t>(capacity);
  }

  // Only of a location that the cache holds. The page size is a constant: no division remains.
  __device__ __forceinline__ CacheSlot slot(int64_t loc) const {
    constexpr uint64_t kSize = static_cast<uint64_t>(Layout::kPageSize);
    const uint64_t place = static_cast<uint64_t>(loc);
    const uint32_t page = static_cast<uint32_t>(place / kSize);
    return {pages + page * page_stride, static_cast<int64_t>(place % kSize)};
  }

  // The byte with the code of dim `dim`; those of the dims up to the next multiple of 16 follow it.
  __device__ __forceinline__ uint8_t* value(CacheSlot slot, int dim) const {
    if constexpr (Layout::kTile == 0) {
      return slot.page + slot.number * Layout::kSlotBytes + dim / Layout::kCodesInByte;
    } else {
      constexpr int64_t kTile = Layout::kTile, kPiece = Layout::kPieceBytes;
      const int64_t tile = slot.number / kTile * (kTile * Layout::kSlotBytes);
      const int64_t piece = dim / kPiece * (kTile * kPiece) + slot.number % kTile * kPiece;
      return slot.page + tile + piece + dim % kPiece;
    }
  }

  // The scale of the group that dim `dim` belongs to: one byte (or copies side by side) or one
  // fp32.
  __device__ __forceinline__ uint8_t* scale(CacheSlot slot, int dim) const {
    constexpr int kBytes = Layout::kFloatScale ? 4 : Layout::kScaleCopies;
    return slot.page + Layout::kScalesAt + slot.number * Layout::kScaleStep +
           dim / Layout::kGroup * kBytes;
  }

  // The bf16 of dim `dim`, one of those that are not quantised.
  __device__ __forceinline__ bfloat16* wide(CacheSlot slot, int64_t loc, int dim) const {
    const int64_t at = int64_t{dim - Layout::kQuantised} * static_cast<int64_t>(sizeof(bfloat16));
    uint8_t* row = Layout::kTwoPools
                       ? rope + loc * rope_stride
                       : slot.page + slot.number * Layout::kSlotBytes + Layout::kQuantised;
    return reinterpret_cast<bfloat16*>(row + at);
  }
};

}  // namespace wavejit
