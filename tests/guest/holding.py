"""holding.py SEED FILE: holds secrets that follow from SEED, and says in FILE whether they stand.

Run in a guest. `secrets(seed)` is for who looks for them.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time

__all__ = ["secrets"]

_COUNT = 32
_COPIES = 100


def secrets(seed: str) -> list[str]:
    """What is held: none of it passes through anybody else's hands."""
    numbers = range(_COUNT)
    return [hashlib.sha256(f"{seed} {number}".encode()).hexdigest() for number in numbers]


def _main(seed: str, path: str) -> None:
    held = [bytearray(secret.encode() * _COPIES) for secret in secrets(seed)]
    right = [hashlib.sha256(area).digest() for area in held]
    file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    while True:
        good = [hashlib.sha256(area).digest() for area in held] == right
        # Of one length, so that it is whole whenever it is read.
        told = f"{time.monotonic():014.3f} {'whole ' if good else 'harmed'}"
        os.pwrite(file, told.encode(), 0)
        time.sleep(0.2)


if __name__ == "__main__":
    _main(*sys.argv[1:])
