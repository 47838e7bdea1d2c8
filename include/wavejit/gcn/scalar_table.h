// The scalar instructions by name.
#pragma once
#include <wavejit/gcn/scalar.h>

namespace wavejit::gcn {

using S32 = int32_t;
using S64 = int64_t;
using W32 = uint32_t;
using W64 = uint64_t;

#define WAVEJIT_GCN_S1(name, D, A, f, sets, type_d, type_a)             \
  Entry {                                                               \
    name, &scalar1<D, A, f, Sets::sets>, { Type::type_d, Type::type_a } \
  }
#define WAVEJIT_GCN_S2(name, D, A, B, f, sets, type_a, type_b)                           \
  Entry {                                                                                \
    name, &scalar2<D, A, B, f, Sets::sets>, { Type::type_a, Type::type_a, Type::type_b } \
  }
#define WAVEJIT_GCN_S_DOWN(name, D, f, type)                                               \
  Entry {                                                                                  \
    name, &scalar2<D, D, W32, f, Sets::kNotZero>, {Type::type, Type::type, Type::kB32}, 1, \
        nullptr, {                                                                         \
      8, How::kDown, {}, {}                                                                \
    }                                                                                      \
  }
#define WAVEJIT_GCN_S1_BOTH(name, f, sets)                          \
  WAVEJIT_GCN_S1(name "_b32", W32, W32, &f<W32>, sets, kB32, kB32), \
      WAVEJIT_GCN_S1(name "_b64", W64, W64, &f<W64>, sets, kB64, kB64)
#define WAVEJIT_GCN_BITWISE(name, f)                                                        \
  Entry{name "_b32", &bitwise<W32, &f<W32>>, {Type::kB32, Type::kB32, Type::kB32}}, Entry { \
    name "_b64", &bitwise<W64, &f<W64>>, { Type::kB64, Type::kB64, Type::kB64 }             \
  }
#define WAVEJIT_GCN_SHIFT_BOTH(name, f)                                      \
  WAVEJIT_GCN_S2(name "_b32", W32, W32, W32, &f<W32>, kNotZero, kB32, kB32), \
      WAVEJIT_GCN_S2(name "_b64", W64, W64, W32, &f<W64>, kNotZero, kB64, kB32)
#define WAVEJIT_GCN_COUNT_BOTH(name, f, sets)                       \
  WAVEJIT_GCN_S1(name "_b32", W32, W32, &f<W32>, sets, kB32, kB32), \
      WAVEJIT_GCN_S1(name "_b64", W32, W64, &f<W64>, sets, kB32, kB64)
#define WAVEJIT_GCN_SAVEEXEC(name, f)                                                              \
  Entry{"s_" name "_saveexec_b64", &change_exec<&f<W64>, true>, {Type::kB64, Type::kB64}}, Entry { \
    "s_" name "_wrexec_b64", &change_exec<&f<W64>, false>, { Type::kB64, Type::kB64 }              \
  }
#define WAVEJIT_GCN_SCALAR_COMPARE(name, is)                                                      \
  Entry{"s_cmp_" name "_i32", &scalar_compare<S32, is>, {Type::kI32, Type::kI32}},                \
      Entry{"s_cmp_" name "_u32", &scalar_compare<W32, is>, {Type::kB32, Type::kB32}},            \
      Entry{"s_cmpk_" name "_i32", &scalar_compare_immediate<S32, is>, {Type::kI32, Type::kI32}}, \
      Entry {                                                                                     \
    "s_cmpk_" name "_u32", &scalar_compare_immediate<W32, is>, { Type::kB32, Type::kB32 }         \
  }

inline constexpr Entry kScalar[] = {
    {"s_mov_b32", &scalar_move<W32>, {Type::kB32, Type::kB32}},
    {"s_mov_b64", &scalar_move<W64>, {Type::kB64, Type::kB64}},
    WAVEJIT_GCN_S1_BOTH("s_not", bits_not, kNotZero),
    WAVEJIT_GCN_S1_BOTH("s_wqm", whole_quads, kNotZero),
    WAVEJIT_GCN_S1_BOTH("s_quadmask", quad_mask, kNotZero),
    WAVEJIT_GCN_S1_BOTH("s_brev", bits_reversed, kNothing),
    WAVEJIT_GCN_COUNT_BOTH("s_bcnt1_i32", ones, kNotZero),
    WAVEJIT_GCN_COUNT_BOTH("s_bcnt0_i32", zeros, kNotZero),
    WAVEJIT_GCN_COUNT_BOTH("s_ff1_i32", lowest_one, kNothing),
    WAVEJIT_GCN_COUNT_BOTH("s_ff0_i32", lowest_zero, kNothing),
    WAVEJIT_GCN_COUNT_BOTH("s_flbit_i32", leading_zeros, kNothing),
    {"s_flbit_i32",
     &scalar1<W32, S32, &leading_signs<S32, W32>, Sets::kNothing>,
     {Type::kB32, Type::kI32}},
    {"s_flbit_i32_i64",
     &scalar1<W32, S64, &leading_signs<S64, W64>, Sets::kNothing>,
     {Type::kB32, Type::kI64}},
    WAVEJIT_GCN_S1("s_sext_i32_i8", S32, W32, &from_i8, kNothing, kI32, kB32),
    WAVEJIT_GCN_S1("s_sext_i32_i16", S32, W32, &from_i16, kNothing, kI32, kB32),
    WAVEJIT_GCN_S1("s_abs_i32", W32, S32, &magnitude, kNotZero, kI32, kI32),
    WAVEJIT_GCN_S1("s_bitreplicate_b64_b32", W64, W32, &doubled_bits, kNothing, kB64, kB32),
    {"s_bitset1_b32", &set_bit<W32, true>, {Type::kB32, Type::kB32}},
    {"s_bitset0_b32", &set_bit<W32, false>, {Type::kB32, Type::kB32}},
    {"s_bitset1_b64", &set_bit<W64, true>, {Type::kB64, Type::kB32}},
    {"s_bitset0_b64", &set_bit<W64, false>, {Type::kB64, Type::kB32}},
    {"s_cmov_b32", &move_if<W32>, {Type::kB32, Type::kB32}},
    {"s_cmov_b64", &move_if<W64>, {Type::kB64, Type::kB64}},
    WAVEJIT_GCN_BITWISE("s_and", bits_and),
    WAVEJIT_GCN_BITWISE("s_or", bits_or),
    WAVEJIT_GCN_BITWISE("s_xor", bits_xor),
    WAVEJIT_GCN_BITWISE("s_andn2", bits_and_not),
    WAVEJIT_GCN_BITWISE("s_orn2", bits_or_not),
    WAVEJIT_GCN_BITWISE("s_nand", bits_nand),
    WAVEJIT_GCN_BITWISE("s_nor", bits_nor),
    WAVEJIT_GCN_BITWISE("s_xnor", bits_xnor),
    WAVEJIT_GCN_SHIFT_BOTH("s_lshl", bits_left),
    WAVEJIT_GCN_S2("s_lshr_b32", W32, W32, W32, &bits_right<W32>, kNotZero, kB32, kB32),
    WAVEJIT_GCN_S_DOWN("s_lshr_b64", W64, &bits_right<W64>, kB64),
    WAVEJIT_GCN_S2("s_ashr_i32", S32, S32, W32, &bits_right<S32>, kNotZero, kI32, kB32),
    WAVEJIT_GCN_S_DOWN("s_ashr_i64", S64, &bits_right<S64>, kI64),
    WAVEJIT_GCN_S2("s_bfm_b32", W32, W32, W32, &bits_mask<W32>, kNothing, kB32, kB32),
    WAVEJIT_GCN_S2("s_bfm_b64", W64, W32, W32, &bits_mask<W64>, kNothing, kB32, kB32),
    WAVEJIT_GCN_S2("s_bfe_u32", W32, W32, W32, &bits_field<W32>, kNotZero, kB32, kB32),
    WAVEJIT_GCN_S2("s_bfe_u64", W64, W64, W32, &bits_field<W64>, kNotZero, kB64, kB32),
    {"s_bfe_i32",
     &scalar2<S32, S32, W32, &bits_field_signed<S32, W32>, Sets::kNotZero>,
     {Type::kI32, Type::kI32, Type::kB32}},
    {"s_bfe_i64",
     &scalar2<S64, S64, W32, &bits_field_signed<S64, W64>, Sets::kNotZero>,
     {Type::kI64, Type::kI64, Type::kB32}},
    WAVEJIT_GCN_S2("s_mul_i32", W32, W32, W32, &scalar_product, kNothing, kB32, kB32),
    WAVEJIT_GCN_S2("s_mul_hi_u32", W32, W32, W32, &scalar_high, kNothing, kB32, kB32),
    WAVEJIT_GCN_S2("s_mul_hi_i32", S32, S32, S32, &scalar_high_signed, kNothing, kI32, kI32),
    WAVEJIT_GCN_S2("s_absdiff_i32", W32, S32, S32, &difference_size, kNotZero, kI32, kI32),
    {"s_pack_ll_b32_b16",
     &scalar2<W32, W32, W32, &pack_parts<0, 0>, Sets::kNothing>,
     {Type::kB32, Type::kB32, Type::kB32}},
    {"s_pack_lh_b32_b16",
     &scalar2<W32, W32, W32, &pack_parts<0, 16>, Sets::kNothing>,
     {Type::kB32, Type::kB32, Type::kB32}},
    {"s_pack_hh_b32_b16",
     &scalar2<W32, W32, W32, &pack_parts<16, 16>, Sets::kNothing>,
     {Type::kB32, Type::kB32, Type::kB32}},
    {"s_add_u32", &scalar_add<0, false>, {Type::kB32, Type::kB32, Type::kB32}},
    {"s_addc_u32", &scalar_add<0, true>, {Type::kB32, Type::kB32, Type::kB32}},
    {"s_lshl1_add_u32", &scalar_add<1, false>, {Type::kB32, Type::kB32, Type::kB32}},
    {"s_lshl2_add_u32", &scalar_add<2, false>, {Type::kB32, Type::kB32, Type::kB32}},
    {"s_lshl3_add_u32", &scalar_add<3, false>, {Type::kB32, Type::kB32, Type::kB32}},
    {"s_lshl4_add_u32", &scalar_add<4, false>, {Type::kB32, Type::kB32, Type::kB32}},
    {"s_sub_u32", &scalar_subtract<false>, {Type::kB32, Type::kB32, Type::kB32}},
    {"s_subb_u32", &scalar_subtract<true>, {Type::kB32, Type::kB32, Type::kB32}},
    {"s_add_i32", &scalar_add_signed<1>, {Type::kI32, Type::kI32, Type::kI32}},
    {"s_sub_i32", &scalar_add_signed<-1>, {Type::kI32, Type::kI32, Type::kI32}},
    {"s_min_i32", &scalar_extreme<S32, false>, {Type::kI32, Type::kI32, Type::kI32}},
    {"s_min_u32", &scalar_extreme<W32, false>, {Type::kB32, Type::kB32, Type::kB32}},
    {"s_max_i32", &scalar_extreme<S32, true>, {Type::kI32, Type::kI32, Type::kI32}},
    {"s_max_u32", &scalar_extreme<W32, true>, {Type::kB32, Type::kB32, Type::kB32}},
    {"s_cselect_b32", &scalar_select<W32>, {Type::kB32, Type::kB32, Type::kB32}},
    {"s_cselect_b64", &scalar_select<W64>, {Type::kB64, Type::kB64, Type::kB64}},
    {"s_movk_i32", &move_immediate, {}},
    {"s_cmovk_i32", &move_immediate_if, {}},
    {"s_addk_i32", &add_immediate, {}},
    {"s_mulk_i32", &multiply_immediate, {}},
    WAVEJIT_GCN_SCALAR_COMPARE("eq", Is::kEqual),
    WAVEJIT_GCN_SCALAR_COMPARE("lg", Is::kNotEqual),
    WAVEJIT_GCN_SCALAR_COMPARE("gt", Is::kGreater),
    WAVEJIT_GCN_SCALAR_COMPARE("ge", Is::kGreaterEqual),
    WAVEJIT_GCN_SCALAR_COMPARE("lt", Is::kLess),
    WAVEJIT_GCN_SCALAR_COMPARE("le", Is::kLessEqual),
    {"s_cmp_eq_u64", &scalar_compare<W64, Is::kEqual>, {Type::kB64, Type::kB64}},
    {"s_cmp_lg_u64", &scalar_compare<W64, Is::kNotEqual>, {Type::kB64, Type::kB64}},
    {"s_bitcmp0_b32", &compare_bit<W32, 0>, {Type::kB32, Type::kB32}},
    {"s_bitcmp1_b32", &compare_bit<W32, 1>, {Type::kB32, Type::kB32}},
    {"s_bitcmp0_b64", &compare_bit<W64, 0>, {Type::kB64, Type::kB32}},
    {"s_bitcmp1_b64", &compare_bit<W64, 1>, {Type::kB64, Type::kB32}},
    WAVEJIT_GCN_SAVEEXEC("and", bits_and),
    WAVEJIT_GCN_SAVEEXEC("or", bits_or),
    WAVEJIT_GCN_SAVEEXEC("xor", bits_xor),
    WAVEJIT_GCN_SAVEEXEC("andn2", bits_and_not),
    WAVEJIT_GCN_SAVEEXEC("orn2", bits_or_not),
    WAVEJIT_GCN_SAVEEXEC("nand", bits_nand),
    WAVEJIT_GCN_SAVEEXEC("nor", bits_nor),
    WAVEJIT_GCN_SAVEEXEC("xnor", bits_xnor),
    WAVEJIT_GCN_SAVEEXEC("andn1", bits_not_and),
    WAVEJIT_GCN_SAVEEXEC("orn1", bits_not_or),
};

}  // namespace wavejit::gcn
