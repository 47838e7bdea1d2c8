// The rows that a selection works on, and what becomes of the selected columns.
#pragma once
#include <wavejit/core/integers.cuh>
#include <wavejit/core/report.cuh>
#include <wavejit/core/vec.cuh>

namespace wavejit {

struct TopkParams : Reports {
  const float* scores;
  Integers lengths;
  Integers starts;        // of a row's window, or null: 0
  Integers offsets;       // added to the output without a page table, or null: 0
  Integers row_to_batch;  // the row of the page table, or null: the row itself
  const int32_t* page_table;
  int32_t* out;
  int32_t* raw;  // or null
  int64_t score_stride;
  int64_t table_stride;
  int64_t rows;
  int64_t columns;
  int64_t requests;
  int64_t pages;
  int32_t k;
  int32_t page_bits;
  int32_t eager;  // scores are read before the lengths are known, up to the end of the row
};

// One row's window of `count` scores and where its results go.
struct TopkRow {
  const float* scores;
  const int32_t* pages;  // null: without a page table
  int32_t* out;
  int32_t* raw;
  int64_t offset;
  int64_t page_count;
  uint32_t columns;  // from the start of the window to the end of the row
  uint32_t count;
  bool aligned;  // for vectors of four

  __device__ __forceinline__ static int64_t limited(int64_t value, int64_t most) {
    return value < 0 ? 0 : value < most ? value : most;
  }

  // Where the scores are; `measure` must follow.
  __device__ __forceinline__ TopkRow(const TopkParams& p, int64_t row) {
    const int64_t start = p.starts.data ? limited(p.starts[row], p.columns) : 0;
    columns = static_cast<uint32_t>(p.columns - start);
    scores = p.scores + row * p.score_stride + start;
    aligned = reinterpret_cast<uintptr_t>(scores) % (4 * sizeof(float)) == 0;
  }
  // How many there are and what becomes of them.
  __device__ __forceinline__ void measure(const TopkParams& p, int64_t row) {
    count = static_cast<uint32_t>(limited(p.lengths[row], columns));
    offset = p.offsets.data ? p.offsets[row] : 0;
    const int64_t request = p.row_to_batch.data ? p.row_to_batch[row] : row;
    const bool known = request >= 0 && request < p.requests;
    pages = p.page_table ? p.page_table + (known ? request : 0) * p.table_stride : nullptr;
    page_count = known ? p.pages : 0;
    out = p.out + row * p.k;
    raw = p.raw ? p.raw + row * p.k : nullptr;
  }

  // What a checked build says of the row's numbers (core/report.cuh); one lane of the row calls it.
  __device__ __forceinline__ void report(const TopkParams& p, int64_t row) const {
    if constexpr (kIsChecked) {
      if (p.starts.data) {
        report_outside_if(p, true, Index::kWindowStart, p.starts[row], p.columns + 1, row);
      }
      report_outside_if(p, true, Index::kLength, p.lengths[row], int64_t{columns} + 1, row, 0);
      if (!pages) return;
      const int64_t request = p.row_to_batch.data ? p.row_to_batch[row] : row;
      report_outside_if(p, true, Index::kRequest, request, p.requests, row);
      report_if(p, page_count > 0 && count > page_count << p.page_bits, Index::kLength, count, row,
                1);
    }
  }

  // kCount vectors of scores from `first` on, a multiple of 4, each `step` after the one before;
  // what lies beyond `limit` is -inf. `inside`: all of it is known to lie before it.
  template <int kCount>
  __device__ __forceinline__ void load(Vec<float, 4> (&found)[kCount], uint32_t first,
                                       uint32_t step, uint32_t limit, bool inside) const {
    if (aligned && inside) {
#pragma unroll
      for (uint32_t v = 0; v < kCount; ++v) {
        found[v] = load_once(reinterpret_cast<const Vec<float, 4>*>(scores + first + v * step));
      }
    } else {
#pragma unroll
      for (uint32_t v = 0; v < kCount; ++v) found[v] = load(first + v * step, limit);
    }
  }

  // Four scores from `first` on, a multiple of 4; what lies beyond `limit` is -inf.
  __device__ __forceinline__ Vec<float, 4> load(uint32_t first, uint32_t limit) const {
    if (aligned && first + 4 <= limit) {
      return load_once(reinterpret_cast<const Vec<float, 4>*>(scores + first));
    }
    Vec<float, 4> found;
#pragma unroll
    for (uint32_t i = 0; i < 4; ++i) {
      found.values[i] = first + i < limit ? scores[first + i] : bit_cast<float>(0xff800000u);
    }
    return found;
  }

  // The selected column at place `i`, or that nothing is there.
  __device__ __forceinline__ void store(const TopkParams& p, int i, uint32_t column) const {
    int64_t slot = int64_t{column} + offset;
    if (pages) {
      const int64_t page = column >> p.page_bits;
      const int64_t entry = page < page_count ? pages[page] : -1;
      const int64_t inside = column & ((1u << p.page_bits) - 1);
      slot = entry < 0 ? -1 : (entry << p.page_bits) + inside;
    }
    if constexpr (kIsChecked) {
      report_if(p, pages && slot > 0x7fffffff, Index::kPageTable, slot >> p.page_bits,
                (out - p.out) / p.k, i);
    }
    out[i] = slot > 0x7fffffff || slot < -1 ? -1 : static_cast<int32_t>(slot);
    if (raw) raw[i] = static_cast<int32_t>(column);
  }
  __device__ __forceinline__ void store_nothing(int i) const {
    out[i] = -1;
    if (raw) raw[i] = -1;
  }
};

// A number whose order is that of the scores: NaN as -inf, both zeros the same.
__device__ __forceinline__ uint32_t ordered_key(float score) {
  const float number = score == score ? score + 0.0f : bit_cast<float>(0xff800000u);
  const uint32_t bits = bit_cast<uint32_t>(number);
  return bits ^ (static_cast<uint32_t>(static_cast<int32_t>(bits) >> 31) | 0x80000000u);
}

}  // namespace wavejit
