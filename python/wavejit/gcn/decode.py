"""Instruction text -> packed instructions, as include/wavejit/gcn/instruction.h lays them out.

The meaning of a mnemonic is the executor's; here are only the grammar of operands and modifiers.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from wavejit.gcn.disassemble import Instruction

NONE, VECTOR, SCALAR, INTEGER, FLOAT, LITERAL, SPECIAL = range(7)
_NEGATIVE, _ABSOLUTE, _SIGN_EXTEND = 1, 2, 4
_CLAMP, _RETURNS, _OFFEN, _IDXEN, _TO_SHARED, _BOUND_CTRL, _SDWA, _OP_SEL = (
    1 << i for i in range(8)
)
_MAX_OPERANDS = 7
_OPERAND = struct.Struct("<BBHBBBBQ")
_HEAD = struct.Struct("<IIHHiiII20B")
_MASK64 = (1 << 64) - 1
_NO_TARGET = 0xFFFFFFFF

_NAMED = {"vcc": (106, 2), "vcc_lo": (106, 1), "vcc_hi": (107, 1), "m0": (124, 1)}
_NAMED |= {"exec": (126, 2), "exec_lo": (126, 1), "exec_hi": (127, 1)}
_NAMED |= {"flat_scratch": (102, 2), "flat_scratch_lo": (102, 1), "flat_scratch_hi": (103, 1)}
_NAMED |= {"xnack_mask": (104, 2), "xnack_mask_lo": (104, 1), "xnack_mask_hi": (105, 1)}
_SPECIALS = ("scc", "vccz", "execz", "shared_base", "shared_limit", "private_base", "private_limit")
_SPECIAL = {f"src_{name}": number for number, name in enumerate(_SPECIALS)}
_REGISTER = re.compile(r"(v|s|a|ttmp)(?:(\d+)|\[(\d+):(\d+)\])$")
_FIRST = {"v": 0, "a": 256, "s": 0, "ttmp": 108}
_DPP_NAMES: tuple[str, ...] = (
    "quad_perm",
    "row_shl",
    "row_shr",
    "row_ror",
    "wave_shl",
    "wave_rol",
    "wave_shr",
)
_DPP_NAMES += ("wave_ror", "row_mirror", "row_half_mirror", "row_bcast", "row_newbcast")
_DPP = {name: number for number, name in enumerate(_DPP_NAMES, 1)}
_SELECT = {f"BYTE_{i}": i for i in range(4)} | {"WORD_0": 4, "WORD_1": 5, "DWORD": 6}
_UNUSED = {"UNUSED_PAD": 0, "UNUSED_SEXT": 1, "UNUSED_PRESERVE": 2}
_OMOD = {"mul:2": 1, "mul:4": 2, "div:2": 3}
_FLAGS = {"clamp": _CLAMP, "sc0": _RETURNS, "glc": _RETURNS, "offen": _OFFEN, "idxen": _IDXEN}
_FLAGS |= {"lds": _TO_SHARED, "fi:1": _BOUND_CTRL, "bound_ctrl:1": _BOUND_CTRL}
_IGNORED = frozenset(("nt", "sc1", "slc", "off"))
_IN_THE_ENCODING = ("offset:swizzle(", "vmcnt(", "lgkmcnt(", "expcnt(")
_TWO_HALVES = re.compile(r"v_(pk_|dot|fma_mix|mad_mix|mfma|smfmac)")
_SUFFIX = re.compile(r"_(e32|e64|dpp|sdwa|e64_dpp)$")


@dataclass(frozen=True, slots=True)
class Program:
    """Packed instructions, the mnemonics they index, and which instruction is where."""

    packed: bytes
    names: tuple[str, ...]
    instructions: tuple[Instruction, ...]
    index: dict[int, int]  # by the instruction's offset


@dataclass(slots=True)
class _Fields:
    """The modifiers of one instruction."""

    flags: int = 0
    offset: int = 0
    offset1: int = 0
    op_sel: tuple[int, ...] = ()
    op_sel_hi: tuple[int, ...] | None = None
    neg_lo: tuple[int, ...] = ()
    neg_hi: tuple[int, ...] = ()
    omod: int = 0
    dpp: int = 0
    dpp_value: int = 0
    row_mask: int = 15
    bank_mask: int = 15
    dst_select: int = 6
    dst_unused: int = 0
    sources: list[int] = field(default_factory=lambda: [6, 6])
    unknown: bool = False


def decode(instructions: list[Instruction]) -> Program:
    """The program of `instructions`; what cannot be parsed becomes an error when it is executed."""
    index = {instruction.pc: i for i, instruction in enumerate(instructions)}
    names: dict[str, int] = {}
    packed = [_pack(instruction, names, index) for instruction in instructions]
    return Program(b"".join(packed), tuple(names), tuple(instructions), index)


def _pack(instruction: Instruction, names: dict[str, int], index: dict[int, int]) -> bytes:
    name = _SUFFIX.sub("", instruction.mnemonic)
    operands, fields = _parse(instruction.operands)
    if fields.unknown or len(operands) > _MAX_OPERANDS:
        name = f"{name} ({instruction.operands})"  # no handler has this name
        operands = ()
    count = len(operands)
    flags = fields.flags
    if instruction.mnemonic.endswith("_sdwa"):
        flags |= _SDWA
    if fields.op_sel:
        flags |= _OP_SEL
    head = _HEAD.pack(
        instruction.pc,
        4 * len(instruction.words),
        names.setdefault(name, len(names)),
        flags,
        fields.offset,
        fields.offset1,
        _target(instruction, index),
        instruction.words[0],
        count,
        _source_bits(name, fields.op_sel, count),
        _high_bits(name, fields, count),
        _bits(fields.neg_lo),
        _bits(fields.neg_hi),
        fields.omod,
        fields.dpp,
        fields.dpp_value,
        fields.row_mask,
        fields.bank_mask,
        fields.dst_select,
        fields.dst_unused,
        *fields.sources,
        *bytes(6),
    )
    return head + b"".join(operands) + bytes(_OPERAND.size * (_MAX_OPERANDS - count))


def _bits(values: tuple[int, ...]) -> int:
    return sum(bit << i for i, bit in enumerate(values))


def _source_bits(name: str, values: tuple[int, ...], operands: int) -> int:
    """op_sel as in the encoding: one bit a source, and the result's in bit 3."""
    if values and len(values) == operands and not _TWO_HALVES.match(name):
        return _bits(values[:-1]) | values[-1] << 3
    return _bits(values)


