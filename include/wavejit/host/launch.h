// Launching a kernel from its host function, the same words on every target:
//   launch(WAVEJIT_KERNEL(c4_decode), {.grid = blocks, .block = kThreads, .device = device},
//   params);
// The stream is the caller's current one of that device. A grid of nothing is not launched.
#pragma once
#include <wavejit/host/report.h>
#include <wavejit/host/tensor.h>

#define WAVEJIT_LAUNCHES 1  // a unit with kernels to load

namespace wavejit::host {

struct Shape {
  int64_t grid = 0;  // blocks along x
  int64_t grid_y = 1;
  int block = 0;  // lanes of a block
  int shared_bytes = 0;
  // Blocks that run together, at most arch::kClusterBlocks; the grid is a multiple.
  int cluster = 1;
  OnDevice device;
};

inline constexpr int64_t kMaxGrid = 0x7fffffff;
inline constexpr int64_t kMaxGridY = 65535;

inline bool worth_launching(const char* kernel, const Shape& shape) {
  if (shape.grid == 0 || shape.grid_y == 0) return false;
  if (shape.grid < 0 || shape.grid > kMaxGrid || shape.grid_y < 0 || shape.grid_y > kMaxGridY) {
    fail("ValueError", "%s: a grid of %lld x %lld blocks is beyond %lld x %lld: split the batch",
         kernel, static_cast<long long>(shape.grid), static_cast<long long>(shape.grid_y),
         static_cast<long long>(kMaxGrid), static_cast<long long>(kMaxGridY));
  }
  return true;
}

}  // namespace wavejit::host

#if defined(WAVEJIT_TARGET_HOST)
#include <wavejit/host/launch_host.h>
#elif defined(WAVEJIT_TARGET_CUDA)
#include <wavejit/host/launch_cuda.h>
#else
#include <wavejit/host/launch_hip.h>
#endif
