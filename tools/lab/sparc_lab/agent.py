"""The host's side of the lab's agent in the guest (``guest/agent``).

Requests go over a serial line; small outputs come back on it, large ones and files over the
exchange disk, a raw image that the guest has as ``/dev/sdb`` and reads and writes past its caches.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shlex
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .cache import locked
from .errors import GuestError, UsageError

__all__ = ["EXCHANGE_BYTES", "Agent", "Result"]

EXCHANGE_BYTES = 256 << 20
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Result:
    """How a command in the guest ended.

    Attributes:
        status: its exit status; 124 when it ran out of time.
        stdout: what it printed, bytes.
        stderr: what it printed on standard error, bytes.
    """

    status: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """``stdout`` as text without the last newline."""
        return self.stdout.decode(errors="replace").rstrip("\n")


class Agent:
    """Talks to the agent of the machine whose files are in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._socket_path = folder / "ttyS1.sock"
        self._console_path = folder / "ttyS0.sock"
        self._exchange = folder / "exchange.raw"
        self._lock = folder / "agent.lock"
        self._ids = itertools.count(os.getpid() * 1000 + int(time.time() * 1000) % 1000)

    def wait(self, timeout: float) -> None:
        """Return when the agent answers.

        Raises:
            GuestError: it does not within ``timeout`` seconds.
        """
        end = time.monotonic() + timeout
        with locked(self._lock):
            while time.monotonic() < end:
                try:
                    with _connect(self._socket_path, min(3.0, timeout)) as line:
                        number = next(self._ids)
                        # The newline ends whatever half a request may stand in the line.
                        line.sendall(f"\nP {number}\n".encode())
                        reader = line.makefile("rb")
                        while answer := reader.readline():
                            if answer.strip() == f"P {number}".encode():
                                return
                except OSError:
                    time.sleep(0.1)
        raise GuestError(f"the guest did not answer within {timeout:.0f} s")

    def run(self, argv: Sequence[str], timeout: float = 120) -> Result:
        """Run a program in the guest.

        Raises:
            GuestError: the agent did not answer.
        """
        with locked(self._lock):
            return self._run(shlex.join(argv), timeout)

    def shell(self, script: str, timeout: float = 120) -> Result:
        """Run a bash script in the guest."""
        with locked(self._lock):
            return self._run(script, timeout)

    def put(self, source: Path, target: str, timeout: float = 600) -> None:
        """Copy a file into the guest; its permission bits come along."""
        size = source.stat().st_size
        mode = source.stat().st_mode & 0o7777
        quoted = shlex.quote(target)
        with locked(self._lock), source.open("rb") as file, self._wiped_exchange():
            self._checked(f": > {quoted}", timeout)
            for offset in range(0, size, EXCHANGE_BYTES):
                length = min(EXCHANGE_BYTES, size - offset)
                self._fill_exchange(file.read(length))
                copy = (
                    f"dd if=/dev/sdb of={quoted} bs=1M count={_blocks(length)} conv=notrunc"
                    f" seek={offset // _BLOCK} status=none iflag=direct"
                )
                # Past the page cache no byte goes through the guest's CPU; tmpfs cannot.
                self._checked(f"{copy} oflag=direct 2>/dev/null || {copy}", timeout)
            self._checked(f"truncate -s {size} {quoted}", timeout)
            self._checked(f"chmod {mode:o} {quoted}", timeout)

    def get(self, source: str, target: Path, timeout: float = 600) -> None:
        """Copy a file out of the guest."""
        quoted = shlex.quote(source)
        with locked(self._lock):
            size = int(self._checked(f"stat -Lc %s {quoted}", timeout).text)
            with target.open("wb") as file, self._wiped_exchange():
                for offset in range(0, size, EXCHANGE_BYTES):
                    length = min(EXCHANGE_BYTES, size - offset)
                    copy = (
                        f"dd if={quoted} of=/dev/sdb bs=1M count={_blocks(length)}"
                        f" skip={offset // _BLOCK} conv=sync,notrunc status=none oflag=direct"
                    )
                    direct = f"{copy} iflag=direct 2>/dev/null"
                    self._checked(f"{direct} || {copy} iflag=fullblock", timeout)
                    file.write(self._read_exchange(length))

    def type_line(self, text: str) -> None:
        """Type on the guest's serial terminal; each newline is an Enter."""
        with _connect(self._console_path, 10) as line:
            line.sendall(text.replace("\n", "\r").encode())

    def _run(self, script: str, timeout: float) -> Result:
        if "\0" in script:
            raise UsageError("a command cannot hold a NUL")
        number = next(self._ids)
        seconds = max(1, round(timeout))
        try:
            # Beyond the guest's own limit: a little for the serial line and the interpreter.
            with _connect(self._socket_path, timeout + 30) as line:
                line.sendall(f"R {number} {seconds} {_bash_quote(script)}\n".encode())
                reader = line.makefile("rb")
                while answer := reader.readline():
                    words = answer.split()
                    if words[:2] == [b"A", str(number).encode()]:
                        status, out, err = (int(word) for word in words[2:5])
                        if words[5] == b"disk":
                            with self._wiped_exchange():
                                output = self._read_exchange(out + err)
                        else:
                            output = reader.read(out + err)
                        return Result(status, output[:out], output[out:])
        except (OSError, ValueError, IndexError) as error:
            raise GuestError(f"the guest's agent did not answer: {error}") from error
        raise GuestError("the serial line to the guest was closed")

    def _checked(self, script: str, timeout: float) -> Result:
        result = self._run(f"set -o pipefail; {script}", timeout)
        if result.status:
            reason = result.stderr.decode(errors="replace").strip()
            raise GuestError(f"in the guest: {reason or f'status {result.status}'}")
        return result

    def _fill_exchange(self, data: bytes) -> None:
        with self._exchange.open("r+b") as file:
            file.write(data)
            file.write(bytes(-len(data) % _BLOCK))

    def _read_exchange(self, length: int) -> bytes:
        if not 0 <= length <= EXCHANGE_BYTES:
            raise GuestError(
                f"the guest announced {length} bytes, more than the exchange disk holds"
            )
        with self._exchange.open("rb") as file:
            data = file.read(length)
        if len(data) != length:
            raise GuestError(f"the guest announced {length} bytes, {len(data)} came")
        return data

    @contextlib.contextmanager
    def _wiped_exchange(self) -> Iterator[None]:
        """Empty the disk afterwards, and push what the guest's controller still holds of it out."""
        try:
            yield
        finally:
            with self._exchange.open("r+b") as file:
                file.truncate(0)
                file.truncate(EXCHANGE_BYTES)
        self._run("dd if=/dev/sdb of=/dev/null iflag=direct bs=256k count=1 status=none", 60)


def _connect(path: Path, timeout: float) -> socket.socket:
    line = socket.socket(socket.AF_UNIX)
    line.settimeout(timeout)
    try:
        line.connect(str(path))
    except OSError:
        line.close()
        raise
    return line


def _blocks(length: int) -> int:
    return -(-length // _BLOCK)


def _bash_quote(text: str) -> str:
    """The text as one bash ``$'...'`` word of printable ASCII characters."""
    quoted = "".join(
        chr(byte) if 32 < byte < 127 and byte not in b"'\\" else f"\\{byte:03o}"
        for byte in text.encode(errors="surrogateescape")
    )
    return f"$'{quoted}'"
