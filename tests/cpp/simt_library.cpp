// A library as the loader sees one: test_simt.py loads several of them into one process.
#include "simt_case.h"

namespace {

using namespace simt_case;

struct Params {
  uint32_t* out;
};

void count_lanes(const Params p) {
  static thread_local uint32_t shared[1024];
  const unsigned i = thread_index().x;
  shared[i] = static_cast<uint32_t>(__builtin_popcountll(ballot<kW>(true)));
  sync_block();
  p.out[block_index().x * block_dim().x + i] = shared[block_dim().x - 1 - i];
}

}  // namespace

// Every word of `out` becomes the wave's width. Returns 1 when the launch went well.
extern "C" [[gnu::visibility("default")]] int count(uint32_t* out, unsigned blocks) {
  simt_case::LaunchError error;
  const Params params{out};
  return simt_case::run<count_lanes>(params, {blocks, 1, 1}, {256, 1, 1}, error);
}
