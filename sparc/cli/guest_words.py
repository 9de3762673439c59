"""Words for what the guest's service replies: failures and warnings."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from sparc.errors import GuestError
from sparc.printable import size

__all__ = ["INCOMPLETE", "counted", "failure", "refusal", "remarks", "warnings", "ways"]

_PAGE = 4096

INCOMPLETE = "not all peers could be found; those at unix sockets need the kernel's unix_diag"

_REFUSALS = {
    "no-module": "the kernel module is not loaded in this guest: modprobe sparc",
    "no-service": "sparc-guestd is not running: systemctl start sparc-guestd, "
    "or /etc/init.d/sparc-guestd start",
    "denied": "only root and members of the group sparc may do this",
    "silent": "sparc-guestd does not answer; is a checkpoint being taken?",
    "connection": "the connection to sparc-guestd broke: {cause}",
    "too-long": "too many at once",
    "unknown-command": "sparc-guestd is of another version and does not know this command",
    "bad-request": "sparc-guestd does not understand this ({why}): is it of another version?",
    "system": "the kernel refused: {errno}",
    "no-user": "there is no user {value}",
    "no-unit": "no unit {value} runs here: systemctl status {value} says more",
    "no-terminal": "{value} is no terminal",
    "own-terminal": "you have no controlling terminal here: name one",
    "no-file": "{value}: cannot be opened: {cause}",
    "late": "it took too long",
    "died": "it was ended before it was done, perhaps for lack of memory",
    "swap": "what is in swap could not be brought back and overwritten, so nobody was excluded",
    "swap-room": "{need} KiB are in swap and {free} KiB of memory are free: too little to bring "
    "them back, so nobody was excluded",
    "swap-late": "bringing back what is in swap took too long, so nobody was excluded; try again",
    "swap-area": "{path}: this swap area cannot be overwritten, so nobody was excluded: swapoff",
    "nobody": "say whom: pids, units, --name, --user, --cgroup or --tty",
}

_FAILURES = {
    "no-process": "there is no such process",
    "kernel-thread": "is a kernel thread: it has no memory of its own",
    "init": "is init: nothing could go on without it",
    "service": "is sparc-guestd itself",
    "not-excluded": "is not excluded",
    "not-yours": "belongs to another user: only root may do this",
    "shares": "shares its memory with init or sparc-guestd at the moment: try again",
    "no-match": "matches no process",
    "no-cgroup": "there is no such control group",
    "system": "the kernel refused: {errno}",
}

_LEFT = {
    "init": "it is init",
    "service": "it is sparc-guestd",
    "system": "the system needs it",
    "bus": "the system needs it",
    "login": "logins need it",
    "display": "the display needs it",
    "session": "it is your own session (--tty takes that)",
    "not-yours": "it belongs to another user",
}

_KINDS = {
    "pipe": "pipe",
    "unix": "unix socket",
    "socket": "socket",
    "network": "connection",
    "terminal": "terminal",
    "memory": "shared memory",
    "file": "file",
}


def _worded(texts: dict[str, str], code: str, fields: dict[str, Any]) -> str:
    if "errno" in fields:
        fields = {**fields, "errno": os.strerror(int(fields["errno"] or 0))}
    return texts.get(code, code).format_map(fields)


def refusal(error: GuestError) -> str:
    """Why nothing was done at all."""
    return _worded(_REFUSALS, error.code, error.fields)


def failure(entry: dict[str, Any], whom: str) -> str:
    """Why it was not done to one of several; `whom` tells the selector in words."""
    if "pid" in entry:
        whom = f"{entry['pid']} {entry['name']}".strip()
    return f"{whom}: {_worded(_FAILURES, str(entry['error']), entry)}"


def warnings(entry: dict[str, Any]) -> Iterator[str]:
    """What somebody who excluded this should know at once."""
    whom = f"{entry['pid']} {entry['name']}"
    if entry["sharers"]:
        yield f"{whom}: {counted(entry['sharers'], 'process')} sharing its memory came along"
    if entry["swap_pages"]:
        yield (
            f"{whom}: {size(entry['swap_pages'] * _PAGE)} of it were in swap: they were brought "
            "back, and swap was overwritten"
        )
    if entry["shmem_pages"]:
        yield (
            f"{whom}: {size(entry['shmem_pages'] * _PAGE)} of shared memory that it uses will be "
            "gone after a restore, for all who use it"
        )
    from sparc.cli.belongings import lost

    if count := lost(entry["pid"]):
        yield (
            f"{whom}: {counted(count, 'open file')} of it, deleted or in memory alone (memfd, "
            "tmpfs), will be gone or empty after a restore"
        )


def remarks(reply: dict[str, Any], wanted: dict[str, bool]) -> Iterator[str]:
    """What somebody should know of an exclusion as a whole."""
    for entry in reply["left"]:
        why = _LEFT.get(entry["why"], entry["why"])
        yield (
            f"{entry['pid']} {entry['name']}: left out: {why}; what it was sent it still holds "
            f"({ways(entry['through'])})"
        )
    if reply["incomplete"]:
        yield INCOMPLETE
    if reply.get("swap"):
        yield (
            "swap could not be overwritten, and may hold older copies of their memory: checkpoints "
            "fail until it can be, or is off (swapoff -a)"
        )
    if wanted.get("memory_only"):
        yield (
            "only memory is kept out: what these processes leave in the kernel (files, pipes, "
            "sockets, terminals, the screen) stays in checkpoints"
        )


def ways(through: list[dict[str, Any]]) -> str:
    """What a peer shares, and with whom."""
    from sparc.cli.belongings import name

    told: dict[str, None] = {}
    for way in through:
        words = way["words"] or name(way["pid"], way["where"])
        what = f"{_KINDS.get(way['kind'], way['kind'])} {words}".rstrip()
        told[f"{what} with {way['pid']}" if way["pid"] else what] = None
    return ", ".join(told)


def counted(count: int, noun: str) -> str:
    """1 process, 2 processes."""
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{count} {noun if count == 1 else plural}"
