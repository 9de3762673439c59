"""Holds pages, each with a secret made from its argument; tells in FILE whether they are right."""

import hashlib
import os
import signal
import sys
from pathlib import Path

SECRET = hashlib.sha256(sys.argv[1].encode()).digest()
PAGES, SIZE = 2000, 4096
told = Path(sys.argv[2])
pages = bytearray(PAGES * SIZE)
for page in range(PAGES):
    start = page * SIZE
    pages[start : start + len(SECRET)] = SECRET
    pages[start + 100 : start + 300] = os.urandom(200)
right = hashlib.sha256(pages).digest()


def check(*_: object) -> None:
    """Look at all of it."""
    told.write_text("right" if hashlib.sha256(pages).digest() == right else "wrong")


signal.signal(signal.SIGUSR1, check)
told.write_text("ready")
while True:
    signal.pause()