def _high_bits(name: str, fields: _Fields, operands: int) -> int:
    """op_sel_hi; where it is not printed it is all ones, or all zeros for mixed precision."""
    if fields.op_sel_hi is not None:
        return _bits(fields.op_sel_hi)
    return 0 if "_mix" in name else (1 << max(operands - 1, 0)) - 1


def _target(instruction: Instruction, index: dict[int, int]) -> int:
    if not instruction.mnemonic.startswith(("s_branch", "s_cbranch", "s_call")):
        return _NO_TARGET
    words = instruction.words[0] & 0xFFFF
    distance = words - 0x10000 if words & 0x8000 else words
    return index.get(instruction.pc + 4 + 4 * distance, _NO_TARGET)


# ---- the grammar


def _number(text: str) -> int:
    return int(text, 0)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part, 0) for part in text.strip("[]").split(","))


# modifier -> where its value goes, and what reads it
_VALUES: dict[str, tuple[str, Callable[[str], Any]]] = {
    **{name: (name, _number) for name in ("offset", "offset1", "row_mask", "bank_mask")},
    **{name: (name, _numbers) for name in ("op_sel", "op_sel_hi", "neg_lo", "neg_hi")},
    "offset0": ("offset", _number),
    "bitop3": ("offset1", _number),
    "dst_sel": ("dst_select", _SELECT.__getitem__),
    "dst_unused": ("dst_unused", _UNUSED.__getitem__),
}


