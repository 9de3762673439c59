"""Runs in the guest: plants secrets at addresses it then tells.

``plant.py SEED COUNT`` makes COUNT secrets from SEED, puts each into a page of its own, or across
the boundary of two, prints a line of JSON with where (guest-physical addresses), and sleeps.
Secret number i is ``secret(SEED, i)``; the host makes the same ones, so none passes between them.
"""

import base64
import ctypes
import hashlib
import json
import mmap
import os
import struct
import sys
import time

PAGE = 4096
ENCODINGS = ("utf-8", "utf-16le", "utf-32le", "console", "base64", "hex")


def secret(seed: str, number: int) -> str:
    """The secret's text: 20 letters and digits."""
    return base64.b32encode(hashlib.sha256(f"{seed}/{number}".encode()).digest()).decode()[:20]


def encoded(text: str, encoding: str) -> bytes:
    """The secret as it is planted."""
    raw = text.encode()
    return {
        "utf-8": raw,
        "utf-16le": text.encode("utf-16le"),
        "utf-32le": text.encode("utf-32le"),
        # As a text screen keeps it: each character and its colours, grey on black.
        "console": b"".join(bytes((byte, 7)) for byte in raw),
        "base64": base64.b64encode(raw),
        "hex": raw.hex().encode(),
    }[encoding]


def main() -> None:
    """Plant, tell, wait."""
    seed, count = sys.argv[1], int(sys.argv[2])
    memory = mmap.mmap(-1, 2 * count * PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    planted = []
    for number in range(count):
        encoding = ENCODINGS[number % len(ENCODINGS)]
        data = encoded(secret(seed, number), encoding)
        # Every other one crosses into the next page, each at another place of its own.
        crossing = number // len(ENCODINGS) % 2
        into = PAGE - 1 - number % (len(data) - 1) if crossing else 64 + number * 7
        start = 2 * number * PAGE + into
        memory[start : start + len(data)] = data
        planted.append((encoding, start, len(data)))
    if ctypes.CDLL(None).mlock(ctypes.c_void_p(base), ctypes.c_size_t(len(memory))):
        sys.exit("mlock failed")
    places = []
    with open("/proc/self/pagemap", "rb") as pagemap:
        for encoding, start, length in planted:
            addresses = []
            for at in (start, start + length - 1):
                pagemap.seek((base + at) // PAGE * 8)
                (entry,) = struct.unpack("<Q", pagemap.read(8))
                addresses.append((entry & (1 << 55) - 1) * PAGE + at % PAGE)
            places.append({"encoding": encoding, "first": addresses[0], "last": addresses[1]})
    with open("/run/planted.new", "w") as told:
        json.dump(places, told)
    os.rename("/run/planted.new", "/run/planted")
    time.sleep(100000)


if __name__ == "__main__":
    main()
