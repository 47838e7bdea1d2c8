// NVIDIA's launch through the driver that the process has; nothing of CUDA is linked or included.
// Names, numbers and layouts are those of the CUDA driver API 12.
#pragma once
#include <wavejit/host/code_object.h>
#include <wavejit/host/launch.h>

namespace wavejit::host {

struct CudaLaunchAttribute {
  int id;
  char padding[4];
  union {
    char bytes[64];
    int flag;
    unsigned extents[3];
  } value;
};
struct CudaLaunchConfig {
  unsigned grid[3];
  unsigned block[3];
  unsigned shared_bytes;
  void* stream;
  CudaLaunchAttribute* attributes;
  unsigned attribute_count;
};
inline constexpr int kClusterDimension = 4;
inline constexpr int kProgrammaticStreamSerialization = 6;
inline constexpr int kMaxDynamicSharedBytes = 8;
inline constexpr int kLargeClustersAllowed = 14;
inline constexpr int kDefaultSharedBytes = 48 * 1024;

struct CudaDriver {
  int (*init)(unsigned);
  int (*retain_primary_context)(void**, int);
  int (*get_context)(void**);
  int (*push_context)(void*);
  int (*pop_context)(void**);
  int (*load)(void**, const void*);
  int (*function)(void**, void*, const char*);
  int (*set_attribute)(void*, int, int);
  int (*launch)(const CudaLaunchConfig*, void*, void**, void**);
  int (*describe)(int, const char**);
  int (*enumerate)(void**, unsigned, void*);  // null in a driver older than 12.4, like the next
  int (*load_function)(void*);
  void* contexts[kMaxDevices];
  void* modules[kMaxDevices];
  bool ready;
};
inline CudaDriver cuda_driver{};

inline void check_cuda(int status, const char* what, const char* kernel) {
  if (status == 0) return;
  const char* text = nullptr;
  cuda_driver.describe(status, &text);
  fail("RuntimeError", "%s: %s failed with CUDA error %d (%s)", kernel, what, status,
       text ? text : "unknown");
}

inline void open_cuda_driver() {
  constexpr char kName[] = "libcuda.so.1";
  void* library = dlopen(kName, RTLD_NOW | RTLD_GLOBAL);
  if (!library) fail("RuntimeError", "%s: is the NVIDIA driver installed?", dlerror());
  CudaDriver& d = cuda_driver;
  d.init = driver_symbol<decltype(d.init)>(library, kName, "cuInit");
  d.retain_primary_context =
      driver_symbol<decltype(d.retain_primary_context)>(library, kName, "cuDevicePrimaryCtxRetain");
  d.get_context = driver_symbol<decltype(d.get_context)>(library, kName, "cuCtxGetCurrent");
  d.push_context = driver_symbol<decltype(d.push_context)>(library, kName, "cuCtxPushCurrent_v2");
  d.pop_context = driver_symbol<decltype(d.pop_context)>(library, kName, "cuCtxPopCurrent_v2");
  d.load = driver_symbol<decltype(d.load)>(library, kName, "cuModuleLoadData");
  d.function = driver_symbol<decltype(d.function)>(library, kName, "cuModuleGetFunction");
  d.set_attribute = driver_symbol<decltype(d.set_attribute)>(library, kName, "cuFuncSetAttribute");
  d.launch = driver_symbol<decltype(d.launch)>(library, kName, "cuLaunchKernelEx");
  d.describe = driver_symbol<decltype(d.describe)>(library, kName, "cuGetErrorString");
  d.enumerate =
      reinterpret_cast<decltype(d.enumerate)>(dlsym(library, "cuModuleEnumerateFunctions"));
  d.load_function = reinterpret_cast<decltype(d.load_function)>(dlsym(library, "cuFuncLoad"));
  check_cuda(d.init(0), "cuInit", "driver");
  d.ready = true;
}

// The device's primary context, which torch uses, made current for the scope if it is not.
class CudaContext {
 public:
  explicit CudaContext(int device) {
    void* wanted = cuda_driver.contexts[device];
    void* current = nullptr;
    check_cuda(cuda_driver.get_context(&current), "cuCtxGetCurrent", "context");
    pushed_ = current != wanted;
    if (pushed_) check_cuda(cuda_driver.push_context(wanted), "cuCtxPushCurrent", "context");
  }
  ~CudaContext() {
    void* ignored;
    if (pushed_) cuda_driver.pop_context(&ignored);
  }

