"""What became of a save, as its report says it: the same words as the extension pack's."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from host_service.qemu.handshake import Seen
from host_service.qemu.manifest import Manifest
from host_service.qemu.store import Policy, replacing
from host_service.reports import CLEAN_REASONS, Amount, Process, Report
from host_service.verdict import beside
from sparc.abi import Display, Kind, Reason
from sparc.reasons import reason as in_words
from sparc.wire import named

__all__ = ["Outcome", "write_report"]

_SENTENCES = {
    "ok": "The excluded programs were kept out.",
    "nothing-excluded": "No program was ever excluded in the guest.",
    "not-asked": (
        "The machine was stopped without the guest being asked first; resume it and try again."
    ),
    "ambiguous": "The guest has more than one mailbox of sparc, and one of them is false.",
    "policy-off": "The machine's policy is off: excluded programs are in the checkpoint.",
    "no-memory": "The host lacked memory to keep what belongs to the excluded programs.",
}
_MOST_NAMES = 1 << 16


@dataclass
class Outcome:
    """One save under way. `reason` is a word of reports, `fault` what of it; both until now.

    `seen` is what the guest said last, `manifest` what was taken out.
    """

    policy: Policy
    reason: str = "ok"
    fault: str = ""
    seen: Seen | None = None
    manifest: Manifest | None = None
    stash_bytes: int = 0
    stash_locked: bool = True
    display_bytes: int = 0
    device_values: int = 0
    steps_us: dict[str, int] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """Whether nothing of the excluded is in what is saved."""
        return self.reason in CLEAN_REASONS

    @property
    def refused(self) -> bool:
        """Whether it must not be saved so."""
        return not self.clean and self.reason != "policy-off" and self.policy.mode == "strict"

    @property
    def message(self) -> str:
        """The reason in a sentence."""
        if self.reason == "timeout":
            return f"The guest did not answer within {self.policy.timeout_ms} ms."
        if self.reason == "guest-failed":
            return f"The guest could not hold still: {self._guest_words()}."
        if self.reason == "screen":
            return f"The guest's screen could not be blanked: {self.fault}."
        if self.reason == "devices":
            return f"What the machine's devices hold could not be blanked: {self.fault}."
        if self.reason == "bad-manifest" and self.fault:
            return f"The guest's list of what to leave out is wrong: {self.fault}."
        if self.reason == "bad-manifest":
            return "The guest's sparc is of another version than this host's."
        return _SENTENCES[self.reason]

    def _guest_reason(self) -> str:
        if self.reason != "guest-failed" or self.seen is None:
            return "none"
        return named(Reason, self.seen.status.reason)

    def _guest_words(self) -> str:
        return in_words(self._guest_reason()) or "it gave no reason"

    def report(self, vm: str, uuid: str, state_file: Path | None, when: datetime) -> Report:
        """All of it; `state_file` is None where nothing was saved."""
        head = self.manifest.head if self.manifest and self.reason == "ok" else None
        processes = self.manifest.processes[:_MOST_NAMES] if self.manifest and head else ()
        failed = self.seen.status if self.reason == "guest-failed" and self.seen else None
        return Report(
            time=when,
            vm_name=vm,
            vm_uuid=uuid,
            state_file=state_file,
            live=False,
            policy=self.policy.mode,
            saved=state_file is not None,
            clean=self.clean and state_file is not None,
            reason=self.reason,
            guest_reason=self._guest_reason(),
            guest_pid=max(failed.reason_pid, 0) if failed else 0,
            guest_name=_name(failed.reason_comm) if failed else "",
            message=self.message,
            excluded=tuple(Process(max(int(p["pid"]), 0), _name(p["comm"])) for p in processes),
            kinds=_kinds(head) if head else {},
            drop_pages=head.drop_pages if head else 0,
            stash_pages=head.stash_pages if head else 0,
            extents=head.extents if head else 0,
            stash_bytes=self.stash_bytes,
            stash_locked=self.stash_locked,
            display=named(Display, head.display) if head else "keep",
            display_bytes=self.display_bytes,
            device_values=self.device_values,
            spins=None,
            steps_us=self.steps_us,
        )


def _name(comm: bytes) -> str:
    return comm.partition(b"\0")[0].decode("utf-8", "backslashreplace")[:64]


def _kinds(head: Any) -> dict[str, Amount]:
    return {
        named(Kind, kind): Amount(head.kind_pages[kind], head.kind_bytes[kind])
        for kind in Kind
        if head.kind_pages[kind] or head.kind_bytes[kind]
    }


def write_report(state_file: Path, report: Report) -> None:
    """Put it beside the saved state. Raises OSError."""
    with replacing(beside(state_file)) as file:
        file.write(json.dumps(report.as_json()).encode() + b"\n")
