// Atomics of global and shared memory: a lane after the other, in the order of lanes.
#pragma once
#include <wavejit/gcn/memory.h>
#include <wavejit/gcn/vector_float.h>

namespace wavejit::gcn {

inline uint32_t add_halves(uint32_t a, uint32_t b) {
  uint32_t out = 0;
  for (int shift = 0; shift < 32; shift += 16) {
    const float sum = float_of_half(a >> shift & 0xffffu) + float_of_half(b >> shift & 0xffffu);
    out |= half_of_float(sum) << shift;
  }
  return out;
}
inline uint32_t add_bf16s(uint32_t a, uint32_t b) {
  uint32_t out = 0;
  for (int shift = 0; shift < 32; shift += 16) {
    const float sum = float_of_bf16(a >> shift & 0xffffu) + float_of_bf16(b >> shift & 0xffffu);
    out |= bf16_of_float(sum) << shift;
  }
  return out;
}

template <class W>
struct AtomicTypes;
template <>
struct AtomicTypes<uint32_t> {
  using Signed = int32_t;
  using Float = float;
};
template <>
struct AtomicTypes<uint64_t> {
  using Signed = int64_t;
  using Float = double;
};

template <class W>
W float_change(Atomic kind, W before, W data) {
  using F = typename AtomicTypes<W>::Float;
  const F a = __builtin_bit_cast(F, before), b = __builtin_bit_cast(F, data);
  const F out = kind == Atomic::kAddFloat   ? a + b
                : kind == Atomic::kMinFloat ? minimum(a, b, true)
                                            : maximum(a, b, true);
  return __builtin_bit_cast(W, out);
}

// What memory holds afterwards. `compare` is the second operand of swaps that compare and of masks.
template <class W>
W changed(Atomic kind, W before, W data, W compare) {
  using S = typename AtomicTypes<W>::Signed;
  const S a = static_cast<S>(before), b = static_cast<S>(data);
  switch (kind) {
    case Atomic::kAdd: return before + data;
    case Atomic::kSub: return before - data;
    case Atomic::kReverseSub: return data - before;
    case Atomic::kMinSigned: return a < b ? before : data;
    case Atomic::kMaxSigned: return a > b ? before : data;
    case Atomic::kMin: return before < data ? before : data;
    case Atomic::kMax: return before > data ? before : data;
    case Atomic::kAnd: return before & data;
    case Atomic::kOr: return before | data;
    case Atomic::kXor: return before ^ data;
    case Atomic::kInc: return before >= data ? 0 : before + 1;
    case Atomic::kDec: return before == 0 || before > data ? data : before - 1;
    case Atomic::kSwap: return data;
    case Atomic::kCompareSwap: return before == compare ? data : before;
    case Atomic::kMaskOr: return (before & ~data) | compare;
    case Atomic::kAddHalves:
      return add_halves(static_cast<uint32_t>(before), static_cast<uint32_t>(data));
    case Atomic::kAddBf16s:
      return add_bf16s(static_cast<uint32_t>(before), static_cast<uint32_t>(data));
    default: return float_change(kind, before, data);
  }
}

// Changes every lane's memory; `before` gets what was there.
template <class W>
void change_lanes(Wave& w, const Op& op, int data, int compare, uint8_t* const* at,
                  uint32_t (*before)[kLanes]) {
  constexpr int kWords = sizeof(W) / 4;
  const auto word = [&w](int reg, int lane) {
    W value = w.vector[reg][lane];
    if constexpr (kWords == 2) value |= W{w.vector[reg + 1][lane]} << 32;
    return value;
  };
  for (uint64_t rest = w.exec; rest; rest &= rest - 1) {
    const int lane = __builtin_ctzll(rest);
    W old;
    memcpy(&old, at[lane], sizeof old);
    const W next =
        changed<W>(op.access.atomic, old, word(data, lane), compare < 0 ? 0 : word(compare, lane));
    memcpy(at[lane], &next, sizeof next);
    before[0][lane] = static_cast<uint32_t>(old);
    if constexpr (kWords == 2) before[1][lane] = static_cast<uint32_t>(old >> 32);
  }
}

inline void change_all(Wave& w, const Op& op, int data, int compare, uint8_t* const* at,
                       uint32_t (*before)[kLanes]) {
  if (op.access.bytes == 4) return change_lanes<uint32_t>(w, op, data, compare, at, before);
  change_lanes<uint64_t>(w, op, data, compare, at, before);
}

// global, flat and buffer: the result is there only when it is asked for (sc0).
inline void memory_atomic(Wave& w, const Op& op) {
  const bool returns = op.flags & kReturns, is_buffer = op.access.space == Space::kBuffer;
  const int address = is_buffer ? 1 : returns;
  const Operand& data = op.operands[is_buffer ? 0 : returns + 1];
  Reach reach;
  locate(w, op, address, is_buffer ? 1 : 2, reach);
  check_vector(w, data);
  settle(w, op, true, reach);
  alignas(64) uint32_t before[2][kLanes];
  const int words = op.access.bytes / 4;
  const int compare = op.access.atomic == Atomic::kCompareSwap ? data.reg + words : -1;
  change_all(w, op, data.reg, compare, reach.at, before);
  if (!returns) return depart_memory(w, op, 0, 0);
  const int to = op.operands[0].reg;
  for (int k = 0; k < words; ++k) load_lanes(w, to + k, before[k]);
  depart_memory(w, op, to, words);
}

inline void shared_atomic(Wave& w, const Op& op) {
  const bool returns = op.access.how == How::kHigh;
  const Operand* o = op.operands + (returns ? 1 : 0);
  check_vector(w, o[0]);
  check_vector(w, o[1]);
  const bool two = op.access.atomic == Atomic::kCompareSwap || op.access.atomic == Atomic::kMaskOr;
  if (two) check_vector(w, o[2]);
  check_bypassed(w);
  uint8_t* at[kLanes];
  for (uint64_t rest = w.exec; rest; rest &= rest - 1) {
    const int lane = __builtin_ctzll(rest);
    const uint32_t address = w.vector[o[0].reg][lane] + static_cast<uint32_t>(op.offset);
    check_shared(w, address, op.access.bytes, lane, "atomic");
    note_shared_atomic(w, address, op.access.bytes, lane);
    at[lane] = w.block->shared + address;
  }
  // ds_cmpst names what to compare with first, ds_mskor the mask
  const bool swaps = op.access.atomic == Atomic::kCompareSwap;
  const int data = swaps ? o[2].reg : o[1].reg;
  const int compare = swaps ? o[1].reg : two ? o[2].reg : -1;
  alignas(64) uint32_t before[2][kLanes];
  change_all(w, op, data, compare, at, before);
  if (!returns) return depart(w, w.shared, 0, 0);
  const int words = op.access.bytes / 4, to = op.operands[0].reg;
  for (int k = 0; k < words; ++k) load_lanes(w, to + k, before[k]);
  depart(w, w.shared, to, words);
}

#define WAVEJIT_GCN_ATOMIC(prefix, kSpace, name, size, kAtomic) \
  Entry {                                                       \
    prefix "_atomic_" name, &memory_atomic, {}, 1, nullptr, {   \
      size, How::kWhole, Space::kSpace, Atomic::kAtomic         \
    }                                                           \
  }
#define WAVEJIT_GCN_ATOMIC_BOTH(prefix, kSpace, name, kAtomic) \
  WAVEJIT_GCN_ATOMIC(prefix, kSpace, name, 4, kAtomic),        \
      WAVEJIT_GCN_ATOMIC(prefix, kSpace, name "_x2", 8, kAtomic)
#define WAVEJIT_GCN_ATOMICS(prefix, kSpace)                             \
  WAVEJIT_GCN_ATOMIC_BOTH(prefix, kSpace, "swap", kSwap),               \
      WAVEJIT_GCN_ATOMIC_BOTH(prefix, kSpace, "cmpswap", kCompareSwap), \
      WAVEJIT_GCN_ATOMIC_BOTH(prefix, kSpace, "add", kAdd),             \
      WAVEJIT_GCN_ATOMIC_BOTH(prefix, kSpace, "sub", kSub),             \
      WAVEJIT_GCN_ATOMIC_BOTH(prefix, kSpace, "smin", kMinSigned),      \
      WAVEJIT_GCN_ATOMIC_BOTH(prefix, kSpace, "smax", kMaxSigned),      \
      WAVEJIT_GCN_ATOMIC_BOTH(prefix, kSpace, "umin", kMin),            \
      WAVEJIT_GCN_ATOMIC_BOTH(prefix, kSpace, "umax", kMax),            \
      WAVEJIT_GCN_ATOMIC_BOTH(prefix, kSpace, "and", kAnd),             \
      WAVEJIT_GCN_ATOMIC_BOTH(prefix, kSpace, "or", kOr),               \
      WAVEJIT_GCN_ATOMIC_BOTH(prefix, kSpace, "xor", kXor),             \
      WAVEJIT_GCN_ATOMIC_BOTH(prefix, kSpace, "inc", kInc),             \
      WAVEJIT_GCN_ATOMIC_BOTH(prefix, kSpace, "dec", kDec),             \
      WAVEJIT_GCN_ATOMIC(prefix, kSpace, "add_f32", 4, kAddFloat),      \
      WAVEJIT_GCN_ATOMIC(prefix, kSpace, "add_f64", 8, kAddFloat),      \
      WAVEJIT_GCN_ATOMIC(prefix, kSpace, "min_f64", 8, kMinFloat),      \
      WAVEJIT_GCN_ATOMIC(prefix, kSpace, "max_f64", 8, kMaxFloat),      \
      WAVEJIT_GCN_ATOMIC(prefix, kSpace, "pk_add_f16", 4, kAddHalves),  \
      WAVEJIT_GCN_ATOMIC(prefix, kSpace, "pk_add_bf16", 4, kAddBf16s)

#define WAVEJIT_GCN_SHARED_ONE(name, size, how, kAtomic)                                      \
  Entry {                                                                                     \
    name, &shared_atomic, {}, 1, nullptr, { size, How::how, Space::kGlobal, Atomic::kAtomic } \
  }
#define WAVEJIT_GCN_SHARED(stem, type, size, kAtomic)                 \
  WAVEJIT_GCN_SHARED_ONE("ds_" stem "_" type, size, kWhole, kAtomic), \
      WAVEJIT_GCN_SHARED_ONE("ds_" stem "_rtn_" type, size, kHigh, kAtomic)
#define WAVEJIT_GCN_SHARED_BOTH(stem, letter, kAtomic) \
  WAVEJIT_GCN_SHARED(stem, letter "32", 4, kAtomic),   \
      WAVEJIT_GCN_SHARED(stem, letter "64", 8, kAtomic)

inline constexpr Entry kAtomics[] = {
    WAVEJIT_GCN_ATOMICS("global", kGlobal),
    WAVEJIT_GCN_ATOMICS("flat", kFlat),
    WAVEJIT_GCN_ATOMICS("buffer", kBuffer),
    WAVEJIT_GCN_SHARED_BOTH("add", "u", kAdd),
    WAVEJIT_GCN_SHARED_BOTH("sub", "u", kSub),
    WAVEJIT_GCN_SHARED_BOTH("rsub", "u", kReverseSub),
    WAVEJIT_GCN_SHARED_BOTH("inc", "u", kInc),
    WAVEJIT_GCN_SHARED_BOTH("dec", "u", kDec),
    WAVEJIT_GCN_SHARED_BOTH("min", "i", kMinSigned),
    WAVEJIT_GCN_SHARED_BOTH("max", "i", kMaxSigned),
    WAVEJIT_GCN_SHARED_BOTH("min", "u", kMin),
    WAVEJIT_GCN_SHARED_BOTH("max", "u", kMax),
    WAVEJIT_GCN_SHARED_BOTH("and", "b", kAnd),
    WAVEJIT_GCN_SHARED_BOTH("or", "b", kOr),
    WAVEJIT_GCN_SHARED_BOTH("xor", "b", kXor),
    WAVEJIT_GCN_SHARED_BOTH("mskor", "b", kMaskOr),
    WAVEJIT_GCN_SHARED_BOTH("cmpst", "b", kCompareSwap),
    WAVEJIT_GCN_SHARED_BOTH("add", "f", kAddFloat),
    WAVEJIT_GCN_SHARED_BOTH("min", "f", kMinFloat),
    WAVEJIT_GCN_SHARED_BOTH("max", "f", kMaxFloat),
    WAVEJIT_GCN_SHARED_ONE("ds_wrxchg_rtn_b32", 4, kHigh, kSwap),
    WAVEJIT_GCN_SHARED_ONE("ds_wrxchg_rtn_b64", 8, kHigh, kSwap),
    WAVEJIT_GCN_SHARED("pk_add", "f16", 4, kAddHalves),
    WAVEJIT_GCN_SHARED("pk_add", "bf16", 4, kAddBf16s),
};

}  // namespace wavejit::gcn