@lru_cache(maxsize=1 << 16)
def _parse(text: str) -> tuple[tuple[bytes, ...], _Fields]:
    operands: list[bytes] = []
    fields = _Fields()
    for part in _split(text):
        first, *modifiers = _tokens(part)
        packed = _operand(first)
        if packed is not None:
            operands.append(packed)
        else:
            _modifier(first, fields)
        for modifier in modifiers:
            _modifier(modifier, fields)
    return tuple(operands), fields


def _split(text: str) -> list[str]:
    """The parts between commas that are in no bracket."""
    parts, depth, start = [], 0, 0
    for at, sign in enumerate(text):
        depth += (sign in "[(") - (sign in "])")
        if sign == "," and depth == 0:
            parts.append(text[start:at].strip())
            start = at + 1
    parts.append(text[start:].strip())
    return [part for part in parts if part]


def _tokens(part: str) -> list[str]:
    """The words of a part; blanks inside brackets do not divide."""
    return re.findall(r"(?:\([^)]*\)|\[[^\]]*\]|[^\s\[(])+", part)


@lru_cache(maxsize=4096)
def _operand(text: str) -> bytes | None:
    """The packed operand, or None for a modifier."""
    modifiers = 0
    for prefix, bit in (("sext(", _SIGN_EXTEND), ("neg(", _NEGATIVE), ("abs(", _ABSOLUTE)):
        if text.startswith(prefix):
            text, modifiers = text[len(prefix) : -1], modifiers | bit
    if text.startswith("-") and text[1:2] in ("v", "s", "a", "|", "m", "e", "t"):
        text, modifiers = text[1:], modifiers | _NEGATIVE
    if text.startswith("|"):
        text, modifiers = text[1:-1], modifiers | _ABSOLUTE
    found = _plain(text)
    if found is None:
        return None
    kind, register, count, value = found
    return _OPERAND.pack(kind, modifiers, register, count, 6, 0, 0, value & _MASK64)


def _plain(text: str) -> tuple[int, int, int, int] | None:
    """(kind, register, registers, value) of an operand without modifiers."""
    if match := _REGISTER.match(text):
        bank, one, first, last = match.groups()
        start = int(one or first)
        count = 1 if one else int(last) - start + 1
        return VECTOR if bank in "va" else SCALAR, start + _FIRST[bank], count, 0
    if text in _NAMED:
        register, count = _NAMED[text]
        return SCALAR, register, count, 0
    name = text if text.startswith("src_") else f"src_{text}"
    if name in _SPECIAL:
        return SPECIAL, _SPECIAL[name], 1, 0
    if text in ("off", "null") or text.startswith(("hwreg(", "sendmsg(")):
        return NONE, 0, 0, 0
    if text.startswith("lit("):
        text = text[4:-1]
    if re.fullmatch(r"-?0x[0-9a-f]+", text):
        return LITERAL, 0, 0, int(text, 16)
    if re.fullmatch(r"-?\d+", text):
        return INTEGER, 0, 0, int(text)
    if re.fullmatch(r"-?\d+\.\d+(e[-+]?\d+)?", text):
        return FLOAT, 0, 0, int.from_bytes(struct.pack("<d", float(text)), "little")
    return None


def _modifier(text: str, fields: _Fields) -> None:
    """Apply one modifier; one that is not known marks the instruction."""
    name, _, value = text.partition(":")
    if text in _FLAGS:
        fields.flags |= _FLAGS[text]
    elif text in _OMOD:
        fields.omod = _OMOD[text]
    elif name in _DPP:
        fields.dpp = _DPP[name]
        fields.dpp_value = _dpp_value(name, value)
    elif name in ("src0_sel", "src1_sel"):
        fields.sources[int(name[3])] = _SELECT[value]
    elif name in _VALUES and not value.startswith("swizzle("):  # that one is in the encoding
        attribute, parse = _VALUES[name]
        setattr(fields, attribute, parse(value))
    elif text not in _IGNORED and not text.startswith(_IN_THE_ENCODING):
        fields.unknown = True


def _dpp_value(name: str, value: str) -> int:
    if name == "quad_perm":
        return sum(lane << 2 * i for i, lane in enumerate(_numbers(value)))
    return int(value, 0) if value else 0
