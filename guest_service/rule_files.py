"""The files that say which processes are excluded as soon as they start.

The system's: SYSTEM/*.toml, root's and writable for nobody else. A user's: USERS below the home of
each member of the group sparc, that user's and writable for nobody else; it is about that user's
processes alone. Each is a list of

    [[exclude]]
    executable = "/usr/bin/gpg-agent"     # a path, or a name without folders
    unit = "firefox.service"              # a service, scope or slice of systemd
    cgroup = "/system.slice/vault"        # and what is below it
    user = "alice"                        # or a number
    command = "* --unlock *"              # the arguments, with spaces between them
    container = "vault"                   # a name, or an id or its first 12 digits
    display = true                        # the screen too, whatever is on it
    on_restore = "restart"                # the service it was of is started afresh

with at least one of the first six. Each of those may be a list: then one entry must fit. * and ?
stand for anything. All that is given must fit. What is wrong is told, and the other rules hold.
"""

from __future__ import annotations

import contextlib
import functools
import os
import stat
import time

from guest_service import helper
from guest_service.helper import Failed, LateError
from guest_service.rules import CONDITIONS

TYPE_CHECKING = False
if TYPE_CHECKING:  # As in freezer.py: not worth its time at run time.
    from collections.abc import Iterator

    _Told = dict[str, object]

__all__ = ["SYSTEM", "USERS", "Loaded", "load", "parse", "stamp"]

SYSTEM = "/etc/sparc/exclude.d"
USERS = ".config/sparc/exclude.toml"

_GROUP = "sparc"
_BYTES = 1 << 18
# What a user may have everybody compared with; it takes time.
_USERS_BYTES = 1 << 12
_RULES = 256
_VALUES = 256
_LENGTH = 4096
# Seconds that one home may take, and all of them: less than the service waits when it begins.
_HOME = 3.0
_HOMES = 4.0
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class _Wrong(Exception):
    """What is wrong with a rule: its `key`, and `why`."""

    def __init__(self, key: str, why: str) -> None:
        super().__init__(key, why)
        self.key = key
        self.why = why


class Loaded:
    """Rules and problems, as objects for JSON.

    Rules: see guest_service.rules.Rule. Problems: {path, owner, key (or ""), why}.
    """

    def __init__(self) -> None:
        self.rules: list[_Told] = []
        self.problems: list[_Told] = []

    def wrong(self, path: str, owner: int, key: str, why: str) -> None:
        """Note a problem."""
        self.problems.append({"path": path, "owner": owner, "key": key, "why": why})


def stamp(folder: str = SYSTEM) -> list[object]:
    """What changes when the system's files do, or who may have files."""
    found: list[object] = []
    for path in ["/etc/group", folder, *_system(folder)]:
        try:
            status = os.stat(path)
        except OSError:
            continue
        found.append([path, status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino])
    return found


def load(folder: str = SYSTEM, users: list[tuple[int, str]] | None = None) -> _Told:
    """Read them all: {rules, problems, users (how many could have some)}.

    In a child of the service, and each user's in a child of that: a home may be on a disk that does
    not answer, and then all others' rules hold. `users`: ids and homes of those whose files count,
    for tests.
    """
    found = Loaded()
    for path in _system(folder):
        _load(found, path, 0)
    members = _members() if users is None else users
    until = time.monotonic() + _HOMES
    for uid, home in members:
        path, left = f"{home}/{USERS}", until - time.monotonic()
        try:
            if left <= 0:
                raise LateError
            told = helper.run(functools.partial(_user, path, uid), min(_HOME, left))
        except (Failed, OSError):
            found.wrong(path, uid, "", "cannot be read: it takes too long")
            continue
        if isinstance(told, dict):
            found.rules += told["rules"]
            found.problems += told["problems"]
    return {"rules": found.rules, "problems": found.problems, "users": len(members)}


def _user(path: str, uid: int) -> _Told:
    found = Loaded()
    with _acting_as(uid):
        _load(found, path, uid)
    return {"rules": found.rules, "problems": found.problems}


def _system(folder: str) -> list[str]:
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    return [f"{folder}/{name}" for name in sorted(names) if name.endswith(".toml")]


def _members() -> list[tuple[int, str]]:
    """Ids and homes of the members of the group; root has the system's files."""
    import grp
    import pwd

    found = []
    try:
        names = grp.getgrnam(_GROUP).gr_mem
    except KeyError:
        return []
    for name in names:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid and os.path.isabs(entry.pw_dir):
            found.append((entry.pw_uid, entry.pw_dir.rstrip("/")))
    return found


@contextlib.contextmanager
def _acting_as(uid: int) -> Iterator[None]:
    """Read as that user does, if we may: then nothing is told of files that are not theirs."""
    import pwd

    groups = os.getgroups()
    with contextlib.suppress(PermissionError, KeyError):
        os.setgroups([])
        os.setegid(pwd.getpwuid(uid).pw_gid)
    with contextlib.suppress(PermissionError):
        os.seteuid(uid)
    try:
        yield
    finally:
        with contextlib.suppress(PermissionError):
            os.seteuid(os.getuid())
            os.setegid(os.getgid())
            os.setgroups(groups)


def _load(found: Loaded, path: str, owner: int) -> None:
    try:
        data = _read(path, owner)
    except (FileNotFoundError, NotADirectoryError):
        return
    except _Wrong as wrong:
        found.wrong(path, owner, wrong.key, wrong.why)
        return
    except OSError as error:
        found.wrong(path, owner, "", f"cannot be read: {error.strerror}")
        return
    parse(found, data, path, owner)


