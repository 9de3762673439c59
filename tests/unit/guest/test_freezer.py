"""The freezer on real control groups: a tree of this test's own stands for a guest's."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from guest_service import cgroups, processes

_DRIVER = Path(__file__).with_name("freezer_driver.py")
_PROJECT = Path(__file__).parents[3]

# It forks all the time, so that freezing it is never a matter of one process.
_BUSY = ["sh", "-c", "while :; do echo; sleep 0.01; done"]
_MOVER = """
import os, sys
root, n = sys.argv[1], 0
while True:
    n += 1
    group = f"{root}/moved-{os.getpid()}-{n % 20}"
    os.makedirs(group, exist_ok=True)
    with open(f"{group}/cgroup.procs", "w") as file:
        file.write(str(os.getpid()))
    print(flush=True)
"""


class _Victim:
    """A process that says something all the time while it runs."""

    def __init__(self, group: Path, argv: list[str]) -> None:
        self.process = subprocess.Popen(
            ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', group, *argv],
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self.process.stdout
        self.output = self.process.stdout.fileno()
        os.read(self.output, 1)
        os.set_blocking(self.output, False)

    @property
    def group(self) -> str:
        found = processes.cgroup_of(self.process.pid)
        assert found
        return found

    def said(self) -> int:
        total = 0
        with contextlib.suppress(BlockingIOError):
            while part := os.read(self.output, 1 << 16):
                total += len(part)
        return total

    def goes_on(self) -> bool:
        self.said()
        end = time.monotonic() + 60
        while time.monotonic() < end:
            time.sleep(0.05)
            if self.said():
                return True
        return False


def _stand_still(victims: list[_Victim]) -> bool:
    for victim in victims:
        victim.said()
    time.sleep(0.3)
    return not any(victim.said() for victim in victims)


class _Tree:
    """A control group that stands for the root, the processes in it, and the freezer's service."""

    def __init__(self, root: Path, record: Path) -> None:
        self.root = root
        self.record = record
        self.victims: list[_Victim] = []
        self.services: list[subprocess.Popen[str]] = []

    def group(self, name: str) -> Path:
        path = self.root / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def victim(self, group: str = "", argv: list[str] | None = None) -> _Victim:
        victim = _Victim(self.group(group), argv or _BUSY)
        self.victims.append(victim)
        return victim

    def service(self, group: str = "", *, keep: bool) -> subprocess.Popen[str]:
        mode = "keep" if keep else "put-back"
        argv = [sys.executable, str(_DRIVER), str(self.root), str(self.record), mode]
        service = subprocess.Popen(
            ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', self.group(group), *argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=_PROJECT,
            env={**os.environ, "PYTHONPATH": str(_PROJECT)},
        )
        self.services.append(service)
        return service

    def clear(self) -> None:
        groups = sorted((path for path in self.root.rglob("*/") if path.is_dir()), reverse=True)
        for service in self.services:
            service.kill()
        for victim in self.victims:
            victim.process.kill()
        for group in [*groups, self.root]:
            with contextlib.suppress(OSError):
                (group / "cgroup.freeze").write_text("0")
            with contextlib.suppress(OSError):
                (group / "cgroup.kill").write_text("1")
        for service in self.services:
            service.wait()
        for victim in self.victims:
            victim.process.wait()
        for group in [*groups, self.root]:
            for _ in range(50):
                with contextlib.suppress(OSError):
                    group.rmdir()
                if not group.exists():
                    break
                time.sleep(0.1)


def _do(service: subprocess.Popen[str], command: str) -> str:
    assert service.stdin and service.stdout
    service.stdin.write(command + "\n")
    service.stdin.flush()
    return service.stdout.readline().strip()


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[_Tree]:
    mount = cgroups.mount_point()
    if mount is None:
        pytest.skip("there are no version 2 cgroups here")
    root = Path(mount, f"sparc-test-{os.getpid()}")
    try:
        root.mkdir()
    except OSError as error:
        pytest.skip(f"cgroups cannot be made here: {error.strerror}")
    tree = _Tree(root, tmp_path / "frozen")
    yield tree
    tree.clear()


def test_without_systemd_everybody_is_kept_in_one_group(tree: _Tree) -> None:
    victims = [tree.victim() for _ in range(3)] + [tree.victim("daemon")]
    service = tree.service(keep=True)
    assert _do(service, "prepare") == "done"
    hold = f"{tree.root.name}/sparc-frozen"
    assert [hold in victim.group for victim in victims] == [True, True, True, False]
    late = tree.victim()
    for _ in range(3):
        assert all(victim.goes_on() for victim in [*victims, late])
        assert _do(service, "freeze 60") == "done"
        assert _stand_still([*victims, late])
        assert _do(service, "thaw") == "done"
        assert hold in late.group
    assert all(victim.goes_on() for victim in [*victims, late])
    assert _do(service, "close") == "done"
    assert {victim.group for victim in victims[:3]} == {f"/{tree.root.name}"}
    assert not (tree.root / "sparc-frozen").exists()
    assert all(victim.goes_on() for victim in [*victims, late])


