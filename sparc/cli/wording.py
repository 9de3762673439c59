"""Words for errors: what happened, the likely cause, and what to do next, in one line."""

from __future__ import annotations

from sparc import errors
from sparc.printable import printable

__all__ = ["of_file", "words"]


_AGAIN = "the file was changed or cut: take the snapshot again"


def _value(value: object) -> str:
    if isinstance(value, int):
        return f"{value:#x}"
    if isinstance(value, bytes):
        return value[:16].hex(" ") or "nothing"
    return str(value)


def _damaged(error: errors.Damaged) -> str:
    where = f"offset {error.offset:#x}"
    expected, got = _value(error.expected), _value(error.got)
    if error.checksum:
        return f"{error.what} at {where} is wrong (stored {expected}, computed {got}); {_AGAIN}"
    said = f" (expected {expected}, got {got})" if error.expected is not None else f" (got {got})"
    return f"damaged at {where}: {error.what}{said if error.got is not None else ''}; {_AGAIN}"


def _not_a_saved_state(error: errors.NotASavedState) -> str:
    if error.looks == "empty":
        return "is empty; a save that failed leaves such a file behind"
    if error.looks == "encrypted":
        return (
            "is not a readable saved state, its bytes look random; if the VM is encrypted its "
            "states are too: remove the encryption (VBoxManage encryptvm) and save again"
        )
    # How it starts is not told: it may be the list of secrets, given in the wrong place.
    return "is not a VirtualBox saved state; look for a .sav file in the VM's Snapshots folder"


def words(error: errors.SparcError) -> str:
    """One line for an error of ours, without the name of the file where that is not a field.

    What it quotes of a file or of a guest cannot steer a terminal.
    """
    return printable(_words(error))


def of_file(path: str, error: errors.SparcError) -> str:
    """The line that says what is wrong with a file."""
    # Some errors name it themselves.
    where = "" if isinstance(error, errors.NotReadable) else f"{path}: "
    return printable(f"sparc: {where}{words(error)}")


def _words(error: errors.SparcError) -> str:
    match error:
        case errors.NotReadable():
            return f"{error.path}: cannot be used: {error.cause}"
        case errors.NotASavedState():
            return _not_a_saved_state(error)
        case errors.Unsupported():
            return f"{error.what} {error.version} is not supported (known: {error.known})"
        case errors.Damaged():
            return _damaged(error)
        case errors.LimitExceeded():
            if not error.limit:
                return f"not everything was looked into: too much or too many: {error.what}"
            return f"{error.what}: {error.got} is more than the {error.limit} that can be read"
        case errors.SecretsError():
            line = f", line {error.line}" if error.line else ""
            return f"secrets from {error.source}{line}: {error.cause}"
        case errors.UnitNotFound():
            return f"there is no unit {error.name}"
        case errors.PageNotStored():
            return f"no page of RAM is stored for the address {error.address:#x}"
        case errors.ScrubError():
            return f"{error.path}: not rewritten: {error.cause}; {error.advice}"
        case errors.GuestError():
            from sparc.cli.guest_words import refusal

            return refusal(error)
        case _ if hasattr(error, "advice"):
            # From a service, which this package does not import: the fields are the same.
            name, cause, advice = (getattr(error, field, "") for field in ("vm", "cause", "advice"))
            return (f"{name}: " if name else "") + cause + (f"; {advice}" if advice else "")
        case _:
            return str(error.args[0] if error.args else type(error).__name__)
