"""`sparc shell`: a shell with a terminal of its own, excluded from the first keystroke.

The terminal is a pseudo terminal of which this process has the other end; it is excluded before it
makes that, and passes on what is typed and shown.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Callable
from pathlib import Path

import click

from sparc.cli.run import exclude_self, start

__all__ = ["command", "prompted", "serve"]

_AT_ONCE = 1 << 14
_MARK = "(sparc) "

# Read by bash in place of ~/.bashrc, which it reads first.
_BASH = """\
exec {fd}<&-
[ ! -r /etc/bash.bashrc ] || . /etc/bash.bashrc
[ ! -r ~/.bashrc ] || . ~/.bashrc
PS1='{mark}'"$PS1"
"""
_FISH = (
    "functions -q fish_prompt; and functions -c fish_prompt __sparc_prompt; "
    "function fish_prompt; echo -n '{mark}'; __sparc_prompt; end"
)


@click.command(name="shell", context_settings={"allow_interspersed_args": False})
@click.argument("argv", nargs=-1, type=click.UNPROCESSED, metavar="[[--] SHELL [ARG]...]")
def command(argv: tuple[str, ...]) -> int:
    """Start a shell with a terminal of its own, both kept out of checkpoints from the first
    keystroke, and with all that is started in it.

    The shell is $SHELL, or the one named. Its prompt begins with (sparc) where it is bash, fish, or
    one that takes PS1 from the environment; for others, $SPARC_SHELL is set. After a restore it is
    gone.

    What it shows is passed on to your terminal. The kernel's part of that is kept out too, and so
    is a console's screen. A terminal emulator, tmux, or the sshd of your session has a copy of its
    own: to keep that out, exclude it as well (sparc exclude --tty, after which the session is gone
    after a restore).

    Exit status: that of the shell; 2 if it could not be excluded, 126 or 127 if it could not be
    started.
    """
    if not (os.isatty(0) and os.isatty(1)):
        click.echo("sparc: this is no terminal: use sparc run", err=True)
        return 2
    shell = argv or (os.environ.get("SHELL") or "/bin/sh",)
    if not exclude_self():
        return 2
    if Path(os.ttyname(0)).parent.name == "pts":
        click.echo(
            "sparc: what this shell shows is kept by your terminal emulator, tmux or sshd too; "
            "sparc exclude --tty, before this, takes it in",
            err=True,
        )
    return serve(lambda: start(*prompted(shell)))


def prompted(argv: tuple[str, ...]) -> tuple[list[str], dict[str, str]]:
    """How to start a shell so that its prompt says what it is: its arguments and environment.

    For bash a descriptor is left open, from which it reads how it begins, and which it closes.
    """
    environment = {**os.environ, "SPARC_SHELL": "1"}
    name = Path(argv[0]).name
    if len(argv) > 1:  # they know what they want
        return list(argv), environment
    if name == "bash":
        source, sink = os.pipe()
        os.set_inheritable(source, True)
        os.write(sink, _BASH.format(fd=source, mark=_MARK).encode())
        os.close(sink)
        return [argv[0], "--rcfile", f"/dev/fd/{source}", "-i"], environment
    if name == "fish":
        return [argv[0], "-C", _FISH.format(mark=_MARK)], environment
    sign = "#" if os.geteuid() == 0 else "$"
    environment["PS1"] = f"{_MARK}{sign} "
    return list(argv), environment


def serve(become: Callable[[], int]) -> int:
    """Run `become` in a child with a new terminal, shown on this one, till it ends; its status.

    `become` does not return unless it failed, and then with an exit status. One that was killed by
    a signal has 128 and its number.
    """
    theirs, end = os.openpty()
    before = termios.tcgetattr(0)
    termios.tcsetattr(end, termios.TCSANOW, before)
    _fit(theirs)
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(theirs)
            os.login_tty(end)
            status = become()
        finally:
            os._exit(status)
    os.close(end)
    resized = signal.signal(signal.SIGWINCH, lambda *_: _fit(theirs))
    try:
        tty.setraw(0)
        _pass_on(theirs)
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
        signal.signal(signal.SIGWINCH, resized)
        # The shell is told that its terminal is gone, if it still lives.
        os.close(theirs)
        _, ended = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(ended)
    return code if code >= 0 else 128 - code


def _fit(terminal: int) -> None:
    """Make it as large as ours."""
    size = fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, size)


def _pass_on(theirs: int) -> None:
    """What is typed goes there, what is shown comes here, until nobody has their end any more."""
    os.set_blocking(theirs, False)
    typed = b""
    poll = select.poll()
    while True:
        # While they take no more of what was typed, what they show must be taken all the same.
        poll.register(theirs, select.POLLIN | (select.POLLOUT if typed else 0))
        poll.register(0, 0 if typed else select.POLLIN)
        ready = dict(poll.poll())
        try:
            if ready.get(theirs, 0) & ~select.POLLOUT:
                _write(1, os.read(theirs, _AT_ONCE))
            if typed:
                with contextlib.suppress(BlockingIOError):
                    typed = typed[os.write(theirs, typed) :]
            elif 0 in ready:
                typed = os.read(0, _AT_ONCE)
                if not typed:
                    return
        except OSError:  # a terminal is gone: so Linux tells that it is over
            return


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
