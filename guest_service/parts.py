"""What a guest gets besides its kernel module, and where the sources of both are."""

from __future__ import annotations

import configparser
import glob
import importlib.metadata
import os
import sys
from collections.abc import Iterator

__all__ = ["LIBRARY", "PLACES", "ROOT", "files", "module_sources", "sources", "version"]

LIBRARY = "usr/local/lib/sparc"
# A checkout, an image that `sparc host guest-iso` wrote, or where the packages were installed.
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# The rest of the package reads saved states, which a guest has none of.
_SOURCES = (
    "sparc/__init__.py",
    "sparc/errors.py",
    "sparc/findings.py",
    "sparc/frame.py",
    "sparc/kinds.py",
    "sparc/printable.py",
    "sparc/programs.py",
    "sparc/reasons.py",
    "sparc/wire.py",
    "sparc/cli/__init__.py",
    "sparc/cli/__main__.py",
    "sparc/cli/belongings.py",
    "sparc/cli/doctor.py",
    "sparc/cli/exclude.py",
    "sparc/cli/guest.py",
    "sparc/cli/guest_setup.py",
    "sparc/cli/guest_words.py",
    "sparc/cli/hypervisor.py",
    "sparc/cli/include.py",
    "sparc/cli/list.py",
    "sparc/cli/live.py",
    "sparc/cli/main.py",
    "sparc/cli/run.py",
    "sparc/cli/shell.py",
    "sparc/cli/side.py",
    "sparc/cli/status.py",
    "sparc/cli/top.py",
    "sparc/cli/top_guest.py",
    "sparc/cli/units.py",
    "sparc/cli/wording.py",
    "guest_service/*.py",
)
_FILES = {
    "etc/init.d/sparc-guestd": ("guest_service/init/sparc-guestd", 0o755),
    "etc/udev/rules.d/60-sparc.rules": ("guest_service/udev/60-sparc.rules", 0o644),
    "usr/local/lib/systemd/system/sparc-guestd.service": (
        "guest_service/systemd/sparc-guestd.service",
        0o644,
    ),
    "usr/local/share/doc/sparc/sparc-exclude.conf": (
        "guest_service/systemd/sparc-exclude.conf",
        0o644,
    ),
}
# Isolated: what a user sets in the environment must not change what root runs. The service
# needs nothing that Python's site finds, and starts sooner without it.
_LAUNCHER = """\
#!/usr/bin/python3 {options}
import sys
sys.path.insert(0, "/{library}")
from {module} import main
sys.exit(main())
"""
_LAUNCHERS = {
    "usr/local/bin/sparc": ("-I", "sparc.cli.main"),
    "usr/local/sbin/sparc-guestd": ("-IS", "guest_service.daemon"),
}
# Whatever is not below LIBRARY.
PLACES = (*_FILES, *_LAUNCHERS)
_MODULE = ("kmod", os.path.join(sys.prefix, "share/sparc/kmod"))


def files() -> Iterator[tuple[str, bytes, int]]:
    """Path from the guest's root, content and mode of each file. Raises OSError: one is missing."""
    for name in _programs():
        yield f"{LIBRARY}/{name}", _read(name), 0o644
    for target, (name, mode) in _FILES.items():
        yield target, _read(name), mode
    for target, (options, module) in _LAUNCHERS.items():
        text = _LAUNCHER.format(options=options, library=LIBRARY, module=module)
        yield target, text.encode(), 0o755
    name, content = _metadata()
    yield f"{LIBRARY}/{name}", content, 0o644


def sources() -> Iterator[tuple[str, bytes]]:
    """Path from the root and content of each file that another ROOT needs. Raises OSError."""
    for name in (*_programs(), *(name for name, _ in _FILES.values())):
        yield name, _read(name)
    for name, content in module_sources().items():
        yield f"{_MODULE[0]}/{name}", content
    yield _metadata()


def _programs() -> Iterator[str]:
    for pattern in _SOURCES:
        found = sorted(glob.glob(pattern, root_dir=ROOT))
        if not found:
            raise FileNotFoundError(2, "is missing", os.path.join(ROOT, pattern))
        yield from found


def _metadata() -> tuple[str, bytes]:
    """For `sparc --version`."""
    text = f"Metadata-Version: 2.1\nName: sparc\nVersion: {version()}\n"
    return f"sparc-{version()}.dist-info/METADATA", text.encode()


def module_sources() -> dict[str, bytes]:
    """The kernel module's sources, by name. Raises OSError: they did not come along."""
    for place in _MODULE:
        folder = os.path.join(ROOT, place)
        names = sorted(
            name
            for pattern in ("*.[ch]", "Makefile", "dkms.conf")
            for name in glob.glob(pattern, root_dir=folder)
            # What a build left there.
            if not name.endswith(".mod.c")
        )
        if "Makefile" in names:
            return {name: _read(os.path.join(folder, name)) for name in names}
    raise FileNotFoundError(2, "is missing", os.path.join(ROOT, _MODULE[0]))


def version() -> str:
    """The version of what is here."""
    config = configparser.ConfigParser()
    if config.read(os.path.join(ROOT, "setup.cfg")):
        return config["metadata"]["version"]
    return importlib.metadata.version("sparc")


def _read(name: str) -> bytes:
    with open(os.path.join(ROOT, name), "rb") as file:
        return file.read()