def test_with_systemd_everybody_is_where_he_was(tree: _Tree) -> None:
    own = "system.slice/sparc-guestd.service"
    places = ["", "init.scope", "system.slice", "system.slice/a.service", "user.slice/1/2", own]
    victims = [tree.victim(place) for place in places for _ in range(2)]
    service = tree.service(own, keep=False)
    assert _do(service, "prepare") == "done"
    before = [victim.group for victim in victims]
    assert before[::2] == before[1::2] == [f"/{tree.root.name}/{p}".rstrip("/") for p in places]
    for _ in range(3):
        assert _do(service, "freeze 60") == "done"
        assert _stand_still(victims)
        assert _do(service, "thaw") == "done"
        assert [victim.group for victim in victims] == before
        assert not (tree.root / "sparc-frozen").exists()
        assert all(victim.goes_on() for victim in victims)


def test_what_is_frozen_was_handed_over_before(tree: _Tree) -> None:
    tree.victim("user.slice")
    tree.victim("init.scope")
    service = tree.service("system.slice/own", keep=False)
    _do(service, "prepare")
    assert _do(service, "handed") == "none"
    assert _do(service, "freeze 60") == "done"
    frozen = [f"{tree.root}/{name}/cgroup.freeze" for name in ("init.scope", "user.slice")]
    assert _do(service, "handed").split() == frozen
    assert tree.record.read_text().splitlines() == [
        f"F {path.removesuffix('/cgroup.freeze')}" for path in _as_listed(tree, frozen)
    ]
    _do(service, "thaw")
    assert tree.record.read_text() == ""


def _as_listed(tree: _Tree, paths: list[str]) -> list[str]:
    listed = [f"{path}/cgroup.freeze" for path in cgroups.children(str(tree.root))]
    return [path for path in listed if path in paths]


def test_a_group_that_somebody_else_froze_stays_frozen(tree: _Tree) -> None:
    theirs, other = tree.victim("paused"), tree.victim("other")
    (tree.root / "paused/cgroup.freeze").write_text("1")
    service = tree.service(keep=True)
    _do(service, "prepare")
    assert _do(service, "freeze 60") == "done"
    assert _do(service, "thaw") == "done"
    assert other.goes_on()
    assert _stand_still([theirs])


def test_groups_made_while_freezing_are_frozen_too(tree: _Tree) -> None:
    victims = [
        tree.victim("movers", [sys.executable, "-c", _MOVER, str(tree.root)]) for _ in range(2)
    ]
    service = tree.service(keep=True)
    _do(service, "prepare")
    for _ in range(5):
        assert _do(service, "freeze 60") == "done"
        assert _stand_still(victims)
        assert _do(service, "thaw") == "done"
        assert all(victim.goes_on() for victim in victims)


@pytest.mark.parametrize("keep", [True, False])
def test_a_killed_service_leaves_nobody_frozen_for_the_next(tree: _Tree, keep: bool) -> None:
    own = "" if keep else "system.slice/own"
    victims = [tree.victim(place) for place in ("", "user.slice", own)]
    before = [victim.group for victim in victims]
    service = tree.service(own, keep=keep)
    _do(service, "prepare")
    assert _do(service, "freeze 60") == "done"
    service.kill()
    service.wait()
    assert _stand_still(victims)
    following = tree.service(own, keep=keep)
    assert _do(following, "prepare") == "done"
    assert all(victim.goes_on() for victim in victims)
    if not keep:
        assert [victim.group for victim in victims] == before
    assert tree.record.read_text() == ""


def test_a_service_started_by_somebody_it_holds_gets_out(tree: _Tree) -> None:
    victim = tree.victim("sparc-frozen")
    service = tree.service("sparc-frozen", keep=True)
    assert _do(service, "prepare") == "done"
    assert processes.cgroup_of(service.pid) == f"/{tree.root.name}"
    assert _do(service, "freeze 60") == "done"
    assert _stand_still([victim])
    assert _do(service, "thaw") == "done"


def test_with_no_time_at_all_everybody_goes_on_too(tree: _Tree) -> None:
    victims = [tree.victim() for _ in range(4)]
    service = tree.service(keep=True)
    _do(service, "prepare")
    for _ in range(20):
        answer = _do(service, "freeze 0")
        assert answer == "done" or answer.startswith("not-frozen ")
        assert _do(service, "thaw") == "done"
    assert all(victim.goes_on() for victim in victims)
