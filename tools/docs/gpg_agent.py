"""The real gpg-agent in a guest: the program that docs/start.md excludes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from sparc_lab import Lab, LabError
from sparc_lab.cache import Entry
from sparc_lab.machine import Machine

__all__ = ["install", "secret", "start"]

# The variable of its environment that holds what nobody else knows.
_SECRET = "PASSPHRASE"

_TAR = "gpg-agent.tar"
_PACKAGES = ("gpg-agent", "libassuan0", "libgcrypt20", "libgpg-error0", "libnpth0")
_MAKE = r"""
set -e
cd "$1"
shift
apt-get -qq update
apt-get -qq -o APT::Sandbox::User=root download "$@"
mkdir unpacked
for package in *.deb; do dpkg -x "$package" unpacked; done
# The guest has the C library, and what comes with every Debian.
tar -C unpacked -cf gpg-agent.tar ./usr/bin/gpg-agent \
  $(cd unpacked && find . -name '*.so.*' -path '*/lib/*')
rm -r unpacked *.deb
"""
# The shell becomes the program: when it is excluded, nobody else has what it was given.
_START = f"""
setsid sh -c '{_SECRET}=$(od -An -N16 -tx1 /dev/urandom | tr -d " "); export {_SECRET}
  exec gpg-agent --daemon' >/dev/null 2>&1 </dev/null
pgrep -x gpg-agent
"""


def install(lab: Lab, machine: Machine) -> None:
    """Put it and its libraries, from Debian's packages, into a guest of the lab."""
    made = lab.cache.get(Entry("gpg-agent", (_MAKE, *_PACKAGES), (_TAR,), _maker(lab)))
    machine.put(made / _TAR, "/root/gpg-agent.tar")
    done = machine.shell("tar -C / --keep-directory-symlink -xf /root/gpg-agent.tar && ldconfig")
    if done.status:
        raise LabError(f"gpg-agent could not be installed: {done.stderr.decode()}")


def start(machine: Machine) -> int:
    """Start it with a new secret; its pid."""
    done = machine.shell(_START)
    if done.status:
        raise LabError(f"gpg-agent did not start: {done.stderr.decode()}")
    return int(done.text)


def secret(machine: Machine, pid: int) -> str:
    """What it alone knows: until then, for the guest's agent of the lab is told, too."""
    done = machine.shell(f"tr '\\0' '\\n' </proc/{pid}/environ")
    return dict(line.split("=", 1) for line in done.text.splitlines() if "=" in line)[_SECRET]


def _maker(lab: Lab) -> Callable[[Path, Path], None]:
    def make(path: Path, log: Path) -> None:
        work = lab.sandbox.files / "gpg-agent.new"
        work.mkdir()
        argv = ["sh", "-c", _MAKE, "sh", str(work), *_PACKAGES]
        log.write_text(lab.sandbox.run("tools", argv, timeout=600))
        shutil.move(work / _TAR, path / _TAR)
        shutil.rmtree(work)

    return make
