// Which lane runs next. Within a wave the lowest lane that can run does; a wave keeps the thread
// until all of its lanes wait at the barrier or have left. The order is fixed, so a launch does the
// same thing every time.
#pragma once

#include <wavejit/simt/diagnose.h>

namespace wavejit::simt {

void lane_main();

inline Lane* first_runnable(Wave& wave) { return wave.lanes + __builtin_ctzll(wave.runnable); }

inline bool is_started(const Lane& lane) { return lane.wave->started >> lane.lane & 1; }

// `lane` begins its kernel on `stack`.
inline void take_stack(Lane& lane, char* stack) {
  lane.wave->started |= lane_bit(lane.lane);
  lane.stack = stack;
}

inline void prepare(Lane& lane) {
  Stacks& stacks = lane.wave->block->stacks;
  take_stack(lane, stacks.acquire());
  start_context(lane.context, lane.stack, stacks.top(lane.stack), lane_main);
}

inline void switch_lane(Lane& from, Lane& to) {
  if (!is_started(to)) [[unlikely]]
    prepare(to);
  *to.wave->block->running = &to;
  switch_context(from.context, to.context);
}

// The members that are still live have all arrived.
inline void complete(Wave& wave, Group& group) {
  group.present[group.round] = group.arrived;
  wave.runnable |= group.arrived;
  group.arrived = 0;
  group.round ^= 1;
}

inline void release_barrier(Block& block) {
  block.runnable_waves = block.waiting_waves;
  for (uint32_t rest = block.waiting_waves; rest != 0; rest &= rest - 1) {
    Wave& wave = block.waves[__builtin_ctz(rest)];
    wave.runnable = wave.live;
    wave.barrier().arrived = 0;
  }
  block.waiting_waves = 0;
}

inline void wait_at_barrier(Wave& wave) {
  Block& block = *wave.block;
  Group& barrier = wave.barrier();
  if (barrier.arrived != wave.live) fail_deadlock(wave);
  if (wave.live != wave.exists) fail_partial_barrier(wave);
  if (block.waiting_waves == 0) block.barrier = barrier.meeting;
  if (!(block.barrier == barrier.meeting)) fail_barrier_sites(wave);
  block.waiting_waves |= uint32_t{1} << wave.index;
}

// Called when no lane of `wave` can run. Null when the block has ended.
[[gnu::noinline]] inline Lane* leave_wave(Wave& wave) {
  Block& block = *wave.block;
  block.runnable_waves &= ~(uint32_t{1} << wave.index);
  if (wave.live != 0) wait_at_barrier(wave);
  if (block.runnable_waves == 0) release_barrier(block);
  if (block.runnable_waves == 0) return nullptr;
  return first_runnable(block.waves[__builtin_ctz(block.runnable_waves)]);
}

// The lane waits; returns when its group or the barrier has let it go.
inline void suspend(Lane& me) {
  Wave& wave = *me.wave;
  wave.runnable &= ~lane_bit(me.lane);
  Lane* next = wave.runnable != 0 ? first_runnable(wave) : leave_wave(wave);
  if (next != &me) switch_lane(me, *next);
}

// The lane no longer counts: groups that only waited for it can go on.
inline void complete_without(Lane& me) {
  Wave& wave = *me.wave;
  for (unsigned level = 1; level <= kTopLevel; ++level) {
    Group& group = wave.group(level, me.lane);
    if (group.arrived == 0) continue;
    if (group.arrived == (wave.live & group_lanes(level, me.lane))) complete(wave, group);
  }
}

// The lane has left the kernel. Returns the lane to run next, null when the block has ended.
inline Lane* retire(Lane& me) {
  Wave& wave = *me.wave;
  wave.live &= ~lane_bit(me.lane);
  wave.runnable &= ~lane_bit(me.lane);
  if ((wave.live & ~wave.runnable) != 0) complete_without(me);
  return wave.runnable != 0 ? first_runnable(wave) : leave_wave(wave);
}

// The bottom of every lane's stack. A lane that has not started yet takes over the stack of the one
// that left, so lanes that meet nobody run in a plain loop.
inline void lane_main() {
  Lane* me = running_lane;
  Block& block = *me->wave->block;
  for (;;) {
    block.entry(block.params);
    Lane* next = retire(*me);
    if (next != nullptr && !is_started(*next)) {
      take_stack(*next, me->stack);
      *block.running = next;
      me = next;
      continue;
    }
    block.stacks.release(me->stack);
    if (next == nullptr) switch_context(me->context, block.main);
    switch_lane(*me, *next);
  }
}

}  // namespace wavejit::simt
