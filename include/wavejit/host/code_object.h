// The device's code inside this library, and the handles of its kernels, one a device.
#pragma once
#include <dlfcn.h>
#include <pthread.h>
#include <tvm/ffi/extra/c_env_api.h>
#include <wavejit/host/check.h>

extern "C" {
extern const char wavejit_code_object[] __attribute__((visibility("hidden")));
}

namespace wavejit::host {

inline constexpr int kMaxDevices = 64;

inline int checked_device(int64_t device) {
  if (device >= 0 && device < kMaxDevices) return static_cast<int>(device);
  fail("ValueError", "device: expected 0 to %d, got %lld", kMaxDevices - 1,
       static_cast<long long>(device));
}

// One launched kernel: its name and, once a device has loaded the code, its handle there.
struct KernelSlot {
  const char* name;
  void* handles[kMaxDevices] = {};
};

template <class Params>
struct Kernel {
  KernelSlot* slot;
};

template <class Function>
struct ParamsOf;
template <class Params>
struct ParamsOf<void(Params)> {
  using type = Params;
};

template <class Function>
Function driver_symbol(void* library, const char* library_name, const char* name) {
  void* address = dlsym(library, name);
  if (!address) fail("RuntimeError", "%s has no %s: the GPU driver is too old", library_name, name);
  return reinterpret_cast<Function>(address);
}

// Serialises loading; launching takes no lock.
inline pthread_mutex_t load_mutex = PTHREAD_MUTEX_INITIALIZER;

struct LoadLock {
  LoadLock() { pthread_mutex_lock(&load_mutex); }
  ~LoadLock() { pthread_mutex_unlock(&load_mutex); }
};

}  // namespace wavejit::host

#define WAVEJIT_KERNEL(function)                                                 \
  ::wavejit::host::Kernel<::wavejit::host::ParamsOf<decltype(function)>::type> { \
    []() -> ::wavejit::host::KernelSlot* {                                       \
      static constinit ::wavejit::host::KernelSlot slot{#function};              \
      return &slot;                                                              \
    }()                                                                          \
  }
