"""A checkpoint of a VM that runs under QEMU, without what is excluded in its guest.

The guest parks itself; QEMU is stopped; what is to be kept out is put aside and zeroed; QEMU saves
the VM into a pipe, and what comes out of it into a file; all is put back; the guest goes on. From
the first of these on, a keeper stands by that does the last two if this process dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from host_service import journal
from host_service.errors import HostError
from host_service.qemu import disks, store
from host_service.qemu.handshake import Guest, mailboxes
from host_service.qemu.keeper import Keeper, KeeperLost, give_up_saving
from host_service.qemu.manifest import BadManifest, Manifest, ranges, read_manifest
from host_service.qemu.memory import GuestMemory, backings, parts_of
from host_service.qemu.monitor import Monitor
from host_service.qemu.outcome import Outcome, write_report
from host_service.qemu.processes import QemuProcess
from host_service.qemu.pump import Broken, Passed, pass_on
from host_service.qemu.screen import blank_all, blank_text
from host_service.qemu.stash import Stash, cut
from host_service.reports import Report
from host_service.virtualbox.operation import Tell, signals_held
from sparc import abi
from sparc.abi import Display, Request, State

__all__ = ["Taken", "take"]

_PAGE = abi.PAGE_SIZE
_PIPE = 1 << 20
_END_SECONDS = 30.0
_BANDWIDTH = 128 << 20
_NAME = "sparc"
_OVER = ("completed", "failed", "cancelled")


@dataclass(frozen=True)
class Taken:
    """A checkpoint that was taken; `interrupted` when it was too late to cancel it."""

    vm: str
    uuid: str
    name: str
    taken: datetime
    state_file: Path
    interrupted: bool


def take(process: QemuProcess, name: str, *, tell: Tell | None = None) -> Taken:
    """Take one of a running VM.

    Raises:
        HostError: nothing was taken, and the guest goes on. Without a module in it nothing is even
            tried.
    """
    if process.monitor is None:
        raise HostError(
            "this VM has no QMP socket", process.name, "start it with -qmp unix:PATH,server,nowait"
        )
    state_file = store.state_file(process.name, name)
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(signals_held())
        monitor = stack.enter_context(Monitor(process.monitor, process.name))
        status = monitor.status()
        if status != "running":
            raise HostError(
                f"the VM is not running ({status})", process.name, "let it run: its guest is asked"
            )
        store.made_folder(process.name)
        if state_file.exists():
            raise HostError(f"it has a checkpoint called {name} already", process.name, "another")
        files = stack.enter_context(backings(monitor, process))
        memory = stack.enter_context(GuestMemory(parts_of(monitor, files), files))
        saving = _Saving(process, monitor, memory, state_file, name, stop, tell)
        return saving.run()


class _Saving:
    """The steps of one checkpoint."""

    def __init__(
        self,
        process: QemuProcess,
        monitor: Monitor,
        memory: GuestMemory,
        state_file: Path,
        name: str,
        stop: threading.Event,
        tell: Tell | None,
    ) -> None:
        self.process = process
        self.monitor = monitor
        self.memory = memory
        self.state_file = state_file
        self.name = name
        self.stop = stop
        self.tell = tell
        self.uuid = str(monitor.ask("query-uuid")["UUID"])
        self.outcome = Outcome(store.read_policy(process.name))
        self.guest: Guest | None = None
        self.stash: Stash | None = None
        self.snapshots: list[disks.Snapshot] = []
        self.disks: list[store.Disk] = []
        self._stash_fd = Stash.file()
        self._asked = False
        # Whether the guest goes on by itself; if not, that is left to the keeper.
        self._safe = True
        self._stopped = False
        # One of its own, even where a checkpoint of that name was removed by hand.
        self._disk = f"{_NAME} {name} {datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        self._keeper: Keeper | None = None

    def run(self) -> Taken:
        """All of them."""
        self._find_guest()
        try:
            self._start_keeper()
            self._prepare()
            self._refuse()
            with store.replacing(self.state_file) as file:
                passed = self._save(file)
            self._close_up(passed)
        except KeeperLost:
            raise HostError("the process that watches over it ended", self.process.name) from None
        except Broken as error:
            cause = f"no checkpoint was taken: QEMU's stream is not understood: {error}"
            raise HostError(cause, self.process.name) from None
        except OSError as error:
            cause = f"no checkpoint was taken: {error.strerror or error}"
            raise HostError(cause, self.process.name) from None
        finally:
            os.close(self._stash_fd)
            if self._keeper is not None:
                self._keeper.close(over=self._safe)
        when = datetime.now(UTC)
        late = self.stop.is_set()
        return Taken(self.process.name, self.uuid, self.name, when, self.state_file, late)

    @contextlib.contextmanager
    def _step(self, name: str) -> Iterator[None]:
        """Note how long it takes."""
        start = time.monotonic_ns()
        try:
            yield
        finally:
            self.outcome.steps_us[name] = (time.monotonic_ns() - start) // 1000

    # -- before the guest stands still

    def _find_guest(self) -> None:
        """Its mailbox, and what is known before it was asked."""
        found = mailboxes(self.memory)
        outcome = self.outcome
        if not found:
            raise HostError(
                "there is no sparc module in the guest, so nothing could be kept out",
                self.process.name,
                "load sparc.ko there, or save it by QEMU's own means",
            )
        if len(found) > 1:
            outcome.reason = "ambiguous"
        elif found[0].abi != abi.VERSION:
            outcome.reason = "bad-manifest"
        else:
            self.guest = Guest(self.memory, found[0])
            outcome.seen = self.guest.look()
            if not outcome.seen.status.armed:
                outcome.reason = "nothing-excluded"
        if outcome.policy.mode == "off" and outcome.reason != "nothing-excluded":
            outcome.reason = "policy-off"

    def _start_keeper(self) -> None:
        files = {
            name: (file.fd, file.offset, file.size) for name, file in self.memory.files.items()
        }
        parts = [(part.gpa, part.length, part.block, part.offset) for part in self.memory.parts]
        facts: dict[str, Any] = {
            "monitor": str(self.process.monitor),
            "pid": self.process.pid,
            "started": self.process.started,
            "parts": parts,
            "files": files,
            "stash": self._stash_fd,
            "temporary": str(store.temporary(self.state_file)),
        }
        fds = [self._stash_fd, *(file.fd for file in self.memory.files.values())]
        self._keeper = Keeper(facts, fds)

    def _tell_keeper(self, **news: Any) -> None:
        if self._keeper is None:
            raise KeeperLost
        self._keeper.tell(**news)

    def _prepare(self) -> None:
        """Ask the guest to hold still, if there is something to keep out."""
        outcome, guest = self.outcome, self.guest
        if guest is None or outcome.reason != "ok":
            return
        self._tell_keeper(asked=True)
        self._asked, self._safe = True, False
        guest.ask(Request.PREPARE)
        with self._step("prepare"):
            end = time.monotonic() + outcome.policy.timeout_ms / 1000
            answer = None
            while answer is None and time.monotonic() < end and not self.stop.is_set():
                answer = guest.wait(State.PARKED, State.FAILED, seconds=0.1)
        if answer is None:
            outcome.reason = "timeout"
            self._let_go()
        elif answer.state == State.FAILED:
            outcome.reason, outcome.seen = "guest-failed", answer

    def _refuse(self) -> None:
        """Go no further, where that is what is to be done. Raises HostError."""
        if self.stop.is_set():
            self._let_go()
            self._heed_stop()
        if not self.outcome.refused:
            return
        self._let_go()
        uuid, when = self.uuid, datetime.now(UTC)
        self._note(self.outcome.report(self.process.name, uuid, None, when))
        cause = f"no checkpoint was taken: {self.outcome.message.rstrip('.')}"
        advice = f"sparc host policy {self.process.name} warn takes one that is not clean"
        raise HostError(cause, self.process.name, advice)

    def _heed_stop(self) -> None:
        """Raises HostError where somebody cancelled it."""
        if self.stop.is_set():
            raise HostError("interrupted: it was cancelled", self.process.name)

    def _let_go(self) -> None:
        """Tell the guest. It runs, or will."""
        if self._asked and self.guest is not None and self.guest.stands():
            self.guest.let_go()
        if not self._stopped:
            self._safe = True

    # -- while it does

    def _save(self, file: Any) -> Passed:
        """From `stop` to `cont`; however it ends, the guest goes on."""
        kept = self._safe = False
        self._stopped = True
        try:
            with self._step("suspend"):
                self.monitor.ask("stop")
            self._judge()
            self._refuse()
            if self.outcome.reason == "ok":
                kept = self._put_aside()
            if kept:
                with self._step("zero"):
                    self._zero()
            self._tell_keeper(disks=disks.planned(self.monitor, self._disk))
            self.snapshots = disks.take(self.monitor, self._disk)
            self.disks = disks.told(self.monitor, self.snapshots)
            with self._step("write"):
                passed = self._write(file)
        except BaseException:
            self._go_on(kept)
            self._forget_disks()
            raise
        self._go_on(kept)
        return passed

    def _forget_disks(self) -> None:
        with contextlib.suppress(HostError):
            disks.forget(self.monitor, self.snapshots)

    def _go_on(self, kept: bool) -> None:
        """Put back, and let it run. Raises HostError where QEMU does not take it."""
        give_up_saving(self.monitor)
        with self._step("put_back"):
            if kept:
                assert self.stash is not None and self.outcome.manifest is not None
                # QEMU has looked at free memory, and so has made some of it again.
                self._drop(self.outcome.manifest)
                self.stash.put_back(self.memory)
                self.stash.wipe()
            self._let_go()
        self.monitor.ask("cont")
        self._safe = True

    def _judge(self) -> None:
        """Does it stand parked now, in the way it said?"""
        outcome, guest = self.outcome, self.guest
        if guest is None:
            return
        seen = guest.look()
        if outcome.reason == "nothing-excluded":
            # Somebody was excluded meanwhile.
            outcome.reason = "not-asked" if seen.status.armed else outcome.reason
        if outcome.reason != "ok":
            return
        parked = (seen.sequence, seen.state) == (guest.sequence, State.PARKED)
        if parked and guest.stands() and len(mailboxes(self.memory)) == 1:
            try:
                outcome.manifest = read_manifest(self.memory, guest.mailbox.gpa, guest.sequence)
            except BadManifest as error:
                outcome.reason, outcome.fault = "bad-manifest", str(error)
            return
        outcome.reason, outcome.seen = "guest-failed", seen

    def _put_aside(self) -> bool:
        """Copy what is to be put back; whether that is done, or there is no room. Raises HostError
        where that is refused."""
        manifest = self.outcome.manifest
        assert manifest is not None
        extents = ((int(e["gpa"]), int(e["length"])) for e in manifest.extents)
        pieces = [*cut(ranges(manifest.stash), self.memory), *extents]
        with self._step("stash"):
            try:
                self.stash = Stash.make(self._stash_fd, pieces)
            except OSError:
                self.outcome.reason = "no-memory"
                self._refuse()
                return False
            self._tell_keeper(filled=True)
            self.stash.take(self.memory)
            self.outcome.stash_bytes = self.stash.bytes
            self.outcome.stash_locked = self.stash.locked
            self._tell_keeper(kept=True)
        return True

    def _zero(self) -> None:
        manifest = self.outcome.manifest
        assert manifest is not None
        for gpa, length in self.memory.runs(ranges(manifest.stash)):
            self.memory.clear(gpa, length)
        for extent in manifest.extents:
            self.memory.clear(int(extent["gpa"]), int(extent["length"]))
        self._drop(manifest)

    def _drop(self, manifest: Manifest) -> None:
        for gpa, length in self.memory.runs(ranges(manifest.drop)):
            self.memory.give_back(gpa, length)

    def _write(self, file: Any) -> Passed:
        """Let QEMU save, into the file. Raises HostError, Broken, OSError, KeeperLost."""
        ours, theirs = os.pipe()
        with self._plainly(), contextlib.ExitStack() as stack:
            # Where its end has not come, QEMU hears of it so.
            stack.callback(os.close, ours)
            try:
                with contextlib.suppress(OSError):
                    fcntl.fcntl(ours, fcntl.F_SETPIPE_SZ, _PIPE)
                self.monitor.give(theirs, "sparc-save")
            finally:
                os.close(theirs)
            self.monitor.ask("migrate", uri="fd:sparc-save")
            passed = pass_on(ours, file, self._screen(), self._gone(), self._progress, self._over)
            self._await_end()
        self._check_devices(passed)
        return passed

    @contextlib.contextmanager
    def _plainly(self) -> Iterator[None]:
        """Let QEMU save all of the VM, as it is, at full speed; then as it was set to."""
        known = self.monitor.ask("query-migrate-capabilities")
        wrong = [one["capability"] for one in known if one["state"]]
        wrong = [name for name in wrong if name in _IN_THE_WAY]
        before = self.monitor.ask("query-migrate-parameters").get("max-bandwidth", _BANDWIDTH)
        self._set(wrong, False, 1 << 40)
        try:
            yield
        finally:
            give_up_saving(self.monitor)
            self._set(wrong, True, before)

    def _set(self, capabilities: list[str], state: bool, bandwidth: int) -> None:
        states = [{"capability": name, "state": state} for name in capabilities]
        if states:
            self.monitor.ask("migrate-set-capabilities", capabilities=states)
        self.monitor.ask("migrate-set-parameters", max_bandwidth=bandwidth)

    def _check_devices(self, passed: Passed) -> None:
        """Was all blanked that has to be? Raises HostError, where that is refused."""
        if passed.fault:
            self.outcome.reason, self.outcome.fault = "devices", passed.fault
            self._refuse()
        if self._screen() is None:
            return
        shown = [name for name in passed.devices if name.endswith("virtio-gpu")]
        if shown or not any(name.endswith("vram") for name in passed.blocks):
            self.outcome.reason = "screen"
            self.outcome.fault = "its memory was not found"
            self._refuse()

    def _over(self) -> bool:
        """Whether QEMU saves no more. It is also a moment to stop in. Raises HostError."""
        self._heed_stop()
        return self.monitor.ask("query-migrate").get("status") in _OVER

    def _await_end(self) -> None:
        end = time.monotonic() + _END_SECONDS
        while (told := self.monitor.ask("query-migrate")).get("status") != "completed":
            if told.get("status") in _OVER or time.monotonic() > end:
                why = told.get("error-desc", told.get("status", "it does not end"))
                raise HostError(f"no checkpoint was taken: QEMU says: {why}", self.process.name)
            time.sleep(0.01)

    def _screen(self) -> Callable[[int, bytes], bytes] | None:
        manifest = self.outcome.manifest
        if self.outcome.reason != "ok" or manifest is None:
            return None
        wanted = {Display.TEXT: blank_text, Display.ALL: blank_all}
        return wanted.get(manifest.head.display)

    def _gone(self) -> dict[str, bytes] | None:
        """For each page of each block whether it was zeroed, and so must come out as that."""
        manifest = self.outcome.manifest
        if self.outcome.reason != "ok" or manifest is None:
            return None
        gone = manifest.drop | manifest.stash
        blocks: dict[str, Any] = {}
        for part in self.memory.parts:
            first, count = part.gpa // _PAGE, part.length // _PAGE
            size = self.memory.files[part.block].size // _PAGE
            table = blocks.setdefault(part.block, np.zeros(size, np.bool_))
            pages = gone[first : first + count]
            start = part.offset // _PAGE
            table[start : start + len(pages)] = pages
        return {name: table.tobytes() for name, table in blocks.items()}

    def _progress(self, done: int) -> None:
        total = sum(file.size for file in self.memory.files.values())
        self._heed_stop()
        if self.tell is not None:
            self.tell(min(done * 100 // total, 100), 100)

    # -- afterwards

    def _close_up(self, passed: Passed) -> None:
        """What lies beside it, the report last: without one nothing is called clean."""
        outcome = self.outcome
        outcome.display_bytes, outcome.device_values = passed.screen, passed.values
        when = datetime.now(UTC)
        machine = store.Machine(
            name=self.process.name,
            uuid=self.uuid,
            qemu=self.monitor.version(),
            argv=list(self.process.argv),
            folder=os.path.realpath(f"/proc/{self.process.pid}/cwd"),
            taken=when.isoformat(timespec="seconds"),
            memory=[(p.gpa, p.length, p.block, p.offset) for p in self.memory.parts],
            disks=self.disks,
        )
        store.write_machine(self.state_file, machine)
        report = outcome.report(self.process.name, self.uuid, self.state_file, when)
        write_report(self.state_file, report)
        self._note(report)

    def _note(self, report: Report) -> None:
        """Into the journal, as sparc-hostd does for VirtualBox's; it is there anyway."""
        with contextlib.suppress(OSError):
            journal.append(journal.journal_file(), report)


# What makes a stream another one than is understood, or leaves memory out.
_IN_THE_WAY = {
    "xbzrle",
    "zero-blocks",
    "compress",
    "postcopy-ram",
    "x-colo",
    "release-ram",
    "block",
    "return-path",
    "multifd",
    "dirty-bitmaps",
    "x-ignore-shared",
    "background-snapshot",
    "mapped-ram",
    "pause-before-switchover",
    "switchover-ack",
}
