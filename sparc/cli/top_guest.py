"""The view of a guest: who is excluded, and what would be kept out for it."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from guest_service.client import ask
from sparc.cli.guest import user_name
from sparc.cli.status import text
from sparc.errors import GuestError
from sparc.frame import Frame, Table
from sparc.kinds import KINDS
from sparc.printable import duration, size
from sparc.reasons import reason

__all__ = ["frame"]

_PAGE = 4096
_HEAD = (
    *("PID", "USER", "NAME", "MEMORY", "SWAP", "SHARED"),
    *("FILES", "PIPES", "SOCKETS", "TERMINALS", "FLAGS"),
)
_NUMBERS = frozenset({0, *range(3, 10)})
_MEMORY = {"RssAnon": "memory_bytes", "VmSwap": "swap_bytes", "RssShmem": "shared_bytes"}
_OPEN = ("files", "pipes", "sockets", "terminals")
_TERMINALS = ("/dev/pts/", "/dev/tty", "/dev/console", "/dev/ptmx")


def frame() -> Frame:
    """How it is now. Raises GuestError."""
    status: dict[str, Any] = ask({"command": "status"})
    listed: dict[str, Any] = ask({"command": "list"})
    count = _count()
    processes = [_process(entry) for entry in listed["processes"]]
    processes.sort(key=lambda entry: -sum(entry[name] or 0 for name in _MEMORY.values()))
    data: dict[str, object] = {
        "side": "guest",
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "status": status,
        "count": count,
        "processes": processes,
    }
    rows = [_row(entry) for entry in processes]
    tables = [Table("Excluded processes, each by itself", _HEAD, rows, _NUMBERS)] * bool(rows)
    if count is not None and count["kinds"] is not None:
        tables.insert(0, _kinds(count))
    return Frame(text(status).splitlines(), tables, data, _notes(count))


def _count() -> dict[str, Any] | None:
    """None where the service is of a version that cannot count."""
    try:
        return ask({"command": "count"})
    except GuestError as error:
        if error.code != "unknown-command":
            raise
        return None


def _notes(count: dict[str, Any] | None) -> list[str]:
    if count is None:
        return ["what would be kept out by kind: this sparc-guestd is older and cannot tell"]
    if count["reason"] == "none":
        return []
    who = f" (process {count['pid']})" if count["pid"] else ""
    return [f"what would be kept out by kind could not be counted: {reason(count['reason'])}{who}"]


def _kinds(count: dict[str, Any]) -> Table:
    kinds: dict[str, dict[str, int]] = count["kinds"]
    known = [kind for kind in KINDS if kind in kinds]
    rows: list[tuple[str, ...]] = []
    for kind in known + sorted(kinds.keys() - KINDS.keys()):
        whole, parts = kinds[kind]["pages"] * _PAGE, kinds[kind]["bytes"]
        rows.append((KINDS.get(kind, kind), size(whole), size(parts), size(whole + parts)))
    ago = f"{count['age']:.0f} s ago, in {duration(count['took_us'])}"
    title = f"All that a checkpoint would keep out (counted {ago})"
    head = ("KIND", "WHOLE PAGES", "PARTS OF PAGES", "TOGETHER")
    return Table(title, head, rows, frozenset({1, 2, 3}))


def _process(entry: dict[str, Any]) -> dict[str, Any]:
    """What the service says of a process, and what it has: bytes, and descriptors by kind."""
    folder = Path(f"/proc/{entry['pid']}")
    held = {} if entry["memory_only"] else _held(folder / "fd")
    user = user_name(entry["uid"]) if entry["uid"] is not None else None
    return {**entry, "user": user, **_memory(folder / "status"), "open": held}


def _memory(path: Path) -> dict[str, int | None]:
    """In bytes. Not from smaps: who reads those holds a lock that the module has to wait for."""
    found: dict[str, int | None] = dict.fromkeys(_MEMORY.values())
    try:
        # Not splitlines: a process may have a name with \r in it, and "RssAnon:" after that.
        lines = path.read_bytes().split(b"\n")
    except OSError:
        return found
    for line in lines:
        name, _, rest = line.decode("ascii", "replace").partition(":")
        if name in _MEMORY:
            found[_MEMORY[name]] = int(rest.split()[0]) * 1024
    return found


def _held(folder: Path) -> dict[str, int] | None:
    """How many descriptors there are of a kind; None where that may not be seen."""
    found = dict.fromkeys(_OPEN, 0)
    try:
        links = list(folder.iterdir())
    except OSError:
        return None
    for link in links:
        # The link alone: a file system whose server hangs would hold us up.
        with suppress(OSError):
            if kind := _kind(str(link.readlink())):
                found[kind] += 1
    return found


def _kind(target: str) -> str:
    if target.startswith("pipe:"):
        return "pipes"
    if target.startswith("socket:"):
        return "sockets"
    if target.startswith(_TERMINALS):
        return "terminals"
    # Other devices, and what has no name at all, as an epoll has.
    memory = target.startswith("/dev/shm/")
    return "files" if target.startswith("/") and (memory or not target.startswith("/dev/")) else ""


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    flags = [word for word in ("memory-only", "display") if entry[word.replace("-", "_")]]
    flags += ["ended"] * bool(entry["exiting"])
    memory = ("?" if entry[name] is None else size(entry[name]) for name in _MEMORY.values())
    held = entry["open"]
    # {}: what it has open is not kept out.
    amounts = ("?" if held is None else str(held.get(name, "-")) for name in _OPEN)
    return (
        str(entry["pid"]),
        entry["user"] or "",
        entry["name"],
        *memory,
        *amounts,
        ",".join(flags),
    )
