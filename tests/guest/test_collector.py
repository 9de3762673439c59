"""What the module would keep out of a checkpoint, against what stands in the guest's memory.

In every round random programs run; some are excluded. While the guest is parked all of its memory
is searched for what they wrote: whatever an excluded one wrote must be in the manifest. And
whatever is in the manifest must be free, or belong to excluded processes alone, as told by an
independent look at the kernel's own tables.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
from sparc_lab import Lab, QemuMachine

from sparc.abi import PAGE_SIZE, Kind
from tests.guest import markers
from tests.guest.herd import EXCLUDED, Herd, Program, draw
from tests.guest.manifest import Manifest
from tests.guest.witness import Witness

# With 5 rounds, 200 excluded programs for each kernel that people have.
_ROUNDS = int(os.environ.get("SPARC_COLLECTOR_ROUNDS", "1"))
_EXCLUDED = 40
# Set it to the number in the message of a failure.
_SEED = os.environ.get("SPARC_TEST_SEED")
_SHOWN = 12

Pages = npt.NDArray[np.bool_]


@pytest.fixture(scope="module")
def herd(lab: Lab, guest: QemuMachine, kernel: str) -> Iterator[Herd]:
    herd = Herd(lab, guest, kernel)
    yield herd
    herd.close()


@pytest.mark.every_kernel
def test_random_programs(herd: Herd, kernel: str) -> None:
    for _ in range(1 if kernel == "lab" or _SEED else _ROUNDS):
        seed = int(_SEED) if _SEED else random.randrange(1 << 31)
        # Shown if it fails.
        print(f"SPARC_TEST_SEED={seed}")
        programs = draw(seed, _EXCLUDED)
        try:
            herd.run(programs)
            program, ram = herd.look()
        finally:
            herd.end()
        round_ = Round(programs, Witness(program, ram), Manifest.of(ram), ram)
        round_.check_processes()
        round_.check_nothing_is_missed()
        round_.check_free_pages()
        round_.check_stash()
        round_.check_registers()


class Round:
    """A parked guest, and the questions to it. Each check raises AssertionError."""

    def __init__(
        self,
        programs: list[Program],
        witness: Witness,
        manifest: Manifest,
        ram: npt.NDArray[np.uint8],
    ) -> None:
        self._programs, self._witness, self._manifest = programs, witness, manifest
        tasks = [task for task in witness.tasks if task.mm]
        self._members = [task for task in witness.tasks if task.name in EXCLUDED]
        spaces = {task.mm for task in self._members if task.mm}
        self._inside = witness.mapped(spaces)
        self._outside = witness.mapped(task.mm for task in tasks if task.mm not in spaces)
        self._found = markers.find(ram, [program.seed for program in programs])

    def check_processes(self) -> None:
        alive = {task.group for task in self._members if not task.ended}
        assert alive
        assert self._manifest.pids == alive

    def check_nothing_is_missed(self) -> None:
        """Every marker of an excluded process is covered.

        One that was written before a border may stay in memory that the other side has too, and in
        the registers that it took along.
        """
        fates = self._fates()
        assert {"excluded", "outside", "common"} <= set(fates)
        bytes_ = self._found["gpa"][:, None] + np.arange(markers.BYTES)
        covered = self._manifest.covers(bytes_.ravel()).reshape(bytes_.shape).all(axis=1)
        page = self._found["gpa"] // PAGE_SIZE
        shared = self._of_outsiders()[page] | self._of_kernel()[page]
        missed = (fates == "excluded") & ~covered
        missed |= (fates == "common") & ~covered & ~shared
        assert not missed.any(), self._told(np.flatnonzero(missed))
        # And there was something to be found, on both sides.
        assert (fates == "excluded").sum() > 1000
        assert (~covered & (fates == "outside")).sum() > 1000

    def check_free_pages(self) -> None:
        witness, drop = self._witness, self._manifest.drop
        assert not (drop & (witness.refcount > 0)).any()
        assert not (drop & witness.slab).any()
        differing = np.flatnonzero(drop != witness.free)
        assert not len(differing), f"{len(differing)} pages from {differing[0]:#x}"
        assert drop.sum() == self._manifest.head.drop_pages

    def check_stash(self) -> None:
        witness, manifest = self._witness, self._manifest
        stash = manifest.stash.copy()
        assert stash.sum() == manifest.head.stash_pages
        canary = manifest.head.canary_gpa // PAGE_SIZE
        assert stash[canary]
        stash[canary] = False
        assert not (manifest.drop & manifest.stash).any()
        # The rest is what the programs left in the kernel, and the files that they share.
        anonymous = stash & witness.anonymous
        kinds = manifest.head.kind_pages
        left = sum(kinds) - sum(kinds[kind] for kind in (Kind.ANON, Kind.FREE, Kind.SWAP_CACHE))
        assert (stash & ~witness.anonymous).sum() <= left
        assert not ((manifest.drop | anonymous) & (self._outside > 0)).any()
        # A page of a compound one may be mapped by nobody, while others of it are.
        assert not (anonymous & (self._folios(self._inside) == 0)).any()
        single = anonymous & ~self._compound()
        assert (witness.mapcount[single] == self._inside[single]).all()

    def check_registers(self) -> None:
        """Those extents are where a task of the set has its registers, also one that is ending."""
        alive = (task for task in self._members if not task.ended)
        extents = self._manifest.extents
        extents = extents[extents["kind"] == Kind.REGISTERS]
        ends = extents["gpa"] + extents["length"]
        told = set(zip(extents["gpa"].tolist(), ends.tolist(), strict=True))
        assert told >= set(self._witness.registers(alive))
        assert told <= set(self._witness.registers(self._members))

    def _of_kernel(self) -> Pages:
        witness = self._witness
        mapped = (self._inside > 0) | (self._outside > 0)
        return np.asarray(~witness.anonymous & ~witness.free & ~mapped)

    def _fates(self) -> npt.NDArray[np.str_]:
        sides, numbers = 3, int(self._found["number"].max()) + 1
        table: npt.NDArray[np.str_] = np.array(
            [
                [[program.fate(side, number) for number in range(numbers)] for side in range(sides)]
                for program in self._programs
            ]
        )
        found = self._found
        return np.asarray(table[found["program"], found["side"], found["number"]])

    def _folios(self, counts: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
        """For each page the sum over the compound page that it is in."""
        head = self._witness.head
        return np.bincount(head, counts, minlength=len(head)).astype(np.int64)[head]

    def _compound(self) -> Pages:
        head = self._witness.head
        return np.asarray(np.bincount(head, minlength=len(head))[head] > 1)

    def _of_outsiders(self) -> Pages:
        return np.asarray(self._folios(self._outside) > 0)

    def _told(self, missed: npt.NDArray[np.intp]) -> str:
        """Where some of the missed words stand."""
        lines = [f"{len(missed)} words are not covered:"]
        for index in missed[:_SHOWN]:
            found = self._found[index]
            program = self._programs[found["program"]]
            who = f"{program.name} {program.seed} side {found['side']} number {found['number']}"
            lines.append(f"{found['gpa']:#x} of {who}: {self._described(found['gpa'])}")
        return "\n".join(lines)

    def _described(self, gpa: int) -> str:
        page, witness = gpa // PAGE_SIZE, self._witness
        return (
            f"head {witness.head[page]:#x}, slab {witness.slab[page]},"
            f" anonymous {witness.anonymous[page]}, free {witness.free[page]},"
            f" references {witness.refcount[page]}, mapped {self._inside[page]} times inside,"
            f" {self._outside[page]} outside, flags {witness.flags[page]:#x}"
        )
