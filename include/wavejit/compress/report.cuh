// What a checked build says of a compress plan's rows (core/report.cuh): the pages, rows and tokens
// that a row needs and its tensors lack. One lane of a row calls it. Pages are element 0 and 1; of
// tokens the last one is element 0, the count of rows from the ring 1, the first of the input 2.
#pragma once
#include <wavejit/compress/plan.cuh>
#include <wavejit/core/report.cuh>

namespace wavejit {

// A decode step's row: a negative location is no report, nor is a page that the row does not need.
template <class Compressor>
__device__ __forceinline__ void report_plan(const typename Compressor::DecodeParams& p,
                                            const DecodePlan& plan, int64_t row) {
  if constexpr (kIsChecked) {
    constexpr int kRatio = Compressor::kRatio;
    const uint32_t length = plan.seq_len;
    const bool ends_group = length % kRatio == 0 && length > 0;
    const bool has_overlap = Compressor::kWindow > kRatio && length > kRatio;
    report_if(p, plan.write_loc >= p.pages * kRatio, Index::kPlanLocation, plan.write_loc, row);
    report_outside_if(p, ends_group && has_overlap, Index::kPlanPage, plan.read_page_0, p.pages,
                      row, 0);
    report_outside_if(p, ends_group, Index::kPlanPage, plan.read_page_1, p.pages, row, 1);
  }
}

// A chunk's row.
template <class Compressor>
__device__ __forceinline__ void report_plan(const typename Compressor::PrefillParams& p,
                                            const CompressPlan& plan, int64_t row) {
  if constexpr (kIsChecked) {
    if (plan.seq_len == kInvalidRow) return;
    constexpr int64_t kRatio = Compressor::kRatio, kWindow = Compressor::kWindow;
    constexpr int64_t kOverlap = kWindow - kRatio;
    const int64_t last = ragged_id_of(plan, p.wide), kept = buffer_len_of(plan, p.wide);
    const int64_t masked = plan.seq_len > kRatio ? 0 : kOverlap;
    const int64_t first = last - (kWindow - 1) + (kept > masked ? kept : masked);
    const bool fits = kept <= kWindow;
    report_if(p, last >= p.input_rows, Index::kPlanToken, last, row, 0);
    report_if(p, !fits, Index::kPlanToken, kept, row, 1);
    report_if(p, fits && first <= last && first < 0, Index::kPlanToken, first, row, 2);
    report_outside_if(p, fits && kOverlap > 0 && masked == 0 && kept > 0, Index::kPlanPage,
                      plan.read_page_0, p.pages, row, 0);
    report_outside_if(p, fits && kept > kOverlap, Index::kPlanPage, plan.read_page_1, p.pages, row,
                      1);
  }
}

// A row to save: a negative location and an invalid token are no report.
template <class Params>
__device__ __forceinline__ void report_write(const Params& p, const WritePlan& plan, int64_t row) {
  if (plan.ragged_id == kInvalidRow || plan.write_loc < 0) return;
  report_if(p, plan.ragged_id >= p.input_rows, Index::kPlanToken, plan.ragged_id, row);
  report_if(p, plan.write_loc >= p.rows, Index::kPlanLocation, plan.write_loc, row);
}

// Those of the rows that one lane takes, p.groups apart.
template <class Params>
__device__ __forceinline__ void report_writes(const Params& p, bool asks, int64_t first) {
  if constexpr (kIsChecked) {
    for (int64_t row = first; asks && row < p.entries; row += p.groups) {
      report_write(p, p.plan[row], row);
    }
  }
}

}  // namespace wavejit
