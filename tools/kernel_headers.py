"""Headers for bcc on a machine whose kernel comes without: those of a Debian kernel of the lab.

The probes of `sparc watch` use nothing of the kernel but its registers, which do not change.
"""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

from sparc_lab import Lab

__all__ = ["for_bcc"]

_KERNEL = "debian-6.1"
_FOLDERS = ("include", "arch/x86/include")


def for_bcc(lab: Lab, folder: Path) -> dict[str, str]:
    """Environment variables with which bcc finds headers; if need be, made in an empty folder."""
    own = Path(f"/lib/modules/{platform.release()}/build")
    if "BCC_KERNEL_SOURCE" in os.environ or own.is_dir():
        return {}
    built = lab.module_target(_KERNEL).folder.resolve()
    # Debian has what is the same for all flavours of a kernel in a folder of its own.
    found = re.search(r"/usr/src/(\S+-common)/", (built / "Makefile").read_text())
    assert found is not None
    for name in _FOLDERS:
        (folder / name).mkdir(parents=True)
        for source in (built.with_name(found[1]), built):
            for path in (source / name).iterdir():
                (folder / name / path.name).symlink_to(path)
    return {"BCC_KERNEL_SOURCE": str(folder)}
