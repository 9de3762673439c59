"""What the kernel has of a process: its memory, its registers, its stacks in the kernel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import drgn
import numpy as np
from drgn.helpers.linux.mm import follow_phys, virt_to_phys
from drgn.helpers.linux.pid import for_each_task
from drgn.helpers.linux.sched import task_cpu

from sparc.kernel.explained import explained
from sparc.kernel.files import FilePages, Files
from sparc.kernel.page import Pages
from sparc.kernel.tables import Mapped, mapped
from sparc.sav.index import RAM
from sparc.sav.state import SavedState

__all__ = ["Belongings", "Processes"]

_PAGE = 4096
_STACK = 4 * _PAGE
_KERNEL_THREAD = 0x200000
# At a stack's lower end stands a mark that the kernel looks for.
_STACK_MARK = 64
# Where the area that XSAVE writes has what a program put there: not the control words, not the
# header, without which the kernel could not go on with the task.
_FPU_DATA = ((32, 512), (576, None))

Extent = tuple[int, int]
"""(GPA, bytes)"""


@dataclass(slots=True)
class Belongings:
    """What was found of some processes.

    `anonymous`: page frames that are theirs alone. `registers`, `stacks`: extents. `files`: what
    of their files is in memory. Of what they map, how many pages they share with others since a
    fork (`shared`), are merged with others' (KSM, `merged`), are not in memory (`absent`), are of
    programs and libraries (`programs`), or of something else (`other`). `running`: threads whose
    registers were in a virtual CPU.
    """

    anonymous: list[int] = field(default_factory=list)
    registers: list[Extent] = field(default_factory=list)
    stacks: list[Extent] = field(default_factory=list)
    files: FilePages = field(default_factory=FilePages)
    shared: int = 0
    merged: int = 0
    absent: int = 0
    programs: int = 0
    other: int = 0
    running: int = 0


class Processes:
    """The processes of a guest. Raises KernelNotRead where its structures have another form."""

    def __init__(self, program: drgn.Program, state: SavedState) -> None:
        self._program = program
        self._state = state
        self._pages = Pages(program)
        self._spaces: dict[int, Mapped] = {}

    @cached_property
    def threads(self) -> list[drgn.Object]:
        """`struct task_struct *` of all threads but the kernel's own."""
        with explained("its processes"):
            return [
                task
                for task in for_each_task(self._program)
                if not task.flags.value_() & _KERNEL_THREAD
            ]

    def find(self, pids: Iterable[int], names: Iterable[str]) -> dict[int, str]:
        """The processes with these numbers (as the guest's first namespace has them) and names
        (the kernel's: at most 15 bytes), as number -> name."""
        found, numbers = {}, set(pids)
        short = {name.encode()[:15] for name in names}
        for task in self.threads:
            name = task.group_leader.comm.string_()
            if task.tgid.value_() in numbers or name in short:
                found[task.tgid.value_()] = name.decode(errors="replace")
        return found

    def belongings(self, groups: Iterable[int]) -> Belongings:
        """What these processes have."""
        wanted = set(groups)
        own = [task for task in self.threads if task.tgid.value_() in wanted]
        others = [task for task in self.threads if task.tgid.value_() not in wanted]
        found = Belongings()
        with explained("memory of processes"):
            self._memory(found, own, others)
        with explained("registers and stacks"):
            owners = self._owners_of_vector_registers()
            for task in own:
                self._thread(found, task, owners)
        return found

    # -- memory

    def _memory(self, found: Belongings, own: list[drgn.Object], others: list[drgn.Object]) -> None:
        outside = np.zeros(len(self._state.index.table(RAM)), np.bool_)
        for space in _spaces(others) - _spaces(own):
            outside[self._mapped(space).frames] = True
        times = np.zeros(len(outside), np.int64)
        for space in _spaces(own):
            entry = self._mapped(space)
            found.absent += entry.absent
            np.add.at(times, entry.frames, 1)
        found.files = Files(self._program, self._pages, own, others, outside, times).find()
        of_files = {*found.files.blank, *found.files.memory}.union(*found.files.kept.values())
        reserved = 1 << self._program.constant("PG_reserved").value_()
        for frame in np.flatnonzero(times).tolist():
            if frame in of_files or self._pages.field(frame, "flags") & reserved:
                continue  # the second are the kernel's own, that all see: vdso
            if self._pages.merged(frame):
                found.merged += 1
            elif not self._pages.anonymous(frame):
                if frame in found.files.programs:
                    found.programs += 1
                else:
                    found.other += 1
            elif outside[frame]:
                found.shared += 1
            else:
                found.anonymous.append(frame)

    def _mapped(self, space: int) -> Mapped:
        if space not in self._spaces:
            pgd = drgn.Object(self._program, "struct mm_struct *", space).pgd
            top = virt_to_phys(pgd).value_()
            self._spaces[space] = mapped(self._state, top, self._levels)
        return self._spaces[space]

    @cached_property
    def _levels(self) -> int:
        info = self._program["VMCOREINFO"].string_()
        return 5 if b"NUMBER(pgtable_l5_enabled)=1" in info else 4

    # -- threads

    def _thread(self, found: Belongings, task: drgn.Object, owners: set[int]) -> None:
        if not task.stack:  # one that has ended gives it back before it goes itself
            return
        stack = task.stack.value_()
        if task.on_cpu.value_():
            found.running += 1
        else:
            found.registers += self._physical(*self._general(stack))
            depth = task.thread.sp.value_() - stack
            if _STACK_MARK < depth < _STACK:
                found.stacks += self._physical(stack + _STACK_MARK, depth - _STACK_MARK)
        fpu = self._fpu(task)
        if fpu.value_() in owners:
            found.running += not task.on_cpu.value_()
        area = fpu.fpstate.regs.address_of_().value_()
        size = fpu.fpstate.size.value_()
        for start, end in _FPU_DATA:
            found.registers += self._physical(area + start, (end or size) - start)

    def _general(self, stack: int) -> Extent:
        regs = self._program.type("struct pt_regs")
        # Kernels that know FRED leave room for its frame at the top of each stack.
        padding = 16 if regs.has_member("fred_cs") else 0
        return stack + _STACK - padding - drgn.sizeof(regs), drgn.offsetof(regs, "orig_ax")

    def _fpu(self, task: drgn.Object) -> drgn.Object:
        if self._program.type("struct thread_struct").has_member("fpu"):
            return task.thread.fpu.address_of_()
        behind = task.value_() + drgn.sizeof(self._program.type("struct task_struct"))
        return drgn.Object(self._program, "struct fpu *", behind)

    def _owners_of_vector_registers(self) -> set[int]:
        """`struct fpu *` of those whose vector registers are in a CPU and nowhere else."""
        symbol = self._program.symbol("fpu_fpregs_owner_ctx").address
        cpus = {task_cpu(task) for task in self.threads}
        offsets = self._program["__per_cpu_offset"]
        # Offsets may be negative: addresses go round.
        places = [(symbol + offsets[cpu].value_()) % (1 << 64) for cpu in cpus]
        return {self._program.read_u64(place) for place in places}

    def _physical(self, start: int, length: int) -> Iterator[Extent]:
        while length > 0:
            part = min(length, _PAGE - start % _PAGE)
            yield follow_phys(self._program["init_mm"].address_of_(), start).value_(), part
            start, length = start + part, length - part


def _spaces(tasks: Iterable[drgn.Object]) -> set[int]:
    """`struct mm_struct *` of threads that have one."""
    return {task.mm.value_() for task in tasks if task.mm}
