"""A kernel's own types, made by hand, as drgn then has them."""

from __future__ import annotations

import struct

import drgn
import pytest

from sparc.kernel.btf import Btf, BtfError


class Maker:
    """Collects types; each gets the next number."""

    def __init__(self) -> None:
        self.strings = b"\0"
        self.types = b""

    def name(self, text: str) -> int:
        if not text:
            return 0
        self.strings += text.encode() + b"\0"
        return len(self.strings) - len(text) - 1

    def add(
        self, kind: int, name: str, last: int, *words: int, vlen: int = 0, flag: bool = False
    ) -> None:
        head = struct.pack("<III", self.name(name), flag << 31 | kind << 24 | vlen, last)
        self.types += head + b"".join(struct.pack("<I", word & 0xFFFFFFFF) for word in words)

    def data(self) -> bytes:
        sizes = (0, len(self.types), len(self.types), len(self.strings))
        head = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, *sizes)
        return head + self.types + self.strings


@pytest.fixture
def program() -> drgn.Program:
    flags = drgn.PlatformFlags.IS_64_BIT | drgn.PlatformFlags.IS_LITTLE_ENDIAN
    return drgn.Program(drgn.Platform(drgn.Architecture.X86_64, flags))


def test_types(program: drgn.Program) -> None:
    made = Maker()
    made.add(1, "int", 4, 1 << 24 | 32)  # 1
    made.add(1, "unsigned long", 8, 64)  # 2
    made.add(8, "word_t", 2)  # 3
    made.add(2, "", 5)  # 4: struct list *
    made.add(4, "list", 16, made.name("next"), 4, 0, made.name("n"), 3, 64, vlen=2)  # 5
    made.add(3, "", 0, 1, 2, 10)  # 6: int [10]
    fields = (made.name("low"), 1, 3 << 24 | 0, made.name("high"), 1, 5 << 24 | 3)
    made.add(4, "bits", 4, *fields, vlen=2, flag=True)  # 7
    made.add(6, "kind", 4, made.name("NONE"), -1, made.name("SOME"), 7, vlen=2, flag=True)  # 8
    made.add(19, "wide", 8, made.name("HUGE"), 1, 1, vlen=1)  # 9
    made.add(5, "either", 40, made.name("a"), 6, 0, made.name(""), 7, 0, vlen=2)  # 10
    made.add(10, "", 1)  # 11: const int
    made.add(9, "", 11)  # 12: volatile const int
    made.add(13, "", 0, 0, 1, vlen=1)  # 13: void (int)
    made.add(2, "", 13)  # 14
    made.add(7, "nowhere", 0)  # 15
    made.add(12, "f", 13)  # 16
    made.add(15, ".data", 4, 1, 0, 4, vlen=1)  # 17
    fields = (made.name("call"), 14, 0, made.name("v"), 12, 64)
    made.add(4, "last", 16, *fields, vlen=2)  # 18
    Btf(program, made.data()).register()

    node = program.type("struct list")
    assert drgn.sizeof(node) == 16 and drgn.offsetof(node, "n") == 8
    assert node.members[0].type.type.tag == "list"
    assert program.type("word_t").type.name == "unsigned long"
    assert drgn.sizeof(program.type("union either")) == 40
    assert drgn.sizeof(program.type("struct last")) == 16
    assert program.constant("NONE").value_() == -1
    assert program.constant("SOME").value_() == 7
    assert program.constant("HUGE").value_() == 1 << 32 | 1
    bits = drgn.Object.from_bytes_(program, "struct bits", bytes([0b10111_010, 0, 0, 0]))
    assert (bits.low.value_(), bits.high.value_()) == (2, -9)
    for wrong in ("struct nothing", "struct word_t", "union list"):
        with pytest.raises(LookupError):
            program.type(wrong)
    with pytest.raises(LookupError):
        program.constant("NOTHING")


@pytest.mark.parametrize("cut", [0, 10, 30])
def test_what_is_not_whole_is_refused(program: drgn.Program, cut: int) -> None:
    made = Maker()
    made.add(1, "int", 4, 1 << 24 | 32)
    with pytest.raises(BtfError):
        Btf(program, made.data()[:cut])


def test_kinds_of_later_kernels_are_refused(program: drgn.Program) -> None:
    made = Maker()
    made.add(25, "strange", 4)
    with pytest.raises(BtfError):
        Btf(program, made.data())
