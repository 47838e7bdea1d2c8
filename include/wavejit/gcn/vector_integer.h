// Integer and bit arithmetic of 16, 32 and 64 bits.
#pragma once
#include <wavejit/gcn/lanes.h>

namespace wavejit::gcn {

using U = uint32_t;
using I = int32_t;

inline U bit_and(U a, U b) { return a & b; }
inline U bit_or(U a, U b) { return a | b; }
inline U bit_xor(U a, U b) { return a ^ b; }
inline U bit_xnor(U a, U b) { return ~(a ^ b); }
inline U bit_not(U a) { return ~a; }
template <class S>
S same(S a) {
  return a;
}

template <class S>
S plus(S a, S b) {
  return a + b;
}
template <class S>
S minus(S a, S b) {
  return a - b;
}
template <class S>
S minus_reversed(S a, S b) {
  return b - a;
}
template <class S>
S times(S a, S b) {
  return a * b;
}
template <class S>
S smaller(S a, S b) {
  return a < b ? a : b;
}
template <class S>
S larger(S a, S b) {
  return a > b ? a : b;
}
template <class S>
S smallest(S a, S b, S c) {
  return smaller(smaller(a, b), c);
}
template <class S>
S largest(S a, S b, S c) {
  return larger(larger(a, b), c);
}
template <class S>
S middle(S a, S b, S c) {
  return larger(smaller(a, b), smaller(larger(a, b), c));
}

inline U shift_left(U n, U a) { return a << five_bits(n); }
inline U shift_right(U n, U a) { return a >> five_bits(n); }
inline I shift_right_signed(U n, I a) { return a >> five_bits(n); }
inline U shift_left16(U n, U a) { return a << (n & 15); }
inline U shift_right16(U n, U a) { return a >> (n & 15); }
inline I shift_right_signed16(U n, I a) { return a >> (n & 15); }
inline uint64_t shift_left64(U n, uint64_t a) { return a << (n & 63); }
inline uint64_t shift_right64(U n, uint64_t a) { return a >> (n & 63); }
inline int64_t shift_right_signed64(U n, int64_t a) { return a >> (n & 63); }

inline U shift_add(U a, U n, U b) { return (a << five_bits(n)) + b; }
inline U add_shift(U a, U b, U n) { return (a + b) << five_bits(n); }
inline U shift_or(U a, U n, U b) { return (a << five_bits(n)) | b; }
inline U and_or(U a, U b, U c) { return (a & b) | c; }
inline U or3(U a, U b, U c) { return a | b | c; }
inline U add3(U a, U b, U c) { return a + b + c; }
inline U xor_add(U a, U b, U c) { return (a ^ b) + c; }
inline uint64_t shift_add64(uint64_t a, U n, uint64_t b) { return (a << (n & 7)) + b; }

inline U field(U a, U first, U width) {
  return (a >> five_bits(first)) & ((1u << five_bits(width)) - 1);
}
inline I field_signed(U a, U first, U width) {
  const U n = five_bits(width);
  if (n == 0) return 0;
  const U part = a >> five_bits(first) & ((1u << n) - 1);
  const U sign = 1u << (n - 1);
  // a field that reaches beyond bit 31 takes its sign from there
  if (five_bits(first) + n > 32) return static_cast<I>(a) >> five_bits(first);
  return static_cast<I>((part ^ sign) - sign);
}
inline U insert(U mask, U a, U b) { return (mask & a) | (~mask & b); }
inline U field_mask(U width, U first) { return ((1u << five_bits(width)) - 1) << five_bits(first); }

inline U high_product(U a, U b) { return static_cast<U>(uint64_t{a} * b >> 32); }
inline I high_product_signed(I a, I b) { return static_cast<I>(int64_t{a} * b >> 32); }
inline U low24(U a) { return a & 0xffffffu; }
inline I low24_signed(I a) { return static_cast<I>(static_cast<U>(a) << 8) >> 8; }
inline U product24(U a, U b) { return low24(a) * low24(b); }
inline U product24_signed(U a, U b) {
  return static_cast<U>(low24_signed(static_cast<I>(a))) *
         static_cast<U>(low24_signed(static_cast<I>(b)));
}
inline U high_product24(U a, U b) { return static_cast<U>(uint64_t{low24(a)} * low24(b) >> 32); }
inline I high_product24_signed(I a, I b) {
  return static_cast<I>(int64_t{low24_signed(a)} * low24_signed(b) >> 32);
}
inline U multiply_add24(U a, U b, U c) { return product24(a, b) + c; }
inline U multiply_add24_signed(U a, U b, U c) { return product24_signed(a, b) + c; }
inline U multiply_add16(U a, U b, U c) { return a * b + c; }
inline U multiply_add16_wide(U a, U b, U c) { return a * b + c; }
inline I multiply_add16_wide_signed(I a, I b, I c) {
  return static_cast<I>(static_cast<U>(a * b) + static_cast<U>(c));
}

inline U count_ones(U a, U b) { return static_cast<U>(__builtin_popcount(a)) + b; }
inline U first_one_high(U a) { return a ? static_cast<U>(__builtin_clz(a)) : ~0u; }
inline U first_change_high(I a) {
  const U flipped = static_cast<U>(a < 0 ? ~a : a);
  return flipped ? static_cast<U>(__builtin_clz(flipped)) : ~0u;
}
inline U first_one_low(U a) { return a ? static_cast<U>(__builtin_ctz(a)) : ~0u; }
inline U reversed(U a) {
  a = (a >> 1 & 0x55555555u) | (a & 0x55555555u) << 1;
  a = (a >> 2 & 0x33333333u) | (a & 0x33333333u) << 2;
  a = (a >> 4 & 0x0f0f0f0fu) | (a & 0x0f0f0f0fu) << 4;
  return __builtin_bswap32(a);
}
inline U align_bits(U a, U b, U n) {
  return static_cast<U>((uint64_t{a} << 32 | b) >> five_bits(n));
}
inline U align_bytes(U a, U b, U n) { return align_bits(a, b, 8 * (n & 3)); }
inline U selected_byte(uint64_t both, U code) {
  if (code < 8) return both >> (8 * code) & 0xff;
  if (code < 12) return both >> (16 * (code - 8) + 15) & 1 ? 0xff : 0;
  return code == 12 ? 0 : 0xff;
}
inline U permute_bytes(U a, U b, U codes) {
  const uint64_t both = uint64_t{a} << 32 | b;
  U out = 0;
  for (int i = 0; i < 4; ++i) out |= selected_byte(both, codes >> (8 * i) & 0xff) << (8 * i);
  return out;
}

inline U distance(U a, U b) { return a > b ? a - b : b - a; }
inline U sum_distance8(U a, U b, U c) {
  for (int i = 0; i < 32; i += 8) c += distance(a >> i & 0xff, b >> i & 0xff);
  return c;
}
inline U sum_distance8_high(U a, U b, U c) { return (sum_distance8(a, b, 0) << 16) + c; }
inline U sum_distance8_masked(U a, U b, U c) {
  for (int i = 0; i < 32; i += 8) {
    if (b >> i & 0xff) c += distance(a >> i & 0xff, b >> i & 0xff);
  }
  return c;
}
inline U sum_distance16(U a, U b, U c) {
  return distance(a & 0xffff, b & 0xffff) + distance(a >> 16, b >> 16) + c;
}
inline U sum_distance32(U a, U b, U c) { return distance(a, b) + c; }
inline U average8(U a, U b, U rounding) {
  U out = 0;
  for (int i = 0; i < 32; i += 8) {
    out |= (((a >> i & 0xff) + (b >> i & 0xff) + (rounding >> i & 1)) >> 1) << i;
  }
  return out;
}

template <int kBits, bool kSigned>
inline U dot(U a, U b, U c) {
  for (int i = 0; i < 32; i += kBits) {
    const U x = a << (32 - kBits - i), y = b << (32 - kBits - i);
    c += kSigned ? static_cast<U>((static_cast<I>(x) >> (32 - kBits)) *
                                  (static_cast<I>(y) >> (32 - kBits)))
                 : (x >> (32 - kBits)) * (y >> (32 - kBits));
  }
  return c;
}

// Any function of three bits, as a truth table in op_sel and neg... of the encoding.
inline U truth_table(U a, U b, U c, U table) {
  U out = 0;
  for (int i = 0; i < 8; ++i) {
    if (!(table >> i & 1)) continue;
    out |= (i & 4 ? a : ~a) & (i & 2 ? b : ~b) & (i & 1 ? c : ~c);
  }
  return out;
}

// ---- clamped sums

template <class S, class Wide, Wide kLow, Wide kHigh, int kSign, bool kReversed>
S clamped_sum(S a, S b) {
  const Wide x = kReversed ? b : a, y = kReversed ? a : b;
  const Wide sum = kSign > 0 ? x + y : x - y;
  return static_cast<S>(sum < kLow ? kLow : sum > kHigh ? kHigh : sum);
}

template <class T, class S, auto f, auto g>
constexpr Entry make_sum(const char* name) {
  return {name, &binary<T, T, T, f>, {T::kType, T::kType, T::kType}, 1, &binary<T, T, T, g>};
}
#define WAVEJIT_GCN_SUMS(T, S, Wide, low, high, suffix)                                        \
  make_sum<T, S, &plus<S>, &clamped_sum<S, Wide, low, high, 1, false>>("v_add_" suffix),       \
      make_sum<T, S, &minus<S>, &clamped_sum<S, Wide, low, high, -1, false>>("v_sub_" suffix), \
      make_sum<T, S, &minus_reversed<S>, &clamped_sum<S, Wide, low, high, -1, true>>(          \
          "v_subrev_" suffix)

#define WAVEJIT_GCN_ORDERED(T, S, suffix)                                                    \
  make2<T, T, T, &smaller<S>>("v_min_" suffix), make2<T, T, T, &larger<S>>("v_max_" suffix), \
      make3<T, T, T, T, &smallest<S>>("v_min3_" suffix),                                     \
      make3<T, T, T, T, &largest<S>>("v_max3_" suffix),                                      \
      make3<T, T, T, T, &middle<S>>("v_med3_" suffix)

// gfx950's v_bitop3: the table's eight bits lie in the encoding's abs, omod and neg fields.
inline void bit_operation3(Wave& w, const Op& op) {
  Room<B32> room_a, room_b, room_c, out;
  const auto* a = fetch<B32>(w, op, 1, room_a);
  const auto* b = fetch<B32>(w, op, 2, room_b);
  const auto* c = fetch<B32>(w, op, 3, room_c);
  const U table = static_cast<U>(op.offset1);
  for (int i = 0; i < kLanes; ++i) out.lanes[i] = truth_table(a[i], b[i], c[i], table);
  commit<B32>(w, op, out.lanes);
}

// The dot product that adds to its destination.
template <auto f>
void accumulate_dot(Wave& w, const Op& op) {
  Room<B32> room_a, room_b, room_c, out;
  const auto* a = fetch<B32>(w, op, 1, room_a);
  const auto* b = fetch<B32>(w, op, 2, room_b);
  const auto* c = fetch<B32>(w, op, 0, room_c);
  for (int i = 0; i < kLanes; ++i) out.lanes[i] = f(a[i], b[i], c[i]);
  commit<B32>(w, op, out.lanes);
}

inline constexpr Entry kVectorInteger[] = {
    WAVEJIT_GCN_SUMS(B32, uint32_t, int64_t, 0, 0xffffffffll, "u32"),
    WAVEJIT_GCN_SUMS(I32, int32_t, int64_t, -0x80000000ll, 0x7fffffffll, "i32"),
    WAVEJIT_GCN_SUMS(B16, uint32_t, int64_t, 0, 0xffffll, "u16"),
    WAVEJIT_GCN_SUMS(I16, int32_t, int64_t, -0x8000ll, 0x7fffll, "i16"),
    WAVEJIT_GCN_ORDERED(B32, uint32_t, "u32"),
    WAVEJIT_GCN_ORDERED(I32, int32_t, "i32"),
    WAVEJIT_GCN_ORDERED(B16, uint32_t, "u16"),
    WAVEJIT_GCN_ORDERED(I16, int32_t, "i16"),
    make2<B32, B32, B32, &bit_and>("v_and_b32"),
    make2<B32, B32, B32, &bit_or>("v_or_b32"),
    make2<B32, B32, B32, &bit_xor>("v_xor_b32"),
    make2<B32, B32, B32, &bit_xnor>("v_xnor_b32"),
    make1<B32, B32, &bit_not>("v_not_b32"),
    make2<B32, B32, B32, &shift_left>("v_lshlrev_b32"),
    make2<B32, B32, B32, &shift_right>("v_lshrrev_b32"),
    make2<I32, B32, I32, &shift_right_signed>("v_ashrrev_i32"),
    make2<B16, B16, B16, &shift_left16>("v_lshlrev_b16"),
    make2<B16, B16, B16, &shift_right16>("v_lshrrev_b16"),
    make2<I16, B16, I16, &shift_right_signed16>("v_ashrrev_i16"),
    make2<B64, B32, B64, &shift_left64>("v_lshlrev_b64"),
    make_down2<B64, B32, B64, &shift_right64>("v_lshrrev_b64"),
    make_down2<I64, B32, I64, &shift_right_signed64>("v_ashrrev_i64"),
    make3<B32, B32, B32, B32, &shift_add>("v_lshl_add_u32"),
    make3<B32, B32, B32, B32, &add_shift>("v_add_lshl_u32"),
    make3<B32, B32, B32, B32, &shift_or>("v_lshl_or_b32"),
    make3<B32, B32, B32, B32, &and_or>("v_and_or_b32"),
    make3<B32, B32, B32, B32, &or3>("v_or3_b32"),
    make3<B32, B32, B32, B32, &add3>("v_add3_u32"),
    make3<B32, B32, B32, B32, &xor_add>("v_xad_u32"),
    make3<B64, B64, B32, B64, &shift_add64>("v_lshl_add_u64"),
    make3<B32, B32, B32, B32, &field>("v_bfe_u32"),
    make3<I32, B32, B32, B32, &field_signed>("v_bfe_i32"),
    make3<B32, B32, B32, B32, &insert>("v_bfi_b32"),
    make2<B32, B32, B32, &field_mask>("v_bfm_b32"),
    {"v_bitop3_b32", &bit_operation3, {Type::kB32, Type::kB32, Type::kB32, Type::kB32}},
    make2<B32, B32, B32, &times<U>>("v_mul_lo_u32"),
    make2<B32, B32, B32, &high_product>("v_mul_hi_u32"),
    make2<I32, I32, I32, &high_product_signed>("v_mul_hi_i32"),
    make2<B32, B32, B32, &product24>("v_mul_u32_u24"),
    make2<B32, B32, B32, &product24_signed>("v_mul_i32_i24"),
    make2<B32, B32, B32, &high_product24>("v_mul_hi_u32_u24"),
    make2<I32, I32, I32, &high_product24_signed>("v_mul_hi_i32_i24"),
    make3<B32, B32, B32, B32, &multiply_add24>("v_mad_u32_u24"),
    make3<B32, B32, B32, B32, &multiply_add24_signed>("v_mad_i32_i24"),
    make2<B16, B16, B16, &times<U>>("v_mul_lo_u16"),
    make3<B16, B16, B16, B16, &multiply_add16>("v_mad_legacy_u16"),
    make3<B16, B16, B16, B16, &multiply_add16>("v_mad_legacy_i16"),
    make3<B16, B16, B16, B16, &multiply_add16>("v_mad_u16"),
    make3<B16, B16, B16, B16, &multiply_add16>("v_mad_i16"),
    make3<B32, B16, B16, B32, &multiply_add16_wide>("v_mad_u32_u16"),
    make3<I32, I16, I16, I32, &multiply_add16_wide_signed>("v_mad_i32_i16"),
    make2<B32, B32, B32, &count_ones>("v_bcnt_u32_b32"),
    make1<B32, B32, &first_one_high>("v_ffbh_u32"),
    make1<B32, I32, &first_change_high>("v_ffbh_i32"),
    make1<B32, B32, &first_one_low>("v_ffbl_b32"),
    make1<B32, B32, &reversed>("v_bfrev_b32"),
    make3<B32, B32, B32, B32, &align_bits>("v_alignbit_b32"),
    make3<B32, B32, B32, B32, &align_bytes>("v_alignbyte_b32"),
    make3<B32, B32, B32, B32, &permute_bytes>("v_perm_b32"),
    make3<B32, B32, B32, B32, &sum_distance8>("v_sad_u8"),
    make3<B32, B32, B32, B32, &sum_distance8_high>("v_sad_hi_u8"),
    make3<B32, B32, B32, B32, &sum_distance8_masked>("v_msad_u8"),
    make3<B32, B32, B32, B32, &sum_distance16>("v_sad_u16"),
    make3<B32, B32, B32, B32, &sum_distance32>("v_sad_u32"),
    make3<B32, B32, B32, B32, &average8>("v_lerp_u8"),
    make3<B32, B32, B32, B32, &dot<16, true>>("v_dot2_i32_i16"),
    make3<B32, B32, B32, B32, &dot<16, false>>("v_dot2_u32_u16"),
    make3<B32, B32, B32, B32, &dot<8, true>>("v_dot4_i32_i8"),
    make3<B32, B32, B32, B32, &dot<8, false>>("v_dot4_u32_u8"),
    make3<B32, B32, B32, B32, &dot<4, true>>("v_dot8_i32_i4"),
    make3<B32, B32, B32, B32, &dot<4, false>>("v_dot8_u32_u4"),
    {"v_dot2c_i32_i16", &accumulate_dot<&dot<16, true>>, {Type::kB32, Type::kB32, Type::kB32}},
    {"v_dot4c_i32_i8", &accumulate_dot<&dot<8, true>>, {Type::kB32, Type::kB32, Type::kB32}},
    {"v_dot8c_i32_i4", &accumulate_dot<&dot<4, true>>, {Type::kB32, Type::kB32, Type::kB32}},
};

}  // namespace wavejit::gcn
