"""The lab's one exception tree.

Exceptions carry what happened as fields; only the command line words them for people.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "BuildError",
    "CommandError",
    "GuestError",
    "LabError",
    "NoSuchCheckpoint",
    "NotRunning",
    "StartError",
    "UsageError",
]


class LabError(Exception):
    """Anything the lab could not do. ``hint`` says what to try next."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(LabError):
    """The lab was asked for something that makes no sense."""


class BuildError(LabError):
    """A part of the cache could not be made."""


class StartError(LabError):
    """A virtual machine did not come up."""


class GuestError(LabError):
    """The guest did not answer, or answered nonsense."""


class NotRunning(LabError):
    """The named virtual machine is not running."""

    def __init__(self, name: str, state: str = "absent") -> None:
        hint = (
            f"sparc-lab up --name {name}"
            if state == "absent"
            else f"sparc-lab restore CHECKPOINT --name {name}; sparc-lab status lists them"
        )
        super().__init__(f"the virtual machine {name!r} is {state}", hint)
        self.name = name
        self.state = state


class NoSuchCheckpoint(LabError):
    """The virtual machine has no checkpoint of that name."""

    def __init__(self, name: str, checkpoint: str) -> None:
        super().__init__(
            f"{name!r} has no checkpoint {checkpoint!r}", "sparc-lab status lists them"
        )
        self.checkpoint = checkpoint


class CommandError(LabError):
    """A program that the lab needs ended with an error."""

    def __init__(self, argv: Sequence[str], status: int, output: str) -> None:
        tail = "\n".join(output.strip().splitlines()[-15:])
        super().__init__(f"{' '.join(argv)} ended with status {status}:\n{tail}")
        self.argv = tuple(argv)
        self.status = status
        self.output = output
