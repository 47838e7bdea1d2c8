// Errors at the call boundary: they become Python exceptions of the named kind.
#pragma once
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

namespace wavejit::host {

struct Error {
  const char* kind;  // the Python exception's name
  char message[1024];
};

[[noreturn, gnu::format(printf, 2, 3), gnu::cold]] inline void fail(const char* kind,
                                                                    const char* format, ...) {
  Error error{kind, {}};
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(error.message, sizeof error.message, format, arguments);
  va_end(arguments);
  throw error;
}

// Text that grows inside a fixed buffer; what does not fit is cut.
struct Text {
  char data[512] = {};
  size_t size = 0;

  [[gnu::format(printf, 2, 3)]] void add(const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    const int wrote = vsnprintf(data + size, sizeof data - size, format, arguments);
    va_end(arguments);
    const size_t room = sizeof data - 1 - size;
    size += wrote < 0 ? 0 : (static_cast<size_t>(wrote) < room ? static_cast<size_t>(wrote) : room);
  }
};

}  // namespace wavejit::host
