"""What the guest's commands share: saying whom, asking the service, telling how it went."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import Any, TypeVar

import click

from sparc.cli.guest_words import counted, failure, remarks, warnings, ways
from sparc.errors import GuestError
from sparc.printable import printable

__all__ = ["Whom", "change", "user_name", "whom"]

_F = TypeVar("_F", bound=Callable[..., Any])
_OWN = ""
# Of units that processes can be in.
_UNITS = (".service", ".scope", ".slice")


def _pid_or_unit(text: str) -> int | str:
    """A pid, or a unit of systemd by its name."""
    if text.endswith(_UNITS) and "/" not in text:
        return text
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 1 << 31):
        raise click.BadParameter(f"{text} is neither a pid nor a unit ({', '.join(_UNITS)})")
    return int(text)


def whom(command: _F) -> _F:
    """The arguments and options that say whom a command is about; see Whom."""
    for parameter in (
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
        click.option(
            "--tty",
            "ttys",
            multiple=True,
            is_flag=False,
            flag_value=_OWN,
            metavar="[TTY]",
            help="Everybody on this terminal, and who holds its other end; default: yours.",
        ),
        click.option(
            "--cgroup",
            "cgroups",
            multiple=True,
            metavar="PATH",
            help="Everybody in this control group and below it.",
        ),
        click.option("--user", "users", multiple=True, help="Everybody of this user."),
        click.option(
            "--name", "names", multiple=True, help="All processes or programs called like this."
        ),
        click.argument("pids", nargs=-1, type=_pid_or_unit, metavar="[PID|UNIT]..."),
    ):
        command = parameter(command)
    return command


class Whom:
    """Whom a command line names. Raises GuestError."""

    def __init__(
        self,
        pids: tuple[int | str, ...],
        names: tuple[str, ...],
        users: tuple[str, ...],
        cgroups: tuple[str, ...],
        ttys: tuple[str, ...],
    ) -> None:
        self._users = {_uid(user): user for user in users}
        self._ttys = {_terminal(tty): tty or "your terminal" for tty in ttys}
        self._units = {
            group: unit for unit in pids if isinstance(unit, str) for group in _groups(unit)
        }
        self.request: dict[str, object] = {
            "pids": [pid for pid in pids if isinstance(pid, int)],
            "names": list(names),
            "uids": list(self._users),
            "cgroups": [*cgroups, *self._units],
            "ttys": list(self._ttys),
        }
        if not any(self.request.values()):
            raise GuestError("nobody")

    def words(self, entry: dict[str, Any]) -> str:
        """What a failed selector was on the command line."""
        value = entry.get("value")
        match entry.get("kind"):
            case "uid":
                return f"user {self._users.get(int(str(value)), value)}"
            case "tty":
                return f"terminal {self._ttys.get(int(str(value)), value)}"
            case "cgroup" if value in self._units:
                return f"unit {self._units[str(value)]}"
            case kind:
                return f"{kind} {value}"


def _groups(unit: str) -> list[str]:
    from guest_service.cgroups import mount_point
    from sparc.cli.units import groups

    return groups(unit, mount_point(), os.geteuid())


def _uid(user: str) -> int:
    import pwd

    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        if user.isascii() and user.isdigit():
            return int(user)
        raise GuestError("no-user", value=user) from None


def _terminal(name: str) -> int:
    """The kernel's number of a terminal, as /proc/PID/stat shows it."""
    if name == _OWN:
        from guest_service.processes import read

        process = read(os.getpid())
        if process is None or not process.tty:
            raise GuestError("own-terminal")
        return process.tty
    import stat
    from pathlib import Path

    try:
        status = Path("/dev", name).stat()
    except OSError:
        raise GuestError("no-terminal", value=name) from None
    if not stat.S_ISCHR(status.st_mode):
        raise GuestError("no-terminal", value=name)
    major, minor = os.major(status.st_rdev), os.minor(status.st_rdev)
    return (minor & 0xFF) | major << 8 | (minor & ~0xFF) << 12


def user_name(uid: int | None) -> str:
    """A user for people: the name, or the number where there is none."""
    import pwd

    if uid is None:
        return "?"
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def change(
    verb: str,
    target: Whom,
    as_json: bool,
    extras: dict[str, bool] | None = None,
    kept: tuple[str, ...] = (),
) -> int:
    """Ask for a change, tell how it went; 0 all done, 1 not all, 2 nothing.

    `extras`: what else is asked for; `kept`: paths of files that stay in checkpoints.
    """
    from guest_service.client import ask

    files = [_open(path) for path in kept]
    wanted: dict[str, bool] = {name: True for name, value in (extras or {}).items() if value}
    reply: dict[str, Any] = ask({"command": verb, **target.request, **wanted}, files=files)
    failures = [failure(entry, target.words(entry)) for entry in reply["failed"]]
    warned = [list(warnings(entry)) if verb == "exclude" else [] for entry in reply["done"]]
    general = list(remarks(reply, wanted)) if verb == "exclude" else []
    if as_json:
        reply["warnings"] = general
        import json

        for entry, texts in zip(reply["done"], warned, strict=True):
            entry["warnings"] = texts
        for entry, message in zip(reply["failed"], failures, strict=True):
            entry["message"] = message
        click.echo(json.dumps(reply, indent=2))
    else:
        for entry in reply["done"]:
            click.echo(printable(_told(verb, entry)))
    for text in [text for texts in warned for text in texts] + general + failures:
        click.echo(printable(f"sparc: {text}"), err=True)
    if not failures:
        return 0
    return 1 if reply["done"] else 2


def _told(verb: str, entry: dict[str, Any]) -> str:
    whom = f"{entry['pid']} {entry['name']}"
    if not entry["processes"]:
        return f"{whom}: is {verb}d already"
    more = entry["processes"] - 1
    also = f", and {counted(more, 'process')} with it" if more > 0 else ""
    if "through" in entry:
        also += f", as a peer: {ways(entry['through'])}"
    return f"{whom}: {verb}d{also}"


def _open(path: str) -> int:
    """A file to be handed to the service: that it could be opened is the right to name it."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise GuestError("no-file", value=path, cause=error.strerror) from None
    if not stat.S_ISREG(os.fstat(file).st_mode):
        raise GuestError("no-file", value=path, cause="not a regular file")
    return file
