// A launch: block after block, each with its waves in turn until all wait at the same barrier.
#pragma once
#include <wavejit/gcn/program.h>
#include <wavejit/simt/float_mode.h>

namespace wavejit::gcn {

inline constexpr int kMaxInitialScalars = 32;
inline constexpr uint8_t kNoRegister = 255;

// What Python hands over for a launch; python/wavejit/gcn/native.py has the same layout.
struct LaunchRequest {
  const Program* program;
  uint64_t image;
  const Region* regions;
  Count* counts;
  uint32_t region_count;
  uint32_t entry;  // index of the kernel's first instruction
  uint32_t grid[3], block[3];
  uint32_t shared_bytes, scratch_bytes;
  uint32_t vector_registers, mode;
  int32_t perturbation;
  uint32_t checks, fnuz;
  uint64_t instruction_limit;  // of one wave
  uint32_t initial[kMaxInitialScalars];
  uint32_t initial_count;
  uint8_t block_id_register[3];
  uint8_t padding;
  // the answer
  uint64_t waves, blocks, executed;
  uint32_t fault, fault_op;
  uint32_t fault_block[3], fault_wave;
  uint64_t fault_lanes;
  char what[384];
};

struct Launch {
  LaunchRequest& request;
  Machine machine;
  Block block;
  Wave* waves;
  uint8_t* scratch;
};

inline uint32_t threads_of(const LaunchRequest& r) { return r.block[0] * r.block[1] * r.block[2]; }

// Where each lane is in its block, packed as this generation has it in v0.
inline void number_lanes(Wave& w, const LaunchRequest& r) {
  for (int i = 0; i < kLanes; ++i) {
    const uint32_t t = w.index * kLanes + static_cast<uint32_t>(i);
    const uint32_t x = t % r.block[0], y = t / r.block[0] % r.block[1];
    w.vector[0][i] = x | y << 10 | t / (r.block[0] * r.block[1]) << 20;
  }
}

inline void start_scalars(Wave& w, const LaunchRequest& r) {
  memset(w.scalar_state, w.checks ? kUnwritten : kReady, sizeof w.scalar_state);
  memset(w.unwritten_bits, 0xff, sizeof w.unwritten_bits);
  memset(w.scalar, 0, sizeof w.scalar);
  for (uint32_t i = 0; i < r.initial_count; ++i) write_scalar(w, static_cast<int>(i), r.initial[i]);
  for (int axis = 0; axis < 3; ++axis) {
    if (r.block_id_register[axis] != kNoRegister) {
      write_scalar(w, r.block_id_register[axis], w.block->id[axis]);
    }
  }
  write_scalar64(w, kExec, w.lanes);
}

inline void start_wave(Launch& launch, uint32_t index) {
  const LaunchRequest& r = launch.request;
  Wave& w = launch.waves[index];
  memset(w.vector, 0, sizeof w.vector[0] * r.vector_registers);
  memset(w.vector + 256, 0, sizeof w.vector[0] * r.vector_registers);
  memset(w.blocked, r.checks ? 0xff : 0, sizeof w.blocked);
  memset(w.pending, 0, sizeof w.pending);
  memset(w.loading, 0, sizeof w.loading);
  w.memory.size = w.shared.size = w.scalars.size = 0;
  w.block = &launch.block;
  w.machine = &launch.machine;
  w.index = index;
  w.checks = r.checks;
  const uint32_t first = index * kLanes, threads = threads_of(r);
  w.lanes = threads - first >= kLanes ? ~uint64_t{0} : (uint64_t{1} << (threads - first)) - 1;
  w.bypassed = 0;
  w.unknown_half[0] = w.unknown_half[1] = 0;
  w.executed = 0;
  w.scc = 0;
  w.stop = Stop::kNot;
  w.pc = r.entry;
  w.scratch_bytes = r.scratch_bytes;
  w.scratch = launch.scratch + size_t{index} * kLanes * r.scratch_bytes;
  start_scalars(w, r);
  set_mode(w, r.mode);
  number_lanes(w, r);
  w.blocked[0] = 0;
}

inline void run_wave(Wave& w, uint64_t slice) {
  const Op* ops = w.machine->ops;
  Count* counts = w.machine->counts;
  for (uint64_t left = slice; left > 0; --left) {
    const uint32_t at = w.pc++;
    ++counts[at].runs;
    ++w.executed;
    ops[at].run(w, ops[at]);
    if (w.stop != Stop::kNot) return;
  }
}

inline void place_fault(Launch& launch, const Wave& w, uint32_t op, const Fault& fault) {
  LaunchRequest& r = launch.request;
  r.fault = static_cast<uint32_t>(fault.kind);
  r.fault_op = op;
  memcpy(r.fault_block, launch.block.id, sizeof r.fault_block);
  r.fault_wave = w.index;
  r.fault_lanes = fault.lanes;
  memcpy(r.what, fault.what, sizeof r.what);
}

inline bool run_guarded(Launch& launch, Wave& w) {
  constexpr uint64_t kSlice = 1 << 16;
  const uint64_t left = launch.machine.instruction_limit - w.executed;
  try {
    run_wave(w, left < kSlice ? left : kSlice);
    if (w.stop != Stop::kNot || w.executed < launch.machine.instruction_limit) return true;
    ++w.pc;  // so that the next instruction is named
    raise(FaultKind::kRunawayLoop, w.exec, "the wave has executed %llu instructions",
          static_cast<unsigned long long>(w.executed));
  } catch (const Fault& fault) {
    place_fault(launch, w, w.pc - 1, fault);
    return false;
  }
}

// All living waves wait: at one barrier, or the block is broken.
inline bool pass_barrier(Launch& launch) {
  const Op* ops = launch.machine.ops;
  const Wave* first = nullptr;
  for (uint32_t i = 0; i < launch.block.wave_count; ++i) {
    Wave& w = launch.waves[i];
    if (w.stop != Stop::kBarrier) continue;
    if (!first) first = &w;
    if (w.waiting_at != first->waiting_at && launch.machine.checks) {
      Fault fault{FaultKind::kDivergentBarrier, w.exec, {}};
      snprintf(fault.what, sizeof fault.what,
               "waves %u and %u wait at different barriers (pc 0x%x and 0x%x)", first->index,
               w.index, ops[first->waiting_at].pc, ops[w.waiting_at].pc);
      place_fault(launch, w, w.waiting_at, fault);
      return false;
    }
  }
  for (uint32_t i = 0; i < launch.block.wave_count; ++i) {
    Wave& w = launch.waves[i];
    if (w.stop == Stop::kBarrier) w.stop = Stop::kNot;
  }
  ++launch.block.epoch;
  return true;
}

inline bool run_block(Launch& launch) {
  LaunchRequest& r = launch.request;
  Block& block = launch.block;
  block.epoch = 1;
  memset(block.shared, 0, r.shared_bytes);
  if (r.checks) memset(block.history, 0, sizeof(SharedByte) * r.shared_bytes);
  for (uint32_t i = 0; i < block.wave_count; ++i) start_wave(launch, i);
  for (;;) {
    uint32_t ended = 0, waiting = 0;
    for (uint32_t i = 0; i < block.wave_count; ++i) {
      Wave& w = launch.waves[i];
      if (w.stop == Stop::kNot && !run_guarded(launch, w)) return false;
      ended += w.stop == Stop::kEnded;
      waiting += w.stop == Stop::kBarrier;
    }
    if (ended == block.wave_count) break;
    if (ended + waiting == block.wave_count && !pass_barrier(launch)) return false;
  }
  for (uint32_t i = 0; i < block.wave_count; ++i) r.executed += launch.waves[i].executed;
  r.waves += block.wave_count;
  ++r.blocks;
  return true;
}

inline Machine machine_of(const LaunchRequest& r) {
  Machine m{};
  m.ops = r.program->ops;
  m.op_count = r.program->count;
  m.index_of = r.program->index_of;
  m.code_begin = r.program->code_begin;
  m.code_bytes = r.program->code_bytes;
  m.image = r.image;
  m.regions = r.regions;
  m.region_count = r.region_count;
  m.counts = r.counts;
  m.perturbation = r.perturbation;
  m.checks = r.checks;
  m.fnuz = r.fnuz;
  m.instruction_limit = r.instruction_limit;
  return m;
}

inline void run_grid(LaunchRequest& r) {
  const simt::DefaultFloatMode mode;
  Launch launch{r, machine_of(r), {}, nullptr, nullptr};
  Block& block = launch.block;
  block.wave_count = (threads_of(r) + kLanes - 1) / kLanes;
  block.shared_bytes = r.shared_bytes;
  launch.waves = static_cast<Wave*>(aligned_alloc(64, sizeof(Wave) * block.wave_count));
  launch.scratch =
      static_cast<uint8_t*>(calloc(size_t{block.wave_count} * kLanes, r.scratch_bytes + 1));
  block.shared = static_cast<uint8_t*>(calloc(r.shared_bytes + 1, 1));
  block.history = static_cast<SharedByte*>(calloc(r.shared_bytes + 1, sizeof(SharedByte)));
  uint32_t* id = block.id;
  bool well = true;
  for (id[2] = 0; id[2] < r.grid[2] && well; ++id[2]) {
    for (id[1] = 0; id[1] < r.grid[1] && well; ++id[1]) {
      for (id[0] = 0; id[0] < r.grid[0] && well; ++id[0]) well = run_block(launch);
    }
  }
  free(launch.waves);
  free(launch.scratch);
  free(block.shared);
  free(block.history);
}

}  // namespace wavejit::gcn
