// The host's launch: the wave executor runs the grid and returns when it is done.
#pragma once
#include <wavejit/host/launch.h>
#include <wavejit/simt/launch.h>

namespace wavejit::host {

template <class Params>
struct Kernel {
  const char* name;
  void (*entry)(const void*);
};

template <class Params, void (*kKernel)(Params)>
Kernel<Params> kernel(const char* name) {
  return {name, [](const void* params) { kKernel(*static_cast<const Params*>(params)); }};
}

template <class Function>
struct ParamsOf;
template <class Params>
struct ParamsOf<void(Params)> {
  using type = Params;
};

template <class Params>
void launch(Kernel<Params> kernel, const Shape& shape, const Params& params) {
  if (!worth_launching(kernel.name, shape)) return;
  const simt::Dim3 grid{static_cast<unsigned>(shape.grid), static_cast<unsigned>(shape.grid_y), 1};
  const simt::Dim3 block{static_cast<unsigned>(shape.block), 1, 1};
  const Params& told = with_reports(params, kernel.name, shape.device);
  simt::LaunchError error;
  if (!simt::launch(kernel.name, kernel.entry, &told, grid, block,
                    static_cast<size_t>(shape.shared_bytes), error)) {
    fail("RuntimeError", "%s", error.message);
  }
}

inline void load_code(int64_t) {}  // it came with the library

}  // namespace wavejit::host

#define WAVEJIT_KERNEL(name) \
  ::wavejit::host::kernel<::wavejit::host::ParamsOf<decltype(name)>::type, &name>(#name)
