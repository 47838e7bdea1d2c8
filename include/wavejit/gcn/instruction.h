// A decoded instruction. python/wavejit/gcn/decode.py packs the same layout, little endian.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace wavejit::gcn {

inline constexpr int kLanes = 64;
inline constexpr int kMaxOperands = 7;

enum class OperandKind : uint8_t { kNone, kVector, kScalar, kInteger, kFloat, kLiteral, kSpecial };

// What an instruction reads an operand as; a constant's bits depend on it.
enum class Type : uint8_t { kNone, kB32, kF32, kI32, kB64, kF64, kI64, kB16, kF16, kI16, kPk16 };

enum Modifier : uint8_t { kNegative = 1, kAbsolute = 2, kSignExtend = 4 };

// The parts of a register that SDWA selects.
enum Select : uint8_t { kByte0, kByte1, kByte2, kByte3, kWord0, kWord1, kDword };

enum SpecialId : uint16_t {
  kScc,
  kVccz,
  kExecz,
  kSharedBase,
  kSharedLimit,
  kPrivateBase,
  kPrivateLimit
};

struct Operand {
  OperandKind kind;
  uint8_t modifiers;
  uint16_t reg;      // vector: 0-255 v, 256-511 a; scalar: as in the encoding (106 vcc, 126 exec)
  uint8_t count;     // registers
  uint8_t select;    // SDWA; set when a program is made
  uint8_t permuted;  // DPP applies; set when a program is made
  uint8_t plain;     // a vector register without modifiers; set when a program is made
  uint64_t value;    // constants: an integer's or a double's bits, then the typed bits
};

enum class Dpp : uint8_t {
  kNone,
  kQuadPerm,
  kRowShl,
  kRowShr,
  kRowRor,
  kWaveShl,
  kWaveRol,
  kWaveShr,
  kWaveRor,
  kRowMirror,
  kRowHalfMirror,
  kRowBcast,
  kRowNewBcast
};

enum Flag : uint16_t {
  kClamp = 1,
  kReturns = 2,  // sc0 of an atomic
  kOffen = 4,
  kIdxen = 8,
  kToShared = 16,
  kBoundCtrl = 32,
  kHasSdwa = 64,
  kHasOpSel = 128,
};

struct Packed {
  uint32_t pc;  // offset in the code object's memory
  uint32_t size;
  uint16_t mnemonic;  // index into the program's names
  uint16_t flags;
  int32_t offset;
  int32_t offset1;
  uint32_t target;  // index of the branch's target, or ~0
  uint32_t word;    // the first dword of the encoding
  uint8_t operand_count;
  uint8_t op_sel;
  uint8_t op_sel_hi;
  uint8_t neg_lo;
  uint8_t neg_hi;
  uint8_t omod;  // 0 none, 1 times 2, 2 times 4, 3 half
  Dpp dpp;
  uint8_t dpp_value;  // quad_perm: two bits a lane; otherwise the amount
  uint8_t row_mask;
  uint8_t bank_mask;
  uint8_t dst_select;
  uint8_t dst_unused;  // 0 pad, 1 sign extend, 2 preserve
  uint8_t source_select[2];
  uint8_t padding[6];
  Operand operands[kMaxOperands];
};
static_assert(sizeof(Operand) == 16 && sizeof(Packed) == 48 + 16 * kMaxOperands);

// What a memory instruction does: how many bytes a lane, into which part of a register, where.
// kDown and kHalves: how the halves of a 64-bit result depend on those of the operands.
enum class How : uint8_t { kWhole, kSigned, kLow, kHigh, kSignedLow, kSignedHigh, kDown, kHalves };
enum class Space : uint8_t { kGlobal, kFlat, kScratch, kBuffer };
enum class Atomic : uint8_t {
  kAdd,
  kSub,
  kReverseSub,
  kMinSigned,
  kMaxSigned,
  kMin,
  kMax,
  kAnd,
  kOr,
  kXor,
  kInc,
  kDec,
  kSwap,
  kCompareSwap,
  kMaskOr,
  kAddFloat,
  kMinFloat,
  kMaxFloat,
  kAddHalves,
  kAddBf16s
};
struct Access {
  uint8_t bytes;
  How how;
  Space space;
  Atomic atomic;
};
constexpr bool is_low(How how) { return how == How::kLow || how == How::kSignedLow; }
constexpr bool is_high(How how) { return how == How::kHigh || how == How::kSignedHigh; }

struct Wave;
struct Op;
using Handler = void (*)(Wave&, const Op&);

struct Op : Packed {
  Handler run;
  uint8_t first_source;
  uint8_t plain_result;  // the result is written as it is, to the lanes of EXEC
  Access access;
};

}  // namespace wavejit::gcn
