"""What the probes tell of a save, as it happens."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from sparc.sav import c_pgm, c_ssm

__all__ = ["Event", "Numbers", "Step"]


class Step(IntEnum):
    """As `enum step` in probes.bpf.c."""

    SUSPEND = 0
    SUSPENDED = 1
    SAVE = 2
    TELEPORT = 3
    HEADER = 4
    UNIT = 5
    END = 6
    FOOTER = 7
    SAVED = 8
    RESUME = 9
    RESUMED = 10


@dataclass(frozen=True)
class Numbers:
    """Counted since the save began.

    Attributes:
        pages: records of pages by kind, in the order of c_pgm.KIND_NAMES.
        contents: pages whose content was put; counted by a witness only, as what follows.
        noted: pages of RAM with content that were noted, each time.
        odd: what did not follow the order that is known.
        lost: what could not be noted or told.
    """

    pages: tuple[int, ...] = (0,) * len(c_pgm.KIND_NAMES)
    contents: int = 0
    noted: int = 0
    odd: int = 0
    lost: int = 0

    def by_kind(self) -> dict[str, int]:
        """The pages by name."""
        return dict(zip(c_pgm.KIND_NAMES, self.pages, strict=True))

    @property
    def ram(self) -> int:
        """Records of pages of RAM."""
        kinds = (c_pgm.RAM_ZERO, c_pgm.RAM_RAW, c_pgm.RAM_BALLOONED)
        return sum(self.pages[kind] for kind in kinds)


@dataclass(frozen=True)
class Event:
    """One step in the process `pid`, in its `save`th save (from 1; 0: before the first).

    `time` is in ns of the monotonic clock. `value` is a reason, a status, or an offset in the
    file. Only units have `name`, `instance` and `pass_`; a footer's `crc` is that of the stream.
    """

    step: Step
    pid: int
    save: int
    time: int
    value: int = 0
    numbers: Numbers = field(default_factory=Numbers)
    name: str = ""
    instance: int = 0
    pass_: int = c_ssm.PASS_FINAL
    crc: int = 0
