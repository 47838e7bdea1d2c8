// Loads and stores of shared memory (LDS), of one place or of two.
#pragma once
#include <wavejit/gcn/memory.h>

namespace wavejit::gcn {

inline void shared_places(Wave& w, const Op& op, const Operand& address, uint32_t offset,
                          bool writes, Reach& reach) {
  memset(reach.nobody, 0, sizeof reach.nobody);
  for (int i = 0; i < kLanes; ++i) reach.at[i] = reach.nobody;
  for (uint64_t rest = w.exec; rest; rest &= rest - 1) {
    const int lane = __builtin_ctzll(rest);
    const uint32_t place = w.vector[address.reg][lane] + offset;
    reach.at[lane] = reach_shared(w, place, op.access.bytes, writes, lane);
  }
  count_of(w, op).bytes += uint64_t{op.access.bytes} * __builtin_popcountll(w.exec);
}

inline void shared_load(Wave& w, const Op& op) {
  Reach reach;
  check_read(w, op.operands[1].reg);
  shared_places(w, op, op.operands[1], static_cast<uint32_t>(op.offset), false, reach);
  const int reg = op.operands[0].reg;
  alignas(64) uint32_t rows[4][kLanes];
  const int count = gather(w, op, reg, reach, rows);
  for (int k = 0; k < count; ++k) load_lanes(w, reg + k, rows[k]);
  depart(w, w.shared, reg, count);
}

inline void shared_store(Wave& w, const Op& op) {
  Reach reach;
  check_read(w, op.operands[0].reg);
  check_vector(w, op.operands[1]);
  check_bypassed(w);
  shared_places(w, op, op.operands[0], static_cast<uint32_t>(op.offset), true, reach);
  scatter(w, op, op.operands[1].reg, reach.at, w.exec);
  depart(w, w.shared, 0, 0);
}

// The offsets of read2 and write2 count elements, or 64 of them.
inline uint32_t offset_of_two(const Op& op, int which) {
  const uint32_t step = op.access.bytes * (op.access.how == How::kHigh ? 64u : 1u);
  return static_cast<uint32_t>(which ? op.offset1 : op.offset) * step;
}

inline void shared_load_two(Wave& w, const Op& op) {
  Reach reach;
  check_read(w, op.operands[1].reg);
  const int reg = op.operands[0].reg, words = op.access.bytes / 4;
  alignas(64) uint32_t rows[4][kLanes];
  for (int k = 0; k < 2; ++k) {
    shared_places(w, op, op.operands[1], offset_of_two(op, k), false, reach);
    if (words == 1) gather_words<1>(reach, rows + k);
    if (words == 2) gather_words<2>(reach, rows + 2 * k);
  }
  for (int k = 0; k < 2 * words; ++k) load_lanes(w, reg + k, rows[k]);
  depart(w, w.shared, reg, 2 * words);
}

inline void shared_store_two(Wave& w, const Op& op) {
  Reach reach;
  check_read(w, op.operands[0].reg);
  check_bypassed(w);
  for (int k = 0; k < 2; ++k) {
    const Operand& data = op.operands[1 + k];
    for (int i = 0; i < op.access.bytes / 4; ++i) check_read(w, data.reg + i);
    shared_places(w, op, op.operands[0], offset_of_two(op, k), true, reach);
    for (uint64_t rest = w.exec; rest; rest &= rest - 1) {
      const int lane = __builtin_ctzll(rest);
      for (int i = 0; i < op.access.bytes / 4; ++i) {
        memcpy(reach.at[lane] + 4 * i, &w.vector[data.reg + i][lane], 4);
      }
    }
  }
  depart(w, w.shared, 0, 0);
}

#define WAVEJIT_GCN_SHARED_ACCESS(name, run, size, how) \
  Entry {                                               \
    name, &run, {}, 1, nullptr, {                       \
      size, How::how, Space::kGlobal, {}                \
    }                                                   \
  }

inline constexpr Entry kShared[] = {
    WAVEJIT_GCN_SHARED_ACCESS("ds_read_u8", shared_load, 1, kWhole),
    WAVEJIT_GCN_SHARED_ACCESS("ds_read_i8", shared_load, 1, kSigned),
    WAVEJIT_GCN_SHARED_ACCESS("ds_read_u16", shared_load, 2, kWhole),
    WAVEJIT_GCN_SHARED_ACCESS("ds_read_i16", shared_load, 2, kSigned),
    WAVEJIT_GCN_SHARED_ACCESS("ds_read_u8_d16", shared_load, 1, kLow),
    WAVEJIT_GCN_SHARED_ACCESS("ds_read_u8_d16_hi", shared_load, 1, kHigh),
    WAVEJIT_GCN_SHARED_ACCESS("ds_read_i8_d16", shared_load, 1, kSignedLow),
    WAVEJIT_GCN_SHARED_ACCESS("ds_read_i8_d16_hi", shared_load, 1, kSignedHigh),
    WAVEJIT_GCN_SHARED_ACCESS("ds_read_u16_d16", shared_load, 2, kLow),
    WAVEJIT_GCN_SHARED_ACCESS("ds_read_u16_d16_hi", shared_load, 2, kHigh),
    WAVEJIT_GCN_SHARED_ACCESS("ds_read_b32", shared_load, 4, kWhole),
    WAVEJIT_GCN_SHARED_ACCESS("ds_read_b64", shared_load, 8, kWhole),
    WAVEJIT_GCN_SHARED_ACCESS("ds_read_b96", shared_load, 12, kWhole),
    WAVEJIT_GCN_SHARED_ACCESS("ds_read_b128", shared_load, 16, kWhole),
    WAVEJIT_GCN_SHARED_ACCESS("ds_read2_b32", shared_load_two, 4, kWhole),
    WAVEJIT_GCN_SHARED_ACCESS("ds_read2_b64", shared_load_two, 8, kWhole),
    WAVEJIT_GCN_SHARED_ACCESS("ds_read2st64_b32", shared_load_two, 4, kHigh),
    WAVEJIT_GCN_SHARED_ACCESS("ds_read2st64_b64", shared_load_two, 8, kHigh),
    WAVEJIT_GCN_SHARED_ACCESS("ds_write_b8", shared_store, 1, kWhole),
    WAVEJIT_GCN_SHARED_ACCESS("ds_write_b8_d16_hi", shared_store, 1, kHigh),
    WAVEJIT_GCN_SHARED_ACCESS("ds_write_b16", shared_store, 2, kWhole),
    WAVEJIT_GCN_SHARED_ACCESS("ds_write_b16_d16_hi", shared_store, 2, kHigh),
    WAVEJIT_GCN_SHARED_ACCESS("ds_write_b32", shared_store, 4, kWhole),
    WAVEJIT_GCN_SHARED_ACCESS("ds_write_b64", shared_store, 8, kWhole),
    WAVEJIT_GCN_SHARED_ACCESS("ds_write_b96", shared_store, 12, kWhole),
    WAVEJIT_GCN_SHARED_ACCESS("ds_write_b128", shared_store, 16, kWhole),
    WAVEJIT_GCN_SHARED_ACCESS("ds_write2_b32", shared_store_two, 4, kWhole),
    WAVEJIT_GCN_SHARED_ACCESS("ds_write2_b64", shared_store_two, 8, kWhole),
    WAVEJIT_GCN_SHARED_ACCESS("ds_write2st64_b32", shared_store_two, 4, kHigh),
    WAVEJIT_GCN_SHARED_ACCESS("ds_write2st64_b64", shared_store_two, 8, kHigh),
};

}  // namespace wavejit::gcn
