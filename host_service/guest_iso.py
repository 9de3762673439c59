"""An image of a CD that brings the guest's parts into a VM that reaches no network."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import click

from guest_service import parts
from host_service.errors import HostError
from host_service.programs import run
from sparc.programs import last_line

__all__ = ["write"]

_LABEL = "SPARC"
_INSTALL = """\
#!/bin/sh
# Puts sparc into this guest, as root: sh install; and out of it again: sh install uninstall.
cd "$(dirname "$0")" || exit 2
if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "sparc: this guest has no Python 3.11 or newer; apt install python3" >&2
  exit 2
fi
exec python3 -B -m guest_service.installation "${1:-install}"
"""
_READ_ME = """\
sparc {version} for Linux guests: keeps chosen programs out of VirtualBox's checkpoints.

In the guest, as root: sh install
"""


def write(target: str) -> None:
    """Write the image to `target`, in place of what is there.

    Raises:
        HostError: it cannot be made, or what belongs into it did not come along.
    """
    if shutil.which("xorriso") is None:
        raise HostError("there is no xorriso, which writes the image", advice="apt install xorriso")
    # Beside the target, and this user's alone: xorriso adds to an image that is there, and follows
    # links, so nobody else may put anything where it writes.
    beside = Path(target).absolute().parent
    with (
        tempfile.TemporaryDirectory(prefix="sparc-") as folder,
        tempfile.TemporaryDirectory(prefix=".sparc-", dir=beside) as place,
    ):
        _fill(Path(folder))
        new = Path(place, "image")
        argv = ["xorriso", "-as", "mkisofs", "-quiet", "-R", "-J", "-V", _LABEL, "-o", str(new)]
        done = run([*argv, folder])
        if done.returncode:
            raise HostError(f"{target}: xorriso cannot write it: {last_line(done.stderr)}")
        new.replace(target)


def _fill(folder: Path) -> None:
    try:
        contents = dict(parts.sources())
    except OSError as error:
        raise HostError(
            f"{error.filename} {error.strerror}", advice="install sparc again, or use a checkout"
        ) from None
    contents["install"] = _INSTALL.encode()
    contents["README.txt"] = _READ_ME.format(version=parts.version()).encode()
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    # The one thing that the command line needs and a guest may lack. It is nothing but Python.
    own = Path(click.__file__).parent
    shutil.copytree(own, folder / "click", ignore=shutil.ignore_patterns("__pycache__"))
