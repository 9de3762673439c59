"""Runs in the guest: ``fill.py MEGABYTES`` fills so much memory from the exchange disk and sleeps.

Read past the page cache, into huge pages: hardly a byte goes through the interpreted CPU.
"""

import mmap
import os
import sys
import time

DISK_BYTES = 256 << 20
CHUNK = 2 << 20


def main() -> None:
    """Fill, tell, wait."""
    size = int(sys.argv[1]) << 20
    memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    view = memoryview(memory)
    disk = os.open("/dev/sdb", os.O_RDONLY | os.O_DIRECT)
    for at in range(0, size, CHUNK):
        os.preadv(disk, [view[at : at + CHUNK]], at % DISK_BYTES)
    open("/run/filled", "w").close()
    time.sleep(100000)


if __name__ == "__main__":
    main()
