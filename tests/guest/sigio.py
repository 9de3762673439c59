"""Kills process argv[1] when somebody types at ttyS0, even while everybody in the guest is frozen.

The kernel itself sends the signal, as the one for input.
"""

import fcntl
import os
import sys
import time
from pathlib import Path

terminal = os.open("/dev/ttyS0", os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY)
fcntl.fcntl(terminal, fcntl.F_SETOWN, int(sys.argv[1]))
fcntl.fcntl(terminal, fcntl.F_SETSIG, 9)
flags = fcntl.fcntl(terminal, fcntl.F_GETFL)
fcntl.fcntl(terminal, fcntl.F_SETFL, flags | os.O_ASYNC)
Path(sys.argv[2]).touch()
time.sleep(1000)
