"""BTF, the kernel's description of its own types, as data. Little endian.

Source: the kernel's Documentation/bpf/btf.rst and include/uapi/linux/btf.h.
"""

from __future__ import annotations

import struct

MAGIC = 0xEB9F
VERSION = 1

# magic, version, flags, header size; then offset and size of types, offset and size of strings,
# both counted from the header's end.
header = struct.Struct("<HBBIIIII")
# offset of the name, info, and a size or another type's number.
type_ = struct.Struct("<III")

INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF, VOLATILE, CONST = range(1, 11)
RESTRICT, FUNC, FUNC_PROTO, VAR, DATASEC, FLOAT, DECL_TAG, TYPE_TAG, ENUM64 = range(11, 20)

# What follows a type: so many bytes, and so many for each of its `vlen` parts.
SIZES = {
    INT: (4, 0),
    PTR: (0, 0),
    ARRAY: (12, 0),
    STRUCT: (0, 12),
    UNION: (0, 12),
    ENUM: (0, 8),
    FWD: (0, 0),
    TYPEDEF: (0, 0),
    VOLATILE: (0, 0),
    CONST: (0, 0),
    RESTRICT: (0, 0),
    FUNC: (0, 0),
    FUNC_PROTO: (0, 8),
    VAR: (4, 0),
    DATASEC: (0, 12),
    FLOAT: (0, 0),
    DECL_TAG: (4, 0),
    TYPE_TAG: (0, 0),
    ENUM64: (0, 12),
}
INT_SIGNED, INT_BOOL = 1 << 24, 1 << 26
