// A CUDA driver without a device: it writes down what it is asked for.
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static char said[4096];
static intptr_t handles = 0;

template <class... Values>
static void say(const char* format, Values... values) {
  const size_t size = strlen(said);
  snprintf(said + size, sizeof said - size, format, values...);
}

struct Config {
  unsigned grid[3];
  unsigned block[3];
  unsigned shared_bytes;
};

extern "C" {
const char* what_was_said() { return said; }

int cuInit(unsigned) { return 0; }
int cuDevicePrimaryCtxRetain(void** context, int device) {
  *context = reinterpret_cast<void*>(intptr_t{100} + device);
  return 0;
}
int cuCtxGetCurrent(void** context) {
  *context = reinterpret_cast<void*>(intptr_t{100});
  return 0;
}
int cuCtxPushCurrent_v2(void*) { return 0; }
int cuCtxPopCurrent_v2(void**) { return 0; }
int cuModuleLoadData(void** module, const void*) {
  *module = reinterpret_cast<void*>(++handles);
  say("module %ld\n", static_cast<long>(handles));
  return 0;
}
int cuModuleGetFunction(void** function, void* module, const char* name) {
  *function = reinterpret_cast<void*>(++handles);
  say("function %ld of %ld %s\n", static_cast<long>(handles),
      static_cast<long>(reinterpret_cast<intptr_t>(module)), name);
  return 0;
}
int cuFuncSetAttribute(void* function, int attribute, int value) {
  say("attribute %d of %ld = %d\n", attribute,
      static_cast<long>(reinterpret_cast<intptr_t>(function)), value);
  return 0;
}
int cuLaunchKernelEx(const Config* config, void* function, void**, void**) {
  say("launch %ld shared %u\n", static_cast<long>(reinterpret_cast<intptr_t>(function)),
      config->shared_bytes);
  return 0;
}
int cuGetErrorString(int, const char** text) {
  *text = "unknown";
  return 0;
}
}
