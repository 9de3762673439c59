"""What guests get: it is whole, the same each time, and the service in it starts quickly."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from tools import guest_bundle

# Each costs a guest that is interpreted a second or more.
_HEAVY = {"argparse", "click", "construct", "dataclasses", "inspect", "logging", "pathlib"}
_HEAVY |= {"subprocess", "threading", "typing"}


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    guest_bundle.write(tmp_path / "guest.tar")
    with tarfile.open(tmp_path / "guest.tar") as archive:
        archive.extractall(tmp_path / "root")
    return tmp_path / "root"


def test_it_is_the_same_each_time_and_roots(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.tar", "b.tar", "c.tar.gz", "d.tar.gz")]
    for path in files:
        guest_bundle.write(path)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert files[2].read_bytes() == files[3].read_bytes()
    with tarfile.open(files[2]) as archive:
        members = archive.getmembers()
    assert {(member.uid, member.gid, member.mode & 0o022) for member in members} == {(0, 0, 0)}
    programs = {member.name for member in members if member.mode & 0o111}
    assert programs == {
        "etc/init.d/sparc-guestd",
        "usr/local/bin/sparc",
        "usr/local/sbin/sparc-guestd",
    }


def test_the_service_starts_quickly_and_alone(unpacked: Path) -> None:
    library = unpacked / "usr/local/lib/sparc"
    code = (
        f"import sys; sys.path.insert(0, {str(library)!r})\n"
        "import guest_service.daemon\n"
        "print(*sys.modules)"
    )
    times = []
    for _ in range(5):
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-IS", "-c", code], capture_output=True, text=True, check=True
        )
        times.append(time.monotonic() - started)
    assert not _HEAVY & set(done.stdout.split())
    assert min(times) < 1


@pytest.mark.parametrize(
    "command", ["doctor", "exclude", "include", "list", "run", "shell", "status", "top"]
)
def test_every_guest_command_is_in_it(unpacked: Path, command: str) -> None:
    launcher = (unpacked / "usr/local/bin/sparc").read_text()
    assert launcher.startswith("#!/usr/bin/python3 -I\n")
    library = unpacked / "usr/local/lib/sparc"
    code = launcher.replace('"/usr/local/lib/sparc"', repr(str(library)))
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, command, "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Usage: -c {command}")
