"""Which processes share something with which others, and whom that leads to.

Run in a child of the service (see guest_service.helper). A peer that is not taken in is told with
its reason: a word of guest_service.critical, session (the caller's own), or not-yours.
"""

from __future__ import annotations

import os

from guest_service import critical, descriptors, processes, sockets
from guest_service.changes import Caller, about
from guest_service.descriptors import Held, Holder

__all__ = ["around", "closure", "on_terminals"]

# Ways between two processes that are told; there may be hundreds.
_TOLD = 8

_Reply = dict[str, object]


class _Graph:
    def __init__(self) -> None:
        holders = descriptors.read()
        self.incomplete = not _connect(holders)
        self.holders = {holder.pid: holder for holder in holders}
        self._holding: dict[object, list[int]] = {}
        self._reaching: dict[object, list[int]] = {}
        for holder in holders:
            for key in holder.held:
                self._holding.setdefault(key, []).append(holder.pid)
            for key in holder.reached:
                self._reaching.setdefault(key, []).append(holder.pid)

    def peers(self, pid: int) -> dict[int, list[Held]]:
        """Whom a process shares something with, and what, as the process itself holds it."""
        holder = self.holders.get(pid)
        found: dict[int, list[Held]] = {}
        if holder is None:
            return found
        for key, held in holder.held.items():
            for peer in (*self._holding.get(key, ()), *self._reaching.get(key, ())):
                found.setdefault(peer, []).append(held)
        for key, held in holder.reached.items():
            for peer in self._holding.get(key, ()):
                found.setdefault(peer, []).append(held)
        found.pop(pid, None)
        return found


def _connect(holders: list[Holder]) -> bool:
    """Note for each socket the other end; False if the kernel did not tell all of them."""
    namespaces: dict[str, list[Holder]] = {}
    for holder in holders:
        try:
            namespace = os.readlink(f"/proc/{holder.pid}/ns/net")
        except OSError:
            continue
        namespaces.setdefault(namespace, []).append(holder)
    complete = True
    unix: dict[int, int] = {}
    inet: dict[int, tuple[list[int], str]] = {}
    for inside in namespaces.values():
        inet |= sockets.inet(inside[0].pid)
        try:
            unix |= sockets.unix(inside[0].pid)
        except sockets.NamespaceError:
            complete = False
    for holder in holders:
        for inode, where in holder.sockets.items():
            own = holder.held["socket", inode]
            own.kind = "unix"
            if inode in inet:
                ends, words = inet[inode]
                own.kind, own.words = "network", words
                for end in ends:
                    holder.reached["socket", end] = Held("network", where, words)
            elif inode in unix:
                holder.reached["socket", unix[inode]] = Held("unix", where)
    return complete


def _told(pid: int, ways: list[tuple[int, Held]]) -> _Reply:
    process = processes.read(pid)
    # One of each kind before more of any.
    first = {held.kind: (member, held) for member, held in reversed(ways)}
    chosen = [*first.values(), *(way for way in ways if way not in first.values())]
    through = [
        {"pid": member, "kind": held.kind, "where": held.where, "words": held.words}
        for member, held in chosen[:_TOLD]
    ]
    return {**about(pid, process.name if process else b""), "through": through}


def _why(pid: int, service: int) -> str | None:
    process = processes.read(pid)
    return critical.why(process, service) if process else None


def around(members: list[int], service: int, hidden: list[int]) -> _Reply:
    """The peers of `members` that are not among them, but for `hidden`.

    {peers: [about, critical (a word or null), through: [{pid (of the member), kind, where,
    words}]], incomplete (true: not all sockets could be followed)}
    """
    graph = _Graph()
    ways: dict[int, list[tuple[int, Held]]] = {}
    for member in members:
        for peer, held in graph.peers(member).items():
            ways.setdefault(peer, []).extend((member, each) for each in held)
    for pid in (*members, *hidden):
        ways.pop(pid, None)
    peers = [
        {**_told(peer, found), "critical": _why(peer, service)}
        for peer, found in sorted(ways.items())
    ]
    return {"peers": peers, "incomplete": graph.incomplete}


def closure(start: list[int], members: list[int], caller: Caller, service: int) -> _Reply:
    """Whom following peers from `start` leads to, not through those that are left out.

    {take, left: [about, through], incomplete}; `left` has `why` too. Who is in `members`, or is
    the caller, is in neither; what the caller has excluded before is followed as well.
    """
    graph = _Graph()
    session = set(_ancestors(caller.pid))
    known, inside = {*start, caller.pid}, set(members)
    waiting = [pid for pid in start if caller.may(processes.uids_of(pid) or (0,))]
    take: list[_Reply] = []
    left: list[_Reply] = []
    while waiting:
        member = waiting.pop()
        for peer, held in sorted(graph.peers(member).items()):
            if peer in known:
                continue
            known.add(peer)
            if peer in inside:
                if caller.may(processes.uids_of(peer) or (0,)):
                    waiting.append(peer)
                continue
            told = _told(peer, [(member, each) for each in held])
            why = _barred(peer, service, session, caller)
            if why is not None:
                left.append({**told, "why": why})
                continue
            take.append(told)
            waiting.append(peer)
    return {"take": take, "left": left, "incomplete": graph.incomplete}


def _barred(pid: int, service: int, session: set[int], caller: Caller) -> str | None:
    """Why a process may not be taken in as a peer; None if it may."""
    why = _why(pid, service)
    if why is not None:
        return why
    if pid in session:
        return "session"
    uids = processes.uids_of(pid)
    return None if uids is None or caller.may(uids) else "not-yours"


def _ancestors(pid: int) -> list[int]:
    found: list[int] = []
    while pid > 1 and pid not in found:
        found.append(pid)
        process = processes.read(pid)
        pid = process.parent if process else 0
    return found


def on_terminals(numbers: list[int], caller: Caller, service: int) -> _Reply:
    """Who has one of these terminals open, or holds its other end, without being a process of its.

    `numbers` as in /proc/PID/stat. {found: [[pid, number]], left: [about, through, why]}
    """
    wanted = {("terminal", *descriptors.device(number)): number for number in numbers}
    found: list[tuple[int, int]] = []
    left: list[_Reply] = []
    for holder in descriptors.read(terminals=True):
        for key, number in wanted.items():
            held = holder.held.get(key)
            if held is None or not held.where or holder.pid == caller.pid:
                continue
            why = _barred(holder.pid, service, set(), caller)
            if why is None:
                found.append((holder.pid, number))
            else:
                left.append({**_told(holder.pid, [(0, held)]), "why": why})
    return {"found": found, "left": left}
