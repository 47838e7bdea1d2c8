// Scalar arithmetic: one number for the whole wave, and SCC.
#pragma once
#include <wavejit/gcn/carry.h>
#include <wavejit/gcn/machine.h>

namespace wavejit::gcn {

template <class W>
W read_as(const Wave& w, const Op& op, int k) {
  if constexpr (sizeof(W) == 8) return static_cast<W>(read_uniform64(w, op.operands[k]));
  return static_cast<W>(read_uniform(w, op.operands[k]));
}
template <class W>
void write_as(Wave& w, const Op& op, W value) {
  if constexpr (sizeof(W) == 8) {
    write_scalar64(w, op.operands[0].reg, static_cast<uint64_t>(value));
  } else {
    write_scalar(w, op.operands[0].reg, static_cast<uint32_t>(value));
  }
}

// Operand k as `read_as`, but of a pair one half may be unknown: `state` collects it.
template <class W>
W read_loosely(const Wave& w, const Op& op, int k, PairState& state) {
  const Operand& o = op.operands[k];
  if (sizeof(W) == 4 || o.kind != OperandKind::kScalar || o.count < 2) return read_as<W>(w, op, k);
  const PairState found = pair_state(w, o.reg);
  if (found.low && found.high) raise_scalar(w, o.reg);
  state.low |= found.low;
  state.high |= found.high;
  return static_cast<W>(w.scalar[o.reg] | uint64_t{w.scalar[o.reg + 1]} << 32);
}
template <class D>
void mark_unknown(Wave& w, const Op& op, PairState state) {
  if (!(state.low | state.high)) [[likely]]
    return;
  const int reg = op.operands[0].reg;
  const bool down = op.access.how == How::kDown;
  const uint8_t both = state.low | state.high;
  set_unwritten(w, reg, down || sizeof(D) == 4 ? both : state.low, ~0u);
  if (sizeof(D) == 8) set_unwritten(w, reg + 1, down ? state.high : both, ~0u);
}

// s_mov: passes on what it finds.
template <class W>
void scalar_move(Wave& w, const Op& op) {
  const Operand& o = op.operands[1];
  const int to = op.operands[0].reg;
  if (o.kind != OperandKind::kScalar) return write_as<W>(w, op, read_as<W>(w, op, 1));
  if constexpr (sizeof(W) == 4) {
    const uint8_t state = w.scalar_state[o.reg];
    if (state & kLoading) raise_scalar(w, o.reg);
    const uint32_t bits = w.unwritten_bits[o.reg];
    write_scalar(w, to, w.scalar[o.reg]);
    set_unwritten(w, to, state, bits);
  } else {
    const PairState state = pair_state(w, o.reg);
    const uint32_t low = w.unwritten_bits[o.reg], high = w.unwritten_bits[o.reg + 1];
    write_scalar64(w, to, w.scalar[o.reg] | uint64_t{w.scalar[o.reg + 1]} << 32);
    set_unwritten(w, to, state.low, low);
    set_unwritten(w, to + 1, state.high, high);
  }
}

enum class Sets { kNothing, kNotZero };

template <class D, class A, auto f, Sets kSets>
void scalar1(Wave& w, const Op& op) {
  PairState state{};
  const D result = f(read_loosely<A>(w, op, 1, state));
  write_as<D>(w, op, result);
  mark_unknown<D>(w, op, state);
  if (kSets == Sets::kNotZero) w.scc = result != 0;
}

template <class D, class A, class B, auto f, Sets kSets>
void scalar2(Wave& w, const Op& op) {
  PairState state{};
  const A a = read_loosely<A>(w, op, 1, state);
  const D result = f(a, read_loosely<B>(w, op, 2, state));
  write_as<D>(w, op, result);
  mark_unknown<D>(w, op, state);
  if (kSets == Sets::kNotZero) w.scc = result != 0;
}

// Bit by bit, as compilers build masks of lanes: a bit that nobody wrote makes that bit of the
// result unknown unless the other operand decides it.
template <class W, auto f>
void bitwise(Wave& w, const Op& op) {
  uint64_t unknown_a = 0, unknown_b = 0;
  const W a = read_bits<W>(w, op.operands[1], unknown_a);
  const W b = read_bits<W>(w, op.operands[2], unknown_b);
  const W result = f(a, b);
  write_as<W>(w, op, result);
  w.scc = result != 0;
  if (!(unknown_a | unknown_b)) [[likely]]
    return;
  const W in_a = static_cast<W>(unknown_a), in_b = static_cast<W>(unknown_b);
  const uint64_t unknown = static_cast<W>((result ^ f(a ^ in_a, b)) | (result ^ f(a, b ^ in_b)) |
                                          (result ^ f(a ^ in_a, b ^ in_b)));
  const int reg = op.operands[0].reg;
  if (unknown && reg >= kExec) raise_scalar(w, op.operands[unknown_a ? 1 : 2].reg);
  for (int half = 0; half < static_cast<int>(sizeof(W) / 4); ++half) {
    const uint32_t bits = static_cast<uint32_t>(unknown >> (32 * half));
    set_unwritten(w, reg + half, bits ? kUnwritten : kReady, bits);
  }
}

// ---- additions with their flags

inline void add_unsigned(Wave& w, const Op& op, uint32_t a, uint32_t b, uint32_t carry) {
  const uint64_t sum = uint64_t{a} + b + carry;
  write_as<uint32_t>(w, op, static_cast<uint32_t>(sum));
  w.scc = sum >> 32 != 0;
}
inline void subtract_unsigned(Wave& w, const Op& op, uint32_t a, uint32_t b, uint32_t borrow) {
  const uint64_t difference = uint64_t{a} - b - borrow;
  write_as<uint32_t>(w, op, static_cast<uint32_t>(difference));
  w.scc = difference >> 32 != 0;
}
template <int kShift, bool kUsesCarry>
void scalar_add(Wave& w, const Op& op) {
  const uint64_t a = uint64_t{read_as<uint32_t>(w, op, 1)} << kShift;
  const uint64_t sum = a + read_as<uint32_t>(w, op, 2) + (kUsesCarry ? w.scc : 0);
  write_as<uint32_t>(w, op, static_cast<uint32_t>(sum));
  w.scc = sum >> 32 != 0;
}
template <bool kUsesCarry>
void scalar_subtract(Wave& w, const Op& op) {
  const uint32_t borrow = kUsesCarry ? w.scc : 0;
  subtract_unsigned(w, op, read_as<uint32_t>(w, op, 1), read_as<uint32_t>(w, op, 2), borrow);
}
template <int kSign>
void scalar_add_signed(Wave& w, const Op& op) {
  const int64_t a = read_as<int32_t>(w, op, 1), b = read_as<int32_t>(w, op, 2);
  const int64_t sum = a + kSign * b;
  write_as<int32_t>(w, op, static_cast<int32_t>(sum));
  w.scc = sum != static_cast<int32_t>(sum);
}
template <class W, bool kMax>
void scalar_extreme(Wave& w, const Op& op) {
  const W a = read_as<W>(w, op, 1), b = read_as<W>(w, op, 2);
  w.scc = kMax ? a > b : a < b;
  write_as<W>(w, op, w.scc ? a : b);
}
template <class W>
void scalar_select(Wave& w, const Op& op) {  // only the chosen operand is read
  write_as<W>(w, op, read_as<W>(w, op, w.scc ? 1 : 2));
}
template <class W>
void move_if(Wave& w, const Op& op) {
  if (w.scc) write_as<W>(w, op, read_as<W>(w, op, 1));
}

// ---- SOPK: the destination is the first operand too

inline int32_t immediate16(const Op& op) { return static_cast<int16_t>(op.word & 0xffffu); }
inline void move_immediate(Wave& w, const Op& op) { write_as<int32_t>(w, op, immediate16(op)); }
inline void move_immediate_if(Wave& w, const Op& op) {
  if (w.scc) write_as<int32_t>(w, op, immediate16(op));
}
inline void add_immediate(Wave& w, const Op& op) {
  const int64_t sum = int64_t{read_as<int32_t>(w, op, 0)} + immediate16(op);
  write_as<int32_t>(w, op, static_cast<int32_t>(sum));
  w.scc = sum != static_cast<int32_t>(sum);
}
inline void multiply_immediate(Wave& w, const Op& op) {
  write_as<uint32_t>(w, op, read_as<uint32_t>(w, op, 0) * static_cast<uint32_t>(immediate16(op)));
}

// ---- bits

template <class W>
W bits_and(W a, W b) {
  return a & b;
}
template <class W>
W bits_or(W a, W b) {
  return a | b;
}
template <class W>
W bits_xor(W a, W b) {
  return a ^ b;
}
template <class W>
W bits_and_not(W a, W b) {
  return a & ~b;
}
template <class W>
W bits_or_not(W a, W b) {
  return a | ~b;
}
template <class W>
W bits_nand(W a, W b) {
  return ~(a & b);
}
template <class W>
W bits_nor(W a, W b) {
  return ~(a | b);
}
template <class W>
W bits_xnor(W a, W b) {
  return ~(a ^ b);
}
template <class W>
W bits_not_and(W a, W b) {
  return ~a & b;
}
template <class W>
W bits_not_or(W a, W b) {
  return ~a | b;
}
template <class W>
W bits_not(W a) {
  return ~a;
}
template <class W>
constexpr uint32_t shift_mask() {
  return 8 * sizeof(W) - 1;
}
template <class W>
W bits_left(W a, uint32_t n) {
  return a << (n & shift_mask<W>());
}
template <class W>
W bits_right(W a, uint32_t n) {
  return a >> (n & shift_mask<W>());
}
template <class W>
W bits_mask(uint32_t width, uint32_t first) {
  return ((W(1) << (width & shift_mask<W>())) - 1) << (first & shift_mask<W>());
}
// The field's first bit and width come in one operand, at bits 0 and 16.
template <class W>
W bits_field(W a, uint32_t where) {
  const uint32_t width = where >> 16 & 0x7f;
  const W moved = a >> (where & shift_mask<W>());
  if (width == 0) return 0;
  if (width >= 8 * sizeof(W)) return moved;
  return static_cast<W>(moved & ((W(1) << width) - 1));
}
template <class S, class W>
S bits_field_signed(S a, uint32_t where) {
  const uint32_t width = where >> 16 & 0x7f;
  const S moved = a >> (where & shift_mask<W>());
  if (width == 0) return 0;
  if (width >= 8 * sizeof(W)) return moved;
  const W sign = W(1) << (width - 1);
  const W part = static_cast<W>(moved) & ((W(1) << width) - 1);
  return static_cast<S>((part ^ sign) - sign);
}
template <class W>
uint32_t ones(W a) {
  return static_cast<uint32_t>(__builtin_popcountll(a));
}
template <class W>
uint32_t zeros(W a) {
  return 8 * sizeof(W) - ones(a);
}
template <class W>
uint32_t lowest_one(W a) {
  return a ? static_cast<uint32_t>(__builtin_ctzll(a)) : ~0u;
}
template <class W>
uint32_t lowest_zero(W a) {
  return lowest_one(static_cast<W>(~a));
}
template <class W>
uint32_t leading_zeros(W a) {
  return a ? static_cast<uint32_t>(__builtin_clzll(a)) - (64 - 8 * sizeof(W)) : ~0u;
}
template <class S, class W>
uint32_t leading_signs(S a) {
  return leading_zeros(static_cast<W>(a < 0 ? ~a : a));
}
template <class W>
W bits_reversed(W a) {
  W out = 0;
  for (unsigned i = 0; i < 8 * sizeof(W); ++i) out |= (a >> i & 1) << (8 * sizeof(W) - 1 - i);
  return out;
}
inline int32_t from_i8(uint32_t a) { return static_cast<int8_t>(a); }
inline int32_t from_i16(uint32_t a) { return static_cast<int16_t>(a); }
inline uint32_t magnitude(int32_t a) {
  return a < 0 ? 0u - static_cast<uint32_t>(a) : static_cast<uint32_t>(a);
}
inline uint32_t difference_size(int32_t a, int32_t b) {
  return magnitude(static_cast<int32_t>(static_cast<uint32_t>(a) - static_cast<uint32_t>(b)));
}
template <class W>
W whole_quads(W a) {  // a group of four with a bit set becomes all ones
  W out = 0;
  for (unsigned i = 0; i < 8 * sizeof(W); i += 4) out |= (a >> i & 0xf ? W(0xf) : W(0)) << i;
  return out;
}
template <class W>
W quad_mask(W a) {
  W out = 0;
  for (unsigned i = 0; i < 8 * sizeof(W); i += 4) out |= W(a >> i & 0xf ? 1 : 0) << (i / 4);
  return out;
}
inline uint64_t doubled_bits(uint32_t a) {
  uint64_t out = 0;
  for (int i = 0; i < 32; ++i) out |= (a >> i & 1 ? uint64_t{3} : 0) << (2 * i);
  return out;
}
inline uint32_t scalar_product(uint32_t a, uint32_t b) { return a * b; }
inline uint32_t scalar_high(uint32_t a, uint32_t b) {
  return static_cast<uint32_t>(uint64_t{a} * b >> 32);
}
inline int32_t scalar_high_signed(int32_t a, int32_t b) {
  return static_cast<int32_t>(int64_t{a} * b >> 32);
}
template <int kA, int kB>
uint32_t pack_parts(uint32_t a, uint32_t b) {
  return (a >> kA & 0xffffu) | (b >> kB & 0xffffu) << 16;
}

template <class W, bool kSet>
void set_bit(Wave& w, const Op& op) {
  const W bit = W(1) << (read_as<uint32_t>(w, op, 1) & shift_mask<W>());
  const W before = read_as<W>(w, op, 0);
  write_as<W>(w, op, kSet ? before | bit : before & ~bit);
}

// ---- comparisons, into SCC

template <class W, Is kIs>
void scalar_compare(Wave& w, const Op& op) {
  w.scc = holds<kIs>(read_as<W>(w, op, 0), read_as<W>(w, op, 1));
}
template <class W, Is kIs>
void scalar_compare_immediate(Wave& w, const Op& op) {
  const W with = sizeof(W) && W(-1) < W(0) ? static_cast<W>(immediate16(op))
                                           : static_cast<W>(op.word & 0xffffu);
  w.scc = holds<kIs>(read_as<W>(w, op, 0), with);
}
template <class W, uint32_t kWanted>
void compare_bit(Wave& w, const Op& op) {
  const uint32_t n = read_as<uint32_t>(w, op, 1) & shift_mask<W>();
  w.scc = static_cast<uint32_t>(read_as<W>(w, op, 0) >> n & 1) == kWanted;
}

// ---- EXEC with another mask; the old EXEC is kept

template <auto f, bool kKeepsOld>
void change_exec(Wave& w, const Op& op) {
  uint64_t unknown = 0;
  const uint64_t mask = read_bits<uint64_t>(w, op.operands[1], unknown), before = w.exec;
  const uint64_t next = f(mask, before);
  if (next != f(mask ^ unknown, before)) [[unlikely]]
    raise_scalar(w, op.operands[1].reg);
  write_scalar64(w, op.operands[0].reg, kKeepsOld ? before : next);
  write_scalar64(w, kExec, next);
  w.scc = next != 0;
}

}  // namespace wavejit::gcn
