"""The page cache of the files that processes have open or mapped.

A page of a file on a disk is taken out by making it zeros and marking it as not read yet: the
kernel then reads it from the disk before it shows it to anybody. That is possible only for what is
on the disk, and where nobody holds or maps the page at the moment.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import drgn
from drgn.helpers.linux.fs import address_space_for_each_page, for_each_file
from drgn.helpers.linux.mm import follow_phys, for_each_vma

from sparc.kernel.page import Pages

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["FilePages", "Files"]

_TYPE, _REGULAR = 0o170000, 0o100000
_FMODE_WRITE = 2
_VM_EXEC, _VM_SHARED, _VM_MAYWRITE = 0x4, 0x8, 0x20
_PAGE = 4096


@dataclass(slots=True)
class FilePages:
    """`blank`: page frames to make zeros. `writes`: (GPA, bytes) by which the kernel knows that it
    has to read them. `memory`: those to blank of files that are nowhere but in memory. `kept`:
    those that stay, by the reason. `programs`: those of programs and libraries."""

    blank: list[int] = field(default_factory=list)
    writes: list[tuple[int, bytes]] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    kept: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    programs: set[int] = field(default_factory=set)


class Files:
    """Files of processes. `own` and `others` are threads; `outside` marks the page frames that
    others map, `mapped` says how often these processes map each."""

    def __init__(
        self,
        program: drgn.Program,
        pages: Pages,
        own: list[drgn.Object],
        others: list[drgn.Object],
        outside: npt.NDArray[np.bool_],
        mapped: npt.NDArray[np.int64],
    ) -> None:
        self._program = program
        self._pages = pages
        self._own, self._others = own, others
        self._outside, self._mapped = outside, mapped
        self._places: dict[int, int] = {}

    def find(self) -> FilePages:
        """What of their files is to go. Raises as drgn does."""
        found = FilePages()
        own, written, running = _inodes(self._own)
        others, _, programs = _inodes(self._others)
        programs |= running
        in_memory = self._program.symbol("shmem_aops").address
        for address in sorted(own):
            inode = drgn.Object(self._program, "struct inode *", address)
            mapping = inode.i_mapping
            if inode.i_mode.value_() & _TYPE != _REGULAR:
                continue
            listed = (self._pages.number(p) for _, p in address_space_for_each_page(mapping))
            if address in programs or inode.i_writecount.counter.value_() < 0:
                found.programs.update(self._each(listed))
            elif mapping.a_ops.value_() != in_memory:
                for frame in listed:
                    self._on_disk(found, frame)
            elif address in others or address not in written:
                found.kept["in shared memory that others have"] += self._each(listed)
            else:
                found.memory += self._each(listed)
        return found

    def _each(self, frames: Iterable[int]) -> Iterator[int]:
        """All page frames of what are compound pages among these."""
        for first in frames:
            frame = first
            while frame == first or self._pages.head(frame) == first:
                yield frame
                frame += 1

    def _on_disk(self, found: FilePages, frame: int) -> None:
        reason = self._reason_to_keep(frame)
        private = 0 if reason else self._private(frame)
        heads = list(self._buffers(private)) if private else []
        if any(state & ~self._idle_buffer for _, state in heads):
            reason = "not on the disk yet"
        if reason:
            found.kept[reason] += self._each([frame])
            return
        found.blank.append(frame)
        flags = self._pages.field(frame, "flags") & ~self._flag["PG_uptodate"]
        at = self._pages.base + frame * self._pages.size + self._pages.offset("flags")
        found.writes.append((self._place(at), flags.to_bytes(8, "little")))
        for address, state in heads:
            now = state & ~self._buffer_flag["BH_Uptodate"]
            found.writes.append((self._place(address), now.to_bytes(8, "little")))

    def _reason_to_keep(self, frame: int) -> str:
        flags = self._pages.field(frame, "flags")
        if flags & self._flag["PG_head"]:
            return "in large folios"
        if flags & (self._flag["PG_dirty"] | self._flag["PG_writeback"]):
            return "not on the disk yet"
        if self._outside[frame]:
            return "mapped by others"
        if not flags & self._flag["PG_uptodate"] or flags & self._flag["PG_locked"]:
            return "being read"
        private = bool(flags & self._flag["PG_private"])
        mapped = int(self._mapped[frame])
        if self._pages.field(frame, "_refcount", 4) != 1 + private + mapped:
            return "held by somebody"
        return ""

    # -- buffer heads, which know of blocks within a page

    def _private(self, frame: int) -> int:
        flags = self._pages.field(frame, "flags")
        return self._pages.field(frame, "private") if flags & self._flag["PG_private"] else 0

    def _buffers(self, first: int) -> Iterator[tuple[int, int]]:
        """(address of its state, state) of each buffer of a page; none that is idle for what is
        no list of them."""
        head = buffer = drgn.Object(self._program, "struct buffer_head *", first)
        frame = None
        for _ in range(_PAGE // 512):
            page = buffer.b_page.value_()
            if frame not in (None, page):
                break
            frame = page
            yield buffer.b_state.address_of_().value_(), buffer.b_state.value_()
            buffer = buffer.b_this_page.read_()
            if buffer == head:
                return
        yield 0, -1

    @cached_property
    def _flag(self) -> dict[str, int]:
        names = ("locked", "uptodate", "dirty", "writeback", "private", "head")
        return {f"PG_{n}": 1 << self._program.constant(f"PG_{n}").value_() for n in names}

    @cached_property
    def _buffer_flag(self) -> dict[str, int]:
        names = ("BH_Uptodate", "BH_Req", "BH_Mapped")
        return {name: 1 << self._program.constant(name).value_() for name in names}

    @cached_property
    def _idle_buffer(self) -> int:
        return sum(self._buffer_flag.values())

    def _place(self, address: int) -> int:
        """The GPA of a kernel's address."""
        page = address // _PAGE
        if page not in self._places:
            init = self._program["init_mm"].address_of_()
            self._places[page] = follow_phys(init, page * _PAGE).value_()
        return self._places[page] + address % _PAGE


def _inodes(tasks: Iterable[drgn.Object]) -> tuple[set[int], set[int], set[int]]:
    """`struct inode *` of what these have open or mapped; those of them that they can write, and
    those that they run or may run code from."""
    all_of_them: set[int] = set()
    written: set[int] = set()
    programs: set[int] = set()
    seen: set[int] = set()
    for task in tasks:
        if task.files.value_() not in seen:
            seen.add(task.files.value_())
            for _, file in for_each_file(task):
                inode = file.f_inode.value_()
                all_of_them.add(inode)
                if file.f_mode.value_() & _FMODE_WRITE:
                    written.add(inode)
        if task.mm and task.mm.value_() not in seen:
            seen.add(task.mm.value_())
            for area in for_each_vma(task.mm):
                if not area.vm_file:
                    continue
                inode, flags = area.vm_file.f_inode.value_(), area.vm_flags.value_()
                all_of_them.add(inode)
                if flags & _VM_EXEC:
                    programs.add(inode)
                if flags & _VM_SHARED and flags & _VM_MAYWRITE:
                    written.add(inode)
    return all_of_them, written, programs
