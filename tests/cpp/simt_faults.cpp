// Wrong kernels on the executor: each case prints the message of its launch. test_simt.py finds the
// lines that a message must name by the comments `// at: NAME`.
#include "simt_case.h"

namespace {

using namespace simt_case;

struct None {};

int sink[1024];
void keep(int v) { sink[thread_index().x] = v; }

void two_lines(const None) {
  int v = lane_id();
  if (v < kW / 2) {
    v += shuffle_xor<kW>(v, 1);  // at: two_lines first
  } else {
    v += shuffle_xor<kW>(v, 1);  // at: two_lines second
  }
  keep(v);
}

void two_kinds(const None) {
  const bool low = lane_id() < 3;
  low ? keep(ballot<kW>(true) != 0) : keep(shuffle<kW>(1, 0));  // at: two_kinds
}

void two_widths(const None) {
  int v = lane_id();
  if (v < 4) {
    v = shuffle_xor<8>(v, 1);  // at: two_widths narrow
  } else {
    v = shuffle_xor<kW>(v, 1);  // at: two_widths wide
  }
  keep(v);
}

void part_of_wave(const None) {
  int v = lane_id();
  if (v >= 8) {
    v = shuffle_xor<8, wavejit::Together::kWave>(v, 1);  // at: part_of_wave rest
  } else {
    v = shuffle_xor<8, wavejit::Together::kWave>(v, 1);  // at: part_of_wave group
  }
  keep(v);
}

void reads_left(const None) {
  if (lane_id() >= kW - 4) return;
  keep(shuffle_xor<kW>(lane_id(), 4));  // at: reads_left
}

void reads_missing(const None) {
  keep(shuffle<kW>(lane_id(), 20));  // at: reads_missing
}

void source_outside(const None) {
  keep(shuffle<8>(lane_id(), 8));  // at: source_outside
}

void mask_outside(const None) {
  keep(shuffle_xor<16>(lane_id(), 16));  // at: mask_outside
}

void negative_delta(const None) {
  keep(shuffle_up<16>(lane_id(), -1));  // at: negative_delta
}

void partial_barrier(const None) {
  if (lane_id() >= 5) return;
  sync_block();  // at: partial_barrier
}

void two_barriers_in_wave(const None) {
  if (lane_id() < 7) {
    sync_block();  // at: two_barriers_in_wave first
  } else {
    sync_block();  // at: two_barriers_in_wave second
  }
}

void two_barriers(const None) {
  if (thread_index().x < 2 * kW) {
    sync_block();  // at: two_barriers first
  } else {
    sync_block();  // at: two_barriers second
  }
}

void barrier_or_shuffle(const None) {
  if (lane_id() < 6) {
    sync_block();  // at: barrier_or_shuffle barrier
  } else {
    keep(shuffle_xor<kW>(1, 1));  // at: barrier_or_shuffle shuffle
  }
}

// Wave 0 waits at a barrier that wave 1, stuck, never reaches.
void stuck_wave(const None) {
  if (thread_index().x >= kW && lane_id() == 1) {
    keep(static_cast<int>(ballot<2>(true)));  // at: stuck_wave ballot
  }
  sync_block();  // at: stuck_wave barrier
}

// The blocks up to the first bad one are slow, so that another thread fails earlier in time.
void from_block_3(const None) {
  if (block_index().x <= 3 && lane_id() == 0) usleep(500);
  if (block_index().x < 3) return;
  if (lane_id() == 9) {
    keep(shuffle_xor<kW>(1, 1));  // at: lowest_block
  } else {
    keep(shuffle_xor<kW>(1, 1));
  }
}

struct Deep {
  unsigned lane;
};

[[gnu::noinline]] void fill(volatile char* bytes, int count) {
  for (int i = count - 1; i >= 0; --i) bytes[i] = 1;
}

// One lane has more local variables than a stack holds.
void deep_stack(const Deep p) {
  if (thread_index().x == p.lane) {
    volatile char local[72 * 1024];
    fill(local, sizeof local);
    sync_block();  // at: deep_stack
    fill(local, sizeof local);
  } else {
    sync_block();
  }
}

void good(const None) { keep(shuffle_xor<kW>(static_cast<int>(thread_index().x), 1)); }

// The launch must fail, and the same thread must be able to launch again.
template <auto kKernel, class Params>
void fail_with(const Params& params, Dim3 grid, Dim3 block) {
  LaunchError error;
  expect(!run<kKernel>(params, grid, block, error) && error.failed, "the launch fails");
  printf("%s\n", error.message);
  run_well<good>(None{}, {2, 1, 1}, {4 * kW, 1, 1});
  for (int i = 0; i < 4 * kW; ++i) expect(sink[i] == (i ^ 1), "a launch after a failure", i);
}

template <auto kKernel>
void fail(Dim3 grid, Dim3 block) {
  fail_with<kKernel>(None{}, grid, block);
}

// Every launch reports the same block, whichever thread comes first.
void lowest_block() {
  LaunchError first, error;
  for (int i = 0; i < 20; ++i) {
    run<from_block_3>(None{}, {400, 1, 1}, {64, 1, 1}, error);
    if (i == 0) first = error;
    expect(strcmp(first.message, error.message) == 0, error.message, i);
  }
  puts(first.message);
}

// The first of two blocks to begin fails, for which the other one, if it runs already, waits.
uint32_t begun = 0;
void waits_for_failed(const None) {
  if (lane_id() != 0 || thread_index().x != 0) return;
  if (__atomic_fetch_add(&begun, 1, __ATOMIC_SEQ_CST) == 0) {
    keep(shuffle<kW>(1, 5));  // at: waits_for_failed
  } else {
    while (launch_goes_on()) {
    }
  }
}
void failed_is_not_waited_for() {
  LaunchError error;
  for (int i = 0; i < 20; ++i) {
    begun = 0;
    expect(!run<waits_for_failed>(None{}, {2, 1, 1}, {1024, 1, 1}, error), "the launch fails", i);
  }
  puts(strstr(error.message, "reads"));
}

// Abandoned lanes give their stacks back.
void many_failures() {
  LaunchError error;
  for (int i = 0; i < 100; ++i) {
    expect(!run<two_barriers>(None{}, {1, 1, 1}, {4 * kW, 1, 1}, error), "the launch fails", i);
  }
}

void bad_blocks() {
  LaunchError error;
  for (Dim3 block : {Dim3{0, 1, 1}, Dim3{33, 32, 1}, Dim3{1025, 1, 1}, Dim3{65536, 65536, 1}}) {
    expect(!run<good>(None{}, {1, 1, 1}, block, error) && error.failed, "the launch fails");
    puts(error.message);
  }
}

constexpr unsigned kU = kW;

constexpr Case kCases[] = {
    {"two_lines", [] { fail<two_lines>({3, 2, 1}, {2 * kU, 1, 1}); }},
    {"two_kinds", [] { fail<two_kinds>({1, 1, 1}, {kU, 1, 1}); }},
    {"two_widths", [] { fail<two_widths>({1, 1, 1}, {kU, 1, 1}); }},
    {"part_of_wave", [] { fail<part_of_wave>({1, 1, 1}, {kU, 1, 1}); }},
    {"reads_left", [] { fail<reads_left>({1, 1, 1}, {2 * kU, 2, 1}); }},
    {"reads_missing", [] { fail<reads_missing>({1, 1, 1}, {kU + 17, 1, 1}); }},
    {"source_outside", [] { fail<source_outside>({1, 1, 1}, {kU, 1, 1}); }},
    {"mask_outside", [] { fail<mask_outside>({1, 1, 1}, {kU, 1, 1}); }},
    {"negative_delta", [] { fail<negative_delta>({1, 1, 1}, {kU, 1, 1}); }},
    {"partial_barrier", [] { fail<partial_barrier>({1, 1, 1}, {kU, 1, 1}); }},
    {"two_barriers_in_wave", [] { fail<two_barriers_in_wave>({1, 1, 1}, {kU, 1, 1}); }},
    {"two_barriers", [] { fail<two_barriers>({1, 1, 1}, {4 * kU, 1, 1}); }},
    {"barrier_or_shuffle", [] { fail<barrier_or_shuffle>({1, 1, 1}, {kU, 1, 1}); }},
    {"stuck_wave", [] { fail<stuck_wave>({1, 1, 1}, {2 * kU, 1, 1}); }},
    {"lowest_block", lowest_block},
    {"failed_is_not_waited_for", failed_is_not_waited_for},
    {"many_failures", many_failures},
    {"deep_stack", [] { fail_with<deep_stack>(Deep{5}, {1, 1, 1}, {kU, 1, 1}); }},
    {"guarded_stack", [] { fail_with<deep_stack>(Deep{0}, {1, 1, 1}, {kU, 1, 1}); }},
    {"bad_blocks", bad_blocks},
};

}  // namespace

int main(int argc, char** argv) { return run_case(kCases, argc, argv); }
