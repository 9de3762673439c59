"""holding.py SEED FILE: holds secrets that follow from SEED, and says in FILE whether they stand.

Run in a guest. `secrets(seed)` is for who looks for them.
"""

from __future__ import annotations

import hashlib
import sys
import time
from pathlib import Path

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
    while True:
        good = [hashlib.sha256(area).digest() for area in held] == right
        Path(path).write_text(f"{time.monotonic():.3f} {'whole' if good else 'harmed'}")
        time.sleep(0.2)


if __name__ == "__main__":
    _main(*sys.argv[1:])
