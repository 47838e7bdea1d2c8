// Where the row of a token's position lies in the state pool: a ring in every page of the sliding
// window's cache ("paged"), or one ring for each request. Any table value is survived: what cannot
// be resolved is -1.
#pragma once
#include <wavejit/core/integers.cuh>
#include <wavejit/core/report.cuh>

namespace wavejit {

struct Scheme : Reports {
  const int32_t* req_to_token;  // [slots, max_len], rows token_stride apart; null: request rings
  int64_t token_stride;
  int64_t slots;
  int64_t max_len;
  Integers full_to_swa;  // [full_slots]
  int64_t full_slots;
  int32_t page_size;  // tokens of a page of the sliding window's cache
  int32_t ring_size;  // rows

  // The row of position `position` of request slot `request`, or -1.
  __device__ __forceinline__ int32_t state_loc(int64_t request, int32_t position) const {
    constexpr int64_t kLast = 0x7fffffff;
    if (request < 0 || position < 0) return -1;
    int64_t ring = request;
    uint32_t in_ring = static_cast<uint32_t>(position) % static_cast<uint32_t>(ring_size);
    if (req_to_token) {
      if (request >= slots || position >= max_len) return -1;
      const int64_t full = req_to_token[request * token_stride + position];
      if (full < 0 || full >= full_slots) return -1;
      const int64_t swa = full_to_swa[full];
      if (swa < 0 || swa > kLast) return -1;
      ring = static_cast<uint32_t>(swa) / static_cast<uint32_t>(page_size);
      in_ring = static_cast<uint32_t>(swa) % static_cast<uint32_t>(ring_size);
    }
    if (ring > kLast / ring_size) return -1;
    const int64_t row = ring * ring_size + in_ring;
    return row > kLast ? -1 : static_cast<int32_t>(row);
  }

  // What a checked build says of a position that does not resolve (core/report.cuh); an entry of
  // full_to_swa below 0 is a token that left the window. Of the positions of a plan's `row` one
  // has element 0.
  __device__ __forceinline__ void report(int64_t request, int32_t position, int64_t row,
                                         int element) const {
    constexpr int64_t kLast = 0x7fffffff;
    const int64_t rings = kLast / ring_size + 1;
    const int64_t requests = req_to_token ? slots : rings;
    report_outside_if(*this, element == 0, Index::kRequest, request, requests, row);
    if (!req_to_token || request < 0 || request >= slots || position < 0) return;
    report_if(*this, position >= max_len, Index::kPosition, position, row, element);
    if (position >= max_len) return;
    const int64_t full = req_to_token[request * token_stride + position];
    report_outside_if(*this, true, Index::kTokenTable, full, full_slots, row, element);
    if (full < 0 || full >= full_slots) return;
    const int64_t swa = full_to_swa[full];
    report_if(*this, swa > kLast || swa / page_size >= rings, Index::kSwaTable, swa, row, element);
  }
};

}  // namespace wavejit
