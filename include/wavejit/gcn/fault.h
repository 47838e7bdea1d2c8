// What stops an execution: thrown by a handler, completed with its place by the block's loop.
#pragma once
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

namespace wavejit::gcn {

// The order is that of python/wavejit/gcn/errors.py.
enum class FaultKind : uint32_t {
  kNone,
  kOutOfBounds,
  kUninitialisedRead,
  kMissingWait,
  kSharedRace,
  kDivergentBarrier,
  kRunawayLoop,
  kUnknownInstruction,
};

struct Fault {
  FaultKind kind;
  uint64_t lanes;  // those it happened to
  char what[384];
};

[[noreturn, gnu::format(printf, 3, 4), gnu::cold]] inline void raise(FaultKind kind, uint64_t lanes,
                                                                     const char* format, ...) {
  Fault fault{kind, lanes, {}};
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(fault.what, sizeof fault.what, format, arguments);
  va_end(arguments);
  throw fault;
}

}  // namespace wavejit::gcn
