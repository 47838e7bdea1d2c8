// Loads and stores of global, flat, scratch and buffer memory, and the scalar loads.
#pragma once
#include <wavejit/gcn/access.h>

namespace wavejit::gcn {

// A loaded register: written at once, but not to be touched before its wait.
inline void load_lanes(Wave& w, int reg, const uint32_t* values) {
  uint32_t* row = w.vector[reg];
  for (int i = 0; i < kLanes; ++i) row[i] = (values[i] & w.active[i]) | (row[i] & ~w.active[i]);
}

template <int kWords>
void gather_words(const Reach& reach, uint32_t (*rows)[kLanes]) {
  for (int i = 0; i < kLanes; ++i) {
    uint32_t words[kWords];
    memcpy(words, reach.at[i], sizeof words);
    for (int k = 0; k < kWords; ++k) rows[k][i] = words[k];
  }
}

inline uint32_t small_value(const uint8_t* at, int bytes, How how) {
  uint16_t word = 0;
  memcpy(&word, at, bytes);
  if (how != How::kSigned && how != How::kSignedLow && how != How::kSignedHigh) return word;
  return static_cast<uint32_t>(bytes == 1 ? static_cast<int8_t>(word) : static_cast<int16_t>(word));
}

// Bytes and shorts: widened, or into a half of the register with the other half kept.
inline void gather_small(Wave& w, const Op& op, int reg, uint8_t* const* at, uint32_t* row) {
  const How how = op.access.how;
  for (int i = 0; i < kLanes; ++i) {
    const uint32_t value = small_value(at[i], op.access.bytes, how);
    const uint32_t before = w.vector[reg][i];
    row[i] = is_low(how)    ? (before & 0xffff0000u) | (value & 0xffffu)
             : is_high(how) ? (before & 0xffffu) | value << 16
                            : value;
  }
}

inline int gather(Wave& w, const Op& op, int reg, const Reach& reach, uint32_t (*rows)[kLanes]) {
  switch (op.access.bytes) {
    case 4: gather_words<1>(reach, rows); return 1;
    case 8: gather_words<2>(reach, rows); return 2;
    case 12: gather_words<3>(reach, rows); return 3;
    case 16: gather_words<4>(reach, rows); return 4;
    default: gather_small(w, op, reg, reach.at, rows[0]); return 1;
  }
}

inline void load(Wave& w, const Op& op) {
  Reach reach;
  locate(w, op, 1, 1, reach);
  settle(w, op, false, reach);
  const int reg = op.operands[0].reg;
  alignas(64) uint32_t rows[4][kLanes];
  const int count = gather(w, op, reg, reach, rows);
  for (int k = 0; k < count; ++k) load_lanes(w, reg + k, rows[k]);
  depart_memory(w, op, reg, count);
}

inline void scatter(Wave& w, const Op& op, int reg, uint8_t* const* at, uint64_t lanes) {
  const int bytes = op.access.bytes;
  const int shift = is_high(op.access.how) ? 16 : 0;
  for (uint64_t rest = lanes; rest; rest &= rest - 1) {
    const int lane = __builtin_ctzll(rest);
    if (bytes <= 4) {
      const uint32_t word = w.vector[reg][lane] >> shift;
      memcpy(at[lane], &word, bytes);
      continue;
    }
    for (int k = 0; k < bytes / 4; ++k) memcpy(at[lane] + 4 * k, &w.vector[reg + k][lane], 4);
  }
}

inline void store(Wave& w, const Op& op) {
  Reach reach;
  const bool is_buffer = op.access.space == Space::kBuffer;  // its data come first
  locate(w, op, is_buffer ? 1 : 0, is_buffer ? 1 : 2, reach);
  const Operand& data = op.operands[is_buffer ? 0 : 1];
  check_vector(w, data);
  settle(w, op, true, reach);
  scatter(w, op, data.reg, reach.at, w.exec);
  depart_memory(w, op, 0, 0);
}

// Straight from global to shared memory: lane after lane from the byte that M0 names.
inline void load_to_shared(Wave& w, const Op& op) {
  Reach reach;
  locate(w, op, 0, 1, reach);
  settle(w, op, false, reach);
  const uint32_t start = read_scalar(w, kM0) + static_cast<uint32_t>(op.offset);
  for (uint64_t rest = w.exec; rest; rest &= rest - 1) {
    const int lane = __builtin_ctzll(rest);
    const uint32_t to = start + static_cast<uint32_t>(lane) * op.access.bytes;
    memcpy(reach_shared(w, to, op.access.bytes, true, lane), reach.at[lane], op.access.bytes);
  }
  depart(w, w.memory, 0, 0);
}

// ---- scalar loads

inline void land_scalars(Wave& w, const Op& op, uint64_t address, int words) {
  const int reg = op.operands[0].reg;
  check_address(w, address, 4 * words, false, w.exec);
  for (int i = 0; i < words; ++i) {
    if (w.scalar_state[reg + i] & kLoading) raise_scalar(w, reg + i);
  }
  memcpy(w.scalar + reg, reinterpret_cast<const void*>(address), 4 * words);
  memset(w.scalar_state + reg, kReady, words);
  depart_scalar(w, reg, words);
  count_of(w, op).bytes += 4 * words;
}

inline int64_t scalar_offset(const Wave& w, const Op& op) {
  const Operand& o = op.operands[2];
  const int64_t first = o.kind == OperandKind::kScalar ? int64_t{read_scalar(w, o.reg)}
                                                       : static_cast<int32_t>(o.value);
  return first + op.offset;
}

inline void scalar_load(Wave& w, const Op& op) {
  const uint64_t base = read_scalar64(w, op.operands[1].reg);
  const uint64_t address = (base + static_cast<uint64_t>(scalar_offset(w, op))) & ~uint64_t{3};
  land_scalars(w, op, address, op.access.bytes / 4);
}

inline void scalar_buffer_load(Wave& w, const Op& op) {
  const int s = op.operands[1].reg;
  const uint64_t base = read_scalar(w, s) | uint64_t{read_scalar(w, s + 1) & 0xffffu} << 32;
  const uint64_t records = read_scalar(w, s + 2), stride = read_scalar(w, s + 1) >> 16 & 0x3fff;
  const uint64_t bytes = stride ? stride * records : records;
  const auto offset = static_cast<uint64_t>(scalar_offset(w, op)) & ~uint64_t{3};
  if (offset + op.access.bytes > bytes) {
    raise_bounds(w.exec, base + offset, op.access.bytes, "load beyond a buffer's records");
  }
  land_scalars(w, op, base + offset, op.access.bytes / 4);
}

inline void read_clock(Wave& w, const Op& op) {  // counts instructions
  const int reg = op.operands[0].reg;
  w.scalar[reg] = static_cast<uint32_t>(w.executed);
  w.scalar[reg + 1] = static_cast<uint32_t>(w.executed >> 32);
  memset(w.scalar_state + reg, kReady, 2);
  depart_scalar(w, reg, 2);
}

#define WAVEJIT_GCN_LOAD(prefix, kSpace, suffix, size, kHow) \
  Entry {                                                    \
    prefix "_load_" suffix, &load, {}, 1, nullptr, {         \
      size, How::kHow, Space::kSpace, {}                     \
    }                                                        \
  }
#define WAVEJIT_GCN_STORE(prefix, kSpace, suffix, size, kHow) \
  Entry {                                                     \
    prefix "_store_" suffix, &store, {}, 1, nullptr, {        \
      size, How::kHow, Space::kSpace, {}                      \
    }                                                         \
  }
#define WAVEJIT_GCN_MEMORY(prefix, kSpace)                              \
  WAVEJIT_GCN_LOAD(prefix, kSpace, "ubyte", 1, kWhole),                 \
      WAVEJIT_GCN_LOAD(prefix, kSpace, "sbyte", 1, kSigned),            \
      WAVEJIT_GCN_LOAD(prefix, kSpace, "ushort", 2, kWhole),            \
      WAVEJIT_GCN_LOAD(prefix, kSpace, "sshort", 2, kSigned),           \
      WAVEJIT_GCN_LOAD(prefix, kSpace, "dword", 4, kWhole),             \
      WAVEJIT_GCN_LOAD(prefix, kSpace, "dwordx2", 8, kWhole),           \
      WAVEJIT_GCN_LOAD(prefix, kSpace, "dwordx3", 12, kWhole),          \
      WAVEJIT_GCN_LOAD(prefix, kSpace, "dwordx4", 16, kWhole),          \
      WAVEJIT_GCN_LOAD(prefix, kSpace, "ubyte_d16", 1, kLow),           \
      WAVEJIT_GCN_LOAD(prefix, kSpace, "ubyte_d16_hi", 1, kHigh),       \
      WAVEJIT_GCN_LOAD(prefix, kSpace, "sbyte_d16", 1, kSignedLow),     \
      WAVEJIT_GCN_LOAD(prefix, kSpace, "sbyte_d16_hi", 1, kSignedHigh), \
      WAVEJIT_GCN_LOAD(prefix, kSpace, "short_d16", 2, kLow),           \
      WAVEJIT_GCN_LOAD(prefix, kSpace, "short_d16_hi", 2, kHigh),       \
      WAVEJIT_GCN_STORE(prefix, kSpace, "byte", 1, kWhole),             \
      WAVEJIT_GCN_STORE(prefix, kSpace, "byte_d16_hi", 1, kHigh),       \
      WAVEJIT_GCN_STORE(prefix, kSpace, "short", 2, kWhole),            \
      WAVEJIT_GCN_STORE(prefix, kSpace, "short_d16_hi", 2, kHigh),      \
      WAVEJIT_GCN_STORE(prefix, kSpace, "dword", 4, kWhole),            \
      WAVEJIT_GCN_STORE(prefix, kSpace, "dwordx2", 8, kWhole),          \
      WAVEJIT_GCN_STORE(prefix, kSpace, "dwordx3", 12, kWhole),         \
      WAVEJIT_GCN_STORE(prefix, kSpace, "dwordx4", 16, kWhole)
#define WAVEJIT_GCN_SCALAR(name, size)      \
  Entry {                                   \
    name, &scalar_load, {}, 1, nullptr, {   \
      size, How::kWhole, Space::kGlobal, {} \
    }                                       \
  }
#define WAVEJIT_GCN_SCALAR_BUFFER(name, size)    \
  Entry {                                        \
    name, &scalar_buffer_load, {}, 1, nullptr, { \
      size, How::kWhole, Space::kGlobal, {}      \
    }                                            \
  }
#define WAVEJIT_GCN_TO_SHARED(name, size)    \
  Entry {                                    \
    name, &load_to_shared, {}, 1, nullptr, { \
      size, How::kWhole, Space::kGlobal, {}  \
    }                                        \
  }

inline constexpr Entry kMemory[] = {
    WAVEJIT_GCN_MEMORY("global", kGlobal),
    WAVEJIT_GCN_MEMORY("flat", kFlat),
    WAVEJIT_GCN_MEMORY("scratch", kScratch),
    WAVEJIT_GCN_MEMORY("buffer", kBuffer),
    WAVEJIT_GCN_TO_SHARED("global_load_lds_dword", 4),
    WAVEJIT_GCN_TO_SHARED("global_load_lds_dwordx3", 12),
    WAVEJIT_GCN_TO_SHARED("global_load_lds_dwordx4", 16),
    WAVEJIT_GCN_SCALAR("s_load_dword", 4),
    WAVEJIT_GCN_SCALAR("s_load_dwordx2", 8),
    WAVEJIT_GCN_SCALAR("s_load_dwordx4", 16),
    WAVEJIT_GCN_SCALAR("s_load_dwordx8", 32),
    WAVEJIT_GCN_SCALAR("s_load_dwordx16", 64),
    WAVEJIT_GCN_SCALAR_BUFFER("s_buffer_load_dword", 4),
    WAVEJIT_GCN_SCALAR_BUFFER("s_buffer_load_dwordx2", 8),
    WAVEJIT_GCN_SCALAR_BUFFER("s_buffer_load_dwordx4", 16),
    WAVEJIT_GCN_SCALAR_BUFFER("s_buffer_load_dwordx8", 32),
    WAVEJIT_GCN_SCALAR_BUFFER("s_buffer_load_dwordx16", 64),
    {"s_memtime", &read_clock, {}},
    {"s_memrealtime", &read_clock, {}},
};

}  // namespace wavejit::gcn
