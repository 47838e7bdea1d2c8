// From operands to loops over 64 lanes and back: what every vector instruction is made of.
#pragma once
#include <wavejit/gcn/operand.h>

namespace wavejit::gcn {

// How lanes of a type are held while an instruction works on them: 16-bit integers widened, fp16 as
// float.
template <class S, Type kOf>
struct Lanes {
  using Storage = S;
  static constexpr Type kType = kOf;
};
using B32 = Lanes<uint32_t, Type::kB32>;
using I32 = Lanes<int32_t, Type::kI32>;
using F32 = Lanes<float, Type::kF32>;
using B64 = Lanes<uint64_t, Type::kB64>;
using I64 = Lanes<int64_t, Type::kI64>;
using F64 = Lanes<double, Type::kF64>;
using B16 = Lanes<uint32_t, Type::kB16>;
using I16 = Lanes<int32_t, Type::kI16>;
using F16 = Lanes<float, Type::kF16>;

template <class T>
struct Room {
  alignas(64) typename T::Storage lanes[kLanes];
};

inline void widen16(Type type, uint32_t* words) {
  for (int i = 0; i < kLanes; ++i) {
    if (type == Type::kI16) words[i] = static_cast<uint32_t>(static_cast<int16_t>(words[i]));
    if (type == Type::kF16) words[i] = bits_of(float_of_half(words[i]));
  }
}

// Operand k as lanes of T: the register itself where nothing is to be done to it.
template <class T>
const typename T::Storage* fetch(Wave& w, const Op& op, int k, Room<T>& room) {
  using Storage = typename T::Storage;
  if constexpr (is_64(T::kType)) {
    read64(w, op, k, T::kType, reinterpret_cast<uint64_t*>(room.lanes));
  } else {
    const Operand& o = op.operands[k];
    if (!is_16(T::kType) && o.plain && !flushes_input(w, T::kType)) {
      check_read(w, o.reg);
      return reinterpret_cast<const Storage*>(w.vector[o.reg]);
    }
    read32(w, op, k, T::kType, reinterpret_cast<uint32_t*>(room.lanes));
    if (is_16(T::kType) && T::kType != Type::kB16) {
      widen16(T::kType, reinterpret_cast<uint32_t*>(room.lanes));
    }
  }
  return room.lanes;
}

// ---- writing

inline void store_lanes(Wave& w, int reg, uint64_t lanes, const uint32_t* values) {
  note_written(w, reg, lanes);
  if (lanes == ~uint64_t{0}) {
    memcpy(w.vector[reg], values, sizeof w.vector[0]);
    return;
  }
  uint32_t* row = w.vector[reg];
  if (lanes == w.exec) {
    for (int i = 0; i < kLanes; ++i) row[i] = (values[i] & w.active[i]) | (row[i] & ~w.active[i]);
    return;
  }
  for (int i = 0; i < kLanes; ++i) row[i] = lanes >> i & 1 ? values[i] : row[i];
}

inline uint64_t written_lanes(const Wave& w, const Op& op) {
  return op.dpp == Dpp::kNone ? w.exec : w.exec & w.dpp_lanes;
}

// The result's scale: ignored unless small results are flushed and IEEE is off; then -0 is +0.
inline bool scales_output(const Wave& w, Type type) {
  return !w.mode.ieee && (type == Type::kF32 ? w.mode.flush32_out : w.mode.flush16_64_out);
}
template <class S>
S with_omod(S value, int omod, S least) {
  const S kept = fabs(value) < least ? S(0) : value;
  return kept * (omod == 1 ? S(2) : omod == 2 ? S(4) : S(0.5));
}
template <class S>
S clamped(S value, bool nan_is_zero) {
  if (is_nan(value)) return nan_is_zero ? S(0) : value;
  return value < S(0) ? S(0) : value > S(1) ? S(1) : value;
}

// omod, clamp and the flushing of small results.
template <class T>
void finish_float(Wave& w, const Op& op, typename T::Storage* out) {
  if (op.omod && scales_output(w, T::kType)) {
    const double least = T::kType == Type::kF32   ? 0x1p-126
                         : T::kType == Type::kF64 ? 0x1p-1022
                                                  : 0x1p-14;
    using S = typename T::Storage;
    for (int i = 0; i < kLanes; ++i) out[i] = with_omod(out[i], op.omod, static_cast<S>(least));
  }
  if (op.flags & kClamp) {
    for (int i = 0; i < kLanes; ++i) out[i] = clamped(out[i], w.mode.clamp_nan);
  }
  if (T::kType == Type::kF32 && w.mode.flush32_out) {
    for (int i = 0; i < kLanes; ++i) {
      out[i] = static_cast<typename T::Storage>(
          float_of(flush_subnormal32(bits_of(static_cast<float>(out[i])))));
    }
  }
  if (T::kType == Type::kF64 && w.mode.flush16_64_out) {
    for (int i = 0; i < kLanes; ++i) {
      out[i] = static_cast<typename T::Storage>(
          double_of(flush_subnormal64(bits_of(static_cast<double>(out[i])))));
    }
  }
}

// The part of the register that SDWA's dst_sel or a high-half op_sel names; the rest as told.
inline void place_part(Wave& w, const Op& op, int reg, uint32_t* words) {
  const int select = op.dst_select;
  if (select == kDword) return;
  const bool is_byte = select <= kByte3;
  const int shift = is_byte ? 8 * select : 16 * (select - kWord0);
  const int width = is_byte ? 8 : 16;
  const uint32_t mask = ((1u << width) - 1) << shift;
  for (int i = 0; i < kLanes; ++i) {
    const uint32_t part = words[i] << shift & mask;
    uint32_t rest = 0;
    if (op.dst_unused == 1 && words[i] >> (width - 1) & 1) rest = ~((1u << (shift + width)) - 1);
    if (op.dst_unused == 1 && shift + width == 32) rest = 0;
    if (op.dst_unused == 2) rest = w.vector[reg][i] & ~mask;
    words[i] = part | rest;
  }
}

inline void narrow16(Wave& w, Type type, uint32_t* words) {
  for (int i = 0; i < kLanes; ++i) {
    if (type != Type::kF16) {
      words[i] &= 0xffffu;
      continue;
    }
    const float value = float_of(words[i]);
    uint32_t half = half_of_float(value);
    if (w.mode.saturate16 && (half & 0x7fffu) == 0x7c00u && !isinf(value)) --half;
    words[i] = w.mode.flush16_64_out ? flush_subnormal16(half) : half;
  }
}

// Halves of a 64-bit result that depend on an unknown half: the other one with a carry, or with a
// shift to the right.
inline void pass_on_unknown(Wave& w, const Op& op, int reg) {
  const uint64_t low = w.unknown_half[0], high = w.unknown_half[1];
  const bool moves = op.access.how == How::kHalves, down = op.access.how == How::kDown;
  w.blocked[reg] |= (down ? low | high : low) & w.exec;
  w.blocked[reg + 1] |= (down || moves ? high : low | high) & w.exec;
  w.unknown_half[0] = w.unknown_half[1] = 0;
}

// `out` becomes operand k's new value in the lanes that the instruction writes.
template <class T>
void commit(Wave& w, const Op& op, typename T::Storage* out, int k = 0) {
  constexpr bool kFloating = is_float(T::kType);
  const int reg = op.operands[k].reg;
  if constexpr (kFloating) {
    const bool special =
        op.omod || op.flags & kClamp || w.mode.flush32_out || w.mode.flush16_64_out;
    if (special) finish_float<T>(w, op, out);
  }
  const uint64_t lanes = written_lanes(w, op);
  if constexpr (is_64(T::kType)) {
    alignas(64) uint32_t low[kLanes], high[kLanes];
    const uint64_t* words = reinterpret_cast<const uint64_t*>(out);
    for (int i = 0; i < kLanes; ++i) {
      low[i] = static_cast<uint32_t>(words[i]);
      high[i] = static_cast<uint32_t>(words[i] >> 32);
    }
    store_lanes(w, reg, lanes, low);
    store_lanes(w, reg + 1, lanes, high);
    if (w.unknown_half[0] | w.unknown_half[1]) [[unlikely]]
      pass_on_unknown(w, op, reg);
  } else {
    uint32_t* words = reinterpret_cast<uint32_t*>(out);
    if constexpr (is_16(T::kType)) narrow16(w, T::kType, words);
    if (!op.plain_result) [[unlikely]]
      place_part(w, op, reg, words);
    store_lanes(w, reg, lanes, words);
  }
}

// ---- NaN results: the first NaN operand made quiet, or the default NaN

template <class S>
S nan_result(S a, S b, S c) {
  return is_nan(a) ? quiet(a) : is_nan(b) ? quiet(b) : is_nan(c) ? quiet(c) : default_nan(a);
}

template <class S>
void settle_nans(S* out, const S* a, const S* b, const S* c) {
  int found = 0;
  for (int i = 0; i < kLanes; ++i) found |= out[i] != out[i];
  if (!found) [[likely]]
    return;
  for (int i = 0; i < kLanes; ++i) {
    if (is_nan(out[i])) out[i] = nan_result(a[i], b[i], c[i]);
  }
}

// ---- the shapes of instructions: D = f(A), f(A, B), f(A, B, C), operands from `kFirst`

template <class D, class A, auto f>
void unary(Wave& w, const Op& op) {
  Room<A> room;
  const auto* a = fetch<A>(w, op, 1, room);
  Room<D> out;
  for (int i = 0; i < kLanes; ++i) out.lanes[i] = f(a[i]);
  commit<D>(w, op, out.lanes);
}

template <class D, class A, class B, auto f>
void binary(Wave& w, const Op& op) {
  Room<A> room_a;
  Room<B> room_b;
  const auto* a = fetch<A>(w, op, 1, room_a);
  const auto* b = fetch<B>(w, op, 2, room_b);
  Room<D> out;
  for (int i = 0; i < kLanes; ++i) out.lanes[i] = f(a[i], b[i]);
  commit<D>(w, op, out.lanes);
}

template <class D, class A, class B, class C, auto f>
void ternary(Wave& w, const Op& op) {
  Room<A> room_a;
  Room<B> room_b;
  Room<C> room_c;
  const auto* a = fetch<A>(w, op, 1, room_a);
  const auto* b = fetch<B>(w, op, 2, room_b);
  const auto* c = fetch<C>(w, op, 3, room_c);
  Room<D> out;
  for (int i = 0; i < kLanes; ++i) out.lanes[i] = f(a[i], b[i], c[i]);
  commit<D>(w, op, out.lanes);
}

// Floating point: the same, with NaN results settled.
template <class T, auto f>
void float1(Wave& w, const Op& op) {
  Room<T> room, out;
  const auto* a = fetch<T>(w, op, 1, room);
  for (int i = 0; i < kLanes; ++i) out.lanes[i] = f(a[i]);
  settle_nans(out.lanes, a, a, a);
  commit<T>(w, op, out.lanes);
}

template <class T, auto f>
void float2(Wave& w, const Op& op) {
  Room<T> room_a, room_b, out;
  const auto* a = fetch<T>(w, op, 1, room_a);
  const auto* b = fetch<T>(w, op, 2, room_b);
  for (int i = 0; i < kLanes; ++i) out.lanes[i] = f(a[i], b[i]);
  settle_nans(out.lanes, a, b, a);
  commit<T>(w, op, out.lanes);
}

// kThird: where the third operand is, 0 for an accumulator that is the result's register.
template <class T, auto f, int kThird = 3>
void float3(Wave& w, const Op& op) {
  Room<T> room_a, room_b, room_c, out;
  const auto* a = fetch<T>(w, op, 1, room_a);
  const auto* b = fetch<T>(w, op, 2, room_b);
  const auto* c = fetch<T>(w, op, kThird, room_c);
  for (int i = 0; i < kLanes; ++i) out.lanes[i] = f(a[i], b[i], c[i]);
  settle_nans(out.lanes, a, b, c);
  commit<T>(w, op, out.lanes);
}

// ---- the table's rows

struct Entry {
  const char* name;
  Handler run;
  Type types[5];                 // of the operands, for constants
  uint8_t first_source = 1;      // where DPP, SDWA and op_sel begin to count
  Handler saturating = nullptr;  // with clamp, for integers
  Access access = {};
};

template <class D, class A, auto f>
constexpr Entry make1(const char* name) {
  return {name, &unary<D, A, f>, {D::kType, A::kType}};
}
template <class D, class A, class B, auto f>
constexpr Entry make2(const char* name) {
  return {name, &binary<D, A, B, f>, {D::kType, A::kType, B::kType}};
}
template <class D, class A, class B, class C, auto f>
constexpr Entry make3(const char* name) {
  return {name, &ternary<D, A, B, C, f>, {D::kType, A::kType, B::kType, C::kType}};
}
// A shift to the right of 64 bits, or a move of both halves.
template <class D, class A, class B, auto f>
constexpr Entry make_down2(const char* name) {
  return {name,    &binary<D, A, B, f>,    {D::kType, A::kType, B::kType}, 1,
          nullptr, {8, How::kDown, {}, {}}};
}
template <class T, auto f>
constexpr Entry make_float1(const char* name) {
  return {name, &float1<T, f>, {T::kType, T::kType}};
}
template <class T, auto f>
constexpr Entry make_float2(const char* name) {
  return {name, &float2<T, f>, {T::kType, T::kType, T::kType}};
}
template <class T, auto f>
constexpr Entry make_float3(const char* name) {
  return {name, &float3<T, f>, {T::kType, T::kType, T::kType, T::kType}};
}

}  // namespace wavejit::gcn
