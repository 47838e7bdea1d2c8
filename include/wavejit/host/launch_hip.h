// AMD's launch through whichever libamdhip64 the process has (torch brings one), so that one
// library serves ROCm 5, 6 and 7: nothing of HIP is linked or included.
#pragma once
#include <link.h>
#include <stddef.h>
#include <string.h>
#include <wavejit/host/code_object.h>
#include <wavejit/host/launch.h>

#define WAVEJIT_EMULATES 1  // this unit can be told to run tensors of the CPU

namespace wavejit::host {

struct HipRuntime {
  int (*get_device)(int*);
  int (*set_device)(int);
  int (*load)(void**, const void*);
  int (*function)(void**, void*, const char*);
  int (*launch)(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*,
                void**, void**);
  const char* (*describe)(int);
  void* modules[kMaxDevices];
  bool ready;
};
inline HipRuntime hip_runtime{};
// What runs tensors of the CPU: nothing, until emulate_with() names functions of the same meaning.
inline HipRuntime hip_emulator{};

inline HipRuntime& runtime_for(int device_type) {
  return device_type == kDLCPU ? hip_emulator : hip_runtime;
}

inline void check_hip(const HipRuntime& r, int status, const char* what, const char* kernel) {
  if (status == 0) return;
  fail("RuntimeError", "%s: %s failed with HIP error %d (%s)", kernel, what, status,
       r.describe(status));
}

// The path of the runtime that is in the process already.
inline int find_hip_runtime(dl_phdr_info* info, size_t, void* found) {
  const char* slash = strrchr(info->dlpi_name, '/');
  const char* name = slash ? slash + 1 : info->dlpi_name;
  if (strncmp(name, "libamdhip64.so", 14) != 0) return 0;
  snprintf(static_cast<char*>(found), 4096, "%s", info->dlpi_name);
  return 1;
}

inline void open_hip_runtime() {
  char path[4096] = {};
  if (!dl_iterate_phdr(&find_hip_runtime, path)) {
    fail("RuntimeError",
         "no libamdhip64 is loaded in this process: import a torch for ROCm before the call");
  }
  void* library = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
  if (!library) fail("RuntimeError", "%s", dlerror());
  HipRuntime& r = hip_runtime;
  r.get_device = driver_symbol<decltype(r.get_device)>(library, path, "hipGetDevice");
  r.set_device = driver_symbol<decltype(r.set_device)>(library, path, "hipSetDevice");
  r.load = driver_symbol<decltype(r.load)>(library, path, "hipModuleLoadData");
  r.function = driver_symbol<decltype(r.function)>(library, path, "hipModuleGetFunction");
  r.launch = driver_symbol<decltype(r.launch)>(library, path, "hipModuleLaunchKernel");
  r.describe = driver_symbol<decltype(r.describe)>(library, path, "hipGetErrorString");
  r.ready = true;
}

// Python's door to emulation: the address of the six functions of HipRuntime, in its order.
inline void emulate_with(int64_t functions) {
  const LoadLock lock;
  memcpy(&hip_emulator, reinterpret_cast<const void*>(functions), offsetof(HipRuntime, modules));
  hip_emulator.ready = true;
  emulates_cpu = true;
}

// Makes the device current for the scope if it is not.
class HipDevice {
 public:
  HipDevice(HipRuntime& runtime, int device) : runtime_(runtime) {
    check_hip(runtime_, runtime_.get_device(&before_), "hipGetDevice", "device");
    changed_ = before_ != device;
    if (changed_) check_hip(runtime_, runtime_.set_device(device), "hipSetDevice", "device");
  }
  ~HipDevice() {
    if (changed_) runtime_.set_device(before_);
  }

 private:
  HipRuntime& runtime_;
  int before_ = 0;
  bool changed_ = false;
};

// The current device's module, loaded once; the caller holds the lock.
inline void* module_on(HipRuntime& r, int device, const char* who) {
  if (!r.modules[device]) {
    check_hip(r, r.load(&r.modules[device], wavejit_code_object), "hipModuleLoadData", who);
  }
  return r.modules[device];
}

// Everything that a later launch would load, so that one inside a graph's capture loads nothing.
inline void load_code(int64_t index) {
  const int device = checked_device(index);
  const LoadLock lock;
  if (!hip_runtime.ready) open_hip_runtime();
  const HipDevice current(hip_runtime, device);
  module_on(hip_runtime, device, "load_code");
}

[[gnu::cold]] inline void load_kernel(KernelSlot& slot, HipRuntime& r, int device, void** handle) {
  const LoadLock lock;
  if (!r.ready) open_hip_runtime();
  const HipDevice current(r, device);
  void* module = module_on(r, device, slot.name);
  void* found;
  check_hip(r, r.function(&found, module, slot.name), "hipModuleGetFunction", slot.name);
  __atomic_store_n(handle, found, __ATOMIC_RELEASE);
}

template <class Params>
void launch(Kernel<Params> kernel, const Shape& shape, const Params& params) {
  KernelSlot& slot = *kernel.slot;
  if (!worth_launching(slot.name, shape)) return;
  if (shape.grid * shape.grid_y > 0xffffffffll / shape.block) {  // HIP counts lanes in 32 bits
    fail("ValueError",
         "%s: %lld x %lld blocks of %d lanes are more than 2^32 - 1 lanes: split the "
         "batch",
         slot.name, static_cast<long long>(shape.grid), static_cast<long long>(shape.grid_y),
         shape.block);
  }
  const int device = checked_device(shape.device.id);
  HipRuntime& runtime = runtime_for(shape.device.type);
  const bool emulated = &runtime == &hip_emulator;
  void** handle = &slot.handles[emulated ? kMaxDevices : device];
  if (!__atomic_load_n(handle, __ATOMIC_ACQUIRE)) load_kernel(slot, runtime, device, handle);
  const HipDevice current(runtime, device);
  void* stream = emulated ? nullptr : TVMFFIEnvGetStream(shape.device.type, device);
  const Params& told = with_reports(params, slot.name, shape.device);
  void* arguments[] = {const_cast<Params*>(&told)};
  const int status =
      runtime.launch(*handle, static_cast<unsigned>(shape.grid),
                     static_cast<unsigned>(shape.grid_y), 1, static_cast<unsigned>(shape.block), 1,
                     1, static_cast<unsigned>(shape.shared_bytes), stream, arguments, nullptr);
  if (status != 0) {
    char what[160];
    snprintf(what, sizeof what, "launch of %lld x %lld blocks of %d lanes with %d bytes shared",
             static_cast<long long>(shape.grid), static_cast<long long>(shape.grid_y), shape.block,
             shape.shared_bytes);
    check_hip(runtime, status, what, slot.name);
  }
}

}  // namespace wavejit::host
