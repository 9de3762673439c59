"""Rules: which processes are excluded as soon as they start. Read by guest_service.rule_files.

A rule is met by a process that meets all its conditions; a condition holds several patterns, one of
which must fit. In a pattern * and ? stand for anything, / too.
"""

from __future__ import annotations

import os

from guest_service import containers, processes

TYPE_CHECKING = False
if TYPE_CHECKING:  # As in freezer.py: not worth its time at run time.
    import re
    from collections.abc import Callable

    _Names = Callable[[containers.Container], str]
    _Apart = Callable[["Facts", Callable[[], bool]], bool]

__all__ = ["CONDITIONS", "Facts", "Rule", "unit_of"]

CONDITIONS = ("executable", "unit", "cgroup", "user", "command", "container")

# Of a command line, so many bytes are looked at.
_COMMAND_BYTES = 16384
_PATTERN = "*?"


class Facts:
    """What rules ask of a process, read when it is first asked for.

    `names` finds what a container is called. `apart` does something in a child: arguments may be
    secret, and are not to be in the service's memory; and a process can have them where reading
    takes for ever.
    """

    def __init__(self, pid: int, names: _Names, apart: _Apart) -> None:
        self.pid = pid
        self._names = names
        self._apart = apart
        self._uids: tuple[int, ...] | None = None
        self._executable: str | None = None
        self._cgroup: str | None = None

    @property
    def uids(self) -> tuple[int, ...]:
        """Real, effective, saved and file-system user id; none if it has ended."""
        if self._uids is None:
            self._uids = processes.uids_of(self.pid) or ()
        return self._uids

    @property
    def executable(self) -> str:
        """The path of its program, or ""."""
        if self._executable is None:
            try:
                path = os.readlink(f"/proc/{self.pid}/exe")
            except OSError:
                path = ""
            self._executable = path.removesuffix(" (deleted)")
        return self._executable

    @property
    def cgroup(self) -> str:
        """Its group of version 2, or ""."""
        if self._cgroup is None:
            self._cgroup = processes.cgroup_of(self.pid) or ""
        return self._cgroup

    def in_container(self, patterns: list[_Pattern]) -> bool:
        """Whether it is in a container with such a name, or an id that begins so."""
        container = containers.of(self.cgroup)
        if container is None:
            return False
        if any(container.begins(pattern.text) for pattern in patterns):
            return True
        name = self._names(container)
        return bool(name) and any(pattern.fits(name) for pattern in patterns)

    def command_fits(self, patterns: list[_Pattern]) -> bool:
        """Whether its arguments, with spaces between them, are as a pattern says."""
        return self._apart(self, lambda: _command_fits(self.pid, patterns))


def _command_fits(pid: int, patterns: list[_Pattern]) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            line = file.read(_COMMAND_BYTES).rstrip(b"\0").replace(b"\0", b" ")
    except OSError:
        return False
    return any(pattern.fits(os.fsdecode(line)) for pattern in patterns)


class _Pattern:
    """A text that a name is compared with; compiled when it must be."""

    __slots__ = ("_compiled", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._compiled: re.Pattern[str] | None = None

    def fits(self, name: str) -> bool:
        if not any(character in self.text for character in _PATTERN):
            return name == self.text
        if self._compiled is None:
            import fnmatch
            import re

            # Brackets mean themselves: names of units and folders have them.
            self._compiled = re.compile(fnmatch.translate(self.text.replace("[", "[[]")))
        return self._compiled.match(name) is not None


class Rule:
    """One rule of the file `path`; `told` is what guest_service.rule_files makes of it.

    `owner` is 0, or the user whose processes alone it is about.
    """

    def __init__(self, told: dict[str, object]) -> None:
        self.path = str(told["path"])
        self.number = int(str(told["number"]))
        self.owner = int(str(told["owner"]))
        self.display = told.get("display") is True
        self.restart = told.get("restart") is True
        self._users = {int(str(uid)) for uid in _list(told, "user")}
        self._patterns = {
            key: [_Pattern(str(text)) for text in _list(told, key)]
            for key in CONDITIONS
            if key != "user" and key in told
        }

    def __str__(self) -> str:
        return f"{self.path}, rule {self.number}"

    @property
    def follows_moves(self) -> bool:
        """Whether a process can come to meet it without executing anything."""
        return bool(self._users) or any(
            key in self._patterns for key in ("unit", "cgroup", "container")
        )

    def fits(self, facts: Facts) -> bool:
        """Whether the process meets it."""
        uids = facts.uids
        if not uids or (self.owner and any(uid != self.owner for uid in uids)):
            return False
        if self._users and not self._users.intersection(uids[:2]):
            return False
        return all(
            check(facts, self._patterns[key])
            for key, check in _CHECKS.items()
            if key in self._patterns
        )


def _list(told: dict[str, object], key: str) -> list[object]:
    values = told.get(key)
    return values if isinstance(values, list) else []


def _executable(facts: Facts, patterns: list[_Pattern]) -> bool:
    path = facts.executable
    name = path.rpartition("/")[2]
    return any(pattern.fits(path if "/" in pattern.text else name) for pattern in patterns)


def _unit(facts: Facts, patterns: list[_Pattern]) -> bool:
    parts = facts.cgroup.split("/")
    return any(pattern.fits(part) for pattern in patterns for part in parts if part)


def _cgroup(facts: Facts, patterns: list[_Pattern]) -> bool:
    path, above = facts.cgroup, []
    while path:
        above.append(path)
        path = path.rpartition("/")[0]
    return any(pattern.fits(group) for pattern in patterns for group in above)


# What takes longest comes last.
_CHECKS = {
    "executable": _executable,
    "unit": _unit,
    "cgroup": _cgroup,
    "container": Facts.in_container,
    "command": Facts.command_fits,
}


def unit_of(cgroup: str) -> tuple[str, int | None] | None:
    """The service that a group is of, and whose manager has it: a user's id, or None: the system's.

    None where it is not a service's. Below a unit its own user or container makes the groups, and
    calls them as it likes: so nothing there is believed, but for the units of users' managers.
    """
    parts = cgroup.strip("/").split("/")
    owner = None
    if parts[0] == "user.slice" and len(parts) > 2:
        number = parts[1].removeprefix("user-").removesuffix(".slice")
        if number.isdecimal() and parts[1:3] == [f"user-{number}.slice", f"user@{number}.service"]:
            owner, parts = int(number), parts[3:]
    for part in parts:
        if not part.endswith(".slice"):
            return (part, owner) if part.endswith(".service") else None
    return None
