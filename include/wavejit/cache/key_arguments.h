// A batch of keys among the arguments of a call, and its launch's size.
#pragma once
#include <wavejit/cache/arguments.h>
#include <wavejit/host/heads.h>
#include <wavejit/cache/key.cuh>

namespace wavejit::host {

// Reads kv and weight.
template <class Instance>
void key_rows(Arguments& arguments, OnDevice& device, Size& tokens, KeyBatch<Instance>& batch) {
  using Batch = KeyBatch<Instance>;
  using Element = typename Batch::Element;
  constexpr int kItems = 16 / sizeof(Element), kDims = Batch::Layout::kDims;
  batch.kv = arguments.rows<Element>("kv", device, kItems, batch.stride, tokens, kDims);
  batch.weight = arguments.dense<typename Batch::Weight>(
      "weight", device, 16 / static_cast<int>(sizeof(typename Batch::Weight)), kDims);
}

// Reads kv_out, which is None where rows are not kept.
template <class Instance>
void kept_rows(Arguments& arguments, OnDevice& device, Size& tokens, KeyBatch<Instance>& batch) {
  using Batch = KeyBatch<Instance>;
  if constexpr (!Instance::kKeepsRows) {
    if (!arguments.is_none()) fail("TypeError", "kv_out: expected None");
    arguments.skip(1);
    return;
  } else {
    batch.kept = arguments.rows<typename Batch::Element>(
        "kv_out", device, 16 / sizeof(typename Batch::Element), batch.kept_stride, tokens,
        Batch::Layout::kDims);
    if (batch.kept == batch.kv && batch.kept_stride != batch.stride && tokens.value > 1) {
      fail("ValueError", "kv_out: expected kv itself or other memory, got kv's with other strides");
    }
    if (tokens.value > 1 && batch.kept_stride < Batch::Layout::kDims) {
      fail("ValueError", "kv_out: expected rows that do not overlap, got a row stride of %lld",
           static_cast<long long>(batch.kept_stride));
    }
  }
}

// Reads freqs_cis, positions, the cache's pools and out_loc.
template <class Instance>
void key_places(Arguments& arguments, OnDevice& device, Size& tokens, KeyBatch<Instance>& batch) {
  using Batch = KeyBatch<Instance>;
  Size rows{"positions"};
  batch.angles = arguments.dense<float>("freqs_cis", device, 4, rows, Batch::kRopeDims);
  batch.positions = arguments.integers("positions", device, tokens);
  batch.cache = cache_argument<typename Batch::Layout>(arguments, "cache", "cache[1]", device);
  batch.loc = arguments.integers("out_loc", device, tokens);
  batch.tokens = tokens.value;
  if (batch.tokens > 0) batch.last_position = last_position(rows.value);
}

}  // namespace wavejit::host