 private:
  bool pushed_;
};

// The device's module, loaded once; the caller holds the lock.
inline void* module_on(int device, const char* who) {
  if (!cuda_driver.ready) open_cuda_driver();
  CudaDriver& d = cuda_driver;
  if (!d.contexts[device]) {
    check_cuda(d.retain_primary_context(&d.contexts[device], device), "cuDevicePrimaryCtxRetain",
               who);
  }
  if (!d.modules[device]) {
    const CudaContext context(device);
    check_cuda(d.load(&d.modules[device], wavejit_code_object), "cuModuleLoadData", who);
  }
  return d.modules[device];
}

// Everything that a later launch would load, so that one inside a graph's capture loads nothing.
// The driver loads a function's code at its first use; one older than 12.4 cannot be asked to
// sooner.
inline void load_code(int64_t index) {
  const int device = checked_device(index);
  constexpr unsigned kMost = 64;
  const LoadLock lock;
  void* module = module_on(device, "load_code");
  const CudaDriver& d = cuda_driver;
  if (!d.enumerate || !d.load_function) return;
  const CudaContext context(device);
  void* functions[kMost] = {};
  check_cuda(d.enumerate(functions, kMost, module), "cuModuleEnumerateFunctions", "load_code");
  for (void* function : functions) {
    if (function) check_cuda(d.load_function(function), "cuFuncLoad", "load_code");
  }
}

[[gnu::cold]] inline void load_kernel(KernelSlot& slot, int device, const Shape& shape) {
  const LoadLock lock;
  void* module = module_on(device, slot.name);
  const CudaDriver& d = cuda_driver;
  const CudaContext context(device);
  void* handle;
  check_cuda(d.function(&handle, module, slot.name), "cuModuleGetFunction", slot.name);
  if (shape.shared_bytes > kDefaultSharedBytes) {
    check_cuda(d.set_attribute(handle, kMaxDynamicSharedBytes, shape.shared_bytes),
               "cuFuncSetAttribute", slot.name);
  }
  if (shape.cluster > kMaxClusterBlocks) {
    check_cuda(d.set_attribute(handle, kLargeClustersAllowed, 1), "cuFuncSetAttribute", slot.name);
  }
  __atomic_store_n(&slot.handles[device], handle, __ATOMIC_RELEASE);
}

template <class Params>
void launch(Kernel<Params> kernel, const Shape& shape, const Params& params) {
  KernelSlot& slot = *kernel.slot;
  if (!worth_launching(slot.name, shape)) return;
  const int device = checked_device(shape.device.id);
  if (!__atomic_load_n(&slot.handles[device], __ATOMIC_ACQUIRE)) {
    load_kernel(slot, device, shape);
  }
  const CudaContext context(device);
  CudaLaunchAttribute attributes[2];
  unsigned count = 0;
  if constexpr (arch::kProgrammaticLaunch) {
    attributes[count] = {kProgrammaticStreamSerialization, {}, {}};
    attributes[count++].value.flag = 1;
  }
  if (shape.cluster > 1) {
    attributes[count] = {kClusterDimension, {}, {}};
    unsigned* extents = attributes[count++].value.extents;
    extents[0] = static_cast<unsigned>(shape.cluster);
    extents[1] = extents[2] = 1;
  }
  const CudaLaunchConfig config{
      {static_cast<unsigned>(shape.grid), static_cast<unsigned>(shape.grid_y), 1},
      {static_cast<unsigned>(shape.block), 1, 1},
      static_cast<unsigned>(shape.shared_bytes),
      TVMFFIEnvGetStream(shape.device.type, device),
      attributes,
      count};
  const Params& told = with_reports(params, slot.name, shape.device);
  void* arguments[] = {const_cast<Params*>(&told)};
  const int status = cuda_driver.launch(&config, slot.handles[device], arguments, nullptr);
  if (status != 0) {
    char what[160];
    snprintf(what, sizeof what, "launch of %lld x %lld blocks of %d lanes with %d bytes shared",
             static_cast<long long>(shape.grid), static_cast<long long>(shape.grid_y), shape.block,
             shape.shared_bytes);
    check_cuda(status, what, slot.name);
  }
}

}  // namespace wavejit::host
