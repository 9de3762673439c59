"""Excludes processes by rules as they start, and starts services afresh after a restore.

One that starts a program or changes its user is looked at when the kernel tells of it, and twice
more within seconds, since desktops move what they started to a control group of its own. All are
looked at once a minute, or every other second where the kernel tells nothing; and who started just
before a checkpoint is found when everybody stands still; where that cannot be done, the checkpoint
fails. A rule is applied to a process once: who includes it again has it included, until it starts
another program, or the rules change.
"""

from __future__ import annotations

import os
import select
import signal
import time

from guest_service import containers, helper, processes, rule_files
from guest_service.helper import Failed
from guest_service.rules import Facts, Rule, unit_of
from guest_service.starts import Starts
from sparc.printable import printable

TYPE_CHECKING = False
if TYPE_CHECKING:  # As in freezer.py: not worth its time at run time.
    from collections.abc import Callable

    from guest_service.log import Log

    _Reply = dict[str, object]
    _Exclude = Callable[[int, Rule, bool], _Reply]
    _Key = tuple[int, int]

__all__ = ["NotApplied", "Ruling"]

# Seconds. Files are looked at again so often, and everybody, with and without the kernel's help.
_RELOAD = 60.0
_SCAN = 60.0
_SCAN_ALONE = 2.0
_LOOKS = (0.5, 5.0)
_LOAD = 20.0
_FIRST_LOAD = 5.0
_NAME = 2.0
_COMPARE = 1.0
_WAITING = 20000
_NAMED = 10
_SAME_TROUBLE = 60.0
# How long everybody may stand still for rules.
_FROZEN = 2.0
# It is nobody's any more, or no longer that user's, or has no memory of its own yet.
_NO_MATTER = ("no-process", "not-yours", "shares")

_SYSTEMCTL = ("/usr/bin/systemctl", "/bin/systemctl")


class NotApplied(Exception):
    """Somebody may be meant by a rule, and is not excluded."""


