"""Keeps chosen programs out of checkpoints: what both sides share, and the command line.

As a library it has what the commands `sparc checkpoint`, `restore`, `audit` and `sav` do. Each name
is loaded when it is first used; what needs VirtualBox says so when it is called.

    >>> import sparc
    >>> with sparc.SavedState("before.sav") as state:
    ...     state.ram_size, state.read(0x5003, 6)
    (1048576, b'hunter')
    >>> report = sparc.audit_file("before.sav", ["hunter2!", "correct horse"])
    >>> report.status == sparc.RESIDUE
    True
    >>> [(found.secret, found.place, hex(found.address)) for found in report.findings]
    [(1, 'ram', '0x5003')]

Errors are SparcError: `sparc.errors` has those that have to do with files, and a HostError says
what VirtualBox could not do (`cause`, `vm`, `advice`). They carry fields, no text to show.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from host_service.checkpoint import Checkpoint
    from host_service.errors import HostError
    from host_service.restore import Restored
    from sparc.audit.cluster import Tls
    from sparc.audit.report import CLEAN, INCOMPLETE, RESIDUE, Finding, Report
    from sparc.errors import SparcError
    from sparc.library import audit_file, audit_files, checkpoint, restore, saved_state
    from sparc.sav.state import SavedState

__all__ = [
    "CLEAN",
    "INCOMPLETE",
    "RESIDUE",
    "Checkpoint",
    "Finding",
    "HostError",
    "Report",
    "Restored",
    "SavedState",
    "SparcError",
    "Tls",
    "audit_file",
    "audit_files",
    "checkpoint",
    "restore",
    "saved_state",
]

_HOME = {
    "sparc.library": ("audit_file", "audit_files", "checkpoint", "restore", "saved_state"),
    "sparc.audit.report": ("CLEAN", "INCOMPLETE", "RESIDUE", "Finding", "Report"),
    "sparc.audit.cluster": ("Tls",),
    "sparc.errors": ("SparcError",),
    "sparc.sav.state": ("SavedState",),
    "host_service.checkpoint": ("Checkpoint",),
    "host_service.errors": ("HostError",),
    "host_service.restore": ("Restored",),
}


def __getattr__(name: str) -> object:
    """Load what is asked for: the command must not start slower for it, and a guest has none."""
    for module, names in _HOME.items():
        if name in names:
            from importlib import import_module

            value: object = getattr(import_module(module), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
