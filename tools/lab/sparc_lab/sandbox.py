"""A private world for virtual machines: trees, mounts and processes that go away together.

The sandbox is a mount and a pid namespace held by one process. Each Debian tree of the cache is
laid under it as the lower side of an overlay, so nothing done in it (an extension pack installed,
a setting changed) reaches the cache or another sandbox. Ending the holder ends every process in it
and drops every mount.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from .errors import LabError, StartError
from .processes import Process, run, wait_for

__all__ = ["Sandbox"]

_LAY = r"""
set -e
home=$1; shift
lay() {
  name=${1%%=*}; lower=${1#*=}; root=$home/root/$name
  mkdir -p "$home/upper/$name/top" "$home/upper/$name/work" "$root"
  mount -t overlay lab "$root" \
    -o "lowerdir=$lower,upperdir=$home/upper/$name/top,workdir=$home/upper/$name/work"
  cp -L /etc/resolv.conf "$root/etc/" 2>/dev/null || true
  mount -t proc proc "$root/proc"
  mount --rbind /sys "$root/sys"
  mount --rbind /dev "$root/dev"
  mkdir -p "$root$home/files"
  mount --bind "$home/files" "$root$home/files"
}
"""
_SETUP = f"""{_LAY}
mount -t tmpfs -o mode=700 lab "$home/upper"
for pair; do lay "$pair"; done
echo ready
exec >/dev/null 2>&1
IFS= read -r word
[ "$word" = keep ] || exit
while :; do sleep 100000 & wait; done
"""
_ADD = f"""{_LAY}
lay "$1"
mount --bind "$home/root/$2" "$home/root/$name/mnt"
"""


class Sandbox:
    """The sandbox whose state is kept in the folder ``home``.

    Files that processes inside and outside share are in ``files``, under the same path on both
    sides.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.files = home / "files"
        self._record = home / "holder.json"
        self._owner: IO[str] | None = None

    def holder(self) -> Process | None:
        """The process that holds the sandbox, if it is alive."""
        return Process.recorded(self._record)

    def start(self, trees: Mapping[str, Path], *, owned: bool) -> None:
        """Make the sandbox with these trees of the cache, each under a name.

        If ``owned``, it ends when the calling process does, however that ends.

        Raises:
            StartError: the namespaces or mounts could not be made.
        """
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("files", "upper", "root"):
            (self.home / name).mkdir(exist_ok=True)
        argv = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"]
        argv += ["bash", "-c", _SETUP, "holder", str(self.home)]
        argv += [f"{name}={path}" for name, path in trees.items()]
        # The holder lives until its standard input closes, or for ever once it is told to: so none
        # is left that was not recorded.
        pipe = subprocess.PIPE
        outer = subprocess.Popen(
            argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True, start_new_session=True
        )
        assert outer.stdin is not None and outer.stdout is not None and outer.stderr is not None
        with outer.stdout, outer.stderr:
            if outer.stdout.readline().strip() != "ready":
                reason = outer.stderr.read().strip()
                raise StartError(f"the lab's namespaces could not be set up: {reason}")
        holder = _only_child(outer.pid)
        if holder is None:
            raise StartError("the lab's holder ended at once")
        holder.record(self._record)
        if owned:
            self._owner = outer.stdin
        else:
            with outer.stdin:
                outer.stdin.write("keep\n")

    def add(self, tree: str, path: Path, beside: str) -> None:
        """Lay one more tree of the cache into the running sandbox, if it is not there.

        It sees the one named ``beside`` as ``/mnt``, as it is without the mounts in it.
        """
        holder = self.holder()
        if holder is None:
            raise LabError("the lab is not running", "sparc-lab up")
        root = self.home / "root" / tree
        if f" {root} " in Path(f"/proc/{holder.pid}/mounts").read_text():
            return
        entered = ["nsenter", "-t", str(holder.pid), "--mount", "--pid", "--"]
        run([*entered, "bash", "-c", _ADD, "add", str(self.home), f"{tree}={path}", beside])

    def argv(
        self, tree: str | None, argv: Sequence[str], env: Mapping[str, str] | None = None
    ) -> list[str]:
        """The command line that runs ``argv`` in ``tree``; with None in the host's own files."""
        holder = self.holder()
        if holder is None:
            raise LabError("the lab is not running", "sparc-lab up")
        if tree is None:
            return ["nsenter", "-t", str(holder.pid), "--pid", "--", *argv]
        return [
            *("nsenter", "-t", str(holder.pid), "--mount", "--pid", "--root", "--"),
            *("chroot", str(self.home / "root" / tree)),
            *environment_argv(argv, env),
        ]

    def run(
        self,
        tree: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        timeout: float = 120,
    ) -> str:
        """Run a program in a tree to its end; its output."""
        # Ending nsenter from outside would not end what runs inside.
        limited = ["timeout", "-k", "5", str(round(timeout)), *argv]
        return run(self.argv(tree, limited, env), timeout=timeout + 30)

    def spawn(
        self,
        tree: str | None,
        argv: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
    ) -> Process:
        """Start a program in a tree and leave it running.

        Raises:
            StartError: it ended at once.
        """
        with log.open("ab") as sink:
            outer = subprocess.Popen(
                self.argv(tree, argv, env),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
            )
        found: list[Process] = []

        def started() -> bool:
            child = _only_child(outer.pid)
            found.extend([child] if child else [])
            return bool(found) or outer.poll() is not None

        wait_for(started, timeout=10, step=0.01)
        if not found:
            text = log.read_text(errors="replace")[-400:]
            raise StartError(f"{argv[0]} ended at once: {text}")
        return found[-1]

    def end(self) -> None:
        """End every process in it, drop every mount, remove what it left on disk."""
        holder = self.holder()
        if holder is not None:
            holder.end(grace=0)
        if self._owner is not None:
            self._owner.close()
            self._owner = None
        with contextlib.suppress(FileNotFoundError):
            self._record.unlink()
        shutil.rmtree(self.home, ignore_errors=True)


def _only_child(pid: int) -> Process | None:
    """The one child of ``unshare`` or ``nsenter``: the program in the namespace."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return None
    return Process.of(int(children[0])) if children else None


def environment_argv(argv: Sequence[str], env: Mapping[str, str] | None = None) -> list[str]:
    """A command line that runs ``argv`` with these variables, and the few that all need."""
    variables = {
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        **(env or {}),
    }
    return ["/usr/bin/env", "-i", *(f"{key}={value}" for key, value in variables.items()), *argv]


def python_argv(module: str, *arguments: str) -> list[str]:
    """A command line that runs one of the lab's own modules with this very interpreter."""
    source = str(Path(__file__).resolve().parent.parent)
    return ["/usr/bin/env", f"PYTHONPATH={source}", sys.executable, "-m", module, *arguments]
