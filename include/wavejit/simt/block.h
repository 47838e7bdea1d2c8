// The state of the block that a thread executes: lanes, waves and the groups in which lanes meet.
// It is plain memory, zero at first; schedule.h moves the lanes through it.
#pragma once

#include <wavejit/simt/context.h>
#include <wavejit/simt/site.h>
#include <wavejit/simt/stacks.h>

namespace wavejit::simt {

inline constexpr unsigned kWave = arch::kWaveSize;
static_assert(kWave == 32 || kWave == 64, "a wave has 32 or 64 lanes");
inline constexpr unsigned kMaxWaves = kMaxLanes / kWave;
inline constexpr unsigned kTopLevel = kWave == 64 ? 6 : 5;  // level n: groups of 2^n lanes
inline constexpr size_t kMessageBytes = 2048;

struct Wave;
struct Block;

struct alignas(32) Lane {
  Context context;
  Wave* wave;
  char* stack;
  uint16_t x, y, z;  // within the block
  uint16_t lane;     // within the wave
};

// The collective that a group of lanes is gathering for. Results are kept for two rounds in turn:
// a lane can only be one round ahead of the slowest reader of its group.
struct Group {
  uint64_t arrived;     // lanes of the wave that wait here
  Meeting meeting;      // what they wait for; meaningful while arrived != 0
  unsigned round;       // 0 or 1
  uint64_t present[2];  // lanes that took part
  uint64_t votes[2];
};

struct Wave {
  uint64_t live;      // lanes that have not left the kernel
  uint64_t runnable;  // live lanes that wait for nothing
  uint64_t started;   // lanes that own a stack or have left
  uint64_t exists;    // fewer than kWave lanes in a partial last wave
  Lane* lanes;
  Block* block;
  unsigned index;
  // A binary heap: the group of 2^level lanes that holds `lane` is (kWave + lane) >> level, the
  // whole wave is 1. Index 0, free in a heap, is the block's barrier.
  Group groups[2 * kWave];
  // Per level, because groups of another width may run ahead by any number of rounds.
  uint64_t slots[kTopLevel + 1][2][kWave];

  Group& barrier() { return groups[0]; }
  Group& group(unsigned level, unsigned lane) { return groups[(kWave + lane) >> level]; }
};

struct Block {
  void (*entry)(const void*);
  const void* params;
  const char* kernel;
  Dim3 index, dim, grid;
  unsigned lane_count, wave_count;
  uint32_t runnable_waves, waiting_waves;
  Meeting barrier;  // where the waiting waves wait
  char* dynamic_shared;
  size_t dynamic_bytes;
  size_t dynamic_capacity;
  Lane** running;  // this thread's running_lane
  Context main;    // the thread's own stack
  bool failed;
  char message[kMessageBytes];
  Stacks stacks;
  Wave waves[kMaxWaves];
  Lane lanes[kMaxLanes];
};

constexpr uint64_t lane_bit(unsigned lane) { return uint64_t{1} << lane; }
constexpr uint64_t low_lanes(unsigned count) {
  return count == 64 ? ~uint64_t{0} : lane_bit(count) - 1;
}
constexpr uint64_t group_lanes(unsigned level, unsigned lane) {
  return low_lanes(1u << level) << (lane >> level << level);
}

[[gnu::visibility("hidden")]] inline constinit thread_local Lane* running_lane = nullptr;

// `const` holds within a kernel: whatever runs meanwhile, a kernel's activation belongs to one
// lane. So a kernel looks its lane up once, not at each use. The scheduler must not call this.
[[gnu::const, gnu::noinline]] inline Lane* current_lane() { return running_lane; }

}  // namespace wavejit::simt
