// The rows that a selection works on, their pages, and what becomes of the selected columns.
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

__device__ __forceinline__ int64_t limited(int64_t value, int64_t most) {
  return value < 0 ? 0 : value < most ? value : most;
}

// One row's window of `count` scores.
struct TopkRow {
  const float* scores;
  uint32_t columns;  // from the start of the window to the end of the row
  uint32_t count;
  bool aligned;  // for vectors of four

  // Where the scores are; `measure` must follow.
  __device__ __forceinline__ TopkRow(const TopkParams& p, int64_t row) {
    const int64_t start = p.starts.data ? limited(p.starts[row], p.columns) : 0;
    columns = static_cast<uint32_t>(p.columns - start);
    scores = p.scores + row * p.score_stride + start;
    aligned = reinterpret_cast<uintptr_t>(scores) % (4 * sizeof(float)) == 0;
  }
  __device__ __forceinline__ void report(const TopkParams& p, int64_t row) const;
  // How many there are.
  __device__ __forceinline__ void measure(const TopkParams& p, int64_t row) {
    count = static_cast<uint32_t>(limited(p.lengths[row], columns));
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
};

// A row's page table.
struct TopkPages {
  const int32_t* entries;  // or null
  uint32_t count;

  __device__ __forceinline__ TopkPages(const TopkParams& p, int64_t row)
      : TopkPages(Request{p.row_to_batch.data ? p.row_to_batch[row] : row}, p) {}
  // Of a row whose request is known.
  struct Request {
    int64_t index;
  };
  __device__ __forceinline__ TopkPages(Request of, const TopkParams& p) {
    const int64_t request = of.index;
    const bool known = request >= 0 && request < p.requests;
    entries = p.page_table ? p.page_table + (known ? request : 0) * p.table_stride : nullptr;
    count = known ? static_cast<uint32_t>(p.pages) : 0;
  }
  __device__ __forceinline__ int32_t operator[](uint32_t page) const {
    return page < count ? entries[page] : -1;
  }
};

// What a checked build says of the row's numbers (core/report.cuh); one lane of the row calls it.
__device__ __forceinline__ void TopkRow::report(const TopkParams& p, int64_t row) const {
  if constexpr (kIsChecked) {
    if (p.starts.data) {
      report_outside_if(p, true, Index::kWindowStart, p.starts[row], p.columns + 1, row);
    }
    report_outside_if(p, true, Index::kLength, p.lengths[row], int64_t{columns} + 1, row, 0);
    if (!p.page_table) return;
    const int64_t request = p.row_to_batch.data ? p.row_to_batch[row] : row;
    report_outside_if(p, true, Index::kRequest, request, p.requests, row);
    const TopkPages pages(p, row);
    report_if(p, pages.count > 0 && count > int64_t{pages.count} << p.page_bits, Index::kLength,
              count, row, 1);
  }
}

// The entries of a block's pages, read ahead where a lane has at most one.
struct PagesAhead {
  uint32_t first;
  uint32_t count;
  bool held;

  __device__ __forceinline__ PagesAhead(const TopkParams& p, uint32_t base, uint32_t columns,
                                        uint32_t lanes) {
    first = base >> p.page_bits;
    count = ((base + columns - 1) >> p.page_bits) - first + 1;
    held = p.page_table && count <= lanes;
  }
  // They are there behind wait_for_copies and a barrier.
  __device__ __forceinline__ void fetch(const TopkPages& pages, int32_t* shared) const {
    const uint32_t lane = thread_x();
    if (!held || lane >= count) return;
    if (first + lane < pages.count) {
      copy_word_to_shared(&shared[lane], pages.entries + first + lane);
    } else {
      shared[lane] = -1;
    }
  }
  __device__ __forceinline__ int32_t entry(const TopkParams& p, const TopkPages& pages,
                                           const int32_t* shared, uint32_t column) const {
    const uint32_t page = column >> p.page_bits;
    if (held) return shared[page - first];
    return pages.entries ? pages[page] : 0;
  }
};

// What becomes of a row's selected columns.
struct TopkResults {
  const TopkParams& p;
  int32_t* out;
  int32_t* raw;  // or null
  int64_t offset;
  uint32_t page_bits;
  bool paged;

  __device__ __forceinline__ TopkResults(const TopkParams& params, int64_t row) : p(params) {
    out = p.out + row * p.k;
    raw = p.raw ? p.raw + row * p.k : nullptr;
    offset = p.offsets.data ? p.offsets[row] : 0;
    page_bits = static_cast<uint32_t>(p.page_bits);
    paged = p.page_table != nullptr;
  }
  __device__ __forceinline__ static bool fits(int32_t entry, uint32_t page_bits) {
    return static_cast<uint32_t>(entry) <= 0x7fffffffu >> page_bits;  // no negative one
  }
  // Of a column whose page has this entry.
  __device__ __forceinline__ static int32_t slot(uint32_t column, int32_t entry,
                                                 uint32_t page_bits) {
    const uint32_t slot =
        static_cast<uint32_t>(entry) << page_bits | (column & ((1u << page_bits) - 1));
    return fits(entry, page_bits) ? static_cast<int32_t>(slot) : -1;
  }
  // The selected column at place `i`, whose page has this entry.
  __device__ __forceinline__ void store(uint32_t i, uint32_t column, int32_t entry) const {
    int32_t slot;
    if (paged) {
      slot = this->slot(column, entry, page_bits);
      if constexpr (kIsChecked) {
        const bool is_wrong = entry >= 0 && !fits(entry, page_bits);
        report_if(p, is_wrong, Index::kPageTable, entry, (out - p.out) / p.k, i);
      }
    } else {
      const int64_t sum = int64_t{column} + offset;
      slot = sum > 0x7fffffff || sum < -1 ? -1 : static_cast<int32_t>(sum);
    }
    out[i] = slot;
    if (raw) raw[i] = static_cast<int32_t>(column);
  }
  __device__ __forceinline__ void store(uint32_t i, uint32_t column, const TopkPages& pages) const {
    store(i, column, paged ? pages[column >> page_bits] : 0);
  }
  __device__ __forceinline__ void store_nothing(uint32_t i) const {
    out[i] = -1;
    if (raw) raw[i] = -1;
  }
};

}  // namespace wavejit
