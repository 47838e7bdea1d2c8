// The stacks of one executor's lanes. They are handed out last in, first out, so that a kernel
// without barriers keeps using the few stacks that its caches already hold.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

namespace wavejit::simt {

inline constexpr unsigned kMaxLanes = 1024;
inline constexpr size_t kStackBytes = 64 * 1024;

// A stack is named by its lowest address. It grows down towards it.
class Stacks {
 public:
  static size_t page() { return static_cast<size_t>(sysconf(_SC_PAGESIZE)); }
  static size_t stride() { return page() + kStackBytes + kColours * kColourBytes; }

  // `base` is the start of kMaxLanes * stride() bytes.
  void place(char* base) {
    base_ = base;
    page_ = page();
    stride_ = stride();
  }

  // Everything is free again: after a block that failed with lanes still waiting.
  void reset() {
    free_count_ = touched_;
    for (unsigned i = 0; i < touched_; ++i) free_[i] = bottom(touched_ - 1 - i);
  }

  char* acquire() {
    if (free_count_ != 0) return free_[--free_count_];
    const unsigned index = touched_++;
    if (index % kGuardSpacing == 0) mprotect(bottom(index) - page_, page_, PROT_NONE);
    return bottom(index);
  }

  void release(char* stack) { free_[free_count_++] = stack; }

  // Lanes in lockstep use the same depth of their stacks. Starting each stack at another cache
  // line keeps those depths from falling into one set of the cache.
  char* top(char* stack) const {
    const size_t index = static_cast<size_t>(stack - base_) / stride_;
    return stack + kStackBytes + index % kColours * kColourBytes;
  }

 private:
  static constexpr size_t kColours = 48;
  static constexpr size_t kColourBytes = 320;
  // Below every 16th stack there is a page that faults. Below every one would be dear: it splits a
  // mapping, of which a process has some 65,000 for all its libraries and threads. An overflow into
  // a neighbour is reported when the lane reaches its next collective.
  static constexpr unsigned kGuardSpacing = 16;

  char* bottom(unsigned index) const { return base_ + index * stride_ + page_; }

  char* base_;
  size_t page_, stride_;
  unsigned touched_;  // stacks 0 .. touched_-1 have been used before
  unsigned free_count_;
  char* free_[kMaxLanes];
};

}  // namespace wavejit::simt
