"""What the service and its clients say to each other on SOCKET: JSON, one line each way.

A connection is one request and one reply. A request is an object with `command`:

    exclude, include   whom: any of `pids` (numbers), `names` (of processes or their programs),
                       `uids` (real or effective), `cgroups` (paths from the hierarchy's root, with
                       all below), `ttys` (device numbers as in /proc/PID/stat), `self` (true: the
                       caller, as the kernel names it). Descendants come along. For exclude also
                       `memory_only`, `display`, `peers` (true: and whom they lead to), and, beside
                       the line, descriptors of files that stay in checkpoints
    list, peers, status, count  nothing more

The reply is an object. `error` in it says that nothing was done: a code, perhaps with fields (see
`sparc.cli.guest_words`). Otherwise:

    exclude, include   `done`: [{pid, name, program, uid, processes, sharers, swap_pages,
                       shmem_pages}], the counts over all that came along, `processes` 0 if it was
                       so already, or came along with an earlier one; one who was taken in as a
                       peer tells `through` what; `failed`: [{error, pid, name} or {error, kind,
                       value}]. Of exclude also `left`: [{pid, name, program, uid, through, why}],
                       peers that were not taken in; `incomplete`: not all sockets were followed;
                       `swap`: null, or {error} why it could not be overwritten yet
    list               `processes`: [{pid, name, program, uid, since, exiting, memory_only,
                       display}]; since in seconds of the epoch or null
    peers              `peers`: [{pid, name, program, uid, critical, through}], `incomplete`: see
                       guest_service.peers; of a user's own excluded processes
    status             `abi`, `pid`, `since` of the service, `members`, how many of them
                       `memory_only`, `display`, `checkpoint` and `restore` (the last ones, or
                       null): see guest_service.history; `rules`: {`count`, `problems`: [{path,
                       owner, key (or ""), why}], `told_by` (of starts: kernel, scan or null)}, the
                       system's and the caller's own
    count              `kinds`: what a checkpoint now would keep out of all that is excluded, {kind:
                       {pages (whole ones), bytes (in pages that are others', too)}}, kinds as in
                       wire.Kind; null where nobody is excluded, or where it could not be counted:
                       `reason` (see guest_service.history), `pid`; `took_us`, and `age` in seconds:
                       it is not counted each time, since all CPUs stop for it

Codes of failures: no-process, kernel-thread, init, service, not-yours, not-excluded, shares (init
or the service shares its memory at the moment), no-match, no-cgroup, system (`errno`). Of whole
requests: bad-request (`why`), unknown-command, too-long, late, died, and for swap those of
guest_service.swap: then nobody was excluded by that request.
"""

from __future__ import annotations

import json

__all__ = ["MAX_REQUEST", "SOCKET", "BadRequest", "decode", "encode"]

SOCKET = "/run/sparc/guestd.sock"

# Bytes; room for ten thousand pids.
MAX_REQUEST = 1 << 16


class BadRequest(Exception):
    """Not a request: `why`, in a word or two."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def encode(message: dict[str, object]) -> bytes:
    """One line."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> dict[str, object]:
    """The object in a line. Raises BadRequest."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        raise BadRequest("not JSON") from None
    if not isinstance(message, dict):
        raise BadRequest("not an object")
    return message
