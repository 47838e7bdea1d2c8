// What a kernel calls: its position, and the collectives of a wave and of a block.
//
// A collective of width W concerns the W consecutive lanes, aligned to W, around the caller. It
// completes when all of them that have not left the kernel are there; other lanes of the wave are
// not involved. Reading a lane that is not there is an error, and so is leaving the group.
#pragma once

#include <string.h>

#include <wavejit/simt/schedule.h>
#include <wavejit/platform/together.cuh>

namespace wavejit::simt {

inline Dim3 thread_index() {
  const Lane& me = *current_lane();
  return {me.x, me.y, me.z};
}
inline Dim3 block_index() { return current_lane()->wave->block->index; }
inline Dim3 block_dim() { return current_lane()->wave->block->dim; }
inline Dim3 grid_dim() { return current_lane()->wave->block->grid; }
inline int lane_id() { return current_lane()->lane; }
inline void* dynamic_shared() { return current_lane()->wave->block->dynamic_shared; }

// What the lanes of a round brought: slots by lane of the wave, of which `present` are valid.
struct Exchange {
  const uint64_t* slots;
  uint64_t present;
};

inline void join(Lane& me, Group& group, unsigned width, Meeting mine) {
  if (static_cast<char*>(__builtin_frame_address(0)) < me.stack) [[unlikely]] {
    fail_stack(me, width, mine);
  }
  if (group.arrived == 0) {
    group.meeting = mine;
  } else if (!(group.meeting == mine)) [[unlikely]] {
    fail_divergence(me, width, mine);
  }
  group.arrived |= lane_bit(me.lane);
}

inline void meet(Lane& me, Group& group, unsigned level, Meeting mine) {
  join(me, group, 1u << level, mine);
  if (group.arrived == (me.wave->live & group_lanes(level, me.lane))) {
    complete(*me.wave, group);
  } else {
    suspend(me);
  }
}

[[gnu::noinline]] inline Exchange exchange(Lane& me, unsigned level, uint64_t value, Kind kind,
                                           Site at) {
  Group& group = me.wave->group(level, me.lane);
  const unsigned round = group.round;
  uint64_t* slots = me.wave->slots[level][round];
  slots[me.lane] = value;
  meet(me, group, level, {at, kind});
  return {slots, group.present[round]};
}

[[gnu::noinline]] inline uint64_t vote(Lane& me, unsigned level, bool value, Site at) {
  Group& group = me.wave->group(level, me.lane);
  const unsigned round = group.round;
  if (group.arrived == 0) group.votes[round] = 0;
  group.votes[round] |= uint64_t{value} << me.lane;
  meet(me, group, level, {at, Kind::kBallot});
  return group.votes[round];
}

[[gnu::noinline]] inline void sync_block(Site at = Site::here()) {
  Lane& me = *current_lane();
  join(me, me.wave->barrier(), kWave, {at, Kind::kBarrier});
  suspend(me);
}

// A power of two of at most the wave, as a level of its groups.
template <int kWidth>
constexpr unsigned level_of() {
  static_assert(kWidth >= 1 && kWidth <= static_cast<int>(kWave), "wider than the wave");
  static_assert((kWidth & (kWidth - 1)) == 0, "a group's width is a power of two");
  return static_cast<unsigned>(__builtin_ctz(kWidth));
}

template <class T>
inline T read_lane(Lane& me, unsigned level, T value, unsigned source, Kind kind, Site at) {
  static_assert(sizeof(T) <= 8 && __is_trivially_copyable(T), "a shuffle carries up to 8 bytes");
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof value);
  const Exchange lanes = exchange(me, level, bits, kind, at);
  if (!(lanes.present >> source & 1)) [[unlikely]] {
    fail_absent(me, source, 1u << level, {at, kind});
  }
  memcpy(&value, &lanes.slots[source], sizeof value);
  return value;
}

// Together::kWave: the wave's lanes meet, not only the group's, and exchange within the group.
template <int kWidth, Together kWho = Together::kGroup, class T>
inline T shuffle_xor(T value, int lane_mask, Site at = Site::here()) {
  constexpr int kMeeting = kWho == Together::kWave ? static_cast<int>(kWave) : kWidth;
  Lane& me = *current_lane();
  if (static_cast<unsigned>(lane_mask) >= static_cast<unsigned>(kWidth)) [[unlikely]] {
    fail_outside(me, lane_mask, kWidth, {at, Kind::kShuffleXor});
  }
  const unsigned source = me.lane ^ static_cast<unsigned>(lane_mask);
  return read_lane(me, level_of<kMeeting>(), value, source, Kind::kShuffleXor, at);
}

// `source_lane` counts from the group's first lane.
template <int kWidth, class T>
inline T shuffle(T value, int source_lane, Site at = Site::here()) {
  Lane& me = *current_lane();
  if (static_cast<unsigned>(source_lane) >= static_cast<unsigned>(kWidth)) [[unlikely]] {
    fail_outside(me, source_lane, kWidth, {at, Kind::kShuffle});
  }
  const unsigned first = me.lane & ~(static_cast<unsigned>(kWidth) - 1);
  const unsigned source = first + static_cast<unsigned>(source_lane);
  return read_lane(me, level_of<kWidth>(), value, source, Kind::kShuffle, at);
}

// The lanes of a group below `delta` keep their value.
template <int kWidth, class T>
inline T shuffle_up(T value, int delta, Site at = Site::here()) {
  Lane& me = *current_lane();
  if (delta < 0) [[unlikely]]
    fail_outside(me, delta, kWidth, {at, Kind::kShuffleUp});
  const int position = me.lane & (kWidth - 1);
  const unsigned source = position < delta ? me.lane : me.lane - static_cast<unsigned>(delta);
  return read_lane(me, level_of<kWidth>(), value, source, Kind::kShuffleUp, at);
}

// Bit i is the vote of the group's lane i; lanes that are not there vote 0.
template <int kWidth>
inline uint64_t ballot(bool value, Site at = Site::here()) {
  Lane& me = *current_lane();
  const unsigned first = me.lane & ~(static_cast<unsigned>(kWidth) - 1);
  return vote(me, level_of<kWidth>(), value, at) >> first;
}

}  // namespace wavejit::simt
