// What every compressor's call begins with: the ring, the input, ape and the plan, checked.
#pragma once
#include <wavejit/host/arguments.h>
#include <wavejit/compress/write.cuh>

namespace wavejit {

inline constexpr int kRowAlignment = 4;  // elements: every row starts where any lane's vector may

// kv_buffer, kv_input, ape, plan_d
template <class Compressor>
typename Compressor::DecodeParams decode_arguments(host::Arguments& arguments,
                                                   host::OnDevice& device, host::Size& requests) {
  constexpr int kRatio = Compressor::kRatio, kWidth = Compressor::kRowWidth;
  host::Size pages{"pages"};
  typename Compressor::DecodeParams p{};
  using State = typename Compressor::State;
  using Input = typename Compressor::Input;
  p.state = arguments.dense<State>("kv_buffer", device, kRowAlignment, pages, kRatio, kWidth);
  p.input =
      arguments.rows<Input>("kv_input", device, kRowAlignment, p.input_stride, requests, kWidth);
  p.ape = arguments.dense<Input>("ape", device, kRowAlignment, Compressor::kWindow,
                                 Compressor::kHeadDim);
  p.plan = arguments.structs<DecodePlan>("plan_d", device, requests);
  p.requests = requests.value;
  constexpr int64_t kNamed = (int64_t{1} << 31) / kRatio;  // pages whose rows a plan can name
  p.pages = pages.value < kNamed ? pages.value : kNamed;
  return p;
}

// kv_buffer, kv_input, ape, plan_c, plan_w: for the kernel that compresses and the one that writes.
template <class Compressor, class Write>
void prefill_arguments(host::Arguments& arguments, host::OnDevice& device, host::Size& entries,
                       typename Compressor::PrefillParams& p, Write& w) {
  constexpr int kRatio = Compressor::kRatio, kWidth = Compressor::kRowWidth;
  host::Size pages{"pages"}, tokens{"tokens"}, writes{"plan_w rows"};
  using State = typename Compressor::State;
  using Input = typename Compressor::Input;
  w.state = arguments.dense<State>("kv_buffer", device, kRowAlignment, pages, kRatio, kWidth);
  w.input =
      arguments.rows<Input>("kv_input", device, kRowAlignment, w.input_stride, tokens, kWidth);
  p.ape = arguments.dense<Input>("ape", device, kRowAlignment, Compressor::kWindow,
                                 Compressor::kHeadDim);
  p.plan = arguments.structs<CompressPlan>("plan_c", device, entries);
  w.plan = arguments.structs<WritePlan>("plan_w", device, writes);
  p.state = w.state;
  p.input = w.input;
  p.input_stride = w.input_stride;
  p.input_rows = w.input_rows = tokens.value;
  p.pages = pages.value;
  w.rows = pages.value * kRatio;
  p.entries = entries.value;
  w.entries = writes.value;
  w.wait = p.entries > 0 ? RingWriteWait::kBeforeEnd : RingWriteWait::kFirst;
}

// wide, the last argument of a chunk, and what follows from it and the input for every entry.
template <class Compressor>
void wide_argument(host::Arguments& arguments, typename Compressor::PrefillParams& p) {
  const int64_t row_bytes =
      p.input_stride * static_cast<int64_t>(sizeof(typename Compressor::Input));
  p.wide = arguments.integer("wide") != 0;
  p.row_bytes = static_cast<uint32_t>(row_bytes);
  p.plain_rows = plain_rows(p.input_rows, row_bytes, p.wide);
}
// The same of a c4 chunk, which lets the ring write begin at once where it has fewer channels than
// `early_channels`.
template <class Compressor, class Write>
void wide_argument(host::Arguments& arguments, typename Compressor::PrefillParams& p, Write& w,
                   int64_t early_channels) {
  wide_argument<Compressor>(arguments, p);
  p.lets_write_store = p.entries * Compressor::kHeadDim >= early_channels;
  if (p.entries > 0 && !p.lets_write_store) w.wait = RingWriteWait::kBeforeStores;
}

}  // namespace wavejit
