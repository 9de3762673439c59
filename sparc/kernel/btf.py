"""BTF as types of drgn, which itself reads only DWARF."""

from __future__ import annotations

import struct
from collections.abc import Callable

import drgn
from drgn import Program, Type, TypeKind, TypeMember

from sparc.kernel import c_btf

__all__ = ["Btf", "BtfError"]

_FOUND_AS = {
    c_btf.INT: (TypeKind.INT, TypeKind.BOOL),
    c_btf.FLOAT: (TypeKind.FLOAT,),
    c_btf.STRUCT: (TypeKind.STRUCT,),
    c_btf.UNION: (TypeKind.UNION,),
    c_btf.ENUM: (TypeKind.ENUM,),
    c_btf.ENUM64: (TypeKind.ENUM,),
    c_btf.TYPEDEF: (TypeKind.TYPEDEF,),
}


class BtfError(ValueError):
    """It is not BTF, or not of a kind that is known."""


class Btf:
    """A kernel's own BTF (not a module's, which goes on from that). Raises BtfError."""

    def __init__(self, program: Program, data: bytes) -> None:
        self._program = program
        self._data = data
        self._types: dict[int, Type] = {0: program.void_type()}
        self._places = [0]
        self._by_name: dict[tuple[TypeKind, str], int] = {}
        try:
            self._index()
        except (struct.error, KeyError, IndexError) as error:
            raise BtfError(str(error)) from error

    def _index(self) -> None:
        magic, version, _, size, types, length, strings, _ = c_btf.header.unpack_from(self._data)
        if (magic, version) != (c_btf.MAGIC, c_btf.VERSION):
            raise BtfError(f"magic {magic:#x}, version {version}")
        self._strings = size + strings
        at, end = size + types, size + types + length
        while at < end:
            name, info, _ = c_btf.type_.unpack_from(self._data, at)
            kind = info >> 24 & 0x1F
            for found_as in _FOUND_AS.get(kind, ()) if name else ():
                self._by_name.setdefault((found_as, self._text(name)), len(self._places))
            self._places.append(at)
            fixed, each = c_btf.SIZES[kind]
            at += c_btf.type_.size + fixed + each * (info & 0xFFFF)

    def _text(self, offset: int) -> str:
        start = self._strings + offset
        return self._data[start : self._data.index(b"\0", start)].decode()

    def register(self) -> None:
        """Let the program find these types, and constants of enumerations."""
        self._program.register_type_finder("btf", self._find, enable_index=0)
        self._program.register_object_finder("btf", self._find_constant, enable_index=-1)

    def _find(
        self, _program: Program, kinds: drgn.TypeKindSet, name: str, _file: str | None
    ) -> Type | None:
        for kind in kinds:
            number = self._by_name.get((kind, name))
            if number is not None and (found := self._type(number)).kind == kind:
                return found
        return None

    def _find_constant(
        self, program: Program, name: str, flags: drgn.FindObjectFlags, _file: str | None
    ) -> drgn.Object | None:
        if not flags & drgn.FindObjectFlags.CONSTANT:
            return None
        if not self._constants:
            self._read_constants()
        found = self._constants.get(name)
        return found and drgn.Object(program, self._type(found[0]), found[1])

    _constants: dict[str, tuple[int, int]] = {}  # noqa: RUF012

    def _read_constants(self) -> None:
        constants: dict[str, tuple[int, int]] = {}
        for number, at in enumerate(self._places[1:], 1):
            _, info, _ = c_btf.type_.unpack_from(self._data, at)
            if info >> 24 & 0x1F in (c_btf.ENUM, c_btf.ENUM64):
                for enumerator in self._enumerators(at, info):
                    constants.setdefault(enumerator.name, (number, enumerator.value))
        self._constants = constants

    # -- one type

    def _type(self, number: int) -> Type:
        if number not in self._types:
            self._types[number] = self._make(number)
        return self._types[number]

    def _make(self, number: int) -> Type:
        at = self._places[number]
        name_at, info, last = c_btf.type_.unpack_from(self._data, at)
        name, kind = self._text(name_at), info >> 24 & 0x1F
        program = self._program
        match kind:
            case c_btf.INT:
                return self._int(name, at, last)
            case c_btf.FLOAT:
                return program.float_type(name, last)
            case c_btf.PTR:
                return program.pointer_type(self._type(last))
            case c_btf.ARRAY:
                element, _, count = struct.unpack_from("<III", self._data, at + 12)
                return program.array_type(self._type(element), count)
            case c_btf.STRUCT | c_btf.UNION:
                make = program.struct_type if kind == c_btf.STRUCT else program.union_type
                return make(name or None, last, self._members(at, info))
            case c_btf.ENUM | c_btf.ENUM64:
                signed = bool(info >> 31)
                base = program.int_type(f"{'' if signed else 'unsigned '}int", last, signed)
                return program.enum_type(name or None, base, self._enumerators(at, info))
            case c_btf.FWD:
                return (program.union_type if info >> 31 else program.struct_type)(name)
            case c_btf.TYPEDEF:
                return program.typedef_type(name, self._type(last))
            case c_btf.VOLATILE | c_btf.CONST | c_btf.RESTRICT | c_btf.TYPE_TAG:
                return self._type(last)
            case c_btf.FUNC_PROTO:
                # Nobody calls them: what they are given does not matter.
                return program.function_type(self._type(last), ())
            case _:
                return program.void_type()

    def _int(self, name: str, at: int, size: int) -> Type:
        (encoding,) = struct.unpack_from("<I", self._data, at + 12)
        if encoding & c_btf.INT_BOOL:
            return self._program.bool_type(name, size)
        return self._program.int_type(name, size, bool(encoding & c_btf.INT_SIGNED))

    def _members(self, at: int, info: int) -> list[TypeMember]:
        found = []
        for place in range(at + 12, at + 12 + 12 * (info & 0xFFFF), 12):
            name, number, offset = struct.unpack_from("<III", self._data, place)
            bits = 0
            if info >> 31:
                bits, offset = offset >> 24, offset & 0xFFFFFF
            found.append(TypeMember(self._member(number, bits), self._text(name) or None, offset))
        return found

    def _member(self, number: int, bits: int) -> Callable[[], drgn.Object | Type]:
        if not bits:
            return lambda: self._type(number)
        return lambda: drgn.Object(self._program, self._type(number), bit_field_size=bits)

    def _enumerators(self, at: int, info: int) -> list[drgn.TypeEnumerator]:
        each = 8 if info >> 24 & 0x1F == c_btf.ENUM else 12
        signed = bool(info >> 31)
        found = []
        for place in range(at + 12, at + 12 + each * (info & 0xFFFF), each):
            (name,) = struct.unpack_from("<I", self._data, place)
            value = int.from_bytes(self._data[place + 4 : place + each], "little", signed=signed)
            found.append(drgn.TypeEnumerator(self._text(name), value))
        return found
