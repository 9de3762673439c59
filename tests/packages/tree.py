"""A Debian tree to install packages in, and what is in it."""

from __future__ import annotations

import re
from pathlib import Path

from sparc_lab.errors import CommandError
from sparc_lab.processes import run
from sparc_lab.sandbox import Sandbox

__all__ = ["LISTING", "NEWER", "Tree", "added", "noted"]

NEWER = "99.0.0"

# Root's, as Debian has it.
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What a package manager notes of what it did; DKMS's own key; the group, which stays.
_NOTES = re.compile(
    r"/(var/(log|cache|lib/(apt|dpkg|ucf|python|man-db))|run|tmp|proc|sys|dev|boot)(/|$)"
    r"|/etc/(group|gshadow)-?$|/etc/ld\.so\.cache$|(/usr)?/lib/modules/[^/]+/modules\."
    r"|/var/lib/dkms/(mok\.|dkms_dbversion)"
)
LISTING = r"""
find / -xdev \( -type f -o -type l \) -printf '%p %s %l\n'
find / -xdev -type d -printf '%p\n'
"""
"""A shell script that lists all files and folders."""


def noted(listing: str) -> set[str]:
    """Of what `LISTING` prints, every file with its size, and every folder, that a package could
    have left."""
    return {line for line in listing.splitlines() if not _NOTES.match(line.split(" ")[0])}


def added(before: set[str], after: set[str]) -> set[str]:
    """The paths that are new; what systemd's helper notes of units stays until a purge."""
    new = {line.split(" ")[0] for line in after - before}
    return {path for path in new if not path.startswith("/var/lib/systemd/deb-systemd-")}


class Tree:
    """The tree of a sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self.files = sandbox.files

    def sh(self, script: str, *, timeout: float = 120) -> str:
        """What a shell script in it says. Raises CommandError."""
        env = {"DEBIAN_FRONTEND": "noninteractive", "PATH": _PATH}
        return self._sandbox.run("tree", ["sh", "-ec", script], env=env, timeout=timeout)

    def fails(self, script: str) -> tuple[int, str]:
        """How a script that must not end with 0 ends, and what it says."""
        try:
            said = self.sh(script)
        except CommandError as error:
            return error.status, error.output
        raise AssertionError(f"{script} did not fail: {said}")

    def install(self, *packages: str, version: str = "now") -> str:
        """Install some of our packages with apt; what apt said."""
        files = " ".join(f"{self.files}/debs/{version}/{name}_*.deb" for name in packages)
        return self.sh(f"apt-get install -y --no-install-recommends {files}", timeout=1800)

    def install_what_they_need(self, *packages: str) -> None:
        """The packages of Debian that ours depend on, and none of ours."""
        wanted = set()
        for name in packages:
            (file,) = Path(self.files, "debs/now").glob(f"{name}_*.deb")
            depends = run(["dpkg-deb", "-f", str(file), "Depends"])
            wanted |= {word.split()[0].split(":")[0] for word in depends.split(",")}
        needed = " ".join(sorted(name for name in wanted if not name.startswith("sparc-")))
        self.sh(f"apt-get install -y --no-install-recommends {needed}", timeout=1800)

    def left(self, before: set[str]) -> set[str]:
        """The paths that are new since."""
        return added(before, self.contents())

    def contents(self) -> set[str]:
        """See `noted`."""
        return noted(self.sh(LISTING))
