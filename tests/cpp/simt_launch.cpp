// The executor's launches: grids, dynamic shared memory, threads, rounding mode.
#include "simt_case.h"

#include <dirent.h>
#include <sys/wait.h>

namespace {

using namespace simt_case;

struct Floats {
  float* out;
};
struct Words {
  uint64_t* out;
};

uint64_t words[1 << 16];
float floats[1 << 12];

unsigned linear_thread() {
  const Dim3 t = thread_index(), d = block_dim();
  return (t.z * d.y + t.y) * d.x + t.x;
}

// --- grids ---------------------------------------------------------------------------------------

void mark(const Words p) {
  const Dim3 b = block_index(), g = grid_dim(), d = block_dim();
  const uint64_t block = (b.z * g.y + b.y) * g.x + b.x;
  p.out[block * volume(d) + linear_thread()] += block << 16 | linear_thread() << 8 | lane_id();
}

void grid_3d() {
  const Dim3 grid{5, 4, 3}, block{4, 3, 5};
  memset(words, 0, sizeof words);
  run_well<mark>(Words{words}, grid, block);
  for (uint64_t i = 0; i < 60 * 60; ++i) {
    const uint64_t thread = i % 60;
    expect(words[i] == (i / 60 << 16 | thread << 8 | thread % kW), "once per lane", i);
  }
  expect(words[60 * 60] == 0, "nothing beyond");
}

void empty_grid() {
  words[0] = 0;
  for (Dim3 grid : {Dim3{0, 1, 1}, Dim3{7, 0, 1}, Dim3{7, 1, 0}}) {
    run_well<mark>(Words{words}, grid, {64, 1, 1});
  }
  expect(words[0] == 0, "no lane ran");
}

// --- dynamic shared memory ----------------------------------------------------------------------

void reverse_dynamic(const Words p) {
  uint64_t* shared = static_cast<uint64_t*>(dynamic_shared());
  const unsigned i = thread_index().x, n = block_dim().x;
  const bool fresh = shared[i] == ~uint64_t{0} && reinterpret_cast<uintptr_t>(shared) % 128 == 0;
  shared[i] = block_index().x * 1000 + i;
  sync_block();
  p.out[block_index().x * n + i] = fresh ? shared[n - 1 - i] : 0;
}

void dynamic_memory() {
  for (unsigned n : {96u, 1000u}) {
    run_well<reverse_dynamic>(Words{words}, {60, 1, 1}, {n, 1, 1}, n * 8);
    for (unsigned i = 0; i < 60 * n; ++i) {
      expect(words[i] == i / n * 1000 + n - 1 - i % n, "dynamic shared memory", i);
    }
  }
}

// --- threads -------------------------------------------------------------------------------------

void block_sum(const Words p) {
  static thread_local uint64_t shared[32];
  const unsigned i = thread_index().x;
  uint64_t v = block_index().x * uint64_t{1000} + i;
  for (int mask = kW / 2; mask > 0; mask /= 2) v += shuffle_xor<kW>(v, mask);
  if (lane_id() == 0) shared[i / kW] = v;
  sync_block();
  uint64_t sum = 0;
  for (unsigned wave = 0; wave < block_dim().x / kW; ++wave) sum += shared[wave];
  if (i == 0) p.out[block_index().x] = sum;
}

int tasks() {
  int count = 0;
  DIR* folder = opendir("/proc/self/task");
  while (const dirent* entry = readdir(folder)) count += entry->d_name[0] != '.';
  closedir(folder);
  return count;
}

void check_sums(unsigned blocks) {
  memset(words, 0, sizeof words);
  run_well<block_sum>(Words{words}, {blocks, 1, 1}, {256, 1, 1});
  for (unsigned b = 0; b < blocks; ++b) {
    expect(words[b] == 256 * (b * uint64_t{1000}) + 255 * 128, "a block's sum", b);
  }
}

void many_blocks() {
  for (unsigned blocks : {1u, 2u, 3u, 17u, 1500u}) check_sums(blocks);
  // A joined thread's entry may outlive it for a moment.
  for (int wait = 0; tasks() > 1 && wait < 200; ++wait) usleep(5000);
  expect(tasks() == 1, "no thread is left");
  const pid_t child = fork();
  if (child == 0) {
    wrong_values = 0;
    check_sums(300);
    _exit(wrong_values == 0 ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  expect(status == 0, "a launch in a forked child", status);
}

// Each of two blocks waits a while for the other one to be running.
void meet_other(const Words p) {
  if (thread_index().x != 0) return;
  __atomic_fetch_add(&p.out[0], 1, __ATOMIC_SEQ_CST);
  for (int wait = 0; __atomic_load_n(&p.out[0], __ATOMIC_SEQ_CST) < 2 && wait < 1000; ++wait) {
    usleep(5000);
  }
  p.out[1 + block_index().x] = __atomic_load_n(&p.out[0], __ATOMIC_SEQ_CST);
}

void parallel() {
  cpu_set_t cpus;
  sched_getaffinity(0, sizeof cpus, &cpus);
  if (CPU_COUNT(&cpus) < 2) return;
  memset(words, 0, sizeof words);
  run_well<meet_other>(Words{words}, {2, 1, 1}, {1024, 1, 1});
  expect(words[1] == 2 && words[2] == 2, "two blocks at a time");
}

// --- rounding mode -------------------------------------------------------------------------------

void halve(const Floats p) {
  volatile float smallest_normal = 1.17549435e-38f;
  p.out[block_index().x * block_dim().x + thread_index().x] = smallest_normal * 0.5f;
}

void float_mode() {
#if defined(__x86_64__)
  constexpr unsigned kFlush = 0x8040;  // subnormal results and operands become zero
  const unsigned mode = __builtin_ia32_stmxcsr() | kFlush;
  __builtin_ia32_ldmxcsr(mode);
  run_well<halve>(Floats{floats}, {16, 1, 1}, {256, 1, 1});
  const unsigned after = __builtin_ia32_stmxcsr();
  __builtin_ia32_ldmxcsr(mode & ~kFlush);
  expect((after & kFlush) == kFlush, "the caller's mode is back");
  for (unsigned i = 0; i < 16 * 256; ++i) expect(floats[i] > 0, "a subnormal result", i);
#endif
}

constexpr Case kCases[] = {
    {"dynamic_memory", dynamic_memory}, {"grid_3d", grid_3d},   {"empty_grid", empty_grid},
    {"many_blocks", many_blocks},       {"parallel", parallel}, {"float_mode", float_mode},
};

}  // namespace

int main(int argc, char** argv) { return run_case(kCases, argc, argv); }
