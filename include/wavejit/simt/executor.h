// Executes the blocks of a job one after the other on the calling thread.
#pragma once

#include <stdlib.h>
#include <string.h>

#include <wavejit/simt/pool.h>
#include <wavejit/simt/schedule.h>

namespace wavejit::simt {

// What all blocks of a launch have in common.
struct Job {
  const char* kernel;
  void (*entry)(const void*);
  const void* params;
  Dim3 grid, dim;
  size_t dynamic_bytes;
};

class Executor {
 public:
  explicit Executor(const Job& job) : block_(take_block()) {
    if (block_ == nullptr) return;
    block_->entry = job.entry;
    block_->params = job.params;
    block_->kernel = job.kernel;
    block_->grid = job.grid;
    block_->running = &running_lane;
    place_lanes(job.dim);
    ready_ = reserve_shared(job.dynamic_bytes);
  }
  ~Executor() {
    if (block_ != nullptr) give_back(block_);
  }
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  // False when there was no memory.
  bool ready() const { return ready_; }

  // Runs one block to its end; null, or the message of what went wrong.
  const char* run(uint64_t linear) {
    Block& block = *block_;
    block.index.x = static_cast<unsigned>(linear % block.grid.x);
    block.index.y = static_cast<unsigned>(linear / block.grid.x % block.grid.y);
    block.index.z = static_cast<unsigned>(linear / block.grid.x / block.grid.y);
    for (unsigned i = 0; i < block.wave_count; ++i) {
      Wave& wave = block.waves[i];
      wave.live = wave.runnable = wave.exists;
      wave.started = 0;
    }
    block.runnable_waves = static_cast<uint32_t>(low_lanes(block.wave_count));
    // All ones is a NaN in every format: what a kernel reads before it writes shows.
    if (block.dynamic_bytes != 0) memset(block.dynamic_shared, 0xff, block.dynamic_bytes);
    Lane& first = block.lanes[0];
    prepare(first);
    running_lane = &first;
    switch_context(block.main, first.context);
    running_lane = nullptr;
    if (!block.failed) return nullptr;
    forget_failure();
    return block.message;
  }

 private:
  bool reserve_shared(size_t bytes) {
    constexpr size_t kAlignment = 128;
    Block& block = *block_;
    block.dynamic_bytes = bytes;
    if (bytes <= block.dynamic_capacity) return true;
    const size_t capacity = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    free(block.dynamic_shared);
    block.dynamic_shared = static_cast<char*>(aligned_alloc(kAlignment, capacity));
    block.dynamic_capacity = block.dynamic_shared == nullptr ? 0 : capacity;
    return block.dynamic_shared != nullptr;
  }

  void place_lanes(Dim3 dim) {
    Block& block = *block_;
    if (block.dim.x == dim.x && block.dim.y == dim.y && block.dim.z == dim.z) return;
    block.dim = dim;
    block.lane_count = static_cast<unsigned>(volume(dim));
    block.wave_count = (block.lane_count + kWave - 1) / kWave;
    for (unsigned i = 0; i < block.lane_count; ++i) {
      Lane& lane = block.lanes[i];
      lane.wave = &block.waves[i / kWave];
      lane.lane = static_cast<uint16_t>(i % kWave);
      lane.x = static_cast<uint16_t>(i % dim.x);
      lane.y = static_cast<uint16_t>(i / dim.x % dim.y);
      lane.z = static_cast<uint16_t>(i / dim.x / dim.y);
    }
    for (unsigned i = 0; i < block.wave_count; ++i) {
      Wave& wave = block.waves[i];
      const unsigned rest = block.lane_count - i * kWave;
      wave.exists = low_lanes(rest < kWave ? rest : kWave);
      wave.lanes = &block.lanes[i * kWave];
      wave.block = &block;
      wave.index = i;
    }
  }

  // Lanes were left waiting: empty the groups and take their stacks back.
  void forget_failure() {
    block_->failed = false;
    block_->waiting_waves = 0;
    block_->stacks.reset();
    for (unsigned i = 0; i < block_->wave_count; ++i) {
      for (Group& group : block_->waves[i].groups) group.arrived = 0;
    }
  }

  Block* block_;
  bool ready_ = false;
};

}  // namespace wavejit::simt
