// Matrix instructions (mfma) of the shapes 16 x 16 and 32 x 32, one block. Products are exact and
// summed in fp64 in the order of k, rounded once: the hardware's order is not documented.
#pragma once
#include <wavejit/gcn/convert.h>

namespace wavejit::gcn {

enum class Element { kF16, kBf16, kF32, kFp8, kBf8, kI8 };

inline constexpr int bits_of_element(Element e) {
  return e == Element::kF32 ? 32 : e == Element::kF16 || e == Element::kBf16 ? 16 : 8;
}

inline double element_of(const Wave& w, Element e, uint32_t word, int part) {
  const int bits = bits_of_element(e);
  const uint32_t code = bits == 32 ? word : word >> (bits * part) & ((1u << bits) - 1);
  switch (e) {
    case Element::kF16: return float_of_half(code);
    case Element::kBf16: return float_of_bf16(code);
    case Element::kF32: return float_of(code);
    case Element::kFp8: return float_of_fp8(code, format_of(w, false));
    case Element::kBf8: return float_of_fp8(code, format_of(w, true));
    case Element::kI8: return static_cast<int8_t>(code);
  }
  return 0;
}

// Lane l holds kPerLane consecutive k of row (or column) l % kSide, from k = l / kSide * kPerLane.
template <int kSide, int kDepth>
void read_matrix(const Wave& w, Element e, int reg, double (*out)[kDepth]) {
  constexpr int kPerLane = kDepth * kSide / kLanes;
  const int a_word = 32 / bits_of_element(e);
  for (int lane = 0; lane < kLanes; ++lane) {
    for (int i = 0; i < kPerLane; ++i) {
      const uint32_t word = w.vector[reg + i / a_word][lane];
      out[lane % kSide][lane / kSide * kPerLane + i] = element_of(w, e, word, i % a_word);
    }
  }
}

template <int kSide>
int row_of_result(int lane, int index) {
  return kSide == 16 ? 4 * (lane / 16) + index : 8 * (index / 4) + 4 * (lane / 32) + index % 4;
}

template <int kSide, int kDepth, Element kA, Element kB>
void multiply_matrices(Wave& w, const Op& op) {
  constexpr int kResults = kSide * kSide / kLanes;
  static thread_local double a[kSide][kDepth], b[kSide][kDepth];
  for (int k = 0; k < 3; ++k) {
    if (op.operands[k + 1].kind == OperandKind::kVector) {
      for (int i = 0; i < op.operands[k + 1].count; ++i)
        check_read(w, op.operands[k + 1].reg + i, ~uint64_t{0});
    }
  }
  read_matrix<kSide, kDepth>(w, kA, op.operands[1].reg, a);
  read_matrix<kSide, kDepth>(w, kB, op.operands[2].reg, b);
  const Operand& c = op.operands[3];
  alignas(64) uint32_t rows[kResults][kLanes];
  for (int i = 0; i < kResults; ++i) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const int row = row_of_result<kSide>(lane, i), column = lane % kSide;
      const uint32_t start = c.kind == OperandKind::kVector ? w.vector[c.reg + i][lane]
                                                            : static_cast<uint32_t>(c.value);
      double sum =
          kA == Element::kI8 ? static_cast<int32_t>(start) : static_cast<double>(float_of(start));
      for (int k = 0; k < kDepth; ++k) sum += a[row][k] * b[column][k];
      rows[i][lane] = kA == Element::kI8 ? static_cast<uint32_t>(static_cast<int64_t>(sum))
                                         : bits_of(static_cast<float>(sum));
    }
  }
  for (int i = 0; i < kResults; ++i) store_lanes(w, op.operands[0].reg + i, ~uint64_t{0}, rows[i]);
}

#define WAVEJIT_GCN_MFMA(name, side, depth, a, b)                    \
  Entry {                                                            \
    name, &multiply_matrices<side, depth, Element::a, Element::b>, { \
      Type::kF32, Type::kNone, Type::kNone, Type::kF32               \
    }                                                                \
  }

inline constexpr Entry kMatrix[] = {
    WAVEJIT_GCN_MFMA("v_mfma_f32_16x16x4_f32", 16, 4, kF32, kF32),
    WAVEJIT_GCN_MFMA("v_mfma_f32_32x32x2_f32", 32, 2, kF32, kF32),
    WAVEJIT_GCN_MFMA("v_mfma_f32_16x16x16_f16", 16, 16, kF16, kF16),
    WAVEJIT_GCN_MFMA("v_mfma_f32_32x32x8_f16", 32, 8, kF16, kF16),
    WAVEJIT_GCN_MFMA("v_mfma_f32_16x16x16_bf16", 16, 16, kBf16, kBf16),
    WAVEJIT_GCN_MFMA("v_mfma_f32_32x32x8_bf16", 32, 8, kBf16, kBf16),
    WAVEJIT_GCN_MFMA("v_mfma_f32_16x16x32_f16", 16, 32, kF16, kF16),
    WAVEJIT_GCN_MFMA("v_mfma_f32_32x32x16_f16", 32, 16, kF16, kF16),
    WAVEJIT_GCN_MFMA("v_mfma_f32_16x16x32_bf16", 16, 32, kBf16, kBf16),
    WAVEJIT_GCN_MFMA("v_mfma_f32_32x32x16_bf16", 32, 16, kBf16, kBf16),
    WAVEJIT_GCN_MFMA("v_mfma_i32_16x16x32_i8", 16, 32, kI8, kI8),
    WAVEJIT_GCN_MFMA("v_mfma_i32_32x32x16_i8", 32, 16, kI8, kI8),
    WAVEJIT_GCN_MFMA("v_mfma_f32_16x16x32_fp8_fp8", 16, 32, kFp8, kFp8),
    WAVEJIT_GCN_MFMA("v_mfma_f32_16x16x32_fp8_bf8", 16, 32, kFp8, kBf8),
    WAVEJIT_GCN_MFMA("v_mfma_f32_16x16x32_bf8_fp8", 16, 32, kBf8, kFp8),
    WAVEJIT_GCN_MFMA("v_mfma_f32_16x16x32_bf8_bf8", 16, 32, kBf8, kBf8),
    WAVEJIT_GCN_MFMA("v_mfma_f32_32x32x16_fp8_fp8", 32, 16, kFp8, kFp8),
};

}  // namespace wavejit::gcn
