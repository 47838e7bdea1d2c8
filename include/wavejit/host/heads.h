// Heads among the arguments of a call.
#pragma once
#include <wavejit/host/arguments.h>
#include <wavejit/core/heads.cuh>

namespace wavejit::host {

struct HeadsShape {
  Size& tokens;
  Size& heads;
  int dim;
  int vector;      // elements of one access
  bool is_output;  // two elements must not share their memory
};

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

template <class T, class U>
bool same_strides(const Heads<T>& a, const Heads<U>& b, int64_t tokens, int64_t heads) {
  return (tokens <= 1 || a.token_stride == b.token_stride) &&
         (heads <= 1 || a.head_stride == b.head_stride);
}

inline void at_most_32_bits(const char* what, int64_t count) {
  if (count > 0x7fffffff) {
    fail("ValueError", "%s: expected at most 2^31 - 1, got %lld: split the batch", what,
         static_cast<long long>(count));
  }
}
// Positions are clamped to the table, so it must have a row.
inline void some_positions(int64_t rows) {
  if (rows == 0) fail("ValueError", "freqs_cis: expected at least one position, got none");
}

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

}  // namespace wavejit::host
