// A cache among the arguments of a call: its one tensor or two, checked against the layout.
#pragma once
#include <wavejit/host/arguments.h>
#include <wavejit/cache/layout.cuh>

namespace wavejit::host {

template <bool kIsBf16>
struct CacheElement {
  using Type = uint8_t;
};
template <>
struct CacheElement<true> {
  using Type = bfloat16;
};

// Reads `name` and, of a layout with two pools, `rope_name` (else None).
template <class Layout>
CachePages<Layout> cache_argument(Arguments& arguments, const char* name, const char* rope_name,
                                  OnDevice& device) {
  constexpr bool kIsBf16 = Layout::kQuantised == 0;
  constexpr int64_t kItem = kIsBf16 ? sizeof(bfloat16) : 1;
  using Element = CacheElement<kIsBf16>::Type;
  Size pages{"pages"};
  CachePages<Layout> cache{};
  cache.pages = reinterpret_cast<uint8_t*>(
      arguments.rows<Element>(name, device, Layout::kAlignment / static_cast<int>(kItem),
                              cache.page_stride, pages, Layout::kPageBytes / kItem));
  cache.page_stride *= kItem;
  if constexpr (Layout::kTwoPools) {
    constexpr int kWide = Layout::kDims - Layout::kQuantised;
    cache.rope = reinterpret_cast<uint8_t*>(
        arguments.rows<bfloat16>(rope_name, device, 8, cache.rope_stride, pages, kWide));
    cache.rope_stride *= static_cast<int64_t>(sizeof(bfloat16));
  } else {
    if (!arguments.is_none()) fail("TypeError", "%s: expected one tensor, got two", name);
    arguments.skip(1);
  }
  cache.capacity = pages.value * Layout::kPageSize;
  return cache;
}

}  // namespace wavejit::host
