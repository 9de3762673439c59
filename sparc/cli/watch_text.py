"""What `sparc watch` says of a save, for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sparc.cli.wording import words
from sparc.printable import duration, size

if TYPE_CHECKING:
    from host_service.watch.run import Seen
    from host_service.watch.saves import Save
    from host_service.watch.witness import Found

__all__ = ["lines"]

_GROUPS = {"ram": "RAM", "mmio2": "devices", "rom": "ROM"}
_SHOWN = 4


def lines(seen: Seen) -> Iterator[tuple[str, str | None]]:
    """Lines, each with its colour."""
    save = seen.save
    when = save.when.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    yield f"{when}  {seen.vm.label}  {_how(save)}", None
    if seen.file:
        yield f"  {seen.file}", None
    if save.phases:
        yield "  " + ", ".join(f"{name} {duration(us)}" for name, us in save.phases.items()), None
    if any(save.numbers.pages):
        yield f"  pages: {_pages(save)}", None
    if save.numbers.lost or save.numbers.odd:
        told = f"lost {save.numbers.lost}, not understood {save.numbers.odd}"
        yield f"  not everything was seen: {told}", "red"
    if seen.found and not save.failed:
        yield f"  {_witness(seen.found)}", _COLOURS[seen.found.result.value]


def _how(save: Save) -> str:
    took = f" in {duration((save.ended - save.began) // 1000)}" if save.ended else ""
    if save.cut:
        return f"{save.kind}: {save.cut}"
    if save.failed:
        status = save.as_json()["status"]
        return f"{save.kind}: failed{took} (VirtualBox's status {status})"
    still = f", the VM stood still for {duration(save.still)}" if save.still is not None else ""
    return f"{save.kind}: {size(save.size or 0)}{took}{still}"


def _pages(save: Save) -> str:
    """By what they are of: RAM 100 raw, 20 zero; ..."""
    groups: dict[str, list[str]] = {}
    for name, count in save.numbers.by_kind().items():
        group, _, kind = name.partition("_")
        if count:
            groups.setdefault(group, []).append(f"{count} {kind.replace('_', ' ')}")
    return "; ".join(f"{_GROUPS[group]} {', '.join(told)}" for group, told in groups.items())


_COLOURS: dict[str, str | None] = {
    "none written": "green",
    "some written": "red",
    "nothing listed": None,
    "not verified": "red",
}


def _witness(found: Found) -> str:
    parts = f"; of {found.parts} parts of pages this cannot tell" if found.parts else ""
    match found.result.value:
        case "none written":
            return f"verified: of {found.listed} listed pages none was written with content{parts}"
        case "some written":
            first = ", ".join(f"{gpa:#x}" for gpa in found.pages[:_SHOWN])
            more = ", ..." if found.written > _SHOWN else ""
            told = f"{found.written} of {found.listed} listed pages were written with content"
            return f"NOT CLEAN: {told} ({first}{more}){parts}"
        case "nothing listed":
            return f"nothing was to be kept out: {found.why}"
        case _:
            return f"NOT VERIFIED: {found.why}" + (f": {words(found.error)}" if found.error else "")
