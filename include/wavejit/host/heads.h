// Heads among the arguments of a call.
#pragma once
#include <wavejit/host/arguments.h>
#include <wavejit/core/divisor.cuh>
#include <wavejit/core/heads.cuh>

namespace wavejit::host {

struct HeadsShape {
  Size& tokens;
  Size& heads;
  int dim;
  int vector;      // elements of one access
  bool is_output;  // two elements must not share their memory
};
inline HeadsShape as_output(HeadsShape shape) {
  shape.is_output = true;
  return shape;
}

// Whether no element lies on another: the outer of the two dims steps over all of the inner one.
inline bool heads_are_apart(const DLTensor& given) {
  const int64_t dim = given.shape[2];
  const int inner =
      given.shape[0] == 1 || (given.shape[1] > 1 && given.strides[1] <= given.strides[0]);
  const int outer = 1 - inner;
  const int64_t count = given.shape[inner], step = given.strides[inner];
  if (count > 1 && step < dim) return false;
  const int64_t extent = count > 1 ? step * (count - 1) + dim : dim;
  return given.shape[outer] <= 1 || given.strides[outer] >= extent;
}

template <class Q, class Out>
bool same_strides(const Q& a, const Out& b, int64_t tokens, int64_t heads) {
  return (tokens <= 1 || a.token_stride == b.token_stride) &&
         (heads <= 1 || a.head_stride == b.head_stride);
}

// Heads for operations of 32 bits (core/heads.cuh). Strides of one token or one head count for
// nothing.
template <class Near, class Element>
NearHeads<Near> near_heads(const Heads<Element>& given, const char* name, const HeadsShape& shape) {
  constexpr int64_t kItems = 16 / sizeof(Element);
  const int64_t tokens = shape.tokens.value, heads = shape.heads.value;
  const int64_t token_stride = tokens > 1 ? given.token_stride / kItems : 0;
  const int64_t head_stride = heads > 1 ? given.head_stride / kItems : 0;
  const int64_t last = (tokens - 1) * token_stride + (heads - 1) * head_stride;
  const int64_t extent = last + shape.dim / kItems;
  if (token_stride < 0 || head_stride < 0) {
    fail("ValueError", "%s: expected strides from 0 on, got [%lld, %lld, 1]", name,
         static_cast<long long>(given.token_stride), static_cast<long long>(given.head_stride));
  }
  if (extent > int64_t{1} << 32) {
    fail("ValueError", "%s: expected heads within 64 GiB, got %lld bytes: split the batch", name,
         static_cast<long long>(extent * 16));
  }
  return {given.data, static_cast<uint32_t>(token_stride), static_cast<uint32_t>(head_stride)};
}

// Whether out is q; an error where it has q's address and other strides.
template <class Q, class Out>
bool is_in_place(const Q& q, const Out& out, int64_t tokens, int64_t heads) {
  if (tokens == 0 || heads == 0 || q.data != out.data) return false;
  if (same_strides(q, out, tokens, heads)) return true;
  fail("ValueError", "out: expected q itself or other memory, got q's with other strides");
}

inline void at_most_32_bits(const char* what, int64_t count) {
  if (count > 0x7fffffff) {
    fail("ValueError", "%s: expected at most 2^31 - 1, got %lld: split the batch", what,
         static_cast<long long>(count));
  }
}
// Positions are clamped to the table, so it must have a row.
inline uint32_t last_position(int64_t rows) {
  if (rows == 0) fail("ValueError", "freqs_cis: expected at least one position, got none");
  at_most_32_bits("freqs_cis: positions", rows);
  return static_cast<uint32_t>(rows - 1);
}

// The counts of a batch of heads, neither of them 0 (norm/heads.cuh).
template <class Batch>
void count_heads(Batch& batch, int64_t tokens, int64_t heads) {
  at_most_32_bits("q: tokens times heads", tokens * heads);
  batch.rows = static_cast<uint32_t>(tokens * heads);
  batch.heads = static_cast<uint32_t>(heads);
  batch.by_heads = divisor_of(batch.heads);
}
inline int64_t blocks_of(int64_t entries, int64_t each) { return (entries + each - 1) / each; }

template <class Element>
Heads<Element> heads_argument(Arguments& arguments, const char* name, OnDevice& device,
                              const HeadsShape& shape) {
  Size token_stride{"token stride"}, head_stride{"head stride"};
  const DLTensor& given = arguments.tensor(name);
  void* data = TensorMatcher(shape.tokens, shape.heads, shape.dim)
                   .strides(token_stride, head_stride, 1)
                   .template dtype<Element>()
                   .device(device)
                   .alignment(shape.vector * static_cast<int>(sizeof(Element)))
                   .verify(given, name);
  if (shape.is_output && given.strides && given.shape[0] && given.shape[1] &&
      !heads_are_apart(given)) {
    fail("ValueError",
         "%s: expected heads that do not overlap in memory, got strides [%lld, %lld, 1] for %lld "
         "tokens of %lld heads of %d: clone it first",
         name, static_cast<long long>(given.strides[0]), static_cast<long long>(given.strides[1]),
         static_cast<long long>(given.shape[0]), static_cast<long long>(given.shape[1]), shape.dim);
  }
  const bool dense = !given.strides;
  return {static_cast<Element*>(data), dense ? given.shape[1] * shape.dim : given.strides[0],
          dense ? shape.dim : given.strides[1]};
}

// Partial results [splits, tokens, heads, dim], as many of them as will be summed; `stride` becomes
// the elements from one to the next.
template <class Partial>
Heads<const Partial> partial_heads_argument(Arguments& arguments, const char* name,
                                            OnDevice& device, Size& splits, const HeadsShape& shape,
                                            int64_t& stride) {
  Size token_stride{"token stride"}, head_stride{"head stride"}, split_stride{"split stride"};
  const DLTensor& given = arguments.tensor(name);
  const void* data = TensorMatcher(splits, shape.tokens, shape.heads, shape.dim)
                         .strides(split_stride, token_stride, head_stride, 1)
                         .template dtype<Partial>()
                         .device(device)
                         .alignment(16)
                         .verify(given, name);
  if (splits.value < 1 || splits.value > 0x7fffffff) {
    fail("ValueError", "%s: expected at least one partial result, got %lld", name,
         static_cast<long long>(splits.value));
  }
  const int64_t row = shape.dim, token = given.shape[2] * row;
  const bool dense = !given.strides;
  stride = dense ? given.shape[1] * token : given.strides[0];
  return {static_cast<const Partial*>(data), dense ? token : given.strides[1],
          dense ? row : given.strides[2]};
}

}  // namespace wavejit::host
