// The library's exported functions: tvm-ffi's packed arguments in, a Python exception or None out.
#pragma once
#include <tvm/ffi/c_api.h>
#include <wavejit/host/arguments.h>

namespace wavejit::host {

template <void (*kFunction)(Arguments&)>
int call(const TVMFFIAny* values, int32_t count, TVMFFIAny* result) {
  try {
    Arguments arguments(values, count);
    kFunction(arguments);
    result->type_index = kTVMFFINone;
    result->zero_padding = 0;
    result->v_int64 = 0;
    return 0;
  } catch (const Error& error) {
    TVMFFIErrorSetRaisedFromCStr(error.kind, error.message);
    return -1;
  }
}

#if defined(WAVEJIT_LAUNCHES)
// load_code(device): the device's code into this process, as the first launch there would.
inline void load_code_of(Arguments& arguments) {
  const int64_t device = arguments.integer("device");
  arguments.end();
  load_code(device);
}
#endif

#if defined(WAVEJIT_EMULATES)
inline void emulate_with_functions(Arguments& arguments) {
  const int64_t functions = arguments.integer("functions");
  arguments.end();
  emulate_with(functions);
}
#endif

}  // namespace wavejit::host

#define WAVEJIT_EXPORT(function, name)                                         \
  extern "C" __attribute__((visibility("default"))) int __tvm_ffi_##name(      \
      void*, const TVMFFIAny* values, int32_t count, TVMFFIAny* result) {      \
    return ::wavejit::host::call<&::wavejit::function>(values, count, result); \
  }

#if defined(WAVEJIT_CHECKED) && defined(WAVEJIT_LAUNCHES)
WAVEJIT_EXPORT(host::report_to, report_to)
#endif
