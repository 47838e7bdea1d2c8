// The arguments of a call that finalises rows: the norm, the rotation, the locations and the cache.
#pragma once
#include <wavejit/cache/arguments.h>
#include <wavejit/compress/finish.cuh>

namespace wavejit {

// norm_weight, eps, freqs_cis (as fp32), out_loc, cache, cache[1]; `rows` are the requests of a
// step or the tokens of a chunk, each of which must have a location.
template <class Finish>
typename Finish::Params finish_arguments(host::Arguments& arguments, host::OnDevice& device,
                                         int64_t rows) {
  host::Size positions{"positions"}, locations{"locations"};
  typename Finish::Params p{};
  using Weight = typename Finish::Weight;
  p.weight = arguments.dense<Weight>("norm_weight", device, Finish::kItems, Finish::kDims);
  p.eps = arguments.epsilon("eps");
  p.angles = arguments.dense<float>("freqs_cis", device, 4, positions, Finish::kRotated);
  p.out_loc = arguments.integers("out_loc", device, locations);
  if (positions.value == 0) {
    host::fail("ValueError", "freqs_cis: expected at least one position, got none");
  }
  if (locations.value < rows) {
    host::fail("ValueError", "out_loc: expected a location for each of %lld rows, got %lld",
               static_cast<long long>(rows), static_cast<long long>(locations.value));
  }
  p.positions = positions.value;
  p.locations = locations.value;
  p.cache = host::cache_argument<typename Finish::Layout>(arguments, "cache", "cache[1]", device);
  return p;
}

// Room for pooled rows that blocks hand over: at least one for each row of the plan.
template <class Finish>
float* pooled_argument(host::Arguments& arguments, host::OnDevice& device, host::Size& have,
                       int64_t rows) {
  float* pooled = arguments.dense<float>("pooled", device, Finish::kItems, have, Finish::kDims);
  if (have.value < rows) {
    host::fail("ValueError", "pooled: expected at least %lld rows, got %lld",
               static_cast<long long>(rows), static_cast<long long>(have.value));
  }
  return pooled;
}

}  // namespace wavejit
