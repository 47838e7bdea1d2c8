// What a launch reports when lanes disagree. Every function writes the block's message and leaves
// the block for good: its lanes are abandoned where they wait.
#pragma once

#include <stdarg.h>
#include <stdio.h>

#include <wavejit/simt/block.h>

namespace wavejit::simt {

class Report {
 public:
  explicit Report(Block& block) : out_(block.message) { out_[0] = '\0'; }

  [[gnu::format(printf, 2, 3), gnu::cold]] void add(const char* format, ...) {
    va_list args;
    va_start(args, format);
    const int written = vsnprintf(out_ + used_, kMessageBytes - used_, format, args);
    va_end(args);
    used_ += static_cast<size_t>(written);
    if (used_ >= kMessageBytes) used_ = kMessageBytes - 1;
  }

  void add_block(const Block& block) {
    add("kernel %s, block (%u,%u,%u)", block.kernel, block.index.x, block.index.y, block.index.z);
  }

  void add_lane(const Lane& lane) {
    add_block(*lane.wave->block);
    add(", wave %u, lane %u (thread %u,%u,%u): ", lane.wave->index, lane.lane, lane.x, lane.y,
        lane.z);
  }

  // "lanes 0-3,7"
  void add_lanes(uint64_t lanes) {
    const bool one = (lanes & (lanes - 1)) == 0;
    const char* separator = one ? "lane " : "lanes ";
    for (unsigned first = 0; first < kWave; ++first) {
      if (!(lanes >> first & 1)) continue;
      unsigned last = first;
      while (last + 1 < kWave && lanes >> (last + 1) & 1) ++last;
      add(first == last ? "%s%u" : "%s%u-%u", separator, first, last);
      separator = ",";
      first = last;
    }
  }

  // "shuffle<32> (kernel.cu:7)"
  void add_meeting(Meeting meeting, unsigned width) {
    add("%s", name(meeting.kind));
    if (meeting.kind != Kind::kBarrier) add("<%u>", width);
    add(" (%s:%d)", meeting.file, meeting.line);
  }

  // What each lane of the wave but `subject` is doing.
  void add_wave(Wave& wave, uint64_t subject = 0) {
    const char* separator = "";
    for (unsigned node = 0; node < 2 * kWave; ++node) {
      const uint64_t waiting = wave.groups[node].arrived & ~subject;
      if (waiting == 0) continue;
      add("%s", separator);
      add_lanes(waiting);
      add((waiting & (waiting - 1)) == 0 ? " waits at " : " wait at ");
      add_meeting(wave.groups[node].meeting, width_of(node));
      separator = "; ";
    }
    const uint64_t others[] = {wave.exists & ~wave.live, wave.runnable & ~subject};
    const char* const doing[] = {"left the kernel", "not there yet"};
    for (int i = 0; i < 2; ++i) {
      if (others[i] == 0) continue;
      add("%s", separator);
      add_lanes(others[i]);
      add(" %s", doing[i]);
      separator = "; ";
    }
  }

 private:
  static unsigned width_of(unsigned node) {
    return node == 0 ? kWave : kWave >> (31 - __builtin_clz(node));
  }

  char* out_;
  size_t used_ = 0;
};

[[noreturn]] inline void abandon(Block& block) {
  block.failed = true;
  switch_context((*block.running)->context, block.main);
  __builtin_unreachable();
}

// A lane arrives where another lane of the same group waits for something else.
[[noreturn, gnu::cold, gnu::noinline]] inline void fail_divergence(Lane& me, unsigned width,
                                                                   Meeting mine) {
  Report report(*me.wave->block);
  report.add_lane(me);
  report.add("divergence: this lane is at ");
  report.add_meeting(mine, width);
  report.add(" while ");
  report.add_wave(*me.wave, lane_bit(me.lane));
  abandon(*me.wave->block);
}

[[noreturn, gnu::cold, gnu::noinline]] inline void fail_absent(Lane& me, unsigned source,
                                                               unsigned width, Meeting mine) {
  Report report(*me.wave->block);
  report.add_lane(me);
  report.add_meeting(mine, width);
  if (me.wave->exists >> source & 1) {
    report.add(" reads lane %u, which has left the kernel", source);
  } else {
    report.add(" reads lane %u, which does not exist: the block has %u lanes", source,
               me.wave->block->lane_count);
  }
  abandon(*me.wave->block);
}

[[noreturn, gnu::cold, gnu::noinline]] inline void fail_outside(Lane& me, int operand,
                                                                unsigned width, Meeting mine) {
  Report report(*me.wave->block);
  report.add_lane(me);
  report.add_meeting(mine, width);
  const char* what = mine.kind == Kind::kShuffle      ? "source lane"
                     : mine.kind == Kind::kShuffleXor ? "lane mask"
                                                      : "delta";
  if (mine.kind == Kind::kShuffleUp) {
    report.add(" has %s %d, which is negative", what, operand);
  } else {
    report.add(" has %s %d, which is not in 0..%u: it leaves the group of %u lanes", what, operand,
               width - 1, width);
  }
  abandon(*me.wave->block);
}

[[noreturn, gnu::cold, gnu::noinline]] inline void fail_stack(Lane& me, unsigned width,
                                                              Meeting mine) {
  Report report(*me.wave->block);
  report.add_lane(me);
  report.add("stack overflow, found at ");
  report.add_meeting(mine, width);
  report.add(": the local variables of a lane exceed %zu bytes", kStackBytes);
  abandon(*me.wave->block);
}

[[noreturn, gnu::cold, gnu::noinline]] inline void fail_partial_barrier(Wave& wave) {
  Report report(*wave.block);
  report.add_block(*wave.block);
  report.add(", wave %u: divergent barrier: ", wave.index);
  report.add_wave(wave);
  report.add("; a barrier needs every lane of a wave, or none");
  abandon(*wave.block);
}

[[noreturn, gnu::cold, gnu::noinline]] inline void fail_barrier_sites(Wave& wave) {
  Block& block = *wave.block;
  Report report(block);
  report.add_block(block);
  report.add(", wave %u: divergent barrier: ", wave.index);
  report.add_wave(wave);
  report.add(" while wave %d waits at ", __builtin_ctz(block.waiting_waves));
  report.add_meeting(block.barrier, kWave);
  abandon(block);
}

// Every live lane of the wave waits, and nothing outside the wave can release one.
[[noreturn, gnu::cold, gnu::noinline]] inline void fail_deadlock(Wave& wave) {
  Block& block = *wave.block;
  Report report(block);
  report.add_block(block);
  report.add(", wave %u: deadlock by divergence, no lane of the wave can run: ", wave.index);
  report.add_wave(wave);
  for (unsigned i = 0; i < block.wave_count; ++i) {
    Wave& other = block.waves[i];
    if (&other == &wave || other.live == 0) continue;
    report.add("; wave %u: ", i);
    report.add_wave(other);
  }
  abandon(block);
}

}  // namespace wavejit::simt
