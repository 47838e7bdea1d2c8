// A HIP runtime without a device: it writes down what it is asked for.
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static char said[4096];
static int current = 0;

template <class... Values>
static void say(const char* format, Values... values) {
  const size_t size = strlen(said);
  snprintf(said + size, sizeof said - size, format, values...);
}

extern "C" {
int fail_at_launch = 0;
const char* what_was_said() { return said; }

int hipGetDevice(int* device) {
  *device = current;
  return 0;
}
int hipSetDevice(int device) {
  current = device;
  say("set %d\n", device);
  return 0;
}
int hipModuleLoadData(void** module, const void* image) {
  const unsigned char* bytes = static_cast<const unsigned char*>(image);
  // the first bytes of the object, its machine and the target's flags
  say("load %02x%c%c%c machine %d flags %02x aligned %d on %d\n", bytes[0], bytes[1], bytes[2],
      bytes[3], bytes[18], bytes[48], static_cast<int>(reinterpret_cast<uintptr_t>(image) % 4096),
      current);
  *module = const_cast<void*>(image);
  return 0;
}
int hipModuleGetFunction(void** function, void* module, const char* name) {
  say("function %s\n", name);
  *function = module;
  return 0;
}
int hipModuleLaunchKernel(void* function, unsigned x, unsigned y, unsigned z, unsigned block_x,
                          unsigned block_y, unsigned block_z, unsigned shared, void* stream,
                          void** params, void** extra) {
  uint64_t first;
  memcpy(&first, params[0], sizeof first);
  say("launch %d grid %u %u %u block %u %u %u shared %u stream %d extra %d params %llx on %d\n",
      function != nullptr, x, y, z, block_x, block_y, block_z, shared, stream != nullptr,
      extra != nullptr, static_cast<unsigned long long>(first), current);
  return fail_at_launch;
}
const char* hipGetErrorString(int status) { return status == 98 ? "invalid function" : "unknown"; }
}
