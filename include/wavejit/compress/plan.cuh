// The rows of a compress plan, as their bytes lie in memory (little endian), and how kernels read
// them. Other programs read these bytes too: seq_len stays first.
#pragma once
#include <wavejit/core/vec.cuh>

namespace wavejit {

inline constexpr uint32_t kInvalidRow = ~uint32_t{0};

// One request of a decode step. seq_len counts the current token; kInvalidRow: nothing to compress.
// write_loc < 0: nothing to save.
struct alignas(16) DecodePlan {
  uint32_t seq_len;
  int32_t write_loc;
  int32_t read_page_0;  // page of position max(seq_len - 1 - ratio, 0)
  int32_t read_page_1;  // page of position seq_len - 1
};

// One entry that a prefill chunk emits. seq_len is its last token's position + 1; kInvalidRow:
// skip. `where` holds the last token's row of the ragged batch and how many leading window entries
// come from the ring: 16 + 16 bits, or 24 + 8 bits where a batch has more than 65,536 tokens
// ("wide").
struct alignas(16) CompressPlan {
  uint32_t seq_len;
  uint32_t where;
  int32_t read_page_0;
  int32_t read_page_1;
};

// One row of the batch that goes to the ring. kInvalidRow or a negative location: skip.
struct alignas(8) WritePlan {
  uint32_t ragged_id;
  int32_t write_loc;
};

static_assert(sizeof(DecodePlan) == 16 && sizeof(CompressPlan) == 16 && sizeof(WritePlan) == 8);

// A row of a plan, all of it asked for at once and for every wave that reads it: a kernel that
// reads its fields one after another would wait for memory twice.
template <class Row>
__device__ __forceinline__ Row load_plan(const Row* rows, int64_t i) {
  using Words = Vec<uint32_t, sizeof(Row) / sizeof(uint32_t)>;
  return bit_cast<Row>(load_now(reinterpret_cast<const Words*>(rows + i)));
}

inline constexpr int kRaggedBits = 16, kWideRaggedBits = 24;  // of `where`

__device__ __forceinline__ uint32_t pack_where(uint32_t ragged_id, uint32_t buffer_len, bool wide) {
  return ragged_id | buffer_len << (wide ? kWideRaggedBits : kRaggedBits);
}
__device__ __forceinline__ uint32_t ragged_id_of(const CompressPlan& plan, bool wide) {
  return plan.where & ((1u << (wide ? kWideRaggedBits : kRaggedBits)) - 1);
}
__device__ __forceinline__ uint32_t buffer_len_of(const CompressPlan& plan, bool wide) {
  return plan.where >> (wide ? kWideRaggedBits : kRaggedBits);
}
// Of a batch of so many rows, row_bytes apart: a `where` below it says that row and nothing else.
// None where 32 bits do not hold row_bytes.
constexpr uint32_t plain_rows(int64_t rows, int64_t row_bytes, bool wide) {
  const int64_t most = int64_t{1} << (wide ? kWideRaggedBits : kRaggedBits);
  return row_bytes >> 32 != 0 ? 0 : static_cast<uint32_t>(rows < most ? rows : most);
}

}  // namespace wavejit
