"""What the extension pack says of one save. It is data from another process, and quotes a guest.

Names in it (of processes, of VMs) are text to be made printable before it is shown.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from host_service import fields
from host_service.fields import Fields, Malformed

__all__ = [
    "CLEAN_REASONS",
    "DISPLAYS",
    "MAX_BYTES",
    "POLICIES",
    "Amount",
    "Process",
    "Report",
    "from_fields",
    "parse",
    "parse_time",
    "time_text",
]

MAX_BYTES = 10 << 20
"""A report's length at most; a few hundred bytes are usual."""

POLICIES = ("strict", "warn", "off")
CLEAN_REASONS = ("ok", "nothing-excluded")
DISPLAYS = ("keep", "text", "all")
"""What of the screen was blanked: nothing, the text on it, or all video memory."""

_TIME = "%Y-%m-%dT%H:%M:%SZ"
_PROCESSES = 1 << 16
_ENTRIES = 64


@dataclass(frozen=True)
class Process:
    """An excluded one: its pid in the guest, and what the guest calls it."""

    pid: int
    name: str


@dataclass(frozen=True)
class Amount:
    """Of one kind of data: whole pages, and bytes in pages that are shared with other data."""

    pages: int
    bytes: int


@dataclass(frozen=True)
class Report:
    """One save, in the words of the contract. `clean` holds only if the rest agrees with it.

    Of video memory, `display_bytes` were kept aside for the save; of what devices save of
    themselves, `device_values` were blanked.
    """

    time: datetime
    vm_name: str
    vm_uuid: str
    state_file: Path | None
    live: bool
    policy: str
    saved: bool
    clean: bool
    reason: str
    guest_reason: str
    guest_pid: int
    guest_name: str
    message: str
    excluded: tuple[Process, ...]
    kinds: dict[str, Amount]
    drop_pages: int
    stash_pages: int
    extents: int
    stash_bytes: int
    stash_locked: bool
    display: str
    display_bytes: int
    device_values: int
    spins: int | None
    steps_us: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        """The same, and nothing else, as the pack writes it."""
        flat = asdict(self)
        pages = {"drop": flat.pop("drop_pages"), "stash": flat.pop("stash_pages")}
        vm = {"name": flat.pop("vm_name"), "uuid": flat.pop("vm_uuid")}
        flat["excluded"] = list(flat["excluded"])
        flat["time"] = time_text(self.time)
        flat["state_file"] = None if self.state_file is None else str(self.state_file)
        return {"version": 1, "vm": vm, "pages": pages, **flat}


def parse(data: bytes) -> Report:
    """Read one report; what it says beyond the contract is left out.

    Raises:
        Malformed: it is not one, or contradicts itself.
    """
    if len(data) > MAX_BYTES:
        raise Malformed("longer than a report can be")
    return from_fields(Fields(fields.load(data)))


def from_fields(f: Fields) -> Report:
    """The same, from an object that was read already."""
    if f.number("version") != 1:
        raise Malformed("of a version that is not known; sparc and its extension pack differ")
    vm, pages = f.inner("vm"), f.inner("pages")
    state = f.optional_text("state_file", 4096)
    report = Report(
        time=parse_time(f.text("time", 32)),
        vm_name=vm.text("name", 1024),
        vm_uuid=vm.text("uuid", 36),
        state_file=None if state is None else Path(state),
        live=f.flag("live"),
        policy=f.one_of("policy", POLICIES),
        saved=f.flag("saved"),
        clean=f.flag("clean"),
        reason=f.text("reason", 32),
        guest_reason=f.text("guest_reason", 32),
        guest_pid=f.number("guest_pid"),
        guest_name=f.text("guest_name", 64),
        message=f.text("message", 1024),
        excluded=tuple(
            Process(entry.number("pid"), entry.text("name", 64))
            for entry in f.list("excluded", _PROCESSES)
        ),
        kinds={
            kind: Amount(amount.number("pages"), amount.number("bytes"))
            for kind, amount in f.inner("kinds").members(_ENTRIES)
        },
        drop_pages=pages.number("drop"),
        stash_pages=pages.number("stash"),
        extents=f.number("extents"),
        stash_bytes=f.number("stash_bytes"),
        stash_locked=f.flag("stash_locked"),
        display=f.one_of("display", DISPLAYS),
        display_bytes=f.number("display_bytes"),
        device_values=f.number("device_values"),
        spins=f.optional_number("spins"),
        steps_us=f.inner("steps_us").numbers(_ENTRIES),
    )
    if report.clean and not (report.saved and report.reason in CLEAN_REASONS):
        raise Malformed("contradicts itself")
    return report


def time_text(when: datetime) -> str:
    """A time as the contract writes it: in UTC, whole seconds."""
    return when.astimezone(UTC).strftime(_TIME)


def parse_time(text: str) -> datetime:
    """The same, read. Raises Malformed."""
    try:
        when = datetime.strptime(text, _TIME).replace(tzinfo=UTC)
    except ValueError:
        raise Malformed("has no time") from None
    # So that it can be shown in any time zone.
    if not 1970 <= when.year < 9999:
        raise Malformed("has no time")
    return when
