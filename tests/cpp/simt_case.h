// What the executor's test programs share: launching a kernel and reporting a wrong value.
#pragma once

namespace wavejit::arch {
inline constexpr int kWaveSize = WAVEJIT_TEST_WAVE;
}

#include <initializer_list>

#include <wavejit/simt/launch.h>

namespace simt_case {

using namespace wavejit::simt;

inline constexpr int kW = wavejit::arch::kWaveSize;
inline int wrong_values = 0;

inline void expect(bool ok, const char* what, long index = 0, Site at = Site::here()) {
  if (ok) return;
  if (++wrong_values <= 5) printf("line %d, index %ld: %s\n", at.line, index, what);
}

template <auto kKernel, class Params>
bool run(const Params& params, Dim3 grid, Dim3 block, LaunchError& error, size_t shared_bytes = 0) {
  constexpr auto entry = [](const void* p) { kKernel(*static_cast<const Params*>(p)); };
  return launch("the_kernel", entry, &params, grid, block, shared_bytes, error);
}

// The same where nothing may go wrong.
template <auto kKernel, class Params>
void run_well(const Params& params, Dim3 grid, Dim3 block, size_t shared_bytes = 0) {
  LaunchError error;
  expect(run<kKernel>(params, grid, block, error, shared_bytes), error.message);
}

struct Case {
  const char* name;
  void (*run)();
};

// Runs the case named by the first argument. Exit status 0: every value was right.
template <int kCount>
int run_case(const Case (&cases)[kCount], int argc, char** argv) {
  for (const Case& c : cases) {
    if (argc != 2 || strcmp(argv[1], c.name) != 0) continue;
    c.run();
    printf("%s: %d wrong values\n", c.name, wrong_values);
    return wrong_values == 0 ? 0 : 1;
  }
  printf("no such case\n");
  return 2;
}

}  // namespace simt_case
