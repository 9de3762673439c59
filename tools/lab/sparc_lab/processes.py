"""Starting programs, and ending only those that the lab itself started.

A recorded process is a pid together with its start time (field 22 of ``/proc/PID/stat``, in clock
ticks since boot), so a pid that has been given to a stranger since is never signalled.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from .errors import CommandError

__all__ = ["Process", "run", "wait_for"]


def run(
    argv: Sequence[str],
    *,
    timeout: float | None = 600,
    log: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> str:
    """Run a program to its end; its output, stdout and stderr together.

    With ``log`` the output also goes there while it runs.

    Raises:
        CommandError: it ended with another status than 0, or not within ``timeout`` seconds.
    """
    sink = log.open("a", encoding="utf-8", errors="replace") if log else subprocess.PIPE
    try:
        done = subprocess.run(
            argv,
            stdout=sink,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            env=env,
            text=True,
            errors="replace",
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CommandError(argv, -1, f"no end within {timeout} s") from error
    except FileNotFoundError as error:
        raise CommandError(argv, 127, f"{argv[0]} is not installed") from error
    finally:
        if log and not isinstance(sink, int):
            sink.close()
    output = log.read_text(errors="replace") if log else done.stdout
    if done.returncode:
        raise CommandError(argv, done.returncode, output)
    return output


def wait_for(ready: Callable[[], object], *, timeout: float, step: float = 0.1) -> bool:
    """Call ``ready()`` every ``step`` seconds until it is true; False after ``timeout`` seconds."""
    end = time.monotonic() + timeout
    while not ready():
        if time.monotonic() > end:
            return False
        time.sleep(step)
    return True


def _stat_fields(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text[text.rindex(")") + 2 :].split()


@dataclass(frozen=True)
class Process:
    """A process that the lab started: ``pid``, and ``started`` in clock ticks since boot."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """The process that has ``pid`` now, or None."""
        fields = _stat_fields(pid)
        return cls(pid, int(fields[19])) if fields else None

    @classmethod
    def recorded(cls, path: Path) -> Process | None:
        """The process recorded in ``path`` if it is still alive."""
        try:
            process = cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            return None
        return process if process.alive() else None

    def record(self, path: Path) -> None:
        """Write it to ``path``, for a later run to find."""
        new = path.with_suffix(".new")
        new.write_text(json.dumps(asdict(self)))
        new.replace(path)

    def alive(self) -> bool:
        """Whether this very process still runs (a zombie does not)."""
        fields = _stat_fields(self.pid)
        return fields is not None and int(fields[19]) == self.started and fields[0] not in "ZX"

    @contextlib.contextmanager
    def held_still(self) -> Iterator[None]:
        """Stop it; then it goes on, and with it who has started it and stops when it does."""
        fields = _stat_fields(self.pid)
        if fields is None:
            raise ProcessLookupError(self.pid)
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in (int(fields[1]), self.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def end(self, grace: float = 5.0) -> None:
        """SIGTERM, and SIGKILL after ``grace`` seconds; returns when it is gone."""
        for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 10.0)):
            if patience and self.alive():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pid, number)
                wait_for(lambda: not self.alive(), timeout=patience, step=0.02)
