// From packed instructions to ones that run: handlers by name, constants as bits of their types.
#pragma once
#include <stdlib.h>
#include <wavejit/gcn/approximate.h>
#include <wavejit/gcn/atomics.h>
#include <wavejit/gcn/carry.h>
#include <wavejit/gcn/control.h>
#include <wavejit/gcn/convert.h>
#include <wavejit/gcn/cross_lane.h>
#include <wavejit/gcn/matrix.h>
#include <wavejit/gcn/packed.h>
#include <wavejit/gcn/scalar_table.h>
#include <wavejit/gcn/shared.h>
#include <wavejit/gcn/vector_float.h>
#include <wavejit/gcn/vector_integer.h>

namespace wavejit::gcn {

// What Python hands over once for a code object.
struct ProgramRequest {
  const Packed* instructions;
  const char* const* names;  // of the mnemonics
  uint32_t count, name_count;
  uint64_t code_begin, code_bytes;  // offsets in the code object's memory
  void* program;                    // the answer
};

struct Program {
  Op* ops;
  uint32_t* index_of;
  uint32_t count;
  uint64_t code_begin, code_bytes;
};

inline void unknown(Wave& w, const Op&) {
  raise(FaultKind::kUnknownInstruction, w.exec, "the interpreter does not know this instruction");
}
inline void unknown_modifier(Wave& w, const Op&) {
  raise(FaultKind::kUnknownInstruction, w.exec,
        "the interpreter does not know this modifier of the instruction");
}

template <size_t kCount>
const Entry* find_in(const Entry (&table)[kCount], const char* name) {
  for (const Entry& entry : table) {
    if (strcmp(entry.name, name) == 0) return &entry;
  }
  return nullptr;
}

inline const Entry* find_entry(const char* name) {
  const Entry* found = find_in(kVectorInteger, name);
  if (!found) found = find_in(kVectorFloat, name);
  if (!found) found = find_in(kCarry, name);
  if (!found) found = find_in(kConvert, name);
  if (!found) found = find_in(kApproximate, name);
  if (!found) found = find_in(kPacked, name);
  if (!found) found = find_in(kCrossLane, name);
  if (!found) found = find_in(kMemory, name);
  if (!found) found = find_in(kShared, name);
  if (!found) found = find_in(kAtomics, name);
  if (!found) found = find_in(kScalar, name);
  if (!found) found = find_in(kControl, name);
  if (!found) found = find_in(kMatrix, name);
  return found;
}

inline uint64_t bits_of_constant(const Operand& o, Type type) {
  if (o.kind == OperandKind::kFloat) {
    const double value = double_of(o.value);
    if (is_64(type)) return o.value;
    if (is_16(type) || type == Type::kPk16) return half_of_float(static_cast<float>(value));
    return bits_of(static_cast<float>(value));
  }
  if (o.kind == OperandKind::kLiteral) {
    const uint32_t word = static_cast<uint32_t>(o.value);
    if (type == Type::kF64) return uint64_t{word} << 32;
    if (type == Type::kI64) return static_cast<uint64_t>(int64_t{static_cast<int32_t>(word)});
    return word;
  }
  return o.value;
}

inline bool is_constant(OperandKind kind) {
  return kind == OperandKind::kInteger || kind == OperandKind::kFloat ||
         kind == OperandKind::kLiteral;
}

inline void resolve_operand(Op& op, int k, Type type) {
  Operand& o = op.operands[k];
  const int source = k - op.first_source;
  if (is_constant(o.kind)) o.value = bits_of_constant(o, type);
  o.select = kDword;
  if (op.flags & kHasSdwa && (source == 0 || source == 1)) o.select = op.source_select[source];
  o.permuted = op.dpp != Dpp::kNone && source == 0;
  o.plain = o.kind == OperandKind::kVector && !o.modifiers && o.select == kDword && !o.permuted;
}

// fp16 and 16-bit instructions of this generation that keep the register's other half.
inline bool keeps_other_half(const char* name) {
  static constexpr const char* kNames[] = {
      "v_mad_f16",  "v_mad_u16",  "v_mad_i16",  "v_fma_f16",  "v_div_fixup_f16", "v_min3_f16",
      "v_max3_f16", "v_med3_f16", "v_min3_i16", "v_max3_i16", "v_med3_i16",      "v_min3_u16",
      "v_max3_u16", "v_med3_u16", "v_add_i16",  "v_sub_i16"};
  for (const char* each : kNames) {
    if (strcmp(each, name) == 0) return true;
  }
  return false;
}

inline void resolve_result(Op& op, const Entry& entry) {
  if (!(op.flags & kHasSdwa)) {
    op.dst_select = kDword;
    const bool high = op.flags & kHasOpSel && op.op_sel & 8;
    if (is_16(entry.types[0]) && (high || keeps_other_half(entry.name))) {
      op.dst_select = high ? kWord1 : kWord0;
      op.dst_unused = 2;
    }
  }
  op.plain_result = op.dst_select == kDword;
}

inline Handler handler_of(const Op& op, const Entry& entry) {
  const Type type = entry.types[0];
  const bool makes_integer = type != Type::kNone && !is_float(type);
  if (op.flags & kClamp && makes_integer) {
    return entry.saturating ? entry.saturating : &unknown_modifier;
  }
  return entry.run;
}

inline void resolve(Op& op, const Entry* entry) {
  if (!entry) {
    op.run = &unknown;
    return;
  }
  op.first_source = entry->first_source;
  op.access = entry->access;
  op.run = handler_of(op, *entry);
  for (int k = 0; k < op.operand_count; ++k) {
    resolve_operand(op, k, k < 5 ? entry->types[k] : Type::kNone);
  }
  resolve_result(op, *entry);
}

inline void fill_index(Program& program) {
  const uint64_t quarters = program.code_bytes / 4;
  program.index_of = static_cast<uint32_t*>(malloc(4 * quarters));
  memset(program.index_of, 0xff, 4 * quarters);
  for (uint32_t i = 0; i < program.count; ++i) {
    program.index_of[(program.ops[i].pc - program.code_begin) / 4] = i;
  }
}

inline void make_program(ProgramRequest& request) {
  const auto** entries = static_cast<const Entry**>(calloc(request.name_count, sizeof(Entry*)));
  for (uint32_t i = 0; i < request.name_count; ++i) entries[i] = find_entry(request.names[i]);
  auto* program = static_cast<Program*>(calloc(1, sizeof(Program)));
  program->count = request.count;
  program->code_begin = request.code_begin;
  program->code_bytes = request.code_bytes;
  program->ops = static_cast<Op*>(calloc(request.count + 1, sizeof(Op)));
  for (uint32_t i = 0; i < request.count; ++i) {
    static_cast<Packed&>(program->ops[i]) = request.instructions[i];
    resolve(program->ops[i], entries[request.instructions[i].mnemonic]);
  }
  program->ops[request.count].run = &unknown;  // running off the end
  free(entries);
  fill_index(*program);
  request.program = program;
}

inline void free_program(Program* program) {
  free(program->ops);
  free(program->index_of);
  free(program);
}

}  // namespace wavejit::gcn
