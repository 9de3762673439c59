"""Saves, put together from their steps."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from host_service.watch.steps import Event, Numbers, Step
from sparc.sav import c_ssm

__all__ = ["PHASES", "Follower", "Save", "Unit"]

PHASES = ("suspend", "prepare", "live", "memory", "devices", "finish", "resume")
"""The VM is suspended; its units prepare; memory is written while it runs; the rest of it; what
devices have; the file is closed and units are told; the VM goes on."""

_MEMORY = "pgm"


@dataclass(frozen=True)
class Unit:
    """One unit of the file: `pass_` as c_ssm has it; `offset` in the file, in bytes.

    `numbers` is what had been counted when it began.
    """

    name: str
    instance: int
    pass_: int
    offset: int
    began: int
    numbers: Numbers

    @property
    def final(self) -> bool:
        return self.pass_ == c_ssm.PASS_FINAL


@dataclass
class Save:
    """One save, finished or not. Times are in ns of the monotonic clock; 0: not seen.

    Attributes:
        number: counted in its process, from 1.
        keeps: whether the VM was to go on afterwards.
        status: what VirtualBox returned; None: its end was not seen.
        footer: (offset, CRC of the stream), where the file was written to its end.
        cut: why it was not seen as a whole, or "".
    """

    pid: int
    number: int
    when: datetime
    began: int
    keeps: bool
    teleport: bool
    live: bool = False
    suspend: int = 0
    suspended: int = 0
    units: list[Unit] = field(default_factory=list)
    written: int = 0
    ended: int = 0
    resume: int = 0
    resumed: int = 0
    status: int | None = None
    footer: tuple[int, int] | None = None
    numbers: Numbers = field(default_factory=Numbers)
    cut: str = ""

    @property
    def kind(self) -> str:
        """How VirtualBox's users call it."""
        if self.teleport:
            return "teleport"
        if not self.keeps:
            return "savestate"
        return "live snapshot" if self.live else "snapshot"

    @property
    def failed(self) -> bool:
        """Whether VirtualBox said so: then no file is left."""
        return self.status is not None and bool(self.status >> 31)

    @property
    def saved(self) -> bool:
        """Whether there is a whole file, for all that was seen."""
        return self.status is not None and not self.failed and self.footer is not None

    @property
    def size(self) -> int | None:
        """Bytes of the file."""
        return None if self.footer is None else self.footer[0] + c_ssm.footer.sizeof()

    @property
    def phases(self) -> dict[str, int]:
        """How long each took, in µs; those that did not happen are left out."""
        first = self.units[0].began if self.units else 0
        final = self._final
        memory = sum(took for unit, took in self._took() if unit.final and unit.name == _MEMORY)
        spans = {
            "suspend": _between(self.suspend, self.suspended),
            "prepare": _between(self.began, first),
            "live": _between(first, final) if final != first else None,
            "memory": memory or None,
            "devices": _between(final + memory, self.written) if final else None,
            "finish": _between(self.written, self.ended),
            "resume": _between(self.resume, self.resumed),
        }
        return {name: took // 1000 for name, took in spans.items() if took is not None}

    @property
    def _final(self) -> int:
        """When the last pass began; in all but live saves there is no other."""
        return next((unit.began for unit in self.units if unit.final), 0)

    @property
    def still(self) -> int | None:
        """How long the VM stood still for it, in µs; None where that was not seen."""
        start = self.suspend or (self._final if self.live else 0)
        return (self.resumed - start) // 1000 if start and self.resumed else None

    def _took(self) -> list[tuple[Unit, int]]:
        """Each unit with its time, in ns; of the last one only where its end was seen."""
        ends = [unit.began for unit in self.units[1:]]
        ends += [self.written] if self.written else []
        return [(unit, end - unit.began) for unit, end in zip(self.units, ends, strict=False)]

    def as_json(self) -> dict[str, Any]:
        """What was seen; a stable schema."""
        units = [
            {
                "name": unit.name,
                "instance": unit.instance,
                "pass": "final" if unit.final else unit.pass_,
                "offset": unit.offset,
                "us": took // 1000,
            }
            for unit, took in self._took()
        ]
        return {
            "time": self.when.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "kind": self.kind,
            "live": self.live,
            "saved": self.saved,
            "status": None if self.status is None else _signed(self.status),
            "bytes": self.size,
            "us": (self.ended - self.began) // 1000 if self.ended else None,
            "still_us": self.still,
            "phases_us": self.phases,
            "pages": self.numbers.by_kind(),
            "units": units,
            "odd": self.numbers.odd,
            "lost": self.numbers.lost,
            "cut": self.cut or None,
        }


def _between(start: int, end: int) -> int | None:
    return end - start if start and end else None


def _signed(status: int) -> int:
    return status - (1 << 32) if status >> 31 else status


class Follower:
    """Puts the steps of one process together."""

    # A VM that is to go on does so at once, unless it was paused before.
    _WAIT_NS = 3_000_000_000

    def __init__(self) -> None:
        self._suspend = self._suspended = 0
        self._open: Save | None = None
        self._waiting: Save | None = None

    @property
    def under_way(self) -> Save | None:
        """The save that is."""
        return self._open

    def step(self, event: Event) -> list[Save]:
        """Take the next step; the saves of which all is known now."""
        match event.step:
            case Step.SUSPEND:
                self._suspend, self._suspended = event.time, 0
            case Step.SUSPENDED:
                # Refused where it is negative.
                self._suspended = 0 if event.value >> 31 else event.time
            case Step.SAVE | Step.TELEPORT:
                return self._begin(event)
            case Step.RESUME:
                if self._waiting:
                    self._waiting.resume = event.time
            case Step.RESUMED:
                self._suspend = self._suspended = 0
                if self._waiting:
                    self._waiting.resumed = event.time
                    return self._let_go()
            case _:
                done = []
                if self._open is None or event.save != self._open.number:
                    done = self._begin(event, "its beginning was not seen")
                return done + self._inside(event)
        return []

    def _begin(self, event: Event, cut: str = "") -> list[Save]:
        done = self._let_go()
        if self._open:
            done.append(self._cut("its end was not seen"))
        ago = time.monotonic_ns() - event.time
        self._open = Save(
            event.pid,
            event.save,
            datetime.fromtimestamp((time.time_ns() - ago) / 1e9, UTC),
            event.time,
            keeps=event.step != Step.SAVE or bool(event.value),
            teleport=event.step == Step.TELEPORT,
            cut=cut,
        )
        if self._suspended:
            self._open.suspend, self._open.suspended = self._suspend, self._suspended
        return done

    def _inside(self, event: Event) -> list[Save]:
        save = self._open
        assert save is not None
        save.numbers = event.numbers
        match event.step:
            case Step.HEADER:
                save.live = bool(event.value)
            case Step.UNIT:
                save.units.append(
                    Unit(
                        event.name,
                        event.instance,
                        event.pass_,
                        event.value,
                        event.time,
                        event.numbers,
                    )
                )
            case Step.END:
                save.written = event.time
            case Step.FOOTER:
                save.footer = event.value, event.crc
            case Step.SAVED:
                save.ended, save.status = event.time, event.value
                self._open, self._waiting = None, save
                return [] if save.keeps else self._let_go()
            case _:
                pass
        return []

    def _cut(self, why: str) -> Save:
        save, self._open = self._open, None
        assert save is not None
        save.cut = why
        return save

    def _let_go(self) -> list[Save]:
        save, self._waiting = self._waiting, None
        return [save] if save else []

    def late(self, now: int) -> list[Save]:
        """The save after which the VM has not gone on for a while."""
        waits = self._waiting is not None and now - self._waiting.ended > self._WAIT_NS
        return self._let_go() if waits else []

    def over(self, number: int, numbers: Numbers) -> list[Save]:
        """That save has ended, and no step said so."""
        if self._open is None or self._open.number != number:
            return []
        self._open.numbers = numbers
        return [self._cut("its end was not seen")]

    def cut_off(self, why: str) -> list[Save]:
        """What is left when no more is to come."""
        done = self._let_go()
        if self._open:
            done.append(self._cut(why))
        return done
