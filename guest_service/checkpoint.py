"""One checkpoint as the guest sees it: everybody is frozen, the module parks, everybody goes on."""

from __future__ import annotations

import errno
import os
import time

from guest_service import processes
from guest_service.device import Device, Parked
from guest_service.freezer import Freezer, NotFrozen
from guest_service.helper import Failed
from guest_service.history import History
from guest_service.log import Log
from guest_service.swap import Swap, swap_trouble
from sparc.wire import Outcome, Reason, named

TYPE_CHECKING = False
if TYPE_CHECKING:  # As in freezer.py: not worth its time at run time.
    from guest_service.device import Event
    from guest_service.ruling import Ruling

__all__ = ["Checkpoints"]

# Far longer than a host waits: what was brought back by then need not be brought back again.
_SWAP_SECONDS = 60.0


class Checkpoints:
    """Answers the host's requests. `seconds`: how long freezing may take."""

    def __init__(
        self,
        device: Device,
        freezer: Freezer,
        history: History,
        log: Log,
        seconds: float,
        swap: Swap | None = None,
        rules: Ruling | None = None,
    ) -> None:
        self._device = device
        self._freezer = freezer
        self._history = history
        self._log = log
        self._seconds = seconds
        self._swap = swap
        self._rules = rules

    def prepare(self, sequence: int) -> bool:
        """Take swap off, freeze, park, thaw; whether this is a restored machine.

        Whatever happens, everybody is thawed at the end; where even that fails the exception gets
        through, and ends the service: the module thaws then.
        """
        started = time.monotonic()
        frozen = None
        try:
            self._apply_rules()
            self._without_swap()
            # That may have taken a minute. Who starts from now on is found when nobody does.
            self._apply_rules()
            # So far nobody stood still.
            started = time.monotonic()
            self._log.hold()
            self._freezer.freeze(self._seconds)
            self._apply_rules(frozen=True)
            frozen = time.monotonic()
            parked = self._device.park(sequence)
        except Exception as error:
            parked = self._failed(sequence, error)
        finally:
            ended = time.monotonic()
            self._freezer.thaw()
            self._device.thawed()
            self._log.release()
            thawed = time.monotonic()
            self._with_swap()
        over = time.monotonic()
        took = ((frozen or over) - started, thawed - ended, over - started)
        self._note(sequence, parked, *took)
        return parked.outcome == Outcome.RESTORED

    def killed(self, sequence: int, events: list[Event]) -> list[str]:
        """After a restore: note who was killed; their names and pids in words."""
        ended = [{"pid": event.pid, "name": processes.clean(event.name)} for event in events]
        self._history.restore = {"time": time.time(), "sequence": sequence, "killed": ended}
        self._save()
        told = [f"{process['name']} ({process['pid']})" for process in ended]
        self._log.note(
            "restored from a checkpoint; ended, as they were kept out of it: "
            + (", ".join(told) or "nobody")
        )
        return told

    def _apply_rules(self, *, frozen: bool = False) -> None:
        if self._rules is not None:
            self._rules.look(frozen=frozen)

    def _without_swap(self) -> None:
        if self._swap is not None and self._device.members():
            self._swap.take_off(_SWAP_SECONDS)

    def _with_swap(self) -> None:
        if self._swap is not None:
            try:
                self._swap.put_on()
            except Failed as failed:
                self._log.error(f"swap that was on is off now: {swap_trouble(failed)}")

    def _failed(self, sequence: int, error: Exception) -> Parked:
        if isinstance(error, OSError) and error.errno == errno.ECANCELED:
            return Parked(Outcome.FAILED, Reason.ABANDONED)
        reason, pid, name = Reason.SERVICE, 0, b""
        if isinstance(error, NotFrozen):
            reason, pid = Reason.FREEZE, error.pid
            process = processes.read(pid) if pid else None
            name = process.name if process else b""
        elif isinstance(error, Failed):
            reason = Reason.SWAP
            self._log.error(f"checkpoint {sequence}: swap: {swap_trouble(error)}")
        else:
            detail = os.strerror(error.errno or 0) if isinstance(error, OSError) else ""
            self._log.error(f"checkpoint {sequence} failed: {type(error).__name__} {detail}")
        try:
            self._device.fail(sequence, reason, pid)
        except OSError:  # nobody waits for it any more
            return Parked(Outcome.FAILED, Reason.ABANDONED)
        return Parked(Outcome.FAILED, reason, pid, name)

    def _note(
        self, sequence: int, parked: Parked, freezing: float, thawing: float, all_in_all: float
    ) -> None:
        outcome, reason = named(Outcome, parked.outcome), named(Reason, parked.reason)
        name = processes.clean(parked.name)
        self._history.checkpoint = {
            "time": time.time(),
            "sequence": sequence,
            "outcome": outcome,
            "reason": reason,
            "pid": parked.pid,
            "name": name,
            "retries": parked.retries,
            "freeze_us": round(freezing * 1e6),
            "collect_us": parked.collect_ns // 1000,
            "thaw_us": round(thawing * 1e6),
            "total_us": round(all_in_all * 1e6),
        }
        self._save()
        about = f" ({reason}" + (f", process {parked.pid} {name})" if parked.pid else ")")
        if parked.outcome in (Outcome.RESUMED, Outcome.RESTORED):
            self._log.note(f"checkpoint {sequence}: {outcome}")
        else:
            self._log.error(f"checkpoint {sequence}: {outcome}{about}")

    def _save(self) -> None:
        try:
            self._history.save()
        except OSError as error:
            self._log.error(f"cannot keep what happened: {error.strerror}")