class Ruling:
    """Who is excluded by a rule.

    `exclude` does it to a process, for a rule; True: while everybody stands still. `load` reads the
    files, in a child; `stamp` tells whether that is worth it. Both are guest_service.rule_files's.
    """

    def __init__(
        self,
        exclude: _Exclude,
        log: Log,
        poll: select.poll,
        load: Callable[[], _Reply] = rule_files.load,
        stamp: Callable[[], object] = rule_files.stamp,
        listen: Callable[[], Starts] = Starts,
    ) -> None:
        self._exclude = exclude
        self._log = log
        self._poll = poll
        self._load = load
        self._stamp = stamp
        self._listen = listen
        self.rules: list[Rule] = []
        self._told: list[object] = []
        self._problems: list[_Reply] = []
        self._stamped: object = None
        self._users = 0
        self._starts: Starts | None = None
        self._loading: helper.Later | None = None
        # Until when nothing needs to be done.
        self._load_at = 0.0
        self._scan_at = 0.0
        self._looks: list[tuple[float, int]] = []
        # Rules that were applied, by process; names, where the kernel does not tell of programs.
        self._done: dict[_Key, set[int]] = {}
        self._seen: dict[_Key, bytes] = {}
        self._restarts: dict[_Key, tuple[str, int | None]] = {}
        self._names: dict[str, str] = {}
        # When they can be asked for again.
        self._names_at = 0.0
        self._troubles: dict[str, float] = {}
        # Who may be meant by a rule, and is not excluded; whether the one looked at is such.
        self._unsure: set[_Key] = set()
        self._doubt = False
        self._until = 0.0
        # Whether the files were not read yet.
        self._unread = True
        # Users of whom a process did not let its arguments be read, and until when that is so.
        self._stuck: dict[int, float] = {}

    # -- for the main loop

    def begin(self) -> None:
        """Read the files, and apply what they say before anybody is told that the service is up."""
        self._begin_load()
        if self._loading is None:
            return
        waiting, until = select.poll(), time.monotonic() + _FIRST_LOAD
        waiting.register(self._loading.fd, select.POLLIN)
        while self._loading is not None and time.monotonic() < until:
            if waiting.poll(max(0.0, until - time.monotonic()) * 1000):
                self.ready(self._loading.fd)

    def close(self) -> None:
        """Look no more."""
        self._hear(False)
        if self._loading is not None:
            self._poll.unregister(self._loading.fd)
            self._loading.end()
            self._loading = None

    def reload(self) -> None:
        """Read the files again soon."""
        self._stamped = None
        self._load_at = 0.0

    def timeout(self) -> float | None:
        """Milliseconds until `expire` has something to do."""
        due = [self._load_at]
        if self.rules:
            due += [self._scan_at, *(at for at, _ in self._looks[:1])]
        if self._loading is not None:
            due = [*due[1:], self._loading.deadline]
        return max(0.0, min(due) - time.monotonic()) * 1000 + 1

    def ready(self, fd: int) -> bool:
        """Something can be done with a descriptor, if it is one of these; whether it is."""
        if self._loading is not None and fd == self._loading.fd:
            if self._loading.ready():
                self._end_load()
            return True
        if self._starts is not None and fd == self._starts.fd:
            self._hear_starts()
            return True
        return False

    def expire(self) -> None:
        """Do what is due."""
        now = time.monotonic()
        if self._loading is not None and now >= self._loading.deadline:
            self._end_load()
        elif self._loading is None and now >= self._load_at:
            self._begin_load()
        if not self.rules:
            return
        due = [pid for at, pid in self._looks if at <= now]
        self._looks = [(at, pid) for at, pid in self._looks if at > now]
        self._consider(dict.fromkeys(due))
        if now >= self._scan_at:
            self._scan()

    def look(self, *, frozen: bool = False) -> None:
        """Before a checkpoint: apply the rules to all who started by now.

        Raises NotApplied, while everybody stands still: the checkpoint would not be clean.
        """
        self._until = time.monotonic() + _FROZEN
        try:
            if self.rules:
                self._look(frozen)
        except Exception as error:
            self._log.error(f"rules: not applied before a checkpoint: {type(error).__name__}")
            if frozen:
                raise NotApplied from error
            # What was heard is forgotten.
            if self._starts is not None:
                self._starts.lost = True
        if frozen and (self._unread or self._unsure):
            pids = ", ".join(str(pid) for pid, _ in sorted(self._unsure)[:_NAMED])
            why = "the files were not read yet" if self._unread else f"processes {pids}"
            self._log.error(f"rules: a checkpoint would not be clean: {why}")
            raise NotApplied

    def _look(self, frozen: bool) -> None:
        if frozen:
            # Another try for everybody.
            self._stuck.clear()
        if self._starts is not None:
            self._hear_starts(frozen=frozen)
        if self._starts is None:
            self._scan(frozen=frozen)
            return
        waiting = dict.fromkeys([pid for _, pid in self._looks] + [pid for pid, _ in self._unsure])
        if waiting:
            found = self._consider(waiting, frozen=frozen)
            self._unsure = {key for key in self._unsure if key in found}

    def restored(self, killed: list[int]) -> None:
        """Start afresh the services of those who were ended, where a rule says so."""
        wanted: dict[tuple[str, int | None], None] = {}
        for (pid, _), told in self._restarts.items():
            if pid in killed:
                wanted[told] = None
        self._restarts = {k: told for k, told in self._restarts.items() if k[0] not in killed}
        for unit, owner in wanted:
            self._restart(unit, owner)

    def status(self, uid: int) -> _Reply:
        """How they stand, as far as that user may know."""
        mine = [rule for rule in self.rules if uid == 0 or rule.owner in (0, uid)]
        return {
            "count": len(mine),
            "problems": [told for told in self._problems if uid == 0 or told["owner"] in (0, uid)],
            "told_by": None if not self.rules else "kernel" if self._starts else "scan",
        }

    # -- reading

    def _begin_load(self) -> None:
        self._load_at = time.monotonic() + _RELOAD
        stamped = self._stamp()
        # Homes are looked at by the child: one may be on a disk that does not answer.
        if stamped == self._stamped and not self._users:
            return
        self._stamped = stamped
        try:
            self._loading = helper.Later(self._load, _LOAD)
        except OSError as error:
            self._stamped = None
            self._log.error(f"rules cannot be read: {error.strerror}")
            return
        self._poll.register(self._loading.fd, select.POLLIN)

    def _end_load(self) -> None:
        loading = self._loading
        assert loading is not None
        self._loading = None
        self._poll.unregister(loading.fd)
        try:
            told = loading.wait()
        except Failed as failed:
            self._stamped = None
            self._trouble(f"rules cannot be read: {failed.code}")
            return
        finally:
            loading.end()
        if isinstance(told, dict):
            self._loaded(told)

    def _loaded(self, told: _Reply) -> None:
        self._users = int(str(told.get("users", 0)))
        problems = _entries(told, "problems")
        for problem in problems:
            if problem not in self._problems:
                self._log.error(_problem(problem))
        self._problems = problems
        rules = told.get("rules")
        self._unread = False
        if rules == self._told or not isinstance(rules, list):
            return
        self._told = rules
        self.rules = [Rule(entry) for entry in rules]
        self._done.clear()
        self._seen.clear()
        self._unsure.clear()
        self._log.note(f"rules: {len(self.rules)}")
        self._hear(bool(self.rules))
        if self.rules:
            self._scan()

    def _hear(self, wanted: bool) -> None:
        """Begin or end to be told by the kernel."""
        if self._starts is not None and not wanted:
            self._poll.unregister(self._starts.fd)
            self._starts.close()
            self._starts = None
        elif self._starts is None and wanted:
            try:
                self._starts = self._listen()
            except OSError as error:
                self._log.note(
                    "the kernel does not tell of programs that start "
                    f"({error.strerror}): rules are applied every {_SCAN_ALONE:g} s"
                )
                return
            self._poll.register(self._starts.fd, select.POLLIN)

    # -- applying

    def _hear_starts(self, *, frozen: bool = False) -> None:
        assert self._starts is not None
        try:
            pids = self._starts.pids()
        except OSError as error:
            self._log.error(f"the kernel tells no more of programs that start: {error.strerror}")
            self._hear(False)
            self._scan_at = 0.0
            return
        for pid in pids:
            process = processes.read(pid)
            if process is not None:
                self._done.pop((pid, process.start), None)
        if self._starts.lost:
            self._starts.lost = False
            self._done.clear()
            self._scan(frozen=frozen)
        else:
            self._consider(dict.fromkeys(pids), frozen=frozen)
        if any(rule.follows_moves for rule in self.rules):
            now = time.monotonic()
            self._looks += [(now + after, pid) for after in _LOOKS for pid in pids]
            self._looks.sort()
            del self._looks[_WAITING:]

    def _scan(self, *, frozen: bool = False) -> None:
        self._scan_at = time.monotonic() + (_SCAN if self._starts else _SCAN_ALONE)
        found = self._consider(dict.fromkeys(processes.pids()), frozen=frozen)
        self._done = {key: rules for key, rules in self._done.items() if key in found}
        self._seen = found
        self._unsure = {key for key in self._unsure if key in found}
        self._restarts = {key: unit for key, unit in self._restarts.items() if key in found}

    def _consider(self, pids: dict[int, None], *, frozen: bool = False) -> dict[_Key, bytes]:
        """Apply the rules to each; who of them lives, with their names."""
        found: dict[_Key, bytes] = {}
        own = os.getpid()
        for pid in pids:
            if frozen and time.monotonic() > self._until:
                raise NotApplied
            process = processes.read(pid)
            if process is None or process.is_kernel_thread or process.state in "ZX":
                continue
            key = (pid, process.start)
            found[key] = process.name
            if pid in (1, own):
                continue
            if self._starts is None and self._seen.get(key, process.name) != process.name:
                # It has another name now, so it has started another program.
                self._done.pop(key, None)
            self._apply(key, frozen=frozen)
        return found

    def _apply(self, key: _Key, *, frozen: bool) -> None:
        done = self._done.get(key)
        names = self._known if frozen else self._name
        facts = Facts(key[0], names, self._compare)
        self._doubt = False
        for index, rule in enumerate(self.rules):
            if (done and index in done) or not rule.fits(facts):
                continue
            reply = self._exclude(key[0], rule, frozen)
            failures = _entries(reply, "failed")
            if reply.get("error"):
                self._doubt = True
                self._trouble(f"{rule}: process {key[0]} is not excluded: {reply['error']}")
                continue
            for failure in failures:
                self._doubt |= failure.get("error") not in _NO_MATTER
                if failure.get("error") != "no-process":
                    self._trouble(
                        f"{rule}: process {key[0]} {failure.get('name', '')} is not excluded: "
                        f"{failure.get('error')}"
                    )
            if not failures:
                self._done.setdefault(key, set()).add(index)
                if rule.restart:
                    self._note_restart(key, rule, facts)
        if self._doubt:
            self._unsure.add(key)
        else:
            self._unsure.discard(key)

    def _note_restart(self, key: _Key, rule: Rule, facts: Facts) -> None:
        unit = unit_of(facts.cgroup)
        if unit is None:
            return
        # A user's rule starts what that user could start.
        if rule.owner and unit[1] != rule.owner:
            self._trouble(f"{rule}: on_restore: {printable(unit[0])} is not a unit of this user")
            return
        self._restarts[key] = unit

    def _restart(self, unit: str, owner: int | None) -> None:
        program = next((path for path in _SYSTEMCTL if os.access(path, os.X_OK)), None)
        if program is None:
            self._log.error(f"{printable(unit)} cannot be started afresh: there is no systemctl")
            return
        whose = [] if owner is None else ["--user", f"--machine={owner}@.host"]
        argv = [program, "--no-block", *whose, "restart", "--", unit]
        try:
            os.posix_spawn(
                program,
                argv,
                {"PATH": os.defpath},
                file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
                setsigdef=[signal.SIGCHLD, signal.SIGPIPE],
            )
        except OSError as error:
            self._log.error(f"{printable(unit)} cannot be started afresh: {error.strerror}")
            return
        self._log.note(f"{printable(unit)} is started afresh after the restore")

    def _compare(self, facts: Facts, work: Callable[[], bool]) -> bool:
        user, now = facts.uids[0], time.monotonic()
        if self._stuck.get(user, 0.0) > now:
            self._doubt = True
            return False
        try:
            return helper.run(work, _COMPARE) is True
        except (Failed, OSError) as error:
            self._stuck[user] = now + _SAME_TROUBLE
            self._doubt = True
            told = f"its arguments cannot be read: {_cause(error)}"
            self._trouble(f"rules, user {user}: process {facts.pid} is not looked at: {told}")
            return False

    # -- names of containers

    def _known(self, container: containers.Container) -> str:
        return container.name or self._names.get(container.id, "")

    def _name(self, container: containers.Container) -> str:
        now = time.monotonic()
        if container.name or container.id in self._names or now < self._names_at:
            return self._known(container)
        try:
            name = str(helper.run(lambda: containers.name_of(container.id), _NAME))
        except (Failed, OSError) as error:
            self._names_at = now + _SAME_TROUBLE
            self._trouble(f"rules: a container's name cannot be read: {_cause(error)}")
            return ""
        if len(self._names) > _WAITING:
            self._names.clear()
        self._names[container.id] = name
        return name

    def _trouble(self, text: str) -> None:
        """Log it, but not again and again."""
        now = time.monotonic()
        self._troubles = {k: at for k, at in self._troubles.items() if at > now - _SAME_TROUBLE}
        about = text.partition(": process ")[0]
        if about not in self._troubles:
            self._troubles[about] = now
            self._log.error(text)


def _cause(error: Failed | OSError) -> str:
    return error.code if isinstance(error, Failed) else error.strerror or "system"


def _problem(problem: _Reply) -> str:
    key = f": {problem['key']}" if problem["key"] else ""
    return printable(f"{problem['path']}{key}: {problem['why']}")


def _entries(told: _Reply, key: str) -> list[_Reply]:
    found = told.get(key)
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []
