"""`sparc exclude`: keep processes of this guest out of checkpoints."""

from __future__ import annotations

from typing import Any

import click

from sparc.cli.guest import Whom, change, whom

__all__ = ["command"]


@click.command(name="exclude")
@whom
@click.option(
    "--with-peers",
    is_flag=True,
    help="Also those with whom they share a pipe, socket, terminal, memory or file.",
)
@click.option(
    "--memory-only",
    is_flag=True,
    help="Keep out their memory alone. For comparison: what they left in the kernel stays.",
)
@click.option(
    "--display",
    is_flag=True,
    help="Keep out the screen too, whatever is on it, while one of them lives.",
)
@click.option(
    "--keep-file",
    "kept",
    multiple=True,
    metavar="FILE",
    help="A file that stays in checkpoints although they use it.",
)
def command(
    as_json: bool,
    with_peers: bool,
    memory_only: bool,
    display: bool,
    kept: tuple[str, ...],
    **named: Any,
) -> int:
    """Keep processes of this guest out of checkpoints, from now on.

    Their children and grandchildren come along: those that live now, and those to come. After a
    restore they are gone, all of them, and with them their shared memory, deleted files that they
    have open, and the content of their files in tmpfs. Root may exclude every process but init and
    sparc-guestd; members of the group sparc may exclude their own.

    UNIT is a service, scope or slice of systemd that runs, firefox.service for example: everybody
    in it. To have it excluded each time that it starts, write it into a file in
    /etc/sparc/exclude.d or into ~/.config/sparc/exclude.toml.

    Others may have been told what an excluded process knows. --with-peers takes in who shares a
    pipe, a unix socket, a TCP or UDP connection within this guest, a terminal, shared memory or a
    file that one of both writes with them, then who shares something with those, and so on. Not
    taken in, but named with what they share, for they still hold what they were sent: those that
    the system or a login needs (init, system daemons, the bus, login, the display), the processes
    of other users unless you are root, and your own session: the shell you type in and what it
    runs in, a terminal emulator, tmux or sshd. `sparc list --peers` shows the same beforehand.

    --tty takes everybody on a terminal, your shell too if it is yours, and who holds its other end
    and so has what it shows: terminal emulator, tmux, the sshd of the session. After a restore the
    session is gone.

    What an excluded process has in swap is brought back, and swap is overwritten; where that cannot
    be done, for lack of memory say, it is not excluded. While a checkpoint is taken swap is off:
    what was swapped out since is brought back and overwritten first, or the checkpoint fails.

    --keep-file holds until nobody is excluded any more. You must be able to read the file. Programs
    and libraries stay in checkpoints anyway.

    Exit status: 0 all done, 1 some could not be excluded, 2 none was.
    """
    extras = {"peers": with_peers, "memory_only": memory_only, "display": display}
    return change("exclude", Whom(**named), as_json, extras, kept)