def _read(path: str, owner: int) -> bytes:
    """What stands in a file that only its owner can have written. Raises _Wrong, OSError."""
    folder = os.stat(os.path.dirname(path))
    if folder.st_uid not in (0, owner) or folder.st_mode & _OTHERS_WRITE:
        raise _Wrong("", "not read: others may write to its folder")
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with open(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise _Wrong("", "not read: it is not a plain file")
        if status.st_uid != owner:
            whose = "root" if owner == 0 else "this user"
            raise _Wrong("", f"not read: it does not belong to {whose}")
        if status.st_mode & _OTHERS_WRITE:
            raise _Wrong("", "not read: others may write to it")
        most = _USERS_BYTES if owner else _BYTES
        data = file.read(most + 1)
    if len(data) > most:
        raise _Wrong("", f"not read: it is longer than {most} bytes")
    return data


def parse(found: Loaded, data: bytes, path: str, owner: int) -> None:
    """Take in the rules of one file, and what is wrong with it."""
    import tomllib

    try:
        document = tomllib.loads(data.decode())
    except UnicodeDecodeError:
        found.wrong(path, owner, "", "is not UTF-8")
        return
    except (ValueError, RecursionError) as error:
        # It tells the place, and quotes a character at most.
        found.wrong(path, owner, "", f"is not TOML: {error}")
        return
    for key in document:
        if key != "exclude":
            found.wrong(path, owner, key, "is not known; rules begin with [[exclude]]")
    entries = document.get("exclude", [])
    if not isinstance(entries, list):
        found.wrong(path, owner, "exclude", "must be a list: write [[exclude]]")
        return
    for number, entry in enumerate(entries, 1):
        if number > _RULES:
            found.wrong(path, owner, "exclude", f"has more than {_RULES} rules")
            return
        try:
            if not isinstance(entry, dict):
                raise _Wrong("exclude", "must be a list of tables: write [[exclude]]")
            rule = _rule(entry, owner)
        except _Wrong as wrong:
            why = f"{wrong.why} (rule {number}, which is left out)"
            found.wrong(path, owner, wrong.key, why)
        else:
            found.rules.append({"path": path, "number": number, "owner": owner, **rule})


def _rule(entry: dict[str, object], owner: int) -> _Told:
    """Raises _Wrong."""
    told: _Told = {}
    for key, value in entry.items():
        if key in CONDITIONS:
            told[key] = _CHECKS.get(key, _texts)(key, value, owner)
        elif key == "display":
            if not isinstance(value, bool):
                raise _Wrong(key, "must be true or false")
            told[key] = value
        elif key == "on_restore":
            if value not in ("restart", "nothing"):
                raise _Wrong(key, 'must be "restart" or "nothing"')
            told["restart"] = value == "restart"
        else:
            raise _Wrong(key, "is not known")
    if not any(key in told for key in CONDITIONS):
        raise _Wrong("exclude", f"says nobody: give one of {', '.join(CONDITIONS)}")
    return told


def _values(key: str, value: object) -> list[object]:
    values = value if isinstance(value, list) else [value]
    if not 0 < len(values) <= _VALUES:
        raise _Wrong(key, f"must have 1 to {_VALUES} entries")
    return values


def _texts(key: str, value: object, owner: int) -> list[str]:
    found = []
    for text in _values(key, value):
        if not isinstance(text, str) or not text or "\0" in text or len(text) > _LENGTH:
            raise _Wrong(key, "must be a text, or a list of texts")
        found.append(text)
    return found


def _executables(key: str, value: object, owner: int) -> list[str]:
    found = _texts(key, value, owner)
    for text in list(found):
        if "/" not in text:
            continue
        if not text.startswith(("/", "*")):
            raise _Wrong(key, "must be a whole path, or a name without folders")
        # /bin/sh is a link, and the kernel names what runs.
        real = os.path.realpath(text)
        if real not in found:
            found.append(real)
    return found


def _cgroups(key: str, value: object, owner: int) -> list[str]:
    found = []
    for text in _texts(key, value, owner):
        path = text.removeprefix("/sys/fs/cgroup").rstrip("/")
        if not path.startswith(("/", "*")):
            raise _Wrong(key, "must be a path from the hierarchy's root, and not the root itself")
        found.append(path)
    return found


def _units(key: str, value: object, owner: int) -> list[str]:
    found = _texts(key, value, owner)
    if not all(text.endswith((".service", ".scope", ".slice", "*")) for text in found):
        raise _Wrong(key, "must end in .service, .scope or .slice")
    return found


def _users(key: str, value: object, owner: int) -> list[int]:
    import pwd

    found = []
    for user in _values(key, value):
        if type(user) is int and 0 <= user < 1 << 32:
            uid = user
        elif isinstance(user, str) and "\0" not in user:
            try:
                uid = pwd.getpwnam(user).pw_uid
            except KeyError:
                raise _Wrong(key, "there is no such user") from None
        else:
            raise _Wrong(key, "must be a user's name or number, or a list of them")
        if owner and uid != owner:
            raise _Wrong(key, "is another user: only /etc/sparc/exclude.d may say that")
        found.append(uid)
    return found


_CHECKS = {"executable": _executables, "cgroup": _cgroups, "unit": _units, "user": _users}
