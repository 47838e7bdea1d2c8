// Where a lane is in the source, and the small values shared by every part of the executor.
#pragma once

#include <stdint.h>

namespace wavejit::simt {

// A place in the source. As a default argument, `Site::here()` names the line of the caller.
struct Site {
  const char* file;
  int line;

  static constexpr Site here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
  }
};

struct Dim3 {
  unsigned x, y, z;
};

constexpr uint64_t volume(Dim3 d) { return uint64_t{d.x} * d.y * d.z; }

enum class Kind : uint8_t { kShuffle, kShuffleXor, kShuffleUp, kBallot, kBarrier };

constexpr const char* name(Kind kind) {
  switch (kind) {
    case Kind::kShuffle: return "shuffle";
    case Kind::kShuffleXor: return "shuffle_xor";
    case Kind::kShuffleUp: return "shuffle_up";
    case Kind::kBallot: return "ballot";
    case Kind::kBarrier: return "sync_block";
  }
  return "?";
}

// Two lanes meet only if they are at the same place for the same purpose. File names are compared
// by address: a kernel is one translation unit, in which equal literals are one object.
struct Meeting {
  constexpr Meeting(Site at, Kind what) : file(at.file), line(at.line), kind(what) {}

  const char* file;
  int line;
  Kind kind;

  bool operator==(const Meeting&) const = default;
};

}  // namespace wavejit::simt
